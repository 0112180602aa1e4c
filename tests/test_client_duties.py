"""Duties of the client that are about time and about what it says by itself (protocol.md 13), on a virtual clock."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import Peer, ScriptedServer, chunk, done, flush_done, timestamps
from test_context import collect, connected, options, pcm
from virtual_loop import VirtualLoop

import voxwire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

SECOND = bytes(2 * 8000)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOXWIRE_URL", "VOXWIRE_API_KEY", "CARTESIA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"api_key": "a-key"}, {"x-api-key": "a-key"}),
        ({"access_token": "a-token"}, {"authorization": "Bearer a-token"}),
    ],
)
async def test_credentials_and_version_go_in_headers_and_never_in_the_query(
    given: dict[str, Any], sent: dict[str, str]
) -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url, version="2026-03-01", **given) as client:
        await client.connect()
        peer = await server.accept()
        assert peer.target == "/tts/websocket"
        assert {name: peer.header(name) for name in ("x-api-key", "authorization") if peer.header(name)} == sent
        assert peer.header("cartesia-version") == "2026-03-01"


async def test_the_version_by_default_is_the_first_with_structured_errors() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        await client.connect()
        assert (await server.accept()).header("cartesia-version") == "2026-03-01"


async def test_opening_early_is_connect_and_entering_waits_for_no_network() -> None:
    async with ScriptedServer() as server:
        async with voxwire.Client(server.url) as client:
            await asyncio.sleep(0)
            assert server.attempts == 0
            await client.connect()
            assert server.attempts == 1
            peer = await server.accept()
            assert peer.pending == 0
        assert (await peer.wait_closed()).code == 1000


async def test_ids_are_fresh_for_each_context_and_two_never_share_one() -> None:
    """protocol.md 13 and faults.md E3: there is no way to choose one, and so none to use one again."""
    async with connected() as (client, peer):
        ids = set()
        for _ in range(20):
            async with client.context("a", **options()) as context:
                ids.add((await peer.receive())["context_id"])
                assert str(uuid.UUID(context.id)) == context.id
                peer.send(done(context.id))
                await collect(context)
        assert len(ids) == 20
        with pytest.raises(TypeError, match="context_id"):
            client.context("a", **options(context_id="mine"))


# --- inactivity: what is owed, and from when


def test_inactivity_counts_from_the_input_with_its_buffer_delay_while_that_is_open() -> None:
    async def test(delay_ms: int | None, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer):
            async with client.context(**options(max_buffer_delay_ms=delay_ms)) as context:
                await context.push("Hello.")
                sent_s = loop.time()
                await peer.receive()
                with pytest.raises(voxwire.InactivityTimeout):
                    await collect(context)
                assert after_s <= loop.time() - sent_s <= after_s + 1
            assert await peer.receive() == {"context_id": context.id, "cancel": True}

    run(test(0, 10))
    run(test(5000, 15))
    run(test(None, 13))


def test_inactivity_of_a_closed_input_needs_no_buffer_delay_and_counts_from_the_last_message() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer), client.context("Hello.", **options()) as context:
            await peer.receive()
            for _ in range(5):
                await asyncio.sleep(8)
                peer.send(chunk(context.id, b"\1\0"))
                assert pcm(await anext(context)) == b"\1\0"
            heard_s = loop.time()
            with pytest.raises(voxwire.InactivityTimeout):
                await anext(context)
            assert 10 <= loop.time() - heard_s + 0.1 <= 11.2

    run(test())


def test_nothing_owed_is_no_inactivity_and_an_unanswered_flush_is() -> None:
    async def test() -> None:
        async with connected() as (client, peer), client.context(**options()) as context:
            # Nothing was sent, then all that was sent has been answered: a language model may think.
            await asyncio.sleep(100)
            await context.push("Hello.")
            await peer.receive()
            peer.send(chunk(context.id, b"\1\0"))
            assert pcm(await anext(context)) == b"\1\0"
            await asyncio.sleep(100)
            assert context.outcome is None
            await context.push("more", flush=True)
            await peer.receive()
            peer.send(chunk(context.id, b"\2\0"), flush_done(context.id, 1))
            assert pcm(await anext(context)) == b"\2\0"
            await anext(context)
            await asyncio.sleep(100)
            assert context.outcome is None
            await context.flush()
            await peer.receive()
            peer.send(chunk(context.id, b"\3\0"))
            assert pcm(await anext(context)) == b"\3\0"
            with pytest.raises(voxwire.InactivityTimeout):
                await anext(context)

    run(test())


def test_inactivity_inside_an_unfinished_frame_drops_the_connection() -> None:
    async def test() -> None:
        async with connected() as (client, peer), client.context("Hello.", **options()) as context:
            await peer.receive()
            peer.send(chunk(context.id, b"\1\0"))
            stream = peer.transport._socket
            assert stream is not None
            # A text frame of 1000 bytes, of which 3 come.
            stream.write(b'\x81\x7e\x03\xe8{"t')
            assert pcm(await anext(context)) == b"\1\0"
            with pytest.raises(voxwire.InactivityTimeout):
                await anext(context)
            await peer.wait_closed()
            assert client._fleet.open_link is None

    run(test())


# --- liveness


def test_a_server_that_answers_pings_is_kept_and_a_dead_one_is_noticed() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer), client.context(**options()) as context:
            await context.push("Hello.")
            await peer.receive()
            peer.send(chunk(context.id, b"\1\0"))
            assert pcm(await anext(context)) == b"\1\0"
            await asyncio.sleep(200)
            assert context.outcome is None
            peer.stop_reading()
            stopped_s = loop.time()
            with pytest.raises(voxwire.ConnectionLost, match="ping") as caught:
                await anext(context)
            assert caught.value.retryable
            # faults.md F2: interval, wait and half a second; no closing handshake with a dead peer.
            assert loop.time() - stopped_s <= 41
            peer.go_on_reading()

    run(test())


# --- an early done


class Pieces:
    """Text whose pieces a test hands over one by one."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[str]:
        while (piece := await self.queue.get()) is not None:
            yield piece


async def texts(peer: Peer, count: int) -> list[tuple[str, str]]:
    messages = [await peer.receive() for _ in range(count)]
    return [(message["context_id"], message["transcript"]) for message in messages]


def test_an_early_done_sends_again_only_what_is_younger_than_a_second_and_adds_up_the_times() -> None:
    async def test() -> None:
        pieces = Pieces()
        async with connected() as (client, peer), client.context(pieces, **options(add_timestamps=True)) as context:
            ids: list[str] = []
            for turn in range(3):
                pieces.queue.put_nowait(f"Old{turn} ")
                ((first, text),) = await texts(peer, 1)
                assert text == f"Old{turn} "
                peer.send(chunk(first, SECOND), timestamps(first, (f"Old{turn}", 0, 0.5)))
                await asyncio.sleep(1.5)
                pieces.queue.put_nowait(f"new{turn} ")
                assert await texts(peer, 1) == [(first, f"new{turn} ")]
                peer.send(done(first))
                ((second, text),) = await texts(peer, 1)
                assert text == f"new{turn} "
                assert second not in {first, *ids}
                ids.append(first)
                peer.send(chunk(second, SECOND), timestamps(second, (f"new{turn}", 0.25, 0.5)))
                await asyncio.sleep(1.5)
                peer.send(done(second))
                await asyncio.sleep(1.5)
                ids.append(second)
            pieces.queue.put_nowait(None)
            events = await collect(context)
            assert [event.start_s for event in events if isinstance(event, voxwire.Audio)] == [0, 1, 2, 3, 4, 5]
            words = [word for event in events if isinstance(event, voxwire.Words) for word in event.items]
            assert [(word.text, word.start_s) for word in words] == [
                ("Old0", 0),
                ("new0", 1.25),
                ("Old1", 2),
                ("new1", 3.25),
                ("Old2", 4),
                ("new2", 5.25),
            ]
            assert context.record.context_ids == tuple(ids)
            assert context.pushed_text == "Old0 new0 Old1 new1 Old2 new2 "
            assert context.outcome == "finished"

    run(test())


async def test_e7_leaving_the_block_ends_an_input_that_was_never_closed() -> None:
    async with connected() as (client, peer):
        async with client.context(**options()) as context:
            await context.push("a")
            await peer.receive()
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        assert context.outcome == "cancelled"


async def test_e5_contexts_interleaved_in_any_way_keep_their_order() -> None:
    async with connected() as (client, peer):
        contexts = [client.context("a", **options()) for _ in range(16)]
        for context in contexts:
            await context.__aenter__()
            await peer.receive()
        for n in range(50):
            turn = contexts[n % 7 :] + contexts[: n % 7] if n % 2 else contexts[::-1]
            peer.send(*(chunk(context.id, bytes([contexts.index(context), n])) for context in turn))
        peer.send(*(done(context.id) for context in contexts))
        for number, context in enumerate(contexts):
            audio = b"".join([pcm(event) for event in await collect(context)])
            assert audio == b"".join(bytes([number, n]) for n in range(50))
            await context.__aexit__(None, None, None)
