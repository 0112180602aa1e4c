"""Opening the socket of a link: by a URL, or over a socket that is given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin

from voxwire.client.backoff import note_asked_wait
from voxwire.client.refusals import http_error
from voxwire.client.target import http_base
from voxwire.exceptions import ConnectError
from voxwire.protocol import TlsContext
from voxwire.transport import Endpoint, HandshakeRefused, Transport, attach_socket, connect, python_context

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Hashable

    from voxwire.client.target import Target
    from voxwire.embedded import EmbeddedServer
    from voxwire.exceptions import VoxwireError
    from voxwire.protocol import Connection
    from voxwire.transport import Handler

__all__ = ["Dialer", "GivenSocket", "UrlDialer"]

_REDIRECTS = frozenset({301, 302, 307, 308})
_REDIRECT_LIMIT = 5
# RFC 9110, 10.2.3: where Retry-After says how long the server wants to be left alone.
_BUSY = frozenset({429, 503})


class Dialer(Protocol):
    """Opens the socket of a link."""

    @property
    def account(self) -> Hashable:
        """The server and the credentials that it sees; None where no server can refuse us."""

    async def dial(
        self, handler: Handler, make_connection: Callable[[float], Connection], timeout_s: float
    ) -> Transport:
        """One attempt. Raises VoxwireError, ``retryable`` where another attempt may succeed."""

    async def http(self) -> tuple[str, ssl.SSLContext | None]:
        """The HTTP address beside the WebSocket, and how TLS is to be spoken there."""

    async def close(self) -> None:
        """Gives back what dialling needed."""


class UrlDialer:
    """Connects to a URL, or to an embedded server that it starts."""

    def __init__(self, target: Target, ssl_context: ssl.SSLContext | TlsContext | None) -> None:
        self._target = target
        self._tls_context = ssl_context
        self._http_context: ssl.SSLContext | None = None
        self._server: EmbeddedServer | None = None
        self._closed = False

    @property
    def account(self) -> Hashable:
        """The server and the credentials that it sees; None where no server can refuse us."""
        endpoint, headers = self._target.endpoint, self._target.headers
        return None if endpoint is None else (endpoint.host, endpoint.port, endpoint.tls, hash(headers))

    async def dial(
        self, handler: Handler, make_connection: Callable[[float], Connection], timeout_s: float
    ) -> Transport:
        """One attempt, redirects to the same origin included."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        endpoint = await self._endpoint()
        for _ in range(_REDIRECT_LIMIT + 1):
            try:
                return await connect(
                    endpoint,
                    handler,
                    headers=self._target.headers,
                    ssl_context=self._websocket_tls(endpoint),
                    timeout_s=max(deadline_s - loop.time(), 0.0),
                    make_connection=make_connection,
                )
            except HandshakeRefused as refused:
                if refused.status not in _REDIRECTS:
                    raise self._refusal(refused) from None
                endpoint = _redirected(endpoint, refused)
        raise ConnectError(f"more than {_REDIRECT_LIMIT} redirects", retryable=False)

    async def http(self) -> tuple[str, ssl.SSLContext | None]:
        """The HTTP address beside the WebSocket, and how TLS is to be spoken there."""
        endpoint = await self._endpoint()
        return http_base(endpoint), self._http_tls(endpoint)

    async def close(self) -> None:
        """Gives the embedded server back."""
        self._closed = True
        server, self._server = self._server, None
        if server is not None:
            from voxwire import embedded  # noqa: PLC0415 - only where a server was embedded

            await embedded.release(server)

    def _refusal(self, refused: HandshakeRefused) -> VoxwireError:
        error = http_error(
            refused.status,
            refused.body,
            self._target.mask,
            request_id=refused.request_id,
            retry_after_s=refused.retry_after_s,
        )
        if refused.status in _BUSY and refused.retry_after_s is not None:
            note_asked_wait(self.account, refused.retry_after_s, error)
        return error

    def _websocket_tls(self, endpoint: Endpoint) -> ssl.SSLContext | TlsContext | None:
        """The TLS settings, made once: sessions that share them begin faster."""
        if endpoint.tls and self._tls_context is None:
            self._tls_context = TlsContext()
        return self._tls_context if endpoint.tls else None

    def _http_tls(self, endpoint: Endpoint) -> ssl.SSLContext | None:
        """The same for HTTP, where Python speaks TLS; made once, as it costs tens of milliseconds."""
        if not endpoint.tls:
            return None
        if self._http_context is None:
            self._http_context = python_context(self._tls_context)
        return self._http_context

    async def _endpoint(self) -> Endpoint:
        if self._target.endpoint is not None:
            return self._target.endpoint
        from voxwire import embedded  # noqa: PLC0415 - only where a server is embedded
        from voxwire.client.target import websocket_endpoint  # noqa: PLC0415

        if self._server is None:
            server = await embedded.acquire(self._target.engine)
            if self._server is not None or self._closed:
                # Another call was faster, or nobody is left to give it back.
                await embedded.release(server)
            else:
                self._server = server
        if self._server is None:
            raise ConnectError("the client was closed while it connected", retryable=False)
        return websocket_endpoint(self._server.url)


class GivenSocket:
    """Speaks over one connected socket, without an HTTP upgrade."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock

    @property
    def account(self) -> Hashable:
        """None: no server can refuse us."""
        return None

    async def dial(
        self, handler: Handler, make_connection: Callable[[float], Connection], timeout_s: float
    ) -> Transport:
        """Takes the socket over, once."""
        del timeout_s
        sock, self._socket = self._socket, None
        if sock is None:
            raise ConnectError("the given socket has ended and there is no other", retryable=False)
        return await attach_socket(sock, make_connection(asyncio.get_running_loop().time()), handler)

    async def http(self) -> tuple[str, ssl.SSLContext | None]:
        """There is none."""
        raise RuntimeError("a client over a given socket has no HTTP address")

    async def close(self) -> None:
        """Closes a socket that was never used."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _redirected(endpoint: Endpoint, refused: HandshakeRefused) -> Endpoint:
    """Where a redirect leads: only ever to the same origin, as another one would be handed our credentials."""
    location = refused.header("location")
    if location is None:
        raise ConnectError("a redirect without a location", status=refused.status, retryable=False)
    scheme = "https" if endpoint.tls else "http"
    try:
        target = Endpoint.parse(urljoin(f"{scheme}://{endpoint.authority}{endpoint.target}", location))
    except ValueError:
        # The reason may quote the URL, and the server may have put our key into that.
        raise ConnectError("a redirect to an invalid URL", status=refused.status, retryable=False) from None
    if (target.host, target.port, target.tls) != (endpoint.host, endpoint.port, endpoint.tls):
        raise ConnectError("a redirect to another origin is not followed", status=refused.status, retryable=False)
    return target
