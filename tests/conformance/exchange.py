"""What several conformance tests do with a socket."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raw_client import RawClient, Refused, request

from voxwire.transport import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

VOXWIRE = Path(sys.executable).parent / "voxwire"
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("VOXWIRE", "CARTESIA"))}
KEY = "sk_car_first"
OTHER_KEY = "sk_car_second"
#: Every version that is told apart, oldest first.
VERSIONS = ("2024-06-10", "2024-11-13", "2025-04-16", "2025-11-04", "2026-03-01", "2026-08-14")
#: Kinds that answer an input, rather than carry its audio.
MARKS = frozenset({"done", "error", "flush_done"})
FLUSH = {"transcript": "", "continue": True, "flush": True}
ERROR_KEYS = {
    "type",
    "done",
    "context_id",
    "status_code",
    "error_code",
    "title",
    "message",
    "error",
    "request_id",
}


def at(version: str) -> dict[str, str]:
    """Options of RawClient.open for a version."""
    return {"path": f"/tts/websocket?cartesia_version={version}"}


async def until(client: RawClient, ends: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """Reads until each context has had so many marks; a message of any other context is a failure."""
    found: dict[str, list[dict[str, Any]]] = {context_id: [] for context_id in ends}
    while any(marks(found[context_id]) != count for context_id, count in ends.items()):
        message = await client.receive()
        found[message["context_id"]].append(message)
    return found


def marks(messages: Iterable[dict[str, Any]]) -> int:
    return sum(message["type"] in MARKS for message in messages)


async def after(client: RawClient, context_id: str, expected_marks: int) -> list[dict[str, Any]]:
    """Returns the messages of a context: all up to its marks, and whatever came before a fresh request was answered."""
    fence = f"fence {os.urandom(4).hex()}"
    found: list[dict[str, Any]] = []
    while marks(found) < expected_marks:
        found.append(await client.receive())
        assert found[-1].get("context_id") == context_id, found[-1]
    client.send(request(fence, "a"))
    while True:
        message = await client.receive()
        if message.get("context_id") != fence:
            assert message.get("context_id") == context_id, message
            found.append(message)
        elif message["type"] == "done":
            return found


async def refused(url: str, **options: Any) -> Refused:
    """Returns the refusal of a handshake."""
    try:
        client = await RawClient.open(url, **options)
    except Refused as refusal:
        return refusal
    async with client:
        raise AssertionError("the handshake was accepted")


async def accepted(url: str, **options: Any) -> None:
    """Opens a socket and closes it."""
    async with asyncio.timeout(10), await RawClient.open(url, **options):
        pass


async def raw(url: str, head: str) -> str:
    """Sends a request head as it is, and returns the head of the answer in lower case."""
    endpoint = Endpoint.parse(url)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(head.replace("\n", "\r\n").encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    return answer.decode().lower()


#: A whole upgrade, for `raw`.
UPGRADE = """GET /tts/websocket HTTP/1.1
Host: localhost
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
"""
