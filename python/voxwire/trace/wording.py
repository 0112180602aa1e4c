"""How what was seen is called, in the timeline and in the picture."""

from __future__ import annotations

__all__ = ["counted", "moment_name"]

_MOMENTS = {
    "first_audio": "first audio",
    "first_sound": "first sound",
    "flush_done": "flushed",
    "done": "all received",
}


def moment_name(name: str) -> str:
    """Returns what a moment is called."""
    return _MOMENTS.get(name, name)


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, as in ``1 piece`` or ``2 pieces``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
