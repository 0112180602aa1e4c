"""Looking at a context: when its text went, when its audio came, how much waited, and when which word was heard.

| file | what stands there |
|---|---|
| `model` | `Trace`: what was seen, in seconds from the first push |
| `playhead` | from seconds of audio to the moments at which they were heard |
| `recorder` | `Recorder`: collects it, as the watcher of one playback |
| `speaking` | `speak`: one context, played and looked at |
| `listener` | `SilentListener`: a sink in real time, where there is no sound device |
| `series`, `wording` | what timeline and picture are made from |
| `plot` | the picture; it alone needs a plotting library, and is imported by who draws |
"""

from voxwire.trace.listener import SilentListener
from voxwire.trace.model import Trace
from voxwire.trace.recorder import Recorder
from voxwire.trace.speaking import speak

__all__ = ["Recorder", "SilentListener", "Trace", "speak"]
