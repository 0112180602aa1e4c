"""Limits, timers, the end (protocol.md 15, server items 13, 14 and 15; 2.6, 2.7, 6.3)."""

from __future__ import annotations

import asyncio
import signal

import pytest
from conformance.exchange import refused, until
from raw_client import ConnectionClosed, RawClient, Refused, kinds_of, request

LONG = "word " * 40


class TestItem13Concurrency:
    async def test_one_too_many_waits_then_gets_one_429(self, launch):
        program = launch("--concurrency", "1", "--engine-option", "delay_ms_per_word=40")
        async with await RawClient.open(program.url) as client:
            client.send(request("long", LONG, continue_=False))
            client.send(request("late", "One ", continue_=True))
            client.send({"context_id": "late", "transcript": "two.", "continue": True})
            client.send({"context_id": "late", "transcript": "", "continue": False})
            found = await until(client, {"long": 1, "late": 1})
            (error,) = found["late"]
            assert (error["status_code"], error["error_code"]) == (429, "concurrency_limited")
            assert kinds_of(found["long"]) == ["chunk", "done"]
            # A place that is free in time keeps what came meanwhile.
            client.send(request("short", "One two three.", continue_=False))
            client.send(request("next", "One ", continue_=True))
            client.send({"context_id": "next", "transcript": "two."})
            found = await until(client, {"short": 1, "next": 1})
            assert kinds_of(found["next"]) == ["chunk", "done"]
            # Ten times the limit may wait, and no more.
            client.send(request("long", LONG, continue_=False))
            for number in range(11):
                client.send(request(f"queued {number}", "Hi.", continue_=False))
            first = await client.receive()
            while first["type"] != "error":
                first = await client.receive()
            assert (first["context_id"], first["status_code"]) == ("queued 10", 429)
        program.end()

    async def test_sockets_over_ten_times_the_limit(self, launch):
        program = launch("--concurrency", "1")
        clients = [await RawClient.open(program.url) for _ in range(10)]
        refusal = await refused(program.url)
        assert refusal.status == 429
        assert int(refusal.headers["retry-after"]) >= 1
        await clients.pop().__aexit__()
        async with asyncio.timeout(10):
            while True:
                try:
                    clients.append(await RawClient.open(program.url))
                    break
                except Refused:  # the server may not have seen the end of the other yet
                    await asyncio.sleep(0)
        assert kinds_of(await clients[-1].say("c1", "Hi.")) == ["chunk", "done"]
        for client in clients:
            await client.__aexit__()
        program.end()


class TestItem14Timers:
    async def test_expiry_gives_done_but_not_before_the_first_audio(self, slow):
        async with await RawClient.open(slow.url) as client:
            client.send(request("heard", "One.", continue_=True, flush=True))
            assert kinds_of(await client.context("heard")) == ["chunk", "flush_done", "done"]
            # Its text waits for four times the expiry, and is spoken nevertheless.
            client.send(request("waiting", "This may go on", continue_=True, max_buffer_delay_ms=600))
            assert kinds_of(await client.context("waiting")) == ["chunk", "done"]

    async def test_an_idle_socket_is_closed_and_pings_do_not_count(self, launch):
        program = launch("--idle-timeout-s", "0.6", "--context-expiry-s", "0.2")
        loop = asyncio.get_running_loop()
        async with await RawClient.open(program.url) as client:
            await client.say("c1", "Hi.")
            began = loop.time()
            pinging = asyncio.create_task(self.ping(client))
            closed = await client.closed()
            assert loop.time() - began >= 0.5
            assert (closed.code, closed.reason) == (1000, "connection idle timeout")
            await pinging
        async with await RawClient.open(program.url) as client:
            # A context that is live keeps it.
            client.send(request("c1", "This may go on", continue_=True, max_buffer_delay_ms=1200))
            assert kinds_of(await client.context("c1")) == ["chunk", "done"]
        program.end()

    async def ping(self, client: RawClient) -> None:
        for _ in range(4):
            client.connection.send_ping(b"still there")
            client._flush()
            await asyncio.sleep(0.1)


class TestItem15End:
    def drain(self, program) -> None:
        program.process.send_signal(signal.SIGTERM)

    async def test_drains_refuses_and_closes(self, launch):
        program = launch("--engine-option", "delay_ms_per_word=30", "--drain-s", "10")
        async with program.http() as http, await RawClient.open(program.url) as client:
            assert (await http.get("/readyz")).status_code == 200
            client.send(request("running", LONG, continue_=False))
            assert (await client.receive())["type"] == "chunk"
            self.drain(program)
            while (await http.get("/readyz")).status_code != 503:
                await asyncio.sleep(0)
            assert (await http.get("/healthz")).status_code == 200
            assert (await refused(program.url)).status == 503
            client.send(request("new", "Hi.", continue_=True))
            found = await until(client, {"running": 1, "new": 1})
            assert [message["status_code"] for message in found["new"]] == [503]
            assert kinds_of(found["running"]) == ["chunk", "done"]
            assert (await client.closed()).code == 1001
        assert await asyncio.to_thread(program.process.wait, 10) == 0

    async def test_tells_what_did_not_finish(self, launch):
        program = launch("--engine-option", "delay_ms_per_word=500", "--drain-s", "0.2")
        async with await RawClient.open(program.url) as client:
            for context_id in ("a", "b"):
                client.send(request(context_id, LONG, continue_=False))
            client.send(request("open", "This may go on", continue_=True))
            # All three are live once something behind them was answered.
            client.send("nonsense")
            while (await client.receive())["type"] != "error":
                pass
            self.drain(program)
            found = await until(client, {"a": 1, "b": 1, "open": 1})
            for messages in found.values():
                assert (messages[-1]["status_code"], messages[-1]["error_code"]) == (503, None)
            assert (await client.closed()).code == 1001
        assert await asyncio.to_thread(program.process.wait, 10) == 0

    async def test_a_second_signal_ends_at_once(self, launch):
        program = launch("--engine-option", "delay_ms_per_word=1000", "--drain-s", "60")
        async with program.http() as http, await RawClient.open(program.url) as client:
            client.send(request("running", LONG, continue_=False))
            assert (await client.receive())["type"] == "chunk"
            self.drain(program)
            while (await http.get("/readyz")).status_code != 503:
                await asyncio.sleep(0)
            self.drain(program)
            assert await asyncio.to_thread(program.process.wait, 10) == 1

    async def test_a_slow_reader_is_closed_and_others_are_not(self, launch, tmp_path):
        settings = tmp_path / "serve.toml"
        settings.write_text("slow_reader_s = 0.4\nsend_queue_bytes = 65536\nconcurrency = 1\n")
        program = launch("--config", str(settings))
        async with await RawClient.open(program.url) as slow, await RawClient.open(program.url) as other:
            slow.send(request("c1", "word " * 100_000, continue_=False))
            assert (await slow.receive())["type"] == "chunk"
            # The only place is taken until the slow one is closed; meanwhile the other socket is answered.
            while kinds_of(await other.say("c2", "Hi."))[-1] == "error":
                pass
            messages = []
            with pytest.raises(ConnectionClosed) as caught:
                while True:
                    messages.append(await slow.receive())
            # The Close frame is behind what the reader left in its socket, or did not fit any more.
            assert (caught.value.code, caught.value.reason) in {(1008, "slow consumer"), (1006, "")}
            assert "done" not in {message["type"] for message in messages}
        program.end()
