"""The frame layer in both roles, through the echo programs, against hand-written frames."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from rfc6455 import CASES, WAIT_S, Case, Outcome, accept_value, play, read_head

ECHO = Path(__file__).resolve().parents[1] / "echo"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server_port():
    process = await asyncio.create_subprocess_exec(
        sys.executable, ECHO / "server.py", "0", stdout=asyncio.subprocess.PIPE
    )
    line = await asyncio.wait_for(process.stdout.readline(), WAIT_S)
    yield int(line.decode().rsplit(":", 1)[1])
    process.terminate()
    assert await asyncio.wait_for(process.wait(), WAIT_S) == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client_outcomes():
    """The echo client is led through all cases in one run, one URL a case."""
    outcomes: dict[int, Outcome] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await read_head(reader)
        answer = accept_value(headers["sec-websocket-key"])
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {answer}\r\n\r\n".encode()
        )
        index = int(line.split(" ")[1].strip("/"))
        outcomes[index] = await play(CASES[index], reader, writer, masked=False)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    urls = [f"ws://127.0.0.1:{port}/{index}" for index in range(len(CASES))]
    process = await asyncio.create_subprocess_exec(sys.executable, ECHO / "client.py", *urls)
    assert await asyncio.wait_for(process.wait(), 120) == 0
    server.close()
    return outcomes


def judge(case: Case, outcome: Outcome) -> None:
    assert outcome.received == case.echoed
    assert outcome.closed, "no Close frame came"
    assert outcome.close == case.close
    assert outcome.ended, "the connection was not ended"
    assert outcome.masked_right, "wrong masking"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_server(case: Case, server_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server_port, limit=2**20)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server_port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    line, headers = await read_head(reader)
    assert line.split(" ")[1] == "101"
    assert headers["sec-websocket-accept"] == accept_value(key)
    judge(case, await play(case, reader, writer, masked=True))


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: CASES[index].name)
async def test_client(index: int, client_outcomes: dict[int, Outcome]) -> None:
    judge(CASES[index], client_outcomes[index])
