"""A sink that plays in real time and lets nobody hear it: what a sound device does, where there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from voxwire.sinks import Address, ThreadSink

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat
    from voxwire.sinks import Position

__all__ = ["SilentListener"]


class SilentListener(ThreadSink):
    """Takes any mono format, holds 200 ms of it as a sound card does, and counts how often that ran dry."""

    #: No method waits for anything but a lock.
    inline: ClassVar[bool] = True
    clock = "timer"
    quality = "estimated"
    buffer_ms = 200
    piece_ms = 10

    def __init__(self) -> None:
        super().__init__(Address("listener", ""))
        self._format: AudioFormat | None = None
        #: When all that was sent will have been heard, and whether nothing waited behind it.
        self._heard_at_s: float | None = None
        self._dry = False

    def start(self, audio_format: AudioFormat) -> None:
        """There is nothing to open."""
        self._format = audio_format

    def send(self, data: bytes) -> None:
        """Waits as long as the piece sounds."""
        if self._format is None:
            return
        now_s = time.monotonic()
        heard_at_s = self._heard_at_s
        if heard_at_s is None or self._dry:
            self.xruns += heard_at_s is not None
            heard_at_s = now_s
        # Counted from the moment before, not from now: a thread that woke late catches up.
        heard_at_s += self._format.duration_s(len(data))
        self._heard_at_s = heard_at_s
        time.sleep(max(0.0, heard_at_s - now_s))
        self._dry = self.pending == 0

    def drained(self) -> None:
        """What follows a finish is not late."""
        self._heard_at_s = None

    def clear(self) -> Position:
        """Drops all but the piece that sounds; what follows is not late."""
        final = super().clear()
        self._heard_at_s = None
        return final
