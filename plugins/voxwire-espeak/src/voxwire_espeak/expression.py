# SPDX-License-Identifier: GPL-3.0-or-later
"""How a voice changes with an emotion."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EXPRESSIONS", "NEUTRAL", "Expression"]


@dataclass(frozen=True, slots=True)
class Expression:
    """What the library is told beside the voice.

    Attributes:
        pitch: 0 to 99, 50 is the voice's own.
        pitch_range: 0 (monotonous) to 99, 50 is the voice's own.
        rate: Factor.
    """

    pitch: int = 50
    pitch_range: int = 50
    rate: float = 1.0


NEUTRAL = Expression()

#: By primary emotion. Only what is heard in any voice: a whisper has no pitch, so each differs in rate too.
EXPRESSIONS = {
    "neutral": NEUTRAL,
    "calm": Expression(pitch=44, pitch_range=28, rate=0.9),
    "angry": Expression(pitch=56, pitch_range=90, rate=1.12),
    "content": Expression(pitch=60, pitch_range=68, rate=1.05),
    "sad": Expression(pitch=36, pitch_range=20, rate=0.82),
    "scared": Expression(pitch=78, pitch_range=60, rate=1.2),
}
