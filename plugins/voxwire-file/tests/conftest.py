from __future__ import annotations

import pytest
import soundfile

from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkLost
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake


class Opened:
    """A sink with its wake."""

    def __init__(self, address, audio_format=None):
        audio_format = audio_format or AudioFormat()
        self.wake = RecordingWake()
        try:
            self.sink = open_sink(address).sink
            self.opened = self.sink.open([audio_format], self.wake)
        except BaseException:
            self.wake.close()
            raise
        self.frame_bytes = audio_format.frame_bytes

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.sink.write(view) * self.frame_bytes :]
            if view:
                assert self.wake.wait(10)

    def drain(self):
        self.sink.finish()
        position = self.sink.position()
        while position.played < position.written:
            assert self.wake.wait(10)
            position = self.sink.position()
        return position

    def loss(self):
        """The error that the sink reports once it has woken for it."""
        with pytest.raises(SinkLost) as caught:
            while self.wake.wait(10):
                self.sink.write(b"")
        return caught.value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.sink.close()
        finally:
            self.wake.close()


@pytest.fixture
def opened():
    """Opens the sink of an address with one format, 24 kHz of 16 bits where none is given."""
    return Opened


@pytest.fixture
def decode():
    """Returns all frames of a FLAC or Opus file as 16 bits, by libsndfile."""

    def decoded(path):
        with soundfile.SoundFile(path) as reader:
            if reader.frames > 1 << 60:
                # The header gives no length: no block is complete.
                return b""
            return bytes(reader.buffer_read(dtype="int16"))

    return decoded
