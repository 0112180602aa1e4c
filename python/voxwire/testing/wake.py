"""A host's wake, for tests of sinks without a host."""

from __future__ import annotations

import contextlib
import select
import socket

__all__ = ["RecordingWake"]


class RecordingWake:
    """A host's wake that a test can wait for; native code may write to its descriptor."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def __call__(self) -> None:
        """Wakes."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def fileno(self) -> int:
        """The descriptor."""
        return self._writer.fileno()

    def wait(self, timeout_s: float) -> bool:
        """Waits for a wake; False if none came in time."""
        if not select.select([self._reader], [], [], timeout_s)[0]:
            return False
        self._reader.recv(4096)
        return True

    def forget(self) -> None:
        """Forgets the wakes so far."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Closes the descriptors."""
        self._reader.close()
        self._writer.close()
