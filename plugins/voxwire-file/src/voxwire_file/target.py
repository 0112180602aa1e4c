"""What is written to: a regular file, or a stream (pipe, FIFO, socket, device); opened with clear errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import sys
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


class RegularFile:
    """A file with a header that is rewritten as it grows."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = 0

    def rewrite(self, header: bytes) -> None:
        """Writes the header at the start of the file."""
        self._write_at(header, 0)
        self._size = max(self._size, len(header))

    def append(self, data: bytes) -> None:
        """Writes behind what was written.

        Raises:
            OSError: It could not be stored, or the file is no longer in any directory (``ESTALE``).
        """
        self._write_at(data, self._size)
        self._size += len(data)
        # A file that somebody has deleted still takes writes, and nobody will ever read them.
        if os.fstat(self._descriptor).st_nlink == 0:
            raise OSError(errno.ESTALE, "file was deleted")

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
    """A descriptor that is written in order and never rewritten."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) and hasattr(fcntl, "F_SETPIPE_SZ"):
            # 64 KiB are over a second of speech that nobody can take back. A pipe that holds more already, or belongs
            # to a user over the limit, stays as it is.
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def append(self, data: bytes, stopping: Callable[[], bool]) -> None:
        """Writes all of it, waiting for the reader.

        Raises:
            OSError: The reader is gone (``EPIPE``), or ``stopping()`` became true (``ECANCELED``).
        """
        view = memoryview(data)
        while view:
            # The descriptor may be shared with other programs, so it is not switched to non-blocking: a small write
            # after a poll does not block.
            if not self._poll.poll(_TICK_S * 1000):
                if stopping():
                    raise OSError(errno.ECANCELED, "reader did not take the rest")
                continue
            try:
                view = view[os.write(self._descriptor, view[:_PIPE_BYTES]) :]
            except BlockingIOError:
                continue

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)


def is_stream(path: str) -> bool:
    """True if something other than a regular file stands at the path."""
    mode = _mode(path)
    return mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_directory(path: str) -> bool:
    """True if a directory stands at the path."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def open_file(path: str) -> RegularFile:
    """Creates or empties a regular file for this writer alone.

    Raises:
        SinkBusy: Another sink is writing it.
        SinkError: It cannot be opened.
    """
    descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    try:
        _lock(descriptor, path)
        # Only now: the lock comes first, so that a busy file keeps its content.
        os.ftruncate(descriptor, 0)
    except OSError as error:
        os.close(descriptor)
        raise _refusal(path, error) from error
    except SinkError:
        os.close(descriptor)
        raise
    return RegularFile(descriptor)


def open_stream(path: str) -> Stream:
    """Opens a FIFO or a device, waiting at most 5 s for the reader of a FIFO.

    Raises:
        SinkError: It cannot be opened.
    """
    deadline = time.monotonic() + _FIFO_READER_S
    while True:
        try:
            return Stream(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise _refusal(path, error) from error
            if time.monotonic() > deadline:
                raise SinkError(f"nobody opened {path!r} for reading within {_FIFO_READER_S:g} s") from error
        time.sleep(_TICK_S)


def open_stdout() -> Stream:
    """Duplicates standard output.

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
    return Stream(descriptor)


def _mode(path: str) -> int | None:
    try:
        return Path(path).stat().st_mode
    except OSError:
        # Whatever is wrong with it, opening it will say so.
        return None


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise _refusal(path, error) from error


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
