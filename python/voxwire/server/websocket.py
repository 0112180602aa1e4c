"""The door of every connection: one request head is read under limits, then the way parts.

``/tts/websocket`` goes to the protocol core, by the same transport as the client's; anything else is replayed to
uvicorn's HTTP protocol. The order of the checks is that of protocol.md 2.4.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from uvicorn.protocols.http.h11_impl import H11Protocol

from voxwire import transport as transports
from voxwire.protocol import Connection, ServerHandshake
from voxwire.server import versions
from voxwire.server.refusal import Refusal
from voxwire.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    import uvicorn
    from uvicorn.server import ServerState

    from voxwire.server.service import Service

__all__ = ["Door", "Doorkeeper"]

_PATH = "/tts/websocket"
_RETRY_AFTER_S = 5
#: After a refusal the peer has this long to take it: closing a socket that holds unread bytes would tear it away.
_LINGER_S = 1.0

_TITLES = {
    400: "Invalid request",
    405: "Method not allowed",
    414: "Target too long",
    426: "Upgrade required",
    431: "Head too large",
    505: "HTTP version not supported",
}


class Doorkeeper:
    """What the doors of one server share: the service, and who has not said yet what he wants."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._waiting: dict[Door, None] = {}

    def door(self) -> type[Door]:
        """Returns the protocol class for uvicorn's ``http=``."""

        class BoundDoor(Door):
            keeper = self

        return BoundDoor

    def enter(self, door: Door) -> None:
        """Counts an unfinished handshake; one too many displaces the oldest."""
        self._waiting[door] = None
        if len(self._waiting) > self.service.settings.max_handshakes:
            next(iter(self._waiting)).abort()

    def leave(self, door: Door) -> None:
        """Counts it out again."""
        self._waiting.pop(door, None)

    def abort(self) -> None:
        """Drops all who have not said what they want."""
        for door in list(self._waiting):
            door.abort()


class Door(asyncio.Protocol):
    """Reads one request head, then hands the socket on."""

    keeper: Doorkeeper

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._handshake = ServerHandshake()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._answered = False
        self._began_at = asyncio.get_running_loop().time()

    # --- asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the rest of the time for the whole handshake: that of TLS is over."""
        # A loop's own transports need not derive from asyncio's; they have its methods.
        self._transport = cast("asyncio.Transport", transport)
        due = self._began_at + self.keeper.service.settings.handshake_timeout_s
        self._timer = asyncio.get_running_loop().call_at(due, self.abort)
        self.keeper.enter(self)

    def data_received(self, data: bytes) -> None:
        """Reads on until the head is whole."""
        if self._answered or not self._handshake.handle_data(data):
            return
        self._answered = True
        self._leave()
        handshake = self._handshake
        request_id = str(uuid.uuid4())
        if handshake.failure is not None:
            status, reason = handshake.failure
            self._refuse(Refusal(status, _TITLES.get(status, "Invalid request"), reason), request_id)
            return
        try:
            target = urlsplit(handshake.target)
        except ValueError:
            self._refuse(Refusal(400, _TITLES[400], "the request target is no valid URL"), request_id)
            return
        if not unquote(target.path).endswith(_PATH):
            self._hand_over()
            return
        version = versions.NEWEST
        query = dict(reversed(parse_qsl(target.query, keep_blank_values=True)))
        try:
            self._check_upgrade()
            version = self._version(query)
            self._accept(version, query, request_id)
        except Refusal as refusal:
            self._refuse(refusal, request_id, version)

    def eof_received(self) -> bool:
        """The peer went away before, or after, it was answered."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - nobody is there to be told
        """Forgets the connection."""
        self._leave()

    # --- inside

    def abort(self) -> None:
        """Drops the connection."""
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        self.keeper.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_upgrade(self) -> None:
        handshake = self._handshake
        if handshake.method != "GET":
            raise Refusal(405, "Method not allowed", "a WebSocket is opened with GET", headers=(("Allow", "GET"),))
        if (failure := handshake.upgrade_failure()) is not None:
            status, reason = failure
            headers = (("Sec-WebSocket-Version", "13"),) if status == 426 else ()
            raise Refusal(status, _TITLES.get(status, "Invalid request"), reason, headers=headers)

    def _version(self, query: Mapping[str, str]) -> str:
        try:
            return versions.resolve(query.get("cartesia_version"), self._header("cartesia-version"))
        except ValueError:
            raise Refusal(400, "Invalid version", "the version must be a calendar date written YYYY-MM-DD") from None

    def _accept(self, version: str, query: Mapping[str, str], request_id: str) -> None:
        service = self.keeper.service
        settings = service.settings
        origin = self._header("origin")
        if origin is not None and not _allows(settings.allow_origin, origin):
            raise Refusal(403, "Origin not allowed", "this server accepts no browser from there")
        principal = service.keyring.authenticate(self._handshake.headers, query)
        if len(service.sessions) >= settings.max_connections:
            raise Refusal(503, "Too many connections", "the server is full, retry later", retry_after_s=_RETRY_AFTER_S)
        account = service.accounts.of(principal)
        account.open_socket()
        if service.draining:
            account.close_socket()
            raise Refusal(503, "Shutting down", "the server is shutting down, connect again later")
        self._transport.write(self._handshake.accept([("X-Request-Id", request_id)]))
        session = Session(service, account, version, request_id)
        transport = transports.attach(
            self._transport,
            Connection("server", now=asyncio.get_running_loop().time()),
            session,
            write_limit_bytes=settings.send_queue_bytes,
        )
        session.begin(transport, self._handshake.remainder)

    def _header(self, name: str) -> str | None:
        return next((value for key, value in self._handshake.headers if key == name), None)

    def _hand_over(self) -> None:
        """Replays the head to uvicorn's own HTTP protocol."""
        http = _Http(self._config, self._server_state, self._app_state)
        # Its log lines hold the query, and with it credentials.
        http.access_log = False
        http.connection_made(self._transport)
        self._transport.set_protocol(http)
        http.data_received(self._handshake.received)

    def _refuse(self, refusal: Refusal, request_id: str, version: str = versions.NEWEST) -> None:
        headers, body = refusal.http(version, request_id)
        self._transport.write(ServerHandshake.refuse(refusal.status, headers, body))
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)


class _Http(H11Protocol):
    """uvicorn's HTTP, for a peer that is not trusted."""

    def data_received(self, data: bytes) -> None:
        """Takes bytes; only a whole request head ends the time that a connection may be idle, not its first byte."""
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        cycle = self.cycle
        super().data_received(data)
        if timer is None:
            return
        if self.cycle is cycle and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = timer
        else:
            timer.cancel()

    def _unsupported_upgrade_warning(self) -> None:
        """Says nothing: the door has seen every upgrade, and anybody could fill the log."""


def _allows(allowed: tuple[str, ...], origin: str) -> bool:
    return origin != "null" and ("*" in allowed or origin in allowed)
