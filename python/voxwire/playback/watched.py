"""A playback that somebody looks at while it runs. Only a watched one pays for it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from voxwire.playback.playback import Playback
from voxwire.playback.track import Track

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat
    from voxwire.client.events import Event
    from voxwire.playback.output import Output
    from voxwire.playback.playback import Playable
    from voxwire.playback.track import OnOver
    from voxwire.sinks import Position

__all__ = ["WatchedPlayback", "Watcher"]


class Watcher(Protocol):
    """Learns what happens to a playback, in the turn of the loop in which it does; none of it waits or fails."""

    def handle_events(self, events: list[Event]) -> None:
        """What one read brought for the context; it has not been played."""

    def handle_end(self, error: Exception | None) -> None:
        """No more will come; why not, where that was a failure."""

    def handle_written(self, frames: int) -> None:
        """The sink has taken that many frames."""

    def handle_position(self, track: Track, position: Position) -> None:
        """The counts of the track are those of this reading of the sink."""


class WatchedPlayback(Playback):
    """A playback that tells a watcher about itself; the other arguments are those of ``Playback``."""

    def __init__(self, context: Playable, output: Output, *, owned: bool, watcher: Watcher) -> None:
        super().__init__(context, output, owned=owned, make_track=partial(_WatchedTrack, watcher))
        self._watcher = watcher

    def handle_events(self, events: list[Event]) -> None:
        """Takes what one read brought for the context, in its turn."""
        self._watcher.handle_events(events)
        super().handle_events(events)
        if self._final is None:
            self._output.refresh(self._track)

    def handle_end(self, error: Exception | None) -> None:
        """Learns that no more audio comes."""
        self._watcher.handle_end(error)
        super().handle_end(error)


class _WatchedTrack(Track):
    def __init__(self, watcher: Watcher, audio_format: AudioFormat, on_over: OnOver) -> None:
        super().__init__(audio_format, on_over)
        self._watcher = watcher

    def wrote(self, frames: int, segment_frame: int, position: Position | None) -> None:
        super().wrote(frames, segment_frame, position)
        self._watcher.handle_written(frames)

    def update(self, position: Position) -> bool:
        moved = super().update(position)
        self._watcher.handle_position(self, position)
        return moved
