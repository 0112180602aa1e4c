"""How a sink wakes its host: a descriptor that the event loop watches."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["LoopWake"]


class LoopWake:
    """Calls ``callback`` in the loop, once for any number of wakes since the last turn.

    A pair of sockets rather than an eventfd: a write of any size wakes, and a forgotten pair is closed by the garbage
    collector.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.settimeout(0)
        # Held for the send, so that no thread writes to a number that close has given to another file meanwhile.
        self._lock = threading.Lock()
        loop.add_reader(self._reader, self._read)

    def __call__(self) -> None:
        """Wakes the host; any thread."""
        with self._lock, contextlib.suppress(OSError):
            # A full buffer means that a wake is on its way already; a closed socket that nobody waits.
            self._writer.send(b"\0")

    def fileno(self) -> int:
        """The descriptor for native code; valid until ``close``, which follows the sink's."""
        return self._writer.fileno()

    def detach(self) -> None:
        """Stops calling back; the descriptor stays valid. In the loop's thread."""
        if self._reader.fileno() >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._reader)

    def close(self) -> None:
        """Closes the descriptor; after ``detach`` and after the sink's close; any thread."""
        with self._lock:
            self._writer.close()
            self._reader.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        self._callback()
