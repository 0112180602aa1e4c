"""A socket that the core reads itself: what asyncio's transports do, with one native call per read.

A :class:`Channel` owns a connected socket and watches it through the loop's readers and writers. It offers what
:class:`Transport` uses of ``asyncio.Transport``, and tells it the same: the ends of streams, failures, and when to
pause. It reads once in a turn of the loop, so that a flood on one socket leaves the others their turn, and whoever
consumes what came runs before more is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Protocol

from voxwire.exceptions import TlsError
from voxwire.protocol import ReadBuffer, Reader, Socket
from voxwire.transport.buffers import READ_BYTES, SERVER_READ_BYTES, shared_buffer

if TYPE_CHECKING:
    from voxwire.protocol import Connection, TlsContext

__all__ = ["Channel", "Owner", "can_watch"]


class Owner(Protocol):
    """Who is told what happens on a channel: the part of asyncio's protocols that a :class:`Transport` has."""

    def connection_made(self, transport: Channel) -> None:
        """The channel is open."""

    def handle_data(self, data: bytes) -> None:
        """Bytes that came while no core was there to take them."""

    def flush(self) -> None:
        """The core was handed something."""

    def eof_received(self) -> None:
        """The peer sends no more; the channel closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""

    def pause_writing(self) -> None:
        """More waits than the limit."""

    def resume_writing(self) -> None:
        """A quarter of the limit or less waits."""


def can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop tells when a descriptor can be read; Windows' proactor does not."""
    return getattr(type(loop), "add_reader", None) not in {None, asyncio.AbstractEventLoop.add_reader}


class Channel:
    """One connected socket, from now on owned by this.

    It begins paused: the owner calls :meth:`resume_reading`.
    """

    __slots__ = (
        "_closing",
        "_fileno",
        "_high_bytes",
        "_link",
        "_loop",
        "_lost",
        "_owner",
        "_paused",
        "_peer",
        "_reader",
        "_sock",
        "_watches_reads",
        "_watches_writes",
    )

    def __init__(
        self, sock: socket.socket, owner: Owner, *, tls: TlsContext | None = None, server_name: str = ""
    ) -> None:
        """Takes the socket over and, with ``tls``, begins the TLS handshake.

        Raises:
            OSError: The socket failed already; it stays the caller's then.
            TlsError: ``server_name`` is neither a name nor an address.
        """
        sock.settimeout(0)
        if sock.family in {socket.AF_INET, socket.AF_INET6}:
            # Small messages must not wait for the acknowledgement of the last.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._peer = sock.getpeername()
        except OSError:
            # Reset already: the first read tells.
            self._peer = None
        self._fileno = sock.fileno()
        self._link = Socket(self._fileno, tls=tls, server_name=server_name)
        self._sock = sock
        self._owner: Owner | None = owner
        self._loop = asyncio.get_running_loop()
        self._reader: Reader | None = None
        self._high_bytes = 0
        self._paused = False
        self._closing = False
        self._lost = False
        self._watches_reads = False
        self._watches_writes = False
        owner.connection_made(self)
        self._watch_writes(self._link.unsent_bytes)

    def feed(self, connection: Connection) -> None:
        """Hands every later read to this core, in the native call that makes it; before :meth:`resume_reading`."""
        size_bytes = SERVER_READ_BYTES if connection.role == "server" else READ_BYTES
        buffer = shared_buffer(self._loop, ReadBuffer, size_bytes)
        self._reader = Reader(self._link, connection, buffer, self._loop.time, self._handle_read)

    # --- as asyncio's transports

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Knows ``"socket"`` and ``"peername"``."""
        return {"socket": self._sock, "peername": self._peer}.get(name, default)

    def is_closing(self) -> bool:
        """It is closing, or closed."""
        return self._closing

    def pause_reading(self) -> None:
        """Reads no more until :meth:`resume_reading`."""
        if self._watches_reads:
            self._watches_reads = False
            self._loop.remove_reader(self._fileno)

    def resume_reading(self) -> None:
        """Reads."""
        if not self._watches_reads and not self._closing:
            self._watches_reads = True
            self._loop.add_reader(self._fileno, self._reader or self._read_bytes)

    def set_write_buffer_limits(self, high: int) -> None:
        """Sets the count of unsent bytes beyond which the owner is told to pause, and at a quarter to go on."""
        self._high_bytes = high

    def get_write_buffer_size(self) -> int:
        """Returns the count of bytes that the system has not taken yet."""
        return self._link.unsent_bytes

    def write(self, data: bytes) -> None:
        """Sends what the system takes at once; the rest follows as it does."""
        if self._lost:
            return
        try:
            unsent = self._link.send(data)
        except (OSError, TlsError) as error:
            self._fail(error)
            return
        if unsent:
            self._watch_writes(unsent)

    def can_write_eof(self) -> bool:
        """It can, with TLS too."""
        return True

    def write_eof(self) -> None:
        """Ends this side's stream once all is sent; reads go on."""
        if self._lost:
            return
        try:
            self._watch_writes(self._link.shutdown_write())
        except (OSError, TlsError) as error:
            self._fail(error)

    def close(self) -> None:
        """Reads no more, sends what waits, then closes."""
        if self._closing:
            return
        self.pause_reading()
        self._closing = True
        # The peer may be gone by now; then nothing is left to be sent.
        with contextlib.suppress(OSError):
            self._link.shutdown_write()
        if self._link.unsent_bytes:
            self._watch_writes(self._link.unsent_bytes)
        else:
            self._lose(None)

    def abort(self) -> None:
        """Closes at once; what waits is lost."""
        self._lose(None)

    def discard(self) -> None:
        """Closes at once where the loop is closed, which watches nothing any more; the owner is not told."""
        self._closing = self._lost = True
        self._link.close()
        self._sock.close()

    # --- the loop tells us

    def _read_bytes(self) -> None:
        """Reads while no core is there to take it."""
        try:
            data, ended = self._link.receive_bytes(shared_buffer(self._loop, ReadBuffer, READ_BYTES))
            self._watch_writes(self._link.unsent_bytes)
            if data and self._owner is not None:
                self._owner.handle_data(data)
            if ended:
                self._handle_end()
        except Exception as error:  # noqa: BLE001 - as asyncio does: whatever fails here ends the socket, and is told
            self._fail(error)

    def _handle_read(self, ended: bool, failure: Exception | None) -> None:  # noqa: FBT001 - as a Reader tells
        """Sees to what the core cannot, after a read that went to it."""
        if self._lost:
            return
        if failure is not None:
            self._fail(failure)
            return
        try:
            if ended:
                self._handle_end()
            elif self._owner is not None:
                self._owner.flush()
            self._watch_writes(self._link.unsent_bytes)
        except Exception as error:  # noqa: BLE001 - as asyncio does: whatever fails here ends the socket, and is told
            self._fail(error)

    def _handle_end(self) -> None:
        if self._owner is not None:
            self._owner.eof_received()
        self.close()

    def _handle_writable(self) -> None:
        try:
            unsent = self._link.flush()
            if self._paused and unsent <= self._high_bytes // 4 and self._owner is not None:
                self._paused = False
                self._owner.resume_writing()
            if not self._link.unsent_bytes:
                self._unwatch_writes()
                if self._closing:
                    self._lose(None)
        except Exception as error:  # noqa: BLE001 - as asyncio does: whatever fails here ends the socket, and is told
            self._fail(error)

    # --- inside

    def _watch_writes(self, unsent: int) -> None:
        if not unsent or self._lost:
            return
        if not self._watches_writes:
            self._watches_writes = True
            self._loop.add_writer(self._fileno, self._handle_writable)
        if unsent > self._high_bytes and not self._paused and self._owner is not None:
            self._paused = True
            self._owner.pause_writing()

    def _unwatch_writes(self) -> None:
        if self._watches_writes:
            self._watches_writes = False
            self._loop.remove_writer(self._fileno)

    def _fail(self, error: Exception) -> None:
        """Ends with a failure: of the socket, which the owner is told, or of the owner, which the loop is told."""
        if not isinstance(error, (OSError, TlsError)):
            self._loop.call_exception_handler(
                {"message": "fatal error: a transport failed at what it was handed", "exception": error}
            )
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._closing = self._lost = True
        self.pause_reading()
        self._unwatch_writes()
        # Nobody expects to be told within the call that caused it.
        self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        owner, self._owner, self._reader = self._owner, None, None
        try:
            if owner is not None:
                owner.connection_lost(error)
        finally:
            # The number may be another socket's from here on: nothing watches it any more, and nothing reads it.
            self._link.close()
            self._sock.close()
