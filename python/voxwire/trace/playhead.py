"""From seconds of audio to the moments at which they were heard. Pure functions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Playhead"]


class Playhead:
    """The way of the played audio through time, straight between two readings.

    Args:
        times_s: When the position was read; never falls.
        played_s: Seconds of audio played by then; never falls, and as many as there are times, at least one.
    """

    def __init__(self, times_s: Sequence[float], played_s: Sequence[float]) -> None:
        self._times_s = times_s
        self._played_s = played_s

    @property
    def end_s(self) -> float:
        """Seconds of audio that were played in all."""
        return self._played_s[-1]

    def reached(self, audio_s: float) -> float:
        """When this place in the audio was first reached; for one behind the end, when the end was."""
        audio_s = min(audio_s, self.end_s)
        return self._between(bisect_left(self._played_s, audio_s), audio_s)

    def left(self, audio_s: float) -> float:
        """When the audio went on behind this place, which is later where it stood still there."""
        if audio_s >= self.end_s:
            return self.reached(audio_s)
        return self._between(bisect_right(self._played_s, audio_s), audio_s)

    def _between(self, after: int, audio_s: float) -> float:
        """The moment between the reading ``after`` and the one before it."""
        if after == 0:
            return self._times_s[0]
        (before_s, after_s), (low_s, high_s) = (
            self._times_s[after - 1 : after + 1],
            self._played_s[after - 1 : after + 1],
        )
        # Rounding must not lead behind the later reading.
        return min(after_s, before_s + (after_s - before_s) * (audio_s - low_s) / (high_s - low_s))
