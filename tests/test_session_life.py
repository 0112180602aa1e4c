"""The timers of a socket and its contexts, and how a socket ends (protocol.md 2.6, 2.7 and 6.3)."""

from __future__ import annotations

import asyncio
import socket

import pytest
from raw_client import ConnectionClosed, RawClient, kinds_of, request

from voxwire import server
from voxwire.server import Settings
from voxwire.server.listener import bound


@pytest.fixture
async def url():
    async with server.serve(engine="tone", context_expiry_s=30) as running:
        yield running.url


@pytest.fixture
async def client(url):
    async with await RawClient.open(url) as connected:
        yield connected


class TestTimers:
    async def test_expiry_gives_done(self):
        async with (
            server.serve(engine="tone", context_expiry_s=0.05) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello.", continue_=True, max_buffer_delay_ms=0))
            assert kinds_of(await client.context("c1")) == ["chunk", "flush_done", "done"]
            client.send(request("c1", " ", continue_=False))
            assert kinds_of(await client.context("c1")) == ["done"]
            client.send(request("c1", " ", continue_=False))
            await client.silence()

    async def test_no_expiry_before_the_first_audio_or_while_text_waits(self):
        options = {"delay_ms_per_word": "200"}
        async with (
            server.serve(engine="tone", context_expiry_s=0.05, engine_options=options) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello", continue_=True, max_buffer_delay_ms=300))
            assert kinds_of(await client.context("c1")) == ["chunk", "done"]

    async def test_expiry_without_any_audio(self):
        async with (
            server.serve(engine="tone", context_expiry_s=0.05) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "[laughter]", continue_=True, flush=True))
            assert kinds_of(await client.context("c1")) == ["flush_done", "done"]

    async def test_idle_socket(self):
        async with (
            server.serve(engine="tone", idle_timeout_s=0.2) as running,
            await RawClient.open(running.url) as client,
        ):
            closed = await client.closed()
            assert (closed.code, closed.reason) == (1000, "connection idle timeout")

    async def test_a_live_context_keeps_the_socket(self):
        async with (
            server.serve(engine="tone", idle_timeout_s=0.1, context_expiry_s=0.4) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello", continue_=True, flush=True))
            assert kinds_of(await client.context("c1")) == ["chunk", "flush_done", "done"]
            assert (await client.closed()).reason == "connection idle timeout"

    async def test_slow_reader_is_closed_and_others_go_on(self):
        async with (
            server.serve(engine="tone", slow_reader_s=0.3, send_queue_bytes=65536) as running,
            await RawClient.open(running.url) as slow,
            await RawClient.open(running.url) as other,
        ):
            slow.send(request("c1", "word " * 100_000, continue_=False))
            (session,) = [one for one in running.service.sessions if one.request_id == slow.headers["x-request-id"]]
            async with asyncio.timeout(10):
                while session in running.service.sessions:
                    await other.silence()
            await other.silence()

    async def test_a_ping_is_answered_while_busy(self, client):
        client.send(request("c1", "word " * 20_000, continue_=False))
        await client.receive()
        # The pong is not reported by the core; its bytes are.
        seen = bytearray()
        take = client._take
        client._take = lambda data: (seen.extend(data), take(data))
        client.connection.send_ping(b"still there")
        client._flush()
        while b"\x8a\x0bstill there" not in seen:
            assert (await client.receive())["type"] == "chunk"


class TestEnd:
    async def test_close_tells_every_live_context(self):
        running = server.serve(engine="tone")
        await running.start()
        async with await RawClient.open(running.url) as client:
            client.send(request("c1", "Hello there", continue_=True))
            client.send(request("c2", "Hello there", continue_=True))
            await client.silence()
            closing = asyncio.ensure_future(running.close())
            errors = [await client.receive() for _ in range(2)]
            assert {(error["context_id"], error["status_code"]) for error in errors} == {("c1", 503), ("c2", 503)}
            assert (await client.closed()).code == 1001
            await closing

    async def test_drain_lets_contexts_finish_and_refuses_new_ones(self):
        running = server.serve(engine="tone", engine_options={"delay_ms_per_word": "50"})
        await running.start()
        async with await RawClient.open(running.url) as client:
            client.send(request("c1", "One two three. ", continue_=True))
            assert (await client.receive())["type"] == "chunk"
            draining = asyncio.ensure_future(running.drain())
            await asyncio.sleep(0)
            client.send(request("c2", "Hello", continue_=False))
            client.send(request("c1", "four.", continue_=False))
            received = []
            while not received or received[-1]["type"] != "done":
                received.append(await client.receive())
            refused = [message for message in received if message["context_id"] == "c2"]
            assert [message["status_code"] for message in refused] == [503]
            await asyncio.wait_for(draining, 5)
        await running.close()

    @pytest.mark.parametrize(
        ("violation", "code"),
        [
            (b"\x81\xff" + (1 << 20 | 1).to_bytes(8, "big") + bytes(4), 1009),
            (b"\xc1\x80" + bytes(4), 1002),
            (b"\x81\x82" + bytes(4) + b"a\xff", 1007),
        ],
    )
    async def test_live_contexts_are_told_before_a_broken_rule_closes(self, client, violation, code):
        client.send(request("c1", "One two three. ", continue_=True))
        client.send(request("c2", "Four.", continue_=True))
        seen: set[str] = set()
        while len(seen) < 2:
            seen.add((await client.receive())["context_id"])
        client._writer.write(violation)
        told = {}
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                message = await client.receive()
                assert message["context_id"] not in told
                if message["type"] == "error":
                    told[message["context_id"]] = message["status_code"]
        assert told == {"c1": 500, "c2": 500}
        assert caught.value.code == code

    async def test_text_that_makes_no_sound_holds_nobody_up(self, client):
        client.send(request("c1", '<break time="0s"/>' * 40_000 + "Hi"))
        client.send(request("c2", "Hi."))
        ended = []
        while len(ended) < 2:
            message = await client.receive()
            if message["type"] == "done":
                ended.append(message["context_id"])
        assert ended == ["c2", "c1"]

    async def test_a_lost_client_leaves_nothing(self):
        async with server.serve(engine="tone", engine_options={"delay_ms_per_word": "100"}) as running:
            async with await RawClient.open(running.url) as client:
                client.send(request("c1", "word " * 1000, continue_=True))
                assert (await client.receive())["type"] == "chunk"
            async with asyncio.timeout(5):
                await running.service.drain(5)
                while len(running.service.scope):
                    await asyncio.sleep(0.01)
            assert not running.service.sessions


def test_small_messages_leave_at_once():
    # asyncio switches Nagle's delay, 40 ms for a small message, off only where a socket says that it is TCP.
    with bound(Settings.make(engine="tone"), 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
