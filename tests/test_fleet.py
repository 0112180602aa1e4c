"""How a client dials, waits, retires and admits: back-off, what servers ask for, places among ``max_contexts``."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from raw_server import raw_server
from scripted_server import PATIENCE_S, ScriptedServer, chunk, done
from test_context import collect, options, pcm
from virtual_loop import VirtualLoop

import voxwire
from voxwire.client import backoff
from voxwire.client.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


@pytest.fixture(autouse=True)
def _no_memory() -> Iterator[None]:
    """What a server asked of one test is no matter of the next, which may get its port."""
    backoff._asked.clear()
    yield
    backoff._asked.clear()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter is none: pauses are only what is bounded from below."""
    monkeypatch.setattr("voxwire.client.backoff.random.uniform", lambda _low, _high: 0.0)


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)


# --- F5: a port that refuses, a server that is down for a minute


@pytest.mark.parametrize("seed", range(4))
def test_f5_a_server_down_for_a_minute_is_tried_at_most_twelve_times_and_found_within_the_cap(seed: int) -> None:
    async def test() -> None:
        random.seed(seed)
        loop = asyncio.get_running_loop()
        async with ScriptedServer() as server:
            server.refusals += [(503, [], b"")] * 1000
            async with voxwire.Client(server.url, connect_timeout_s=120) as client:
                down_s = loop.time()
                connecting = asyncio.ensure_future(client.connect())
                await asyncio.sleep(60)
                assert not connecting.done()
                assert 3 <= server.attempts <= 12
                server.refusals.clear()
                await connecting
                assert loop.time() - down_s <= 60 + 30 + 1

    run(test())


@pytest.mark.usefixtures("hurried")
def test_f5_neither_short_pauses_nor_a_caller_that_asks_at_once_makes_more_attempts() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with ScriptedServer() as server:
            server.refusals += [(503, [], b"")] * 1000
            async with voxwire.Client(server.url) as client:
                began_s = loop.time()
                while loop.time() < began_s + 60:
                    with pytest.raises(voxwire.ServerError):
                        await client.connect()
                assert 8 <= server.attempts <= 12
                server.refusals.clear()
                back_s = loop.time()
                while True:
                    try:
                        await client.connect()
                    except voxwire.ServerError:
                        continue
                    break
                assert loop.time() - back_s <= 7.5 + 1

    run(test())


def test_f5_a_refused_port_is_raised_within_the_opening_time() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"ws://127.0.0.1:{unused.getsockname()[1]}"
            async with voxwire.Client(url) as client:
                for _ in range(4):
                    began_s = loop.time()
                    with pytest.raises(voxwire.ConnectError) as caught:
                        await client.connect()
                    assert type(caught.value) is voxwire.ConnectError
                    assert caught.value.retryable
                    assert loop.time() - began_s <= 10.5

    run(test())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", b""])
def test_a1_an_answer_of_one_byte_a_second_is_a_timeout_at_the_opening_time(answer: bytes) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in answer:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)
        await reader.read()

    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with raw_server(trickle) as address, voxwire.Client(f"ws://{address}") as client:
            began_s = loop.time()
            with pytest.raises(voxwire.ConnectTimeout, match="of 10 s") as caught:
                await client.connect()
            assert caught.value.retryable
            assert 9.9 <= loop.time() - began_s <= 11

    run(test())


def test_jitter_is_full_and_capped_and_a_success_resets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[float, float]] = []

    def longest(low: float, high: float) -> float:
        ranges.append((low, high))
        return high

    monkeypatch.setattr("voxwire.client.backoff.random.uniform", longest)
    paced = Backoff()
    pauses = [paced.note_failure(100.0 * n) for n in range(8)]
    assert ranges == [(0, limit) for limit in (1, 2, 4, 8, 16, 30, 30, 30)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    paced.reset()
    assert paced.note_failure(1000.0) == 1
    assert paced.hold_s(1000.0) == 0


@pytest.mark.usefixtures("hurried")
async def test_a_success_gives_the_next_failures_short_pauses_again() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        for _ in range(3):
            server.refusals += [(503, [], b"")] * 3
            await client.connect()
            peer = await server.accept()
            peer.close()
            await peer.wait_closed()
        assert server.attempts == 12


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
async def test_a_definite_refusal_is_never_retried_and_delays_nobody(status: int) -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url, connect_timeout_s=2) as client:
        server.refusals += [(status, [], b"")] * 8
        for _ in range(8):
            with pytest.raises(voxwire.VoxwireError) as caught:
                await client.connect()
            assert (caught.value.status, caught.value.retryable) == (status, False)
        assert server.attempts == 8
        await client.connect()


# --- what a server asks for


def client_of(server: ScriptedServer, key: str = "first-key", **settings: Any) -> voxwire.Client:
    return voxwire.Client(server.url, api_key=key, **settings)


async def test_what_a_server_asked_for_holds_for_the_process_and_its_key_alone() -> None:
    async with ScriptedServer() as server:
        server.refusals.append((429, [("Retry-After", "50")], b"Too many"))
        async with client_of(server) as client, client_of(server) as same, client_of(server, "other") as other:
            with pytest.raises(voxwire.RateLimited) as caught:
                await client.connect()
            assert caught.value.retry_after_s == 50
            for refused in (client, same):
                with pytest.raises(voxwire.RateLimited, match="Too many") as caught:
                    await refused.connect()
                assert caught.value.retry_after_s is not None
                assert 0 < caught.value.retry_after_s <= 50
                assert caught.value.retryable
            assert server.attempts == 1
            await other.connect()
            assert server.attempts == 2


@pytest.mark.usefixtures("hurried")
async def test_a_wait_that_fits_is_waited_for() -> None:
    async with ScriptedServer() as server, client_of(server) as client:
        loop = asyncio.get_running_loop()
        server.refusals.append((503, [("Retry-After", "1")], b""))
        began_s = loop.time()
        await client.connect()
        assert loop.time() - began_s >= 0.9
        assert server.attempts == 2
        assert not backoff._asked


async def test_a_503_that_asks_for_more_than_the_time_left_is_raised_at_once() -> None:
    async with ScriptedServer() as server, client_of(server) as client:
        server.refusals.append((503, [("Retry-After", "3600")], b"later"))
        async with asyncio.timeout(PATIENCE_S / 2):
            with pytest.raises(voxwire.ServerError, match="later") as caught:
                await client.connect()
        assert caught.value.retryable
        assert server.attempts == 1
        # An hour is not believed: the next try is a minute away at most.
        ((until_s, _),) = backoff._asked.values()
        assert until_s - time.monotonic() <= 60


# --- sockets that ended


async def test_f7_an_idle_close_is_unseen_and_live_contexts_fail_under_ids_that_never_come_again() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        ids = []
        delivered = b""
        for turn in range(3):
            async with client.context("a", **options()) as context:
                peer = await server.accept()
                ids.append((await peer.receive())["context_id"])
                # What another socket owed is never delivered here.
                peer.send(*(chunk(old, b"\7\7") for old in ids[:-1]), chunk(context.id, bytes([turn, 0])))
                peer.close(1000, "connection idle timeout")
                with pytest.raises(voxwire.ConnectionLost) as caught:
                    async for event in context:
                        delivered += pcm(event)
                assert (caught.value.retryable, caught.value.code) == (True, "connection_lost")
        assert delivered == b"\0\0\1\0\2\0"
        assert len(set(ids)) == 3
        assert server.attempts == 3


async def test_close_waits_for_a_socket_that_was_replaced_while_it_lingered() -> None:
    async with ScriptedServer() as server:
        async with voxwire.Client(server.url) as client:
            await client.connect()
            first = await server.accept()
            link = client._fleet.open_link
            assert link is not None
            assert link.transport is not None
            # The peer says Close and then keeps the socket open.
            first.transport._socket.write(b"\x88\x02\x03\xe8")  # type: ignore[union-attr]
            first.stop_reading()
            while client._fleet.open_link is not None:
                await asyncio.sleep(0)
            await client.connect()
            await server.accept()
            assert not link.transport.closed
        assert link.transport.closed
        first.go_on_reading()


# --- places


async def test_places_never_exceed_their_number_under_a_storm_of_cancels() -> None:
    limit = 3
    random.seed(7)
    async with ScriptedServer() as server, voxwire.Client(server.url, max_contexts=limit) as client:
        await client.connect()
        peer = await server.accept()
        live: set[str] = set()
        most = 0

        async def serve() -> None:
            nonlocal most
            while True:
                message = await peer.receive()
                if message.get("cancel"):
                    live.discard(message["context_id"])
                    continue
                live.add(message["context_id"])
                most = max(most, len(live))
                if random.random() < 0.5:
                    live.discard(message["context_id"])
                    peer.send(done(message["context_id"]))

        async def use(n: int) -> None:
            try:
                async with asyncio.timeout(random.choice([0, 0, 0.001, None])):
                    async with client.context("a", **options()) as context:
                        if n % 3:
                            await asyncio.sleep(0)
                            await context.cancel()
                        else:
                            await collect(context)
            except TimeoutError:
                pass

        serving = asyncio.ensure_future(serve())
        # Whoever is not answered is cancelled by its own time.
        async with asyncio.timeout(PATIENCE_S):
            tasks = [asyncio.ensure_future(use(n)) for n in range(300)]
            for task in tasks[::7]:
                task.cancel()
            while not all(task.done() for task in tasks):
                for context_id in list(live):
                    live.discard(context_id)
                    peer.send(done(context_id))
                await asyncio.sleep(0.001)
        assert most <= limit
        # Every place came back.
        for _ in range(limit):
            assert not client._services.admission._places.locked()  # type: ignore[union-attr]
            await client._services.admission.acquire()
        assert client._services.admission._places.locked()  # type: ignore[union-attr]
        serving.cancel()


async def test_a_place_that_comes_in_the_turn_of_the_cancel_is_not_lost() -> None:
    async with (
        ScriptedServer() as server,
        voxwire.Client(server.url, max_contexts=1, admission_timeout_s=1) as client,
        client.context("a", **options()) as holder,
    ):
        peer = await server.accept()
        await peer.receive()
        async with client.context(**options()) as waiting:
            push = asyncio.ensure_future(waiting.push("b"))
            await asyncio.sleep(0)
            # The place is granted, and the context that gets it ends, before its push runs on.
            holder.abandon()
            waiting.abandon()
            with pytest.raises(voxwire.ContextEnded):
                await push
        async with client.context(**options()) as following:
            await following.push("c")
            assert following.outcome is None


async def test_e8_a_thousand_cancels_raise_no_storm_and_hurt_no_other_context() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        await client.connect()
        peer = await server.accept()
        async with client.context("good", **options()) as good:
            assert (await peer.receive())["context_id"] == good.id
            for n in range(1000):
                async with client.context(**options()) as context:
                    await context.push("a")
                    if n % 2:
                        # The race with its end: a done is on its way.
                        peer.send(done(context.id))
                    await context.cancel()
                    await context.cancel()
                assert context.outcome in {"cancelled", "finished"}
            peer.send(chunk(good.id, b"\1\0"), done(good.id))
            assert [event.data for event in await collect(good)] == [b"\1\0"]
        sent = [await peer.receive() for _ in range(peer.pending)]
        cancels = [message["context_id"] for message in sent if message.get("cancel")]
        assert len(cancels) == len(set(cancels)) <= 1000
