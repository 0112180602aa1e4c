"""A client that says whatever a test wants over a real socket: no state table, no checks, no retries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Self

from voxwire.audio import decode_base64
from voxwire.protocol import ClientHandshake, Closed, Connection, Message
from voxwire.transport import Endpoint

if TYPE_CHECKING:
    import ssl

PATIENCE_S = 10.0
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}


def request(context_id: str, transcript: str, **fields: Any) -> dict[str, Any]:
    """A whole generation request; None removes a field."""
    whole = {
        "model_id": "sonic-3",
        "transcript": transcript,
        "voice": {"mode": "id", "id": "tone-1"},
        "output_format": dict(FORMAT),
        "context_id": context_id,
        **{name.rstrip("_"): value for name, value in fields.items()},
    }
    return {name: value for name, value in whole.items() if value is not ...}


def audio_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(decode_base64(message["data"]) for message in messages if message["type"] == "chunk")


def words_of(messages: list[dict[str, Any]], kind: str = "word") -> list[tuple[str, float, float]]:
    found = []
    for message in messages:
        if times := message.get(f"{kind}_timestamps"):
            found += list(zip(times[f"{kind}s"], times["start"], times["end"], strict=True))
    return found


def kinds_of(messages: list[dict[str, Any]]) -> list[str]:
    """The types of messages, runs of one type as one."""
    kinds: list[str] = []
    for message in messages:
        if not kinds or kinds[-1] != message["type"]:
            kinds.append(message["type"])
    return kinds


class Refused(Exception):
    def __init__(self, handshake: ClientHandshake) -> None:
        super().__init__(f"refused with status {handshake.status}")
        self.status = handshake.status
        self.headers = dict(handshake.headers)
        self.body = handshake.body


class ConnectionClosed(Exception):
    def __init__(self, closed: Closed) -> None:
        super().__init__(f"closed with {closed.code} {closed.reason!r}")
        self.code = closed.code
        self.reason = closed.reason


class RawClient:
    """One WebSocket whose messages are read only when a test asks for them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, remainder: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.connection = Connection("client", messages=False, ping_interval_s=None)
        self._reader = reader
        self._writer = writer
        self._arrived: list[Any] = []
        if remainder:
            self._take(remainder)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        path: str = "/tts/websocket",
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        endpoint = Endpoint.parse(url)
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=tls)
            handshake = ClientHandshake(
                host=endpoint.authority, target=path, headers=list((headers or {}).items()), key=os.urandom(16)
            )
            writer.write(handshake.poll_transmit())
            while True:
                data = await reader.read(65536)
                if handshake.handle_data(data) if data else handshake.handle_eof():
                    break
                assert data, "the server ended the connection without an answer"
        if not handshake.accepted:
            writer.close()
            await writer.wait_closed()
            raise Refused(handshake)
        client = cls(reader, writer, handshake.remainder)
        client.headers = dict(handshake.headers)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def send(self, message: dict[str, Any] | str | bytes) -> None:
        if isinstance(message, bytes):
            self.connection.send_binary(message)
        else:
            self.connection.send_text(message if isinstance(message, str) else json.dumps(message))
        self._flush()

    async def receive(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        async with asyncio.timeout(patience_s):
            while not self._arrived:
                self._take(await self._reader.read(65536))
        event = self._arrived.pop(0)
        if isinstance(event, Closed):
            self._arrived.insert(0, event)
            raise ConnectionClosed(event)
        assert isinstance(event, Message)
        return json.loads(event.data)

    async def context(self, context_id: str) -> list[dict[str, Any]]:
        """Every message up to the end of a context; all must be of that context."""
        messages = []
        while not messages or messages[-1]["type"] not in {"done", "error"}:
            messages.append(await self.receive())
            got = messages[-1].get("context_id"), messages[-1]["type"]
            assert got[0] == context_id, got
        return messages

    async def say(self, context_id: str, transcript: str, **fields: Any) -> list[dict[str, Any]]:
        """Sends one request that closes its context, and returns what comes back."""
        self.send(request(context_id, transcript, **fields))
        return await self.context(context_id)

    async def silence(self) -> None:
        """Proves that nothing waits: whatever the server owed comes before the answer to a fresh request."""
        messages = await self.say(f"silence {os.urandom(4).hex()}", "a")
        assert messages[-1]["type"] == "done"

    async def closed(self) -> ConnectionClosed:
        """Reads to the end; other messages are dropped."""
        while True:
            try:
                await self.receive()
            except ConnectionClosed as closed:
                return closed

    def _take(self, data: bytes) -> None:
        if data:
            self.connection.handle_data(data)
        else:
            self.connection.handle_eof()
        self._arrived += self.connection.poll_events()
        self._flush()

    def _flush(self) -> None:
        data = self.connection.poll_transmit()
        if data and not self._writer.is_closing():
            self._writer.write(data)
