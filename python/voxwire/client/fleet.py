"""The sockets that contexts share: dialling, placing, retiring.

Today a fleet holds one socket, opened at the first need and again at the next need after it ended. A socket that ended
is never written to again. Attempts to connect are shared by all who wait for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin

from voxwire.client.refusals import closed_error, http_error
from voxwire.client.target import http_base
from voxwire.exceptions import AdmissionTimeout, ConnectError, ConnectTimeout, VoxwireError
from voxwire.protocol import Closed, Connection
from voxwire.tasks import Scope
from voxwire.transport import Endpoint, HandshakeRefused, Transport, attach_socket, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.client.settings import Settings
    from voxwire.client.target import Target
    from voxwire.embedded import EmbeddedServer
    from voxwire.protocol import Event

__all__ = ["Admission", "Fleet", "GivenSocket", "Link", "UrlDialer"]

# faults.md 2: full jitter with a cap. The first pause lies between 0 and 1 s.
_BACKOFF_FIRST_S = 1.0
_BACKOFF_CAP_S = 30.0
_REDIRECTS = frozenset({301, 302, 307, 308})
_REDIRECT_LIMIT = 5


class Member(Protocol):
    """A context, as its link sees it."""

    def handle_event(self, event: Any, now_s: float) -> None:
        """Takes one event of its own."""

    def handle_lost(self, error: VoxwireError) -> None:
        """Learns that the link ended while the context was live on it."""


class Dialer(Protocol):
    """Opens the socket of a link."""

    async def dial(self, link: Link, make_connection: Callable[[float], Connection], timeout_s: float) -> Transport:
        """One attempt. Raises VoxwireError, ``retryable`` where another attempt may succeed."""

    async def http(self) -> tuple[str, ssl.SSLContext | None]:
        """The HTTP address beside the WebSocket, and how TLS is to be spoken there."""

    async def close(self) -> None:
        """Gives back what dialling needed."""


class Link:
    """One socket and the contexts that are live on it."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask
        self.transport: Transport | None = None
        self.members: set[Member] = set()
        self.closed: Closed | None = None

    @property
    def usable(self) -> bool:
        """A new context may be placed here."""
        return self.transport is not None and self.closed is None and self.transport.connection.state == "open"

    @property
    def request_id(self) -> str | None:
        """The server's id of this connection."""
        return self.transport.request_id if self.transport is not None else None

    def handle_events(self, events: list[Event]) -> None:
        """Hands each event to its context, in the turn of the read."""
        now_s = time.monotonic()
        for event in events:
            if type(event) is Closed:
                self._handle_closed(event)
            else:
                event.context.handle_event(event, now_s)  # type: ignore[union-attr] # a client gets no other kinds

    def _handle_closed(self, closed: Closed) -> None:
        self.closed = closed
        members, self.members = self.members, set()
        for member in members:
            member.handle_lost(closed_error(closed, self._mask, request_id=self.request_id))

    async def close(self, timeout_s: float) -> None:
        """Closes with the closing handshake, in at most ``timeout_s``."""
        if self.transport is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self.transport.close()
        except TimeoutError:
            self.transport.abort()
            await self.transport.wait_closed()

    def abandon(self, *, loop_runs: bool) -> None:
        """Drops the socket without a word, also when the loop will never run again."""
        if self.transport is None:
            return
        if loop_runs:
            self.transport.abort()
        elif (handle := self.transport.get_extra_info("socket")) is not None:
            # A closed loop frees the descriptor with its transport; the peer need not wait for that.
            # uvloop has freed it by then, and lends a handle that cannot do this.
            with contextlib.suppress(OSError, TypeError):
                handle.shutdown(socket.SHUT_RDWR)


class Admission:
    """Places among ``max_contexts``, given in the order of asking."""

    def __init__(self, max_contexts: int | None, timeout_s: float) -> None:
        self._max_contexts = max_contexts
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(max_contexts) if max_contexts is not None else None

    async def acquire(self) -> None:
        """Takes a place.

        Raises:
            AdmissionTimeout: None became free in time.
        """
        if self._places is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise AdmissionTimeout(
                f"no place among {self._max_contexts} contexts became free within {self._timeout_s:g} s"
            ) from None

    def release(self) -> None:
        """Gives the place back."""
        if self._places is not None:
            self._places.release()


class Fleet:
    """Owns the sockets of a client."""

    def __init__(self, dialer: Dialer, *, mask: Callable[[str], str], settings: Settings) -> None:
        self._dialer = dialer
        self._mask = mask
        self._settings = settings
        self._scope = Scope()
        self._link: Link | None = None
        self._dial: asyncio.Task[Link | VoxwireError] | None = None
        self._waiters = 0

    @property
    def open_link(self) -> Link | None:
        """The link on which a context can be placed at once."""
        link = self._link
        return link if link is not None and link.usable else None

    async def link(self) -> Link:
        """Returns an open link, dialling where there is none.

        Raises:
            VoxwireError: Why there is none; a copy for each who waited.
        """
        if (link := self.open_link) is not None:
            return link
        if self._dial is None or self._dial.done():
            self._dial = self._scope.start(self._open(), "voxwire dial")
        dial = self._dial
        self._waiters += 1
        try:
            await asyncio.wait({dial})
        finally:
            self._waiters -= 1
            if not self._waiters and not dial.done():
                dial.cancel()
                self._dial = None
        if dial.cancelled():
            raise ConnectError("the client was closed while it connected", retryable=False)
        outcome = dial.result()
        if isinstance(outcome, Link):
            if outcome.closed is not None:
                raise closed_error(outcome.closed, self._mask, request_id=outcome.request_id)
            return outcome
        raise copy.copy(outcome) from outcome

    def sever(self) -> None:
        """Starts to close, before any wait: no further dial, and our Close frame is on its way."""
        self._scope.cancel()
        link = self.open_link
        if link is not None and link.transport is not None:
            link.transport.connection.close(1000, "", link.transport.now())
            link.transport.flush()

    async def close(self) -> None:
        """Leaves no task and no socket behind."""
        self.sever()
        link, self._link = self._link, None
        try:
            if link is not None:
                await link.close(self._settings.close_timeout_s)
        finally:
            await self._scope.close(self._settings.close_timeout_s)
            await self._dialer.close()

    @property
    def abandoned(self) -> bool:
        """A socket is open: dropping the fleet now would leak it."""
        return self._link is not None and self._link.transport is not None and not self._link.transport.closed

    def abandon(self, *, loop_runs: bool) -> None:
        """Drops everything without a word."""
        if loop_runs:
            self._scope.cancel()
            self._scope.start(self._dialer.close(), "voxwire release")
        if self._link is not None:
            self._link.abandon(loop_runs=loop_runs)

    def _make_connection(self, now_s: float) -> Connection:
        settings = self._settings
        return Connection(
            "client",
            ping_interval_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            close_timeout_s=settings.close_timeout_s,
            inactivity_timeout_s=settings.inactivity_timeout_s,
            now=now_s,
        )

    async def _open(self) -> Link | VoxwireError:
        """Dials until it succeeds, is refused for good, or the time is over; returns the last definite error."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._settings.connect_timeout_s
        pause_limit_s = _BACKOFF_FIRST_S
        last: VoxwireError | None = None
        while True:
            link = Link(self._mask)
            remaining_s = deadline_s - loop.time()
            try:
                link.transport = await self._dialer.dial(link, self._make_connection, remaining_s)
            except ConnectTimeout as error:
                # protocol.md 13: never a time-out in place of a definite answer.
                if last is not None:
                    return last
                return ConnectTimeout(f"{error.message} (of {self._settings.connect_timeout_s:g} s)")
            except VoxwireError as error:
                if not error.retryable or error.status == 429:
                    return error
                last = error
            else:
                self._link = link
                return link
            pause_s = random.uniform(0, pause_limit_s)  # noqa: S311 - jitter, no secret
            pause_limit_s = min(2 * pause_limit_s, _BACKOFF_CAP_S)
            if loop.time() + pause_s >= deadline_s:
                return last
            await asyncio.sleep(pause_s)


class UrlDialer:
    """Connects to a URL, or to an embedded server that it starts."""

    def __init__(self, target: Target, ssl_context: ssl.SSLContext | None) -> None:
        self._target = target
        self._ssl_context = ssl_context
        self._server: EmbeddedServer | None = None

    async def dial(self, link: Link, make_connection: Callable[[float], Connection], timeout_s: float) -> Transport:
        """One attempt, redirects to the same origin included."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        endpoint = await self._endpoint()
        for _ in range(_REDIRECT_LIMIT + 1):
            try:
                return await connect(
                    endpoint,
                    link,
                    headers=self._target.headers,
                    ssl_context=self._tls(endpoint),
                    timeout_s=max(deadline_s - loop.time(), 0.0),
                    make_connection=make_connection,
                )
            except HandshakeRefused as refused:
                if refused.status not in _REDIRECTS:
                    raise http_error(
                        refused.status,
                        refused.body,
                        self._target.mask,
                        request_id=refused.request_id,
                        retry_after_s=refused.retry_after_s,
                    ) from None
                endpoint = _redirected(endpoint, refused)
        raise ConnectError(f"more than {_REDIRECT_LIMIT} redirects", retryable=False)

    async def http(self) -> tuple[str, ssl.SSLContext | None]:
        """The HTTP address beside the WebSocket, and how TLS is to be spoken there."""
        endpoint = await self._endpoint()
        return http_base(endpoint), self._tls(endpoint)

    async def close(self) -> None:
        """Gives the embedded server back."""
        server, self._server = self._server, None
        if server is not None:
            from voxwire import embedded  # noqa: PLC0415 - only where a server was embedded

            await embedded.release(server)

    def _tls(self, endpoint: Endpoint) -> ssl.SSLContext | None:
        """The TLS settings, read from the system once: that costs tens of milliseconds."""
        if endpoint.tls and self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context if endpoint.tls else None

    async def _endpoint(self) -> Endpoint:
        if self._target.endpoint is not None:
            return self._target.endpoint
        from voxwire import embedded  # noqa: PLC0415 - only where a server is embedded
        from voxwire.client.target import websocket_endpoint  # noqa: PLC0415

        if self._server is None:
            self._server = await embedded.acquire(self._target.engine)
        return websocket_endpoint(self._server.url)


class GivenSocket:
    """Speaks over one connected socket, without an HTTP upgrade."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock

    async def dial(self, link: Link, make_connection: Callable[[float], Connection], timeout_s: float) -> Transport:
        """Takes the socket over, once."""
        del timeout_s
        sock, self._socket = self._socket, None
        if sock is None:
            raise ConnectError("the given socket has ended and there is no other", retryable=False)
        return await attach_socket(sock, make_connection(asyncio.get_running_loop().time()), link)

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
    except ValueError as error:
        raise ConnectError(f"a redirect to an invalid URL: {error}", status=refused.status, retryable=False) from None
    if (target.host, target.port, target.tls) != (endpoint.host, endpoint.port, endpoint.tls):
        raise ConnectError("a redirect to another origin is not followed", status=refused.status, retryable=False)
    return target
