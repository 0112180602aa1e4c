"""Versions of the protocol: dates, compared as text (protocol.md 2.3)."""

from __future__ import annotations

from datetime import date

__all__ = ["NEWEST", "STRUCTURED_ERRORS", "VOICE_BY_ID_ONLY", "resolve"]

_OLDEST = "2024-06-10"
#: From here on ``flush_id`` is sent and embedding voices are refused; up to here ``context_id`` may be absent.
VOICE_BY_ID_ONLY = "2025-04-16"
#: From here on HTTP errors are JSON, and a bad voice or dictionary is a 404.
STRUCTURED_ERRORS = "2026-03-01"
#: The newest version that the server knows.
NEWEST = "2026-08-14"

_VERSIONS = (_OLDEST, "2024-11-13", VOICE_BY_ID_ONLY, "2025-11-04", STRUCTURED_ERRORS, NEWEST)


def resolve(query: str | None, header: str | None) -> str:
    """Returns the version that a request is answered in.

    Args:
        query: Value of ``cartesia_version``; it wins, and then the header is not even checked.
        header: Value of ``Cartesia-Version``.

    Raises:
        ValueError: The value that counts is no calendar date written ``YYYY-MM-DD``.
    """
    asked = header if query is None else query
    if asked is None:
        return NEWEST
    # Only the one spelling is a version: ``fromisoformat`` alone would take week dates and dates without hyphens.
    if date.fromisoformat(asked).isoformat() != asked:
        raise ValueError("the version is not written YYYY-MM-DD")
    return max((version for version in _VERSIONS if version <= asked), default=_OLDEST)
