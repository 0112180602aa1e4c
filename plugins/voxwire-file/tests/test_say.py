"""Speech into every container, measured by a reader that is not ours: length, level, silence."""

from __future__ import annotations

import math
import struct
import time

import pytest
import soundfile

import voxwire.sync
from voxwire.audio import AudioFormat

SENTENCE = "Hello there, this is one sentence. And this is another one."
QUIET = 100


def measure(path, audio_format):
    """Length in seconds, level and peak in full scale, silence in front and behind in seconds."""
    raw = {} if path.suffix != ".raw" else {"channels": 1, "format": "RAW", "subtype": "PCM_16"}
    raw |= {"samplerate": audio_format.sample_rate} if raw else {}
    with soundfile.SoundFile(path, **raw) as reader:
        rate = reader.samplerate
        data = memoryview(reader.buffer_read(dtype="int16")).cast("h")
    loud = [index for index, value in enumerate(data) if abs(value) > QUIET]
    return {
        "length_s": len(data) / rate,
        "level": math.sqrt(sum(value * value for value in data) / len(data)) / 32768,
        "peak": max(map(abs, data)) / 32768,
        "front_s": loud[0] / rate,
        "behind_s": (len(data) - 1 - loud[-1]) / rate,
    }


@pytest.mark.parametrize("rate", [24000, 48000, 8000])
@pytest.mark.parametrize("engine", ["tone", "espeak"])
def test_every_container_holds_the_same_speech(tmp_path, engine, rate):
    audio_format = AudioFormat("pcm_s16le", rate)
    options = {"output_format": audio_format} | ({"voice": "tone-1"} if engine == "tone" else {})
    found = {}
    with voxwire.sync.Client(f"embedded:{engine}") as client:
        for name in ("raw:out.raw", "file:out.wav", "file:out.flac", "file:out.opus"):
            path = tmp_path / name.partition(":")[2]
            record = client.say(SENTENCE, sink=f"{name.partition(':')[0]}:{path}", **options)
            assert record.outcome == "finished"
            found[path.suffix] = measure(path, audio_format)
            assert found[path.suffix]["length_s"] == pytest.approx(record.audio_s, abs=1e-6)
    reference = found[".raw"]
    assert reference["level"] > 0.01
    if engine == "tone":
        # The other engine never says a sentence twice in quite the same way.
        assert found[".wav"] == reference
        assert found[".flac"] == reference
    for suffix in (".wav", ".flac", ".opus"):
        assert found[suffix]["length_s"] == pytest.approx(reference["length_s"], abs=0.01)
        assert found[suffix]["level"] == pytest.approx(reference["level"], rel=0.05)
        assert found[suffix]["peak"] == pytest.approx(reference["peak"], rel=0.3)
        assert found[suffix]["front_s"] == pytest.approx(reference["front_s"], abs=0.03)
        assert found[suffix]["behind_s"] == pytest.approx(reference["behind_s"], abs=0.03)


def test_an_interrupted_recording_ends_where_the_listener_was(tmp_path):
    """``realtime``: what the client says was heard is what is in the file."""
    path = tmp_path / "out.wav"
    with (
        voxwire.sync.Client("embedded:tone") as client,
        voxwire.sync.open_sink(f"file:{path}?realtime=1") as line,
        client.context(SENTENCE, voice="tone-1") as context,
    ):
        playback = context.play(line)
        while playback.played_s < 0.5:
            time.sleep(0.005)
        heard = playback.interrupt(fade_ms=0)
    with soundfile.SoundFile(path) as reader:
        data = memoryview(reader.buffer_read(dtype="int16"))
        stored_s = reader.frames / reader.samplerate
    assert 0.5 <= heard.played_s < 1.5
    assert stored_s == heard.played_s
    assert heard.certainty.quality == "written"
    assert heard.certainty.bound_s == 0
    assert any(struct.unpack_from("<480h", data, 2 * 9600))
