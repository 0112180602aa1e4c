"""The blocking face: the same names and the same endings, without a loop of the caller's."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import PATIENCE_S, Peer, ScriptedServer, chunk, done, error, flush_done
from test_context import options, pcm

import voxwire.sync
from voxwire.client.events import Audio, FlushDone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


class Elsewhere:
    """A scripted server in a thread of its own, as the caller of the blocking client has no loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: ScriptedServer) -> None:
        self._loop = loop
        self.server = server

    def run(self, make: Callable[[], Awaitable[Any]]) -> Any:
        async def call() -> Any:
            return await make()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE_S)

    def accept(self) -> Peer:
        peer: Peer = self.run(self.server.accept)
        return peer

    def receive(self, peer: Peer) -> dict[str, Any]:
        message: dict[str, Any] = self.run(peer.receive)
        return message

    def send(self, peer: Peer, *messages: dict[str, Any]) -> None:
        async def call() -> None:
            peer.send(*messages)

        self.run(call)


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    ready: list[Elsewhere] = []
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with ScriptedServer() as server:
            ready.append(Elsewhere(asyncio.get_running_loop(), server))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield ready[0]
    finally:
        ready[0]._loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)


def test_text_in_and_events_out() -> None:
    with elsewhere() as far, voxwire.sync.Client(far.server.url) as client:
        client.connect()
        peer = far.accept()
        with client.context(**options()) as context:
            context.push("Hello ")
            context.flush()
            context.feed(["wor", "ld."])
            context.finish()
            messages = [far.receive(peer) for _ in range(5)]
            assert [m["transcript"] for m in messages] == ["Hello ", "", "wor", "ld.", ""]
            far.send(peer, chunk(context.id, b"\1\0"), flush_done(context.id, 1), chunk(context.id, b"\2\0"))
            far.send(peer, done(context.id))
            events = list(context)
            assert [type(event) for event in events] == [Audio, FlushDone, Audio]
            assert list(context) == []
            assert (context.outcome, context.reason) == ("finished", None)
            assert context.record.context_ids == (context.id,)


def test_batches_and_cancel() -> None:
    with (
        elsewhere() as far,
        voxwire.sync.Client(far.server.url) as client,
        client.context(iter(["a"]), **options()) as context,
    ):
        peer = far.accept()
        far.receive(peer)
        far.send(peer, chunk(context.id, b"\1\0"), chunk(context.id, b"\2\0"))
        batches = context.batches(join=True)
        data = b""
        while data != b"\1\0\2\0":
            for event in next(batches):
                data += pcm(event)
        context.cancel()
        assert list(batches) == []
        assert context.outcome == "cancelled"


def test_failures_are_raised_where_they_are_consumed() -> None:
    with elsewhere() as far, voxwire.sync.Client(far.server.url) as client:
        with client.context("a", **options()) as context:
            peer = far.accept()
            far.receive(peer)
            far.send(peer, chunk(context.id, b"\1\0"), error(context.id, status_code=429))
            events = iter(context)
            assert pcm(next(events)) == b"\1\0"
            with pytest.raises(voxwire.RateLimited):
                next(events)
        far.server.refusals.append((401, [], b""))
        with voxwire.sync.Client(far.server.url) as refused, pytest.raises(voxwire.AuthenticationError):
            refused.connect()


def test_voices() -> None:
    with elsewhere() as far, voxwire.sync.Client(far.server.url) as client:
        far.server.pages["/voices?limit=100"] = b'{"data":[{"id":"a"}],"has_more":false,"next_page":null}'
        assert client.voices() == [{"id": "a"}]


def test_close_leaves_no_thread_and_later_calls_are_refused() -> None:
    with elsewhere() as far:
        before = threading.active_count()
        client = voxwire.sync.Client(far.server.url)
        client.connect()
        assert threading.active_count() == before + 1
        context = client.context(**options())
        client.close()
        client.close()
        assert threading.active_count() == before
        with pytest.raises(RuntimeError, match="closed"):
            client.connect()
        with pytest.raises(RuntimeError, match="closed"):
            context.__enter__()


def test_wrong_arguments_start_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="scheme"):
        voxwire.sync.Client("ftp://h")
    with pytest.raises(TypeError):
        voxwire.sync.Client("ws://h", nonsense=1)
    assert threading.active_count() == before


def test_an_unclosed_client_warns() -> None:
    with elsewhere() as far:
        client = voxwire.sync.Client(far.server.url)
        client.connect()
        peer = far.accept()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
            far.run(peer.wait_closed)
        assert any("unclosed <voxwire.sync.Client" in str(warning.message) for warning in caught)


def test_play_comes_before_the_first_text() -> None:
    with voxwire.sync.Client("embedded:tone") as client, client.context("Hello world.", voice="tone-1") as context:
        playback = context.play("null:")
        heard = playback.wait()
        assert heard.text == "Hello world."
        assert heard.rest == ""
        assert playback.played_s == playback.heard.played_s == heard.played_s > 0
        assert playback.interrupt() == heard
        assert context.outcome == "finished"
        assert context.record.heard == heard


def test_say() -> None:
    with voxwire.sync.Client() as client:
        record = client.say(["Hello ", "world."], sink="null:")
        assert record.outcome == "finished"
        assert record.audio_s > 0
