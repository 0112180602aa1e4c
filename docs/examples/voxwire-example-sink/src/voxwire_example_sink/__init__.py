"""A sink of voxwire that notes how loud the speech is."""

from array import array

from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkError
from voxwire.sinks import Option, ThreadSink


def width(text):
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise ValueError(f"value is {text!r}, must be a whole number of characters")


class LevelSink(ThreadSink):
    """``level:PATH`` writes a bar for every 20 ms of sound."""

    formats = (AudioFormat("pcm_s16le", 24000), AudioFormat("pcm_s16le", 16000))
    quality = "written"
    options = {"width": Option("characters of the longest bar", default=60, parse=width)}

    def __init__(self, address):
        super().__init__(address)
        if not address.target:
            raise ValueError("sink 'level' needs a path")

    def start(self, audio_format):
        try:
            self.file = open(self.address.target, "w", buffering=1)
        except OSError as error:
            raise SinkError(f"cannot open {self.address.target!r}: {error.strerror.lower()}") from error

    def send(self, data):
        loudest = max(map(abs, array("h", data)))
        print("#" * (loudest * self.address.options["width"] // 32768), file=self.file)

    def stop(self):
        self.file.close()
