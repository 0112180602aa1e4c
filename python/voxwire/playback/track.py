"""The audio of one playback on its way into a sink: what waits, what was handed over, what was played."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.audio import AudioFormat
    from voxwire.exceptions import VoxwireError
    from voxwire.sinks import Position

    OnOver = Callable[[VoxwireError | None], None]

__all__ = ["Track"]


class Track:
    """Frames of the opened format, counted from the start of the playback.

    What was handed over and may still be unplayed is kept, so that it can be handed over again after a clear that was
    meant for another track, and so that a fade can be made of it.

    Args:
        audio_format: The opened format of the sink.
        on_over: Called once, when all was played, or with the error that ended it.
    """

    def __init__(self, audio_format: AudioFormat, on_over: OnOver) -> None:
        self.format = audio_format
        self.on_over = on_over
        self.total = 0
        self.written = 0
        self.played = 0
        self.quality = ""
        self.bound = 0
        self.ended = False
        self.paused = False
        self.started = False
        self.over = False
        #: Frames after which nothing is to be played, or None.
        self.limit: int | None = None
        #: Moment of the first hand-over, and of the first frame played, on ``time.monotonic``; None before.
        self.first_written_at: float | None = None
        self.first_played_at: float | None = None
        self.xruns = 0
        self._xruns_before: int | None = None
        self._xruns_after: int | None = None
        self._sink_was_idle = False
        self._pending: deque[memoryview] = deque()
        self._kept: deque[tuple[int, memoryview]] = deque()
        self._base_frame = 0
        self._base_index = 0

    @property
    def pending(self) -> int:
        """Frames that wait to be handed over."""
        return self.total - self.written

    @property
    def kept(self) -> int:
        """Frames that were handed over and are not known to be played."""
        return self.written - self.played

    @property
    def drained(self) -> bool:
        """Everything was handed over and nothing more will come."""
        return self.ended and not self._pending

    def feed(self, data: bytes) -> None:
        """Adds whole frames; they are dropped once the track has ended."""
        if self.ended or not data:
            return
        self._pending.append(memoryview(data))
        self.total += len(data) // self.format.frame_bytes
        if self.limit is not None:
            self.stop_at(self.limit)

    def stop_at(self, limit: int) -> None:
        """Ends the track at that frame, once it is there: of what waits, only what comes before it is kept."""
        self.limit = limit
        if self.total < limit:
            return
        self.ended = True
        surplus = (self.total - max(limit, self.written)) * self.format.frame_bytes
        while surplus > 0:
            last = self._pending.pop()
            if len(last) > surplus:
                self._pending.append(last[: len(last) - surplus])
            surplus -= len(last)
        self.total = min(self.total, max(limit, self.written))

    def next_piece(self) -> memoryview | None:
        """What to hand over next."""
        return self._pending[0] if self._pending else None

    def wrote(self, frames: int, segment_frame: int, position: Position | None) -> None:
        """The sink has taken that many frames of the next piece; they begin at that frame of its segment."""
        if position is not None:
            self._xruns_before = position.xruns
            self._sink_was_idle = position.played >= position.written
        if self.kept == 0 or not self._kept:
            self._base_frame = segment_frame
            self._base_index = self.written
        piece = self._pending.popleft()
        size = frames * self.format.frame_bytes
        if size < len(piece):
            self._pending.appendleft(piece[size:])
            piece = piece[:size]
        self._kept.append((self.written, piece))
        self.written += frames

    def follow(self, position: Position) -> None:
        """Another track is handed over behind this one from now on: an underrun from here on is that one's."""
        if self._xruns_after is None:
            self._xruns_after = position.xruns

    def update(self, position: Position) -> bool:
        """Takes in where the sink stands, in the segment that the track was written to; True if more was played."""
        self.quality = position.quality
        self.bound = position.bound
        if self._xruns_before is not None:
            self.xruns = (position.xruns if self._xruns_after is None else self._xruns_after) - self._xruns_before
        index = self._base_index + position.played - self._base_frame
        if not self._kept or index <= self.played:
            return False
        if self.first_played_at is None:
            self.first_played_at = self._began_at(position, index)
        self.played = min(index, self.written)
        frame_bytes = self.format.frame_bytes
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) // frame_bytes <= self.played:
            self._kept.popleft()
        return True

    def _began_at(self, position: Position, played: int) -> float | None:
        """When the first frame sounded: at once in a sink that had nothing to play, else as the clock tells."""
        if self._sink_was_idle or self.first_written_at is None:
            return self.first_written_at
        return max(self.first_written_at, position.at_ns / 1e9 - played / self.format.sample_rate)

    def rewind(self) -> None:
        """A clear has thrown away what was not played: it waits again."""
        pieces = self.unplayed()
        self.written = self.played
        self._kept.clear()
        self._pending.extendleft(reversed(pieces))

    def following(self, frames: int) -> bytes:
        """What would be played next, that many frames of it at most."""
        return b"".join([*self.unplayed(), *self._pending])[: frames * self.format.frame_bytes]

    def unplayed(self) -> list[memoryview]:
        """What was handed over and not played, in order."""
        pieces = []
        for start, piece in self._kept:
            skip = max(0, self.played - start) * self.format.frame_bytes
            if skip < len(piece):
                pieces.append(piece[skip:])
        return pieces

    def drop(self) -> None:
        """Forgets all audio: the track is over."""
        self.over = self.ended = True
        self._pending.clear()
        self._kept.clear()

    def finish(self, error: VoxwireError | None) -> None:
        """Ends the track and says so, once."""
        if not self.over:
            self.drop()
            self.on_over(error)
