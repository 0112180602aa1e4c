"""The one asyncio side of a socket, for both ends: bytes in, bytes out, back-pressure, timers."""

from __future__ import annotations

from voxwire.transport.endpoint import Endpoint
from voxwire.transport.opening import HandshakeRefused, attach, attach_socket, connect, python_context
from voxwire.transport.progress import unacknowledged_bytes
from voxwire.transport.stream import Handler, Transport

__all__ = [
    "Endpoint",
    "Handler",
    "HandshakeRefused",
    "Transport",
    "attach",
    "attach_socket",
    "connect",
    "python_context",
    "unacknowledged_bytes",
]
