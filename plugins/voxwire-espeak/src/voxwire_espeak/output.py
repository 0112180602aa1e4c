# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's end of the pipe to its host."""

from __future__ import annotations

import os
import struct

__all__ = ["FrameWriter"]

HEAD = struct.Struct("<cII")


class FrameWriter:
    """Writes frames to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._gathered = bytearray()

    def gather(self, kind: bytes, request_id: int, body: bytes = b"") -> None:
        """Keeps a frame for the next write."""
        self._gathered += HEAD.pack(kind, request_id, len(body))
        self._gathered += body

    def flush(self) -> None:
        """Writes all kept frames; waits while the pipe is full."""
        with memoryview(self._gathered) as rest:
            written = 0
            while written < len(rest):
                written += os.write(self._descriptor, rest[written:])
        self._gathered.clear()

    def write(self, kind: bytes, request_id: int, body: bytes = b"") -> None:
        """Writes a frame at once, after those that were kept."""
        self.gather(kind, request_id, body)
        self.flush()
