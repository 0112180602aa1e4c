"""The clock of a listener who hears a file while it is written."""

from __future__ import annotations

import time

__all__ = ["Pace"]


class Pace:
    """Says when what was written has been heard. Nothing drifts: every moment is counted from the one before.

    Args:
        sample_rate: Frames per second.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._heard_at: float | None = None

    def play(self, frames: int) -> None:
        """Returns when that many further frames have been heard."""
        if self._heard_at is None:
            self._heard_at = time.monotonic()
        self._heard_at += frames / self._sample_rate
        time.sleep(max(0.0, self._heard_at - time.monotonic()))

    def rest(self) -> int:
        """Lets the time in which nothing was to be heard pass by, and returns it in frames."""
        if self._heard_at is None:
            return 0
        frames = int((time.monotonic() - self._heard_at) * self._sample_rate)
        if frames <= 0:
            return 0
        self._heard_at += frames / self._sample_rate
        return frames
