"""A peer over loopback that says whatever a test wants: no state table, no checks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self, cast

from voxwire.audio import AudioFormat, encode_base64
from voxwire.protocol import Closed, Connection, Message, ServerHandshake
from voxwire.transport import Transport, attach, attach_socket

if TYPE_CHECKING:
    import socket
    import ssl

    from voxwire.protocol import Event

__all__ = ["FORMAT", "PATIENCE_S", "Peer", "ScriptedServer"]

FORMAT = AudioFormat("pcm_s16le", 8000)
# No wait of a test is longer.
PATIENCE_S = 10.0
REQUEST_ID = "2ff8af53-4d38-479d-8287-58940f01c701"


class Peer:
    """The server's end of one WebSocket."""

    def __init__(self, headers: list[tuple[str, str]] | None = None, target: str = "") -> None:
        self.headers = headers or []
        self.target = target
        self.transport: Transport
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Message):
                self._messages.put_nowait(json.loads(event.data))
            elif isinstance(event, Closed) and not self.closed.done():
                self.closed.set_result(event)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    async def receive(self) -> dict[str, Any]:
        """The next message of the client."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._messages.get()

    @property
    def pending(self) -> int:
        """Messages that came and were not received yet."""
        return self._messages.qsize()

    async def wait_closed(self) -> Closed:
        async with asyncio.timeout(PATIENCE_S):
            return await self.closed

    def send_text(self, text: str) -> None:
        self.transport.connection.send_text(text)
        self.transport.flush()

    def send(self, *messages: dict[str, Any]) -> None:
        """Sends messages, all in one write."""
        for message in messages:
            self.transport.connection.send_text(json.dumps(message))
        self.transport.flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.transport.connection.close(code, reason, self.transport.now())
        self.transport.flush()

    def stop_reading(self) -> None:
        socket_transport = self.transport._socket
        assert socket_transport is not None
        socket_transport.pause_reading()

    def go_on_reading(self) -> None:
        self.transport.resume_reading()

    def reset(self) -> None:
        self.transport.abort()


def chunk(context_id: str, data: bytes, **extra: Any) -> dict[str, Any]:
    return {
        "type": "chunk",
        "context_id": context_id,
        "data": encode_base64(data),
        "done": False,
        "status_code": 206,
        "step_time": 12.5,
        "flush_id": 1,
    } | extra


def done(context_id: str) -> dict[str, Any]:
    return {"type": "done", "context_id": context_id, "done": True, "status_code": 206}


def timestamps(context_id: str, *words: tuple[str, float, float], **extra: Any) -> dict[str, Any]:
    columns = {"words": [w[0] for w in words], "start": [w[1] for w in words], "end": [w[2] for w in words]}
    return (
        {"type": "timestamps", "context_id": context_id, "done": False, "status_code": 206}
        | {"word_timestamps": columns}
        | extra
    )


def flush_done(context_id: str, flush_id: int) -> dict[str, Any]:
    return {
        "type": "flush_done",
        "context_id": context_id,
        "done": False,
        "status_code": 206,
        "flush_id": flush_id,
        "flush_done": True,
    }


def error(context_id: str | None, **fields: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "error", "done": True} | fields
    return message if context_id is None else message | {"context_id": context_id}


class ScriptedServer:
    """Accepts upgrades, or refuses them as told.

    Attributes:
        refusals: Answers (status, headers, body) for the next upgrades, first first; when empty, upgrades are accepted.
        pages: Bodies for other GET requests, by target.
        silent: Takes requests and does not answer, until :meth:`answer`.
        attempts: Requests that came for a WebSocket.
        requests: Targets of other requests.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, request_id: str = REQUEST_ID) -> None:
        self._ssl_context = ssl_context
        self.request_id = request_id
        self.refusals: list[tuple[int, list[tuple[str, str]], bytes]] = []
        self.pages: dict[str, bytes] = {}
        self.silent = False
        self.attempts = 0
        self.requests: list[str] = []
        self.port = 0
        self._server: asyncio.Server
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._open: list[Peer] = []
        self._arrivals: set[_Arrival] = set()
        self._arrived: asyncio.Event = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'wss' if self._ssl_context else 'ws'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Arrival(self), "127.0.0.1", self.port, ssl=self._ssl_context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for arrival in list(self._arrivals):
            arrival.transport.abort()
        for peer in self._open:
            peer.reset()
            await peer.transport.wait_closed()
        await asyncio.sleep(0)

    async def accept(self) -> Peer:
        """The next accepted WebSocket."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._peers.get()

    async def arrival(self) -> None:
        """Waits until some connection has come."""
        async with asyncio.timeout(PATIENCE_S):
            await self._arrived.wait()

    def answer(self) -> None:
        """Is silent no more, and answers what came meanwhile."""
        self.silent = False
        for arrival in list(self._arrivals):
            arrival.answer()

    def admit(self, peer: Peer) -> None:
        self._open.append(peer)
        self._peers.put_nowait(peer)


class _Arrival(asyncio.Protocol):
    """One connection until its upgrade."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._handshake = ServerHandshake()
        self._whole = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server._arrivals.add(self)
        self._server._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server._arrivals.discard(self)

    def data_received(self, data: bytes) -> None:
        self._whole = self._handshake.handle_data(data)
        if not self._server.silent:
            self.answer()

    def answer(self) -> None:
        server, handshake = self._server, self._handshake
        if not self._whole:
            return
        if handshake.upgrade_failure() is not None:
            server.requests.append(handshake.target)
            page = server.pages.get(handshake.target)
            line = "404 Not Found" if page is None else "200 OK"
            body = page or b"{}"
            head = f"HTTP/1.1 {line}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
            self.transport.close()
            return
        server.attempts += 1
        if server.refusals:
            status, headers, body = server.refusals.pop(0)
            self.transport.write(ServerHandshake.refuse(status, headers, body))
            self.transport.close()
            return
        self.transport.write(handshake.accept([("X-Request-Id", server.request_id)]))
        server._arrivals.discard(self)
        peer = Peer(handshake.headers, handshake.target)
        peer.transport = attach(self.transport, _connection(), peer, remainder=handshake.remainder)
        server.admit(peer)


async def peer_over(sock: socket.socket) -> Peer:
    """A peer on one end of a socketpair, without an upgrade."""
    peer = Peer()
    peer.transport = await attach_socket(sock, _connection(), peer)
    return peer


def _connection() -> Connection:
    now = asyncio.get_running_loop().time()
    return Connection("server", messages=False, ping_interval_s=None, now=now)
