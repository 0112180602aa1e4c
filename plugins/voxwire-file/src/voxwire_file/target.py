"""What is written to: a regular file, or a stream (pipe, FIFO, socket, device); opened with clear errors."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import sys
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from voxwire.exceptions import SinkBusy, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RegularFile", "Stream", "is_directory", "is_stream", "open_file", "open_stdout", "open_stream", "reason"]

#: A pipe takes writes of up to PIPE_BUF bytes whole; it is at least 4096 on Linux.
_PIPE_BYTES = 4096
_FIFO_READER_S = 5.0
_TICK_S = 0.05
#: How often a pipe is asked how much its reader has taken: nothing tells.
_READ_TICK_S = 0.005
#: What may wait for the disk in a durable file, so that the sync at its end is short.
_UNSYNCED_BYTES = 4 << 20


class RegularFile:
    """A file that grows, and whose beginning may be written again.

    Args:
        descriptor: Open for writing, empty; closed by ``close``.
        durable: The disk keeps up with the file.
    """

    def __init__(self, descriptor: int, *, durable: bool = False) -> None:
        self._descriptor = descriptor
        self._durable = durable
        self._size = 0
        self._unsynced = 0

    @property
    def size(self) -> int:
        """Bytes that were written whole; behind them there may be a part of what could not be."""
        return self._size

    def rewrite(self, data: bytes, offset: int = 0) -> None:
        """Writes over what stands at the offset."""
        self._write_at(data, offset)
        self._size = max(self._size, offset + len(data))

    def append(self, data: bytes) -> None:
        """Writes behind what was written.

        Raises:
            OSError: It could not be stored.
        """
        self._write_at(data, self._size)
        self._size += len(data)
        self._unsynced += len(data)
        if self._durable and self._unsynced >= _UNSYNCED_BYTES:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def check(self) -> None:
        """Looks whether anybody will ever read the file.

        Raises:
            OSError: It is no longer in any directory (``ESTALE``): it would still take writes.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            raise OSError(errno.ESTALE, "file was deleted")

    def publish(self, part: str, path: str) -> None:
        """Gives the file its name: even if the power fails, the old file stands there or the whole new one.

        Raises:
            OSError: It could not be stored or renamed, or another file stands at ``part`` (``ESTALE``).
        """
        os.fsync(self._descriptor)
        if not os.path.samestat(os.fstat(self._descriptor), Path(part).stat()):
            raise OSError(errno.ESTALE, "file was replaced")
        Path(part).replace(path)
        directory = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        except OSError as error:
            # Some file systems have no such thing.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(directory)

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)

    def _write_at(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset += written
            view = view[written:]


class Stream:
    """A descriptor that is written in order and never rewritten.

    Args:
        descriptor: Open for writing; closed by ``close``.
        ahead_bytes: What may wait in a pipe for its reader: nobody can take it back.
        stopping: True when it is not worth waiting for the reader any longer.
    """

    def __init__(self, descriptor: int, ahead_bytes: int, stopping: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._ahead_bytes = ahead_bytes
        self._stopping = stopping
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._fault = select.poll()
        self._fault.register(descriptor, 0)
        # The sink's thread closes, any thread asks how much is unread.
        self._lock = threading.Lock()
        self._is_open = True
        self._unfinished = 0
        self._unread = 0

    def append(self, data: bytes) -> None:
        """Writes all of it, waiting for the reader.

        Raises:
            OSError: The reader is gone (``EPIPE``), or ``stopping()`` became true (``ECANCELED``).
        """
        self._wait_unread(max(0, self._ahead_bytes - len(data)), self._stopping)
        view = memoryview(data)
        while view:
            # The descriptor may be shared with other programs, so it is not switched to non-blocking: a small write
            # after a poll does not block.
            if not self._room.poll(_TICK_S * 1000):
                if self._stopping():
                    raise OSError(errno.ECANCELED, "reader did not take the rest")
                continue
            try:
                written = os.write(self._descriptor, view[:_PIPE_BYTES])
            except BlockingIOError:
                continue
            self._unfinished += written
            view = view[written:]
        self._unfinished = 0

    def unread(self) -> int:
        """Bytes of finished appends that wait in a pipe for its reader; of other streams that cannot be known: 0."""
        with self._lock:
            if self._is_open and self._is_pipe:
                # Taken first: what is written in between counts as unread for this once.
                unfinished = self._unfinished
                answer = fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(struct.calcsize("i")))
                self._unread = max(0, struct.unpack("i", answer)[0] - unfinished)
            return self._unread

    def wait_read(self, until: Callable[[], bool]) -> None:
        """Waits until the reader has taken everything, or until there is something better to do.

        Raises:
            OSError: The reader is gone without it (``EPIPE``).
        """
        self._wait_unread(0, until)

    def close(self) -> None:
        """Closes the descriptor; what is unread stays as it was last."""
        self.unread()
        with self._lock:
            self._is_open = False
            os.close(self._descriptor)

    def _wait_unread(self, most: int, until: Callable[[], bool]) -> None:
        while self.unread() > most and not until():
            if self._fault.poll(_READ_TICK_S * 1000) and self.unread() > most:
                raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))


def is_stream(path: str) -> bool:
    """True if something other than a regular file stands at the path."""
    mode = _mode(path)
    return mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_directory(path: str) -> bool:
    """True if a directory stands at the path."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def open_file(path: str) -> int:
    """Creates or empties a regular file for this writer alone, and returns its descriptor.

    Raises:
        SinkBusy: Another sink is writing it.
        SinkError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOCTTY, 0o666)
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        _check_regular(descriptor, path)
        _lock(descriptor, path)
        # Only now: the lock comes first, so that a busy file keeps its content.
        os.ftruncate(descriptor, 0)
    except OSError as error:
        os.close(descriptor)
        raise _refusal(path, error) from error
    except SinkError:
        os.close(descriptor)
        raise
    return descriptor


def open_stream(path: str) -> int:
    """Opens a FIFO or a device and returns its descriptor; waits at most 5 s for the reader of a FIFO.

    Raises:
        SinkError: It cannot be opened.
    """
    deadline = time.monotonic() + _FIFO_READER_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(_mode(path) or 0):
                raise _refusal(path, error) from error
            if time.monotonic() > deadline:
                raise SinkError(f"nobody opened {path!r} for reading within {_FIFO_READER_S:g} s") from error
        time.sleep(_TICK_S)


def open_stdout() -> int:
    """Duplicates standard output and returns the descriptor.

    Raises:
        SinkError: It is closed, or a terminal.
    """
    # In a program that was started without one, descriptor 1 is the first file or socket that it opened.
    if sys.__stdout__ is None:
        raise SinkError("standard output is closed")
    try:
        descriptor = os.dup(1)
    except OSError as error:
        raise SinkError("standard output is closed") from error
    if os.isatty(descriptor):
        os.close(descriptor)
        raise SinkError("standard output is a terminal, redirect it to a file or a program")
    if sys.stdout is not None:
        sys.stdout.flush()
    return descriptor


def _mode(path: str) -> int | None:
    try:
        return Path(path).stat().st_mode
    except OSError:
        # Whatever is wrong with it, opening it will say so.
        return None


def _check_regular(descriptor: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise SinkError(f"cannot open {path!r}: is not a regular file")


def _lock(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SinkBusy(f"file {path!r} is being written by another sink") from error
    except OSError:
        # A file system without locks: two writers cannot be told apart there.
        return


def _refusal(path: str, error: OSError) -> SinkError:
    directory = Path(path).parent
    if error.errno == errno.ENOENT and not directory.is_dir():
        return SinkError(f"cannot open {path!r}: directory {str(directory)!r} does not exist")
    return SinkError(f"cannot open {path!r}: {reason(error)}")


def reason(error: OSError) -> str:
    """The system's words for an error, in lower case as in the middle of a sentence."""
    text = error.strerror or type(error).__name__
    return text[:1].lower() + text[1:]
