"""The door to the protocol core: connections, the upgrade, events, limits.

Everything here is sans-I/O: it owns no socket, no clock and no thread. A :class:`Connection` takes bytes and gives
events and bytes; time is an argument.
"""

from __future__ import annotations

from voxwire._core import (
    CLOSE_CODES,
    LIMITS,
    Audio,
    AudioTally,
    Batch,
    Batches,
    Cancel,
    ClientHandshake,
    Closed,
    Connection,
    Failed,
    Finished,
    FlushDone,
    Inbox,
    Message,
    ReadBuffer,
    Reader,
    Request,
    ServerHandshake,
    Socket,
    Timestamps,
    TlsContext,
    Unusable,
    __version__,
)

__all__ = [
    "CLOSE_CODES",
    "LIMITS",
    "Audio",
    "AudioTally",
    "Batch",
    "Batches",
    "Cancel",
    "ClientHandshake",
    "Closed",
    "Connection",
    "Event",
    "Failed",
    "Finished",
    "FlushDone",
    "Inbox",
    "Message",
    "ReadBuffer",
    "Reader",
    "Request",
    "ServerHandshake",
    "Socket",
    "Timestamps",
    "TlsContext",
    "Unusable",
    "__version__",
]

Event = Audio | Batch | Timestamps | FlushDone | Finished | Failed | Message | Request | Cancel | Unusable | Closed
"""What ``Connection.poll_events`` gives."""
