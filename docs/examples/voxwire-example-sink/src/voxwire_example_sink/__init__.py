"""A sink of voxwire that notes how loud the speech is."""

from array import array

from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkError
from voxwire.sinks import Option, ThreadSink


class LevelSink(ThreadSink):
    """``level:PATH`` writes a bar for every 20 ms of sound."""

    formats = (AudioFormat("pcm_s16le", 24000), AudioFormat("pcm_s16le", 16000))
    quality = "written"
    options = {"width": Option("characters of the longest bar", default=60, parse=int)}

    def start(self, audio_format):
        try:
            self.file = open(self.address.target, "w", buffering=1)
        except OSError as error:
            raise SinkError(f"cannot open {self.address.target!r}: {error.strerror}") from error

    def send(self, data):
        loudest = max(map(abs, array("h", data)))
        print("#" * (loudest * self.address.options["width"] // 32768), file=self.file)

    def stop(self):
        self.file.close()
