"""One WebSocket on one socket.

A :class:`Transport` drives one ``protocol.Connection`` over a :class:`Channel`, whose reads go to the core in the call
that makes them, or over a transport of asyncio's where the descriptor is not ours: what a server was handed, and
Python's own TLS. There, too, a read is handed on in one call, from a buffer that all connections of a loop share: the
core parses it where it lies, before the next read can begin. The events of a read reach the handler in the same turn of
the loop.

The rule of the core is kept in one place: after everything that moves it, :meth:`Transport.flush` drains events, bytes
and the next deadline. A read of a channel drains audio into inboxes by itself, and calls it where more came.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Protocol, cast

from voxwire.exceptions import ConnectError, ConnectionLost, TlsError
from voxwire.protocol import ClientHandshake, Closed, Connection, Event
from voxwire.transport.buffers import READ_BYTES, SERVER_READ_BYTES, shared_buffer
from voxwire.transport.channel import Channel
from voxwire.transport.progress import unacknowledged_bytes

__all__ = ["Handler", "Transport", "reason_of"]

# After the last frame we stop sending and wait for the peer's end of stream: closing a socket with unread bytes in it
# sends a reset, which can overtake our Close frame.
_LINGER_S = 1.0
# How often it is looked at what the peer took of what was sent, and how much of it counts: more than a ping, which the
# system of a peer that hangs takes too.
_LOOK_S = 1.0
_PROGRESS_BYTES = 1024


class Handler(Protocol):
    """Who is told what arrived."""

    def handle_events(self, events: list[Event]) -> None:
        """Takes the events of one read, in the turn of that read. The last event of all is ``Closed``."""


class Transport(asyncio.BufferedProtocol):
    """One WebSocket on one socket. Made by :func:`connect`, :func:`attach` or :func:`attach_socket`.

    Attributes:
        connection: The protocol core; after each command on it call :meth:`flush`.
        handler: Who gets the events; may be replaced at any time.
        peer: Address of the other end, for messages.
        request_id: The server's ``X-Request-Id`` of an upgrade that :func:`connect` made, for messages; or None.
    """

    def __init__(self, handler: Handler, *, write_limit_bytes: int, handshake: ClientHandshake | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.connection: Connection
        self.handler = handler
        self.peer = ""
        self.request_id: str | None = None
        self._handshake = handshake
        self._write_limit_bytes = write_limit_bytes
        self._socket: asyncio.Transport | Channel | None = None
        self._upgraded: asyncio.Future[None] = self._loop.create_future()
        # An attempt that timed out leaves nobody who would ask for a later failure.
        self._upgraded.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._writable_waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._linger: asyncio.TimerHandle | None = None
        self._buffer = shared_buffer(self._loop, _new_view, READ_BYTES)
        self._fair = False
        self._remainder = b""
        self._finishing = False
        self._flushing = False
        self._flush_again = False
        self._written_bytes = 0
        self._noted_bytes = 0
        self._look_at: float | None = None
        self.writable = True

    # --- for the owner

    def now(self) -> float:
        """The clock that the core is told, in seconds."""
        return self._loop.time()

    @property
    def closed(self) -> bool:
        """The socket is gone."""
        return self._lost.done()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._socket.get_write_buffer_size() if self._socket is not None else 0

    @property
    def taken_bytes(self) -> int:
        """Bytes that left for the peer and, where the system tells, were acknowledged by its system."""
        return self._written_bytes - self.unsent_bytes - self._unacknowledged_bytes()

    def get_extra_info(self, name: str) -> Any:
        """What asyncio's transport tells under this name, e.g. ``"socket"`` or ``"ssl_object"``."""
        return self._socket.get_extra_info(name) if self._socket is not None else None

    def flush(self) -> None:
        """Drains the core: events to the handler, bytes to the socket, the next deadline to the loop.

        A handler may call it (or a command and then it) while it is given events: the drain then goes on after it.
        """
        if self._flushing:
            self._flush_again = True
            return
        self._flushing = True
        connection = self.connection
        # What comes puts most deadlines off, and a timer that fires too early looks again: most reads move none.
        is_due_known = self._timer is not None
        try:
            while True:
                self._flush_again = False
                events = connection.poll_events()
                if events:
                    self.handler.handle_events(events)
                # Events go first: a handler may still answer before a Close that the core has decided on.
                data = connection.poll_transmit()
                if data:
                    self._write(data)
                    is_due_known = False
                if events and isinstance(events[-1], Closed):
                    self._finish(events[-1])
                    is_due_known = False
                # Without bytes to send, the core has nothing new to tell either.
                if not data and not self._flush_again:
                    break
        finally:
            self._flushing = False
        if is_due_known:
            due = connection.poll_timeout()
            is_due_known = due is None or due >= self._timer_due
        if not is_due_known:
            self._arm_timer()

    def send(self) -> None:
        """Writes what ``send_*`` of an open connection has put into the core: no event and no deadline comes of those.

        Where that is all that was done, it spares what :meth:`flush` asks the core for besides.
        """
        if data := self.connection.poll_transmit():
            is_watched = self._look_at is not None
            self._write(data)
            if not is_watched:
                self._arm_timer()

    async def drain(self) -> None:
        """Waits until the socket can take more.

        Raises:
            ConnectionLost: The socket is gone, or goes while this waits.
        """
        if not self.writable and not self._lost.done():
            waiter = self._loop.create_future()
            self._writable_waiters.append(waiter)
            try:
                await waiter
            finally:
                self._writable_waiters.remove(waiter)
        if self._lost.done() or self.connection.state == "closed":
            raise ConnectionLost("the connection was closed while data waited for it")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes with the closing handshake, in at most the core's close time and a second, then frees the socket."""
        self.connection.close(code, reason, self.now())
        self.flush()
        await self.wait_closed()

    def abort(self) -> None:
        """Frees the socket at once; the handler still gets ``Closed``."""
        # asyncio's own abort fails on a socket that is gone already.
        if self._socket is not None and not self._lost.done():
            self._socket.abort()
        self._end()

    def discard(self) -> None:
        """Frees the socket of a loop that is closed; nobody is told."""
        if isinstance(self._socket, Channel):
            self._socket.discard()
        elif (handle := self.get_extra_info("socket")) is not None:
            # A closed loop frees the descriptor with its transport; the peer need not wait for that.
            # uvloop has freed it by then, and lends a handle that cannot do this.
            with contextlib.suppress(OSError, TypeError):
                handle.shutdown(socket.SHUT_RDWR)

    async def wait_closed(self) -> None:
        """Waits until the socket is gone."""
        await asyncio.shield(self._lost)

    # --- asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport | Channel) -> None:
        """Takes the open socket and, before an upgrade, sends the request."""
        # A loop's own transports need not derive from asyncio's; they have its methods.
        self._socket = stream = cast("asyncio.Transport | Channel", transport)
        stream.set_write_buffer_limits(high=self._write_limit_bytes)
        self.peer = _address(transport.get_extra_info("peername"))
        if self._handshake is not None:
            stream.write(self._handshake.poll_transmit())

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one size serves all
        """Lends the loop's shared buffer for the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hands a read to the core, where it lies."""
        self.handle_data(self._buffer[:nbytes])
        if self._fair and nbytes == len(self._buffer) and self._socket is not None:
            # Some loops read on while there is more; with a pause the others have their turn.
            self._socket.pause_reading()
            self._loop.call_soon(self.resume_reading)

    def handle_data(self, data: memoryview | bytes) -> None:
        """Hands bytes to the upgrade, or to the core."""
        if self._handshake is not None:
            if self._handshake.handle_data(data):
                self._resolve_upgrade()
        elif not self._finishing:
            self.connection.handle_data(data, self.now())
            self.flush()

    def eof_received(self) -> None:
        """Tells the core that the peer sends no more."""
        if self._handshake is not None:
            if self._handshake.handle_eof():
                self._resolve_upgrade()
            elif not self._upgraded.done():
                self._upgraded.set_exception(
                    ConnectError("the server ended the connection before it answered the upgrade")
                )
        elif not self._finishing:
            self.connection.handle_eof(self.now())
            self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the core and every waiter that the socket is gone."""
        if self._handshake is not None and not self._upgraded.done():
            self._upgraded.set_exception(
                exc
                if isinstance(exc, TlsError)
                else ConnectError(f"the connection was lost before the upgrade was answered{reason_of(exc)}")
            )
        self._end()

    def pause_writing(self) -> None:
        """Notes that the socket holds ``write_limit_bytes``."""
        self.writable = False

    def resume_writing(self) -> None:
        """Wakes those who wait to write."""
        self.writable = True
        self.resume_reading()
        self._wake_writers()

    # --- inside

    def start(self, connection: Connection, remainder: bytes) -> None:
        """Begins with the WebSocket, once the upgrade is done. Called once, by the functions below.

        The first events come in the next turn of the loop, when whoever opened this has told its handler of it.
        """
        self.connection = connection
        if connection.role == "server":
            self._fair = True
            self._buffer = self._buffer[:SERVER_READ_BYTES]
        if isinstance(self._socket, Channel):
            self._socket.feed(connection)
        self._handshake = None
        self._remainder = remainder
        self._loop.call_soon(self._begin)

    async def upgraded(self) -> None:
        """Waits for the answer to the upgrade."""
        await self._upgraded

    def _begin(self) -> None:
        self._take_remainder()
        if self._lost.done():
            # It may have gone before there was a core to be told.
            self.connection.handle_eof(self.now())
        self.flush()
        self.resume_reading()

    def _take_remainder(self) -> None:
        remainder, self._remainder = self._remainder, b""
        if remainder:
            self.connection.handle_data(remainder, self.now())

    def _resolve_upgrade(self) -> None:
        if not self._upgraded.done():
            self._upgraded.set_result(None)
        # Frames may follow in the next read; they wait in the socket until somebody is there to take them.
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Lets the reads go on, unless the peer takes too little of what it makes us send."""
        if self._socket is not None and not self._socket.is_closing() and not self._clogged:
            self._socket.resume_reading()

    def _write(self, data: bytes) -> None:
        stream = self._socket
        if stream is None or stream.is_closing():
            return
        stream.write(data)
        self._written_bytes += len(data)
        if self._look_at is None:
            self._look_at = self.now() + _LOOK_S
        if self._clogged:
            # Only what the peer makes us send (pongs, refusals, echoes) grows beyond the limit that ``drain`` holds: a
            # peer that sends and never reads is no longer read either.
            stream.pause_reading()

    @property
    def _clogged(self) -> bool:
        return not self.writable and self.unsent_bytes > 2 * self._write_limit_bytes

    def _arm_timer(self) -> None:
        due = None if self._finishing else self.connection.poll_timeout()
        if due is not None and self._look_at is not None:
            due = min(due, self._look_at)
        if self._timer is not None:
            # A timer that fires too early only looks again; moving it at every message would cost more.
            if due is not None and self._timer_due <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._handle_timer)
            self._timer_due = due
        self.connection.note_timer(due)

    def _handle_timer(self) -> None:
        self._timer = None
        now = self.now()
        self._look(now)
        due = self.connection.poll_timeout()
        if due is not None and due <= now:
            self.connection.handle_timeout(now)
        self.flush()

    def _look(self, now: float) -> None:
        """Sees whether the peer takes what was sent, which a ping may stand behind."""
        taken_bytes = self.taken_bytes
        if taken_bytes - self._noted_bytes >= _PROGRESS_BYTES:
            self._noted_bytes = taken_bytes
            self.connection.handle_progress(now)
        self._look_at = now + _LOOK_S if taken_bytes < self._written_bytes else None

    def _unacknowledged_bytes(self) -> int:
        handle = self.get_extra_info("socket")
        return unacknowledged_bytes(handle.fileno()) if handle is not None else 0

    def _finish(self, closed: Closed) -> None:
        self._finishing = True
        if self._socket is None or self._lost.done():
            return
        if closed.timed_out is not None:
            self._socket.abort()
            return
        self._linger = self._loop.call_later(_LINGER_S, self._socket.abort)
        if self._socket.can_write_eof():
            with contextlib.suppress(OSError):
                self._socket.write_eof()
        else:
            self._socket.close()

    def _end(self) -> None:
        if self._lost.done():
            return
        self._lost.set_result(None)
        if not self._upgraded.done():
            self._upgraded.cancel()
        for handle in (self._timer, self._linger):
            if handle is not None:
                handle.cancel()
        self._timer = self._linger = None
        self.writable = True
        self._wake_writers()
        if self._handshake is None and not self._finishing:
            self._take_remainder()
            self.connection.handle_eof(self.now())
            self.flush()

    def _wake_writers(self) -> None:
        for waiter in self._writable_waiters:
            if not waiter.done():
                waiter.set_result(None)


def _new_view(size_bytes: int) -> memoryview:
    return memoryview(bytearray(size_bytes))


def _address(name: Any) -> str:
    if isinstance(name, tuple) and len(name) >= 2:
        host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
        return f"{host}:{name[1]}"
    return "a local socket"


def reason_of(error: BaseException | None) -> str:
    """Returns the end of a message: what the system says about a failure, if anything."""
    if isinstance(error, OSError) and error.strerror:
        return f": {error.strerror.lower()}"
    return f": {error}" if error is not None and str(error) else ""
