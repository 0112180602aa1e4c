"""Request heads as bytes, and what a server answers to bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from voxwire.transport import Endpoint

PATIENCE_S = 5.0


def upgrade(*extra: str, line: str = "GET /tts/websocket HTTP/1.1", without: str = "") -> bytes:
    """The head of an upgrade: with more header lines, without one."""
    lines = [
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    kept = [one for one in lines if not (without and one.startswith(without))]
    return "\r\n".join([line, *kept, *extra, "", ""]).encode("latin-1")


async def raw(url: str, sent: bytes, patience_s: float = PATIENCE_S) -> bytes:
    """Sends bytes and reads until the server ends the connection."""
    endpoint = Endpoint.parse(url)
    async with asyncio.timeout(patience_s):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            received = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return received


def knock(endpoint: Endpoint, count: int) -> list[socket.socket]:
    """Opens connections that say nothing."""
    opened = []
    for _ in range(count):
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout=PATIENCE_S)
        sock.setblocking(False)
        opened.append(sock)
    return opened


def still_open(sockets: list[socket.socket]) -> list[socket.socket]:
    """Closes those that the server has dropped and returns the others."""
    kept = []
    for sock in sockets:
        try:
            assert sock.recv(1) == b""
        except BlockingIOError:
            kept.append(sock)
            continue
        except ConnectionError:
            pass
        sock.close()
    return kept
