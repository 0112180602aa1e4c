"""The client seen by a server that shares no code with it: the ``websockets`` package and messages written by hand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import voxwire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PATIENCE_S = 10.0
FORMAT = voxwire.AudioFormat("pcm_s16le", 8000)
OPTIONS: dict[str, Any] = {"voice": "v", "output_format": FORMAT}
KEY = "sk_car_of_a_test"


@contextlib.asynccontextmanager
async def client_of(script: Callable[[ServerConnection], Awaitable[None]], **settings: Any) -> AsyncIterator[Any]:
    """A client of a server that follows a script; what the script raises fails the test."""
    faults: list[BaseException] = []

    async def follow(socket: ServerConnection) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await script(socket)
        except ConnectionClosed:
            pass
        except BaseException as fault:
            faults.append(fault)
            raise

    async with serve(follow, "127.0.0.1", 0, **settings) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(PATIENCE_S), voxwire.Client(f"ws://127.0.0.1:{port}", api_key=KEY) as client:
            yield client
    if faults:
        raise faults[0]


async def receive(socket: ServerConnection) -> dict[str, Any]:
    message = await socket.recv()
    assert isinstance(message, str)
    return json.loads(message)


def chunk(context_id: str, data: bytes, **extra: Any) -> str:
    return json.dumps(
        {"type": "chunk", "data": base64.b64encode(data).decode(), "done": False, "status_code": 206}
        | {"step_time": 1, "context_id": context_id}
        | extra
    )


def done(context_id: str) -> str:
    return json.dumps({"type": "done", "done": True, "status_code": 206, "context_id": context_id})


async def audio_of(context: voxwire.Context) -> bytes:
    return b"".join([event.data async for event in context if isinstance(event, voxwire.Audio)])


async def test_a_request_is_the_protocols_and_compression_is_declined() -> None:
    async def script(socket: ServerConnection) -> None:
        assert socket.request is not None
        headers = socket.request.headers
        assert socket.request.path == "/tts/websocket"
        assert (headers["X-API-Key"], headers["Cartesia-Version"]) == (KEY, "2026-03-01")
        assert "Origin" not in headers
        assert "Sec-WebSocket-Extensions" not in headers
        assert socket.protocol.extensions == []
        request = await receive(socket)
        context_id = request["context_id"]
        assert request == {
            "model_id": "sonic-3",
            "transcript": "Hi.",
            "voice": {"mode": "id", "id": "v"},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
            "context_id": context_id,
            "continue": False,
            "language": "en",
        }
        await socket.send(chunk(context_id, b"\1\0\2\0"))
        await socket.send(done(context_id))
        await socket.wait_closed()
        assert socket.close_code == 1000

    async with client_of(script) as client, client.context("Hi.", model="sonic-3", language="en", **OPTIONS) as context:
        assert await audio_of(context) == b"\1\0\2\0"
        assert context.outcome == "finished"


async def test_fragments_pings_and_unknown_things_change_nothing() -> None:
    async def script(socket: ServerConnection) -> None:
        context_id = (await receive(socket))["context_id"]
        await (await socket.ping(b"are you there"))
        await socket.pong(b"unasked")
        text = chunk(context_id, bytes(range(200)), unknown={"x": [1, None]})
        await socket.send(text[i : i + 7] for i in range(0, len(text), 7))
        await socket.send(json.dumps({"type": "new", "context_id": context_id, "done": True}))
        await socket.send(json.dumps({"type": "new"}))
        await socket.send(chunk("of somebody else", b"\0\0"))
        await socket.send(json.dumps(json.loads(done(context_id)), indent=2))
        await socket.wait_closed()

    async with client_of(script) as client, client.context("Hi.", **OPTIONS) as context:
        assert await audio_of(context) == bytes(range(200))


async def test_many_contexts_of_one_socket_interleaved() -> None:
    count = 50

    async def script(socket: ServerConnection) -> None:
        ids = {}
        for _ in range(count):
            request = await receive(socket)
            ids[request["transcript"]] = request["context_id"]
        for round_ in range(10):
            for text, context_id in ids.items():
                await socket.send(chunk(context_id, f"{text:>3}{round_}".encode()))
        for context_id in reversed(ids.values()):
            await socket.send(done(context_id))
        await socket.wait_closed()

    async with client_of(script) as client:

        async def speak(number: int) -> None:
            async with client.context(str(number), **OPTIONS) as context:
                assert await audio_of(context) == b"".join(f"{number:>3}{round_}".encode() for round_ in range(10))

        await asyncio.gather(*(speak(number) for number in range(count)))


async def test_a_cancel_is_its_two_fields() -> None:
    async def script(socket: ServerConnection) -> None:
        request = await receive(socket)
        await socket.send(chunk(request["context_id"], b"\1\0"))
        assert await receive(socket) == {"context_id": request["context_id"], "cancel": True}
        await socket.send(chunk(request["context_id"], b"\2\0"))
        other = await receive(socket)
        await socket.send(done(other["context_id"]))
        await socket.wait_closed()

    async with client_of(script) as client:
        async with client.context("Hi.", **OPTIONS) as context:
            async for _ in context:
                await context.cancel()
            assert context.outcome == "cancelled"
        async with client.context("Again.", **OPTIONS) as context:
            assert await audio_of(context) == b""


@pytest.mark.parametrize(
    "code", [1000, 1001, 1011, 4000, None], ids=lambda code: "abort" if code is None else str(code)
)
async def test_an_end_in_mid_stream_fails_the_context(code: int | None) -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.send(chunk((await receive(socket))["context_id"], b"\1\0"))
        if code is None:
            socket.transport.abort()
        else:
            await socket.close(code, f"because of {KEY}")

    async with client_of(script) as client, client.context("Hi.", **OPTIONS) as context:
        with pytest.raises(voxwire.ConnectionLost) as caught:
            await audio_of(context)
        assert caught.value.retryable
        assert caught.value.context_id == context.id
        assert KEY not in str(caught.value)
        assert context.outcome == "failed"


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["{"], 1007),
        (["[" * 100_000], 1007),
        ([""], 1007),
        (['{"type":"done","type":"done"}'], 1007),
        (["\ufeff{}"], 1007),
        ([b"{}"], 1007),
        (["x" * (16 * 2**20 + 1)], 1009),
    ],
    ids=["cut", "depth", "empty", "duplicate", "bom", "binary", "too-big"],
)
async def test_a_broken_message_ends_the_connection_with_its_code(messages: list[str | bytes], code: int) -> None:
    async def script(socket: ServerConnection) -> None:
        context_id = (await receive(socket))["context_id"]
        await socket.send(chunk(context_id, b"\1\0"))
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                await socket.send(message)
        await socket.wait_closed()
        assert socket.close_code == code

    got = []
    async with client_of(script) as client, client.context("Hi.", **OPTIONS) as context:
        with pytest.raises(voxwire.ProtocolError) as caught:
            got = [event.data async for event in _noting(context, got)]
        assert caught.value.code == "protocol_error"
        assert not caught.value.retryable
    assert got == [b"\1\0"]


async def _noting(context: voxwire.Context, got: list[bytes]) -> AsyncIterator[Any]:
    async for event in context:
        got.append(event.data)
        yield event
