"""Speech engines: the contract, the host of worker programs, and the built-in tone engine."""

from __future__ import annotations

from voxwire.engines.contract import (
    API_VERSION,
    Engine,
    Info,
    Piece,
    Segment,
    Session,
    Settings,
    Span,
    Voice,
)
from voxwire.engines.emotions import PRIMARY_EMOTIONS, primary_emotion
from voxwire.engines.worker import WorkerEngine, WorkerVoice
from voxwire.exceptions import EngineError

__all__ = [
    "API_VERSION",
    "PRIMARY_EMOTIONS",
    "Engine",
    "EngineError",
    "Info",
    "Piece",
    "Segment",
    "Session",
    "Settings",
    "Span",
    "Voice",
    "WorkerEngine",
    "WorkerVoice",
    "primary_emotion",
]
