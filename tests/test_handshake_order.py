"""The order of a server's checks (protocol.md 2.4): a request that violates two of them is answered by the first."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from raw_client import RawClient
from raw_head import raw, upgrade

from voxwire import server

KEY = "sk_car_test"


@dataclass
class Asked:
    """What a test sends, and to a server in which state."""

    line: str = "GET /tts/websocket HTTP/1.1"
    websocket_version: str = "13"
    headers: dict[str, str] = field(default_factory=lambda: {"X-API-Key": KEY})
    full: bool = False
    shutting_down: bool = False


def wrong_path(asked: Asked) -> None:
    asked.line = "GET /tts/socket HTTP/1.1"


def wrong_method(asked: Asked) -> None:
    asked.line = "POST /tts/websocket HTTP/1.1"


def wrong_head(asked: Asked) -> None:
    asked.websocket_version = "12"


def wrong_version(asked: Asked) -> None:
    asked.headers["Cartesia-Version"] = "yesterday"


def wrong_origin(asked: Asked) -> None:
    asked.headers["Origin"] = "https://evil.example"


def wrong_credential(asked: Asked) -> None:
    asked.headers["X-API-Key"] = "wrong"


def full_quota(asked: Asked) -> None:
    asked.full = True


def shut_down(asked: Asked) -> None:
    asked.shutting_down = True


#: In their order, with the status and the title of the answer.
CHECKS = {
    wrong_method: (405, "Method not allowed"),
    wrong_head: (426, "Upgrade required"),
    wrong_version: (400, "Invalid version"),
    wrong_origin: (403, "Origin not allowed"),
    wrong_credential: (401, "Invalid credential"),
    full_quota: (429, "Too many connections"),
    shut_down: (503, "Shutting down"),
}
PAIRS = [*itertools.combinations(CHECKS, 2), *((wrong_path, check) for check in CHECKS if check is not wrong_method)]


async def answered(asked: Asked) -> tuple[int, bytes, bytes]:
    """Status, head in lower case, and body of what a server answers."""
    async with (
        server.serve(engine="tone", api_keys=(KEY,), concurrency=1) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(10 if asked.full else 0):
            await stack.enter_async_context(await RawClient.open(running.url, headers={"X-API-Key": KEY}))
        if asked.shutting_down:
            await running.drain()
        # What is no WebSocket's path is HTTP, which keeps a connection otherwise.
        headers = {**asked.headers, "Connection": "close"} if "/socket" in asked.line else asked.headers
        fields = [f"{name}: {value}" for name, value in headers.items()]
        fields.append(f"Sec-WebSocket-Version: {asked.websocket_version}")
        answer = await raw(running.url, upgrade(*fields, line=asked.line, without="Sec-WebSocket-Version"))
    assert answer.count(b"HTTP/1.1 ") == 1
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(answer[9:12]), head.lower() + b"\r\n", body


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{first.__name__}-{second.__name__}" for first, second in PAIRS]
)
async def test_the_first_violation_answers(first, second) -> None:
    asked = Asked()
    first(asked)
    second(asked)
    status, head, body = await answered(asked)
    told = json.loads(body)
    assert (status, told["title"]) == CHECKS.get(first, (404, "Not found"))
    # Every answer carries an id, in the header and in the body.
    assert f"x-request-id: {UUID(told['request_id'])}\r\n".encode() in head


@pytest.mark.parametrize("check", [check for check in CHECKS if check is not wrong_version])
async def test_the_version_gives_every_refusal_its_form(check) -> None:
    asked = Asked()
    check(asked)
    asked.headers["Cartesia-Version"] = "2025-04-16"
    status, head, body = await answered(asked)
    assert status == CHECKS[check][0]
    assert b"content-type: text/plain; charset=utf-8\r\n" in head
    assert body.startswith(f"{CHECKS[check][1]}: ".encode())
