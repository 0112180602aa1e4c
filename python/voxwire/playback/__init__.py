"""Playing: joins contexts and sinks. Nothing else in voxwire knows both."""

from __future__ import annotations

from voxwire.playback.heard import Certainty, Heard
from voxwire.playback.output import Output, open_sink
from voxwire.playback.playback import Playback, play
from voxwire.sinks import default_address

__all__ = ["Certainty", "Heard", "Output", "Playback", "default_address", "open_sink", "play"]
