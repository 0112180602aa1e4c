"""A server in the running loop: engine, sockets, uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import uuid
from typing import TYPE_CHECKING, Self

import uvicorn

from voxwire.protocol import Connection
from voxwire.server import versions
from voxwire.server.access.auth import Principal
from voxwire.server.config import ConfigurationError, Settings
from voxwire.server.host import EngineHost, default_engine
from voxwire.server.http.app import make_app
from voxwire.server.service import Service
from voxwire.server.session import Session
from voxwire.server.tls import TlsListener, tls_context
from voxwire.server.websocket import Doorkeeper
from voxwire.tasks import Scope
from voxwire.transport import attach_socket

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

__all__ = ["Server", "bound"]

_BACKLOG = 2048
_END_TIMEOUT_S = 5.0
#: Longest wait for HTTP answers that are under way at the end.
_HTTP_END_S = 2


class Server:
    """A speech server, run with ``async with`` or by :meth:`start` and :meth:`close`."""

    def __init__(self, settings: Settings) -> None:
        """Makes a server that listens nowhere yet.

        Args:
            settings: Checked settings.
        """
        self.settings = settings
        self._service: Service | None = None
        self._keeper: Doorkeeper | None = None
        self._uvicorn: uvicorn.Server | None = None
        self._scope = Scope()
        self._port = 0
        self._tls_listener: TlsListener | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- where it is

    @property
    def url(self) -> str:
        """Base of the WebSocket URL, like ``ws://127.0.0.1:8765``."""
        return f"ws://{self._authority(self._port)}"

    @property
    def tls_url(self) -> str | None:
        """The same over TLS, or None without a TLS listener."""
        return None if self._tls_listener is None else f"wss://{self._authority(self._tls_listener.port)}"

    @property
    def http_url(self) -> str:
        """Base of the HTTP routes."""
        return f"http://{self._authority(self._port)}"

    @property
    def service(self) -> Service:
        """What the connections share.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._service is None:
            raise RuntimeError("the server is not running")
        return self._service

    # --- its life

    async def start(self, *, listen: bool = True) -> None:
        """Starts the engine, and listens.

        Args:
            listen: False for a server that is reached by :meth:`attach` alone.

        Raises:
            ConfigurationError: A setting does not fit the engine, the address cannot be used, or a certificate is bad.
            PluginError: There is no such engine, or it is broken.
            EngineError: The engine cannot work here.
        """
        settings = self.settings
        tls = tls_context(settings)
        async with contextlib.AsyncExitStack() as undo:
            listeners = []
            if listen:
                listeners.append(undo.enter_context(bound(settings, settings.port)))
            if listen and tls is not None:
                listeners.append(undo.enter_context(bound(settings, settings.tls_port)))
            host = await EngineHost.start(settings.engine or default_engine(), settings.engine_options)
            undo.push_async_callback(host.stop)
            self._service = service = Service(settings, host)
            undo.callback(self._forget)
            self._keeper = Doorkeeper(service)
            if listeners:
                self._port = listeners[0].getsockname()[1]
                await self._start_uvicorn(service, self._keeper, listeners, tls)
            undo.pop_all()

    async def attach(self, sock: socket.socket) -> None:
        """Serves one WebSocket over a connected stream socket, without an HTTP upgrade before it.

        Args:
            sock: One end of a socketpair; the server closes it.
        """
        service = self.service
        account = service.accounts.of(Principal(b""))
        account.open_socket()
        session = Session(service, account, versions.NEWEST, str(uuid.uuid4()))
        connection = Connection("server", now=asyncio.get_running_loop().time())
        session.begin(
            await attach_socket(sock, connection, session, write_limit_bytes=service.settings.send_queue_bytes)
        )

    async def drain(self) -> None:
        """Takes no new work, and lets what runs come to its end, at most ``drain_s``."""
        if self._service is not None:
            await self._service.drain(self.settings.drain_s)

    async def close(self) -> None:
        """Ends every context with an error and every connection, stops the engine; in bounded time."""
        if self._service is None or self._keeper is None or self._closing:
            return
        self._closing = True
        service, keeper, server = self._service, self._keeper, self._uvicorn
        service.draining = True
        for listener in server.servers if server is not None else ():
            listener.close()
        if self._tls_listener is not None:
            await self._tls_listener.close()
        keeper.abort()
        if service.sessions:
            closing = [
                self._scope.start(session.shut_down(), "close of a connection") for session in list(service.sessions)
            ]
            await asyncio.wait(closing, timeout=_END_TIMEOUT_S)
        self.abort()
        await service.scope.close(_END_TIMEOUT_S)
        await self._scope.close(_END_TIMEOUT_S)
        if server is not None:
            await server.shutdown()
        await service.host.stop()
        self._uvicorn = self._tls_listener = None
        self._forget()
        self._closing = False

    def abort(self) -> None:
        """Drops every WebSocket, and every HTTP answer that speaks, at once."""
        if self._service is not None:
            for session in list(self._service.sessions):
                session.abort()

    # --- inside

    async def _start_uvicorn(
        self, service: Service, keeper: Doorkeeper, listeners: list[socket.socket], tls: ssl.SSLContext | None
    ) -> None:
        config = uvicorn.Config(
            make_app(service),
            http=keeper.door(),
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=math.ceil(self.settings.handshake_timeout_s),
            timeout_graceful_shutdown=_HTTP_END_S,
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=listeners[:1])
        if tls is not None:
            door = keeper.door()
            self._tls_listener = TlsListener(
                listeners[1], tls, self._scope, lambda: door(config, server.server_state, server.lifespan.state)
            )
        self._uvicorn = server
        self._scope.start(server.main_loop(), "clock of the HTTP server")

    def _forget(self) -> None:
        self._service = None
        self._keeper = None

    def _authority(self, port: int) -> str:
        host = self.settings.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound(settings: Settings, port: int, *, listen: bool = True) -> socket.socket:
    """Returns a socket that has a port, which several processes may share if there are several workers.

    Without ``listen`` it keeps the port and is given no connections.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    host = settings.host
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, protocol, _, address = found[0]
        with contextlib.ExitStack() as undo:
            # Only on sockets that say that they are TCP does asyncio switch off the delay of small writes.
            sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM, protocol))
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if settings.workers > 1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address[:2])
            if listen:
                sock.listen(_BACKLOG)
            undo.pop_all()
            return sock
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host} port {port}: {_cause(error)}") from error


def _cause(error: OSError) -> str:
    # The system's own words: asyncio and `create_server` wrap them in the address, which the message has already.
    return (os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error.strerror)).lower()
