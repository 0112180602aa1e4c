"""What a peer has taken of what was sent, as far as the system tells."""

from __future__ import annotations

import struct
import sys
from typing import cast

__all__ = ["unacknowledged_bytes"]

_INT = struct.Struct("i")

if sys.platform == "linux":
    import fcntl
    import termios

    def unacknowledged_bytes(fileno: int) -> int:
        """Returns the bytes in a socket's send queue that its peer has not acknowledged (SIOCOUTQ of tcp(7))."""
        try:
            return cast("int", _INT.unpack(fcntl.ioctl(fileno, termios.TIOCOUTQ, bytes(_INT.size)))[0])
        except OSError:
            return 0

else:

    def unacknowledged_bytes(fileno: int) -> int:  # noqa: ARG001 - what its system holds is not known here
        """Returns 0."""
        return 0
