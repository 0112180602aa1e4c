"""The server as a process of its own: floods, idle connections, signals, a violent end (faults.md A9, G5, I2, I3)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from raw_client import RawClient, request
from raw_head import knock, still_open, upgrade

import voxwire
from voxwire.transport import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 30.0
CONTEXTS = 64
#: The row's bound for one idle connection, with all that the process holds for it.
IDLE_KIB = 16
CODE = """
import json, sys
from voxwire.server import Settings, run
sys.exit(run(Settings.make(**json.loads(sys.argv[1]))))
"""


@contextlib.asynccontextmanager
async def program(**settings: Any) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A server, and what it says of itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CODE,
        json.dumps({"port": 0, "engine": "tone", **settings}),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# --- A9


async def test_a9_a_flood_of_tls_handshakes_leaves_64_and_others_are_served(certificate) -> None:
    settings, trusting = certificate
    async with program(**settings, handshake_timeout_s=600) as (_, where):
        waiting = []
        for _ in range(4):
            waiting = still_open(waiting + knock(Endpoint.parse(where["wss"]), 200))
            async with await RawClient.open(where["wss"], tls=trusting) as client:
                await client.silence()
            waiting = still_open(waiting)
            assert len(waiting) <= 64
        for sock in waiting:
            sock.close()


# --- G5


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads what a process holds in /proc")
async def test_g5_a_thousand_idle_connections_take_at_most_16_kib_each() -> None:
    async with program(max_connections=4096) as (process, where), contextlib.AsyncExitStack() as stack:
        endpoint = Endpoint.parse(where["ws"])

        async def connect(count: int) -> None:
            loop = asyncio.get_running_loop()
            for _ in range(count):
                sock = stack.enter_context(socket.create_connection((endpoint.host, endpoint.port), PATIENCE_S))
                sock.setblocking(False)
                await loop.sock_sendall(sock, upgrade("X-API-Key: sk_car_of_nobody", "Cartesia-Version: 2026-03-01"))
                assert (await loop.sock_recv(sock, 4096)).startswith(b"HTTP/1.1 101 ")

        # The first ones pay for what all share.
        await connect(50)
        before_kib = memory_kib(process.pid)
        await connect(1000)
        grown_kib = memory_kib(process.pid) - before_kib
        assert 0 < grown_kib / 1000 <= IDLE_KIB
        # They cost nobody his service.
        async with await RawClient.open(where["ws"]) as client:
            await client.silence()


# --- I2


async def test_i2_a_killed_server_fails_every_context_at_once_and_a_new_one_serves() -> None:
    slow = {"engine_options": {"delay_ms_per_word": "20"}}
    async with program(**slow) as (process, where), voxwire.Client(where["ws"]) as client:
        async with contextlib.AsyncExitStack() as stack:
            contexts = [
                await stack.enter_async_context(client.context("word " * 2000, voice="tone-1")) for _ in range(CONTEXTS)
            ]
            for context in contexts:
                assert isinstance(await anext(aiter(context)), voxwire.Audio)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            async with asyncio.timeout(1):
                for context in contexts:
                    with pytest.raises(voxwire.ConnectionLost) as caught:
                        async for _ in context:
                            pass
                    assert (caught.value.code, caught.value.retryable) == ("connection_lost", True)
                    assert caught.value.context_id == context.id
                    assert context.outcome == "failed"
        # The same port and the same client: nothing has to be made anew by hand.
        async with program(port=Endpoint.parse(where["ws"]).port) as (_, again):
            assert again["ws"] == where["ws"]
            record = await client.say("I am back.", sink="null:", voice="tone-1")
            assert record.outcome == "finished"


# --- I3


async def test_i3_the_first_sigterm_drains() -> None:
    async with program(engine_options={"delay_ms_per_word": "50"}) as (process, where):
        assert where["wss"] is None
        assert where["pid"] == process.pid
        assert where["ws"].endswith("/tts/websocket")
        async with await RawClient.open(where["ws"]) as client:
            client.send(request("c1", "One two three four five six."))
            assert (await client.receive())["type"] == "chunk"
            process.terminate()
            assert (await client.context("c1"))[-1]["type"] == "done"
            assert (await client.closed()).code == 1001
        assert await process.wait() == 0


async def test_i3_what_does_not_end_in_time_is_told_and_the_status_is_still_0() -> None:
    async with program(engine_options={"delay_ms_per_word": "1000"}, drain_s=0.2) as (process, where):
        async with await RawClient.open(where["ws"]) as client:
            client.send(request("c1", "word " * 100))
            await client.say("c2", "...")
            process.terminate()
            error = (await client.context("c1"))[-1]
            assert (error["type"], error["status_code"], error["error_code"]) == ("error", 503, None)
            assert (await client.closed()).code == 1001
        assert await process.wait() == 0


async def test_i3_a_second_sigterm_ends_at_once() -> None:
    async with (
        program(engine_options={"delay_ms_per_word": "5000"}) as (process, where),
        await RawClient.open(where["ws"]) as client,
    ):
        client.send(request("c1", "One two three"))
        await client.say("c2", "...")
        process.terminate()
        async with httpx.AsyncClient(base_url=where["http"]) as http:
            while (await http.get("/readyz")).status_code != 503:
                pass
            assert (await http.get("/healthz")).status_code == 200
        process.terminate()
        assert await process.wait() == 1


async def test_i3_an_interrupt_has_its_own_status() -> None:
    async with program() as (process, _):
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
