"""Our own key, whatever a server does with it, is in no exception, repr, record or log (faults.md G6)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import string
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from raw_server import raw_server
from scripted_server import PATIENCE_S, ScriptedServer, chunk, error
from test_context import collect, options

import voxwire
from voxwire.client import backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

# Long and mixed enough to stand in no text of ours by accident; a blank inside is legal in a header.
KEYS = st.text(string.ascii_letters + string.digits + "_-. %+/=&\"'", min_size=12, max_size=60).filter(
    lambda key: key == key.strip() and len(set(key)) > 6
)


def shown(failure: BaseException) -> str:
    """All that a log of it could show: text, chain, attributes."""
    parts = ["".join(traceback.format_exception(failure)), repr(failure), str(failure), repr(failure.args)]
    parts += [f"{name}={value!r} {value}" for name, value in vars(failure).items()]
    return "\n".join(parts)


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A TCP server that answers each first read with these bytes and ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with raw_server(serve) as address:
        yield address


async def caught_from(action: Awaitable[Any]) -> list[BaseException]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await action
    except (voxwire.VoxwireError, ValueError) as failure:
        return [failure]
    return []


def answer_of(status: str, headers: dict[str, str], body: str = "") -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


ANSWERS: dict[str, Callable[[str], bytes]] = {
    "json-body": lambda key: answer_of(
        "403 Forbidden",
        {},
        json.dumps({"error_code": key, "title": key, "message": f"bad {key}!", "request_id": key, "error": key}),
    ),
    "only-legacy": lambda key: answer_of("400 Bad Request", {}, json.dumps({"error": f"bad: {key}"})),
    "text-body": lambda key: answer_of("401 Unauthorized", {}, f"Denied: {key}\r\n{key}"),
    "quoted-url": lambda key: answer_of("404 Not Found", {}, f"no /x?api_key={quote(key, safe='')}"),
    "cut-body": lambda key: answer_of("400 Bad Request", {}, "x" * (1000 - len(key) // 2) + key),
    "split-by-lines": lambda key: answer_of("400 Bad Request", {}, key.replace(" ", "\r\n")),
    "reason-phrase": lambda key: answer_of(f"402 {key}", {}),
    "request-id": lambda key: answer_of("500 Internal Server Error", {"X-Request-Id": key}),
    "retry-after": lambda key: answer_of("429 Too Many Requests", {"Retry-After": key}),
    "location": lambda key: answer_of("302 Found", {"Location": f"ftp://{key}/"}),
    "location-scheme": lambda key: answer_of("302 Found", {"Location": f"{key}://host/"}),
    "no-http": lambda key: f"{key}\r\n\r\n".encode(),
    "header-name": lambda key: f"HTTP/1.1 101 Switching\r\n{key}\r\n\r\n".encode(),
    "header-value": lambda key: f"HTTP/1.1 101 Switching\r\nX: {key}\x01\r\n\r\n".encode(),
    "accept": lambda key: answer_of(
        "101 Switching", {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": key}
    ),
    "extension": lambda key: answer_of("101 Switching", {"Upgrade": key, "Sec-WebSocket-Extensions": key}),
    "status": lambda key: f"HTTP/1.1 {key} No\r\n\r\n".encode(),
}

MESSAGES: dict[str, Callable[[str, str], str]] = {
    "structured": lambda key, id_: json.dumps(
        error(id_, status_code=400, error_code=key, title=key, message=f"x{key}", request_id=key)
    ),
    "legacy": lambda key, id_: json.dumps(error(id_, status_code=400, error=f"Denied: {key}")),
    "no-status": lambda key, id_: json.dumps(error(id_, error=key)),
    "without-context": lambda key, _: json.dumps(error(None, error=key, error_code=key)),
    "cut": lambda key, id_: json.dumps(error(id_, error="x" * (1000 - len(key) // 2) + key)),
    "no-json": lambda key, _: key,
    "broken-json": lambda key, id_: '{"context_id":' + json.dumps(id_) + ',"x":' + json.dumps(key) + ",,}",
    "bad-audio": lambda key, id_: json.dumps(chunk(id_, b"") | {"data": f"{key}!"}),
    "bad-type": lambda key, id_: json.dumps({"type": [key], "context_id": id_}),
    "wrong-member": lambda key, id_: json.dumps(chunk(id_, b"") | {"data": {key: key}}),
}


def hunt(told: Callable[[str], Coroutine[Any, Any, list[BaseException]]], logs: pytest.LogCaptureFixture) -> Any:
    # The log is emptied by hand for each example.
    @settings(
        max_examples=8,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(key=KEYS)
    def check(key: str) -> None:
        backoff._asked.clear()
        logs.clear()
        failures = asyncio.run(told(key))
        assert failures
        for failure in failures:
            # Half of it is too much: a server, or we, may have cut its text.
            assert key[: len(key) // 2].lower() not in shown(failure).lower()
            assert isinstance(failure, ValueError) or "\n" not in str(failure)
        assert key not in logs.text

    return check


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_to_the_upgrade(kind: str, logs: pytest.LogCaptureFixture) -> None:
    async def told(key: str) -> list[BaseException]:
        async with (
            answering(ANSWERS[kind](key)) as address,
            voxwire.Client(f"ws://{address}", api_key=key, access_token=f"t{key}", connect_timeout_s=0.2) as client,
        ):
            assert key not in repr(client)
            failures = await caught_from(client.connect())
            async with client.context("a", **options()) as context:
                failures += await caught_from(collect(context))
                assert key not in repr(context)
                assert key not in repr(context.record)
            return failures

    hunt(told, logs)()


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_to_the_question_for_voices(kind: str, logs: pytest.LogCaptureFixture) -> None:
    async def told(key: str) -> list[BaseException]:
        async with (
            answering(ANSWERS[kind](key)) as address,
            voxwire.Client(f"http://{address}", api_key=key, connect_timeout_s=0.5) as client,
        ):
            return await caught_from(client.voices())

    hunt(told, logs)()


@pytest.mark.parametrize("kind", [*MESSAGES, "close-reason", "cut-close-reason"])
def test_a_message(kind: str, logs: pytest.LogCaptureFixture) -> None:
    async def told(key: str) -> list[BaseException]:
        async with (
            ScriptedServer() as server,
            voxwire.Client(server.url, api_key=key) as client,
            client.context("a", **options()) as context,
        ):
            peer = await server.accept()
            await peer.receive()
            if kind == "close-reason":
                peer.close(1008, f"bad {key}"[:123])
            elif kind == "cut-close-reason":
                peer.close(1008, ("x" * (123 - len(key) // 2) + key)[:123])
            else:
                peer.send_text(MESSAGES[kind](key, context.id))
            failures = await caught_from(collect(context))
            assert key not in repr(context.record)
            return failures

    hunt(told, logs)()


def test_the_id_of_the_connection_reaches_no_record(logs: pytest.LogCaptureFixture) -> None:
    async def told(key: str) -> list[BaseException]:
        async with (
            ScriptedServer(request_id=key) as server,
            voxwire.Client(server.url, api_key=key) as client,
            client.context("a", **options()) as context,
        ):
            peer = await server.accept()
            await peer.receive()
            peer.reset()
            failures = await caught_from(collect(context))
            assert context.record.request_id == "***"
            return failures

    hunt(told, logs)()


def test_what_is_refused_before_any_io(logs: pytest.LogCaptureFixture) -> None:
    """faults.md A14."""

    async def told(key: str) -> list[BaseException]:
        failures: list[BaseException] = []
        for character in "\r\n\0\x7fé":
            with pytest.raises(ValueError, match="header") as caught:
                voxwire.Client("ws://h", api_key=key + character)
            failures.append(caught.value)
            with pytest.raises(ValueError, match="header") as caught:
                voxwire.Client("ws://h", access_token=character + key)
            failures.append(caught.value)
        for url in (None, f"ws://user:{quote(key)}@h", f"ws://h/\r\n{key}"):
            with pytest.raises(ValueError) as caught:
                voxwire.Client(url, api_key=key)
            failures.append(caught.value)
        return failures

    hunt(told, logs)()
