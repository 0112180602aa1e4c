"""Carries speech from a text-to-speech WebSocket to where it is heard, fast.

Importing this scans nothing and loads no plugin: each name is imported at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat
    from voxwire.client import Client
    from voxwire.client.context import Context
    from voxwire.client.events import Audio, FlushDone, Phonemes, Word, Words
    from voxwire.client.feeding import Text
    from voxwire.client.record import Record
    from voxwire.exceptions import (
        AdmissionTimeout,
        AuthenticationError,
        ConnectError,
        ConnectionLost,
        ConnectTimeout,
        ContextEnded,
        ContextExpired,
        DrainTimeout,
        EngineError,
        FormatRefused,
        InactivityTimeout,
        InvalidRequest,
        NotFound,
        PermissionDenied,
        PluginError,
        ProtocolError,
        RateLimited,
        ServerError,
        SinkBusy,
        SinkClosed,
        SinkError,
        SinkLost,
        TlsError,
        Unsupported,
        VoxwireError,
    )
    from voxwire.playback import Certainty, Heard, Output, Playback, open_sink
    from voxwire.protocol import TlsContext, __version__

__all__ = [
    "AdmissionTimeout",
    "Audio",
    "AudioFormat",
    "AuthenticationError",
    "Certainty",
    "Client",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "Context",
    "ContextEnded",
    "ContextExpired",
    "DrainTimeout",
    "EngineError",
    "FlushDone",
    "FormatRefused",
    "Heard",
    "InactivityTimeout",
    "InvalidRequest",
    "NotFound",
    "Output",
    "PermissionDenied",
    "Phonemes",
    "Playback",
    "PluginError",
    "ProtocolError",
    "RateLimited",
    "Record",
    "ServerError",
    "SinkBusy",
    "SinkClosed",
    "SinkError",
    "SinkLost",
    "Text",
    "TlsContext",
    "TlsError",
    "Unsupported",
    "VoxwireError",
    "Word",
    "Words",
    "__version__",
    "open_sink",
]

_HOMES = {
    "Audio": "client.events",
    "AudioFormat": "audio",
    "Certainty": "playback",
    "Client": "client.client",
    "Context": "client.context",
    "FlushDone": "client.events",
    "Heard": "playback",
    "Output": "playback",
    "Phonemes": "client.events",
    "Playback": "playback",
    "Record": "client.record",
    "Text": "client.feeding",
    "TlsContext": "protocol",
    "Word": "client.events",
    "Words": "client.events",
    "__version__": "protocol",
    "open_sink": "playback",
}
# Rooms that are used as ``voxwire.room.name`` without an import of their own.
_ROOMS = frozenset({"audio", "exceptions", "protocol", "server", "sync", "testing"})


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"voxwire.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"voxwire.{_HOMES.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
