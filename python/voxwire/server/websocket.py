"""The door of every connection: one request head is read under limits, then the way parts.

``/tts/websocket`` goes to the protocol core, by the same transport as the client's; anything else is replayed to
uvicorn's HTTP protocol. The order of the checks is that of protocol.md 2.4.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from voxwire import transport as transports
from voxwire.protocol import Connection, ServerHandshake
from voxwire.server import versions
from voxwire.server.access.gate import address_of, resolve_version
from voxwire.server.failures import full, shutting_down
from voxwire.server.refusal import Refusal
from voxwire.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import uvicorn
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from voxwire.server.service import Service

__all__ = ["Door", "Doorkeeper"]

_PATH = "/tts/websocket"
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
        self._drop: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = False

    def begin(self, drop: Callable[[], object]) -> None:
        """Starts the time for the whole handshake, that of TLS included.

        Args:
            drop: Ends the connection, for as long as there is no transport.
        """
        self._drop = drop
        self._timer = asyncio.get_running_loop().call_later(
            self.keeper.service.settings.handshake_timeout_s, self.abort
        )
        self.keeper.enter(self)

    # --- asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the open connection, plain or with its TLS handshake done."""
        # A loop's own transports need not derive from asyncio's; they have its methods.
        self._transport = cast("asyncio.Transport", transport)
        if self._drop is None:
            self.begin(self._transport.abort)
            return
        self._drop = self._transport.abort
        if self._timer is None:
            # It was dropped in the turn in which TLS came about.
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Reads on until the head is whole."""
        if self._answered or not self._handshake.handle_data(data):
            return
        self._answered = True
        self.leave()
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
        if not _is_websocket(target):
            self._hand_over()
            return
        version, malformed = versions.NEWEST, None
        query = dict(reversed(parse_qsl(target.query, keep_blank_values=True)))
        try:
            # It is judged in its turn, but gives every refusal its form.
            version = resolve_version(query, self._header("cartesia-version"))
        except Refusal as refusal:
            malformed = refusal
        try:
            self._check_upgrade()
            if malformed is not None:
                raise malformed
            self._accept(version, query, request_id)
        except Refusal as refusal:
            self._refuse(refusal, request_id, version)

    def eof_received(self) -> bool:
        """The peer went away before, or after, it was answered."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - nobody is there to be told
        """Forgets the connection."""
        self.leave()

    # --- inside

    def abort(self) -> None:
        """Drops the connection."""
        self.leave()
        if self._drop is not None:
            self._drop()

    def leave(self) -> None:
        """Counts the handshake as finished, and stops its time."""
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

    def _accept(self, version: str, query: Mapping[str, str], request_id: str) -> None:
        service = self.keeper.service
        settings = service.settings
        principal = service.gate.enter(self._handshake.headers, query, address_of(self._transport))
        principal.require("tts")
        if len(service.sessions) >= settings.max_connections:
            raise full()
        account = service.accounts.of(principal)
        account.open_socket()
        if service.draining:
            account.close_socket()
            raise shutting_down()
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
        # The routes look at the peer, and at what it has taken.
        http = _Http(self._config, self._server_state, {**self._app_state, "transport": self._transport})
        # Its log lines hold the query, and with it credentials.
        http.access_log = False
        http.make_door = type(self)
        http.connection_made(self._transport)
        self._transport.set_protocol(http)
        http.data_received(self._handshake.received)

    def _refuse(self, refusal: Refusal, request_id: str, version: str = versions.NEWEST) -> None:
        headers, body = refusal.http(version, request_id)
        self._transport.write(ServerHandshake.refuse(refusal.status, headers, body))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)


class _Http(H11Protocol):
    """uvicorn's HTTP, for a peer that is not trusted.

    Attributes:
        make_door: The door for a WebSocket that is asked for after other requests, on the same connection: pools of
            HTTP connections do that.
    """

    make_door: type[Door]

    def data_received(self, data: bytes) -> None:
        """Takes bytes; only a whole request head ends the time that a connection may be idle, not its first byte."""
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        cycle = self.cycle
        super().data_received(data)
        if timer is None:
            return
        stays = self.transport.get_protocol() is self
        if stays and self.cycle is cycle and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = timer
        else:
            timer.cancel()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it has not our form
        """Answers bytes that are no HTTP; where an answer has begun or is over, the connection just ends."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # What the route would still write has no place any more.
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            refusal = Refusal(400, _TITLES[400], "the bytes received are no HTTP/1.1")
            headers, body = refusal.http(versions.NEWEST, str(uuid.uuid4()))
            self.transport.write(ServerHandshake.refuse(refusal.status, headers, body))
        self.transport.close()

    def _should_upgrade(self) -> bool:
        try:
            return _is_websocket(urlsplit(b"?".join((self.scope["raw_path"], self.scope["query_string"])).decode()))
        except ValueError:
            return False

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Goes back to the door with the head, and with what followed it."""
        self.connections.discard(self)
        door = self.make_door(self.config, self.server_state, self.app_state)
        self.transport.set_protocol(door)
        door.connection_made(self.transport)
        lines = [b"%s %s HTTP/%s" % (event.method, event.target, event.http_version)]
        lines += [b"%s: %s" % header for header in event.headers]
        door.data_received(b"\r\n".join([*lines, b"", self.conn.trailing_data[0]]))


def _is_websocket(target: SplitResult) -> bool:
    return unquote(target.path).endswith(_PATH)
