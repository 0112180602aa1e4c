"""What goes wrong after a request was accepted, as the refusal that tells the client (protocol.md 9)."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from voxwire.exceptions import EngineError
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from voxwire.server.voices import Catalogue

__all__ = ["INTERNAL", "full", "log_fault", "refusal_of", "shutting_down"]

_logger = logging.getLogger("voxwire.server")

INTERNAL = Refusal(500, "Internal error", "the server failed on this context, retry on a new one")
_RETRY_AFTER_S = 5


def full() -> Refusal:
    """Returns the refusal of a connection over the limit of the server."""
    return Refusal(503, "Too many connections", "the server is full, retry later", retry_after_s=_RETRY_AFTER_S)


def shutting_down() -> Refusal:
    """Returns the refusal of what comes, or still runs, at the end of the server."""
    return Refusal(503, "Shutting down", "the server is shutting down, connect again later")


def refusal_of(error: Exception, voices: Catalogue, version: str, request_id: str) -> Refusal:
    """Returns what the failure of a context means to its client; a fault of our own is logged.

    Args:
        error: Why the context cannot go on.
        voices: Of the server.
        version: Of the protocol, which decides the status of an unknown voice.
        request_id: UUID of the connection or request, for the log.
    """
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, EngineError):
        log_fault(error, request_id)
        return INTERNAL
    if error.code == "voice_not_found":
        return voices.not_found(version)
    if error.code == "language_not_supported":
        return Refusal(400, "Language not supported", error.message, code=error.code)
    return Refusal(500, "Speech engine failed", error.message, code=error.code or "engine_failed")


def log_fault(error: Exception, request_id: str) -> None:
    """Logs where it happened, but not what the exception says: that may quote a transcript."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("internal fault of connection %s: %s\n%s", request_id, type(error).__name__, trace)
