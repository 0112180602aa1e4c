from __future__ import annotations

import pytest

from voxwire.audio import AudioFormat
from voxwire.sinks import Address
from voxwire.sinks.null import NullSink
from voxwire.testing.sinks import RecordingWake, SinkConformance


class TestConformance(SinkConformance):
    def make(self):
        return NullSink(Address("null", ""))


def test_takes_everything_at_once_and_counts_it():
    sink = NullSink(Address("null", ""))
    wake = RecordingWake()
    opened = sink.open([AudioFormat("pcm_f32le", 44100)], wake)
    assert opened.format == AudioFormat("pcm_f32le", 44100)
    assert sink.write(bytes(4 * 10_000_000)) == 10_000_000
    position = sink.position()
    assert (position.written, position.played, position.quality) == (10_000_000, 10_000_000, "written")
    assert sink.clear().discarded == 0
    sink.close()
    wake.close()


def test_takes_no_target():
    with pytest.raises(ValueError, match="takes no target"):
        NullSink(Address("null", "somewhere"))
