"""Playing: joins contexts and sinks. Nothing else in voxwire knows both."""

from __future__ import annotations

from voxwire.playback.heard import Certainty, Heard
from voxwire.playback.output import Output, open_sink
from voxwire.playback.playback import Playback, play

__all__ = ["Certainty", "Heard", "Output", "Playback", "open_sink", "play"]
