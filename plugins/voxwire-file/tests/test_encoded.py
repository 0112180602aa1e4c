"""FLAC and Ogg Opus: what is in the file, and what is not yet."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess

import pytest
import soundfile

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused
from voxwire.playback import open_sink
from voxwire.playback.negotiation import formats_to_offer
from voxwire.testing.sinks import RecordingWake


def speech(frames, sample_rate=24000, channels=1):
    """Two tones with a rise and a fall; the second channel half as loud."""
    values = []
    for index in range(frames):
        time_s = index / sample_rate
        level = 8000 * math.sin(math.pi * index / frames)
        value = level * (math.sin(2 * math.pi * 220 * time_s) + 0.5 * math.sin(2 * math.pi * 930 * time_s))
        values += [round(value), round(value / 2)][:channels]
    return struct.pack(f"<{len(values)}h", *values)


def level(data):
    """Root mean square."""
    values = struct.unpack(f"<{len(data) // 2}h", data)
    return math.sqrt(sum(value * value for value in values) / len(values))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [8000, 22050, 24000, 44100])
def test_flac_is_lossless(tmp_path, opened, decode, sample_rate, channels):
    path = tmp_path / "out.flac"
    data = speech(10_001, sample_rate, channels)
    with opened(f"file:{path}", AudioFormat("pcm_s16le", sample_rate, channels)) as out:
        out.write(data)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", sample_rate, channels)
    assert info.frames == 10_001
    assert decode(path) == data
    assert path.stat().st_size < 0.9 * len(data)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [8000, 12000, 16000, 24000, 48000])
def test_opus_keeps_length_and_level(tmp_path, opened, decode, sample_rate, channels):
    path = tmp_path / "out.opus"
    frames = sample_rate + 123
    data = speech(frames, sample_rate, channels)
    with opened(f"file:{path}", AudioFormat("pcm_s16le", sample_rate, channels)) as out:
        out.write(data)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("OGG", "OPUS", sample_rate, channels)
    assert info.frames == frames
    decoded = decode(path)
    assert len(decoded) == len(data)
    assert level(decoded) == pytest.approx(level(data), rel=0.05)
    # Nothing is shifted: what is left of the difference is the noise of the codec.
    difference = struct.pack(
        f"<{len(data) // 2}h",
        *(
            max(-32768, min(32767, a - b))
            for a, b in zip(
                struct.unpack(f"<{len(data) // 2}h", data), struct.unpack(f"<{len(data) // 2}h", decoded), strict=True
            )
        ),
    )
    assert level(difference) < 0.3 * level(data)


@pytest.mark.parametrize("suffix", [".flac", ".opus"])
def test_a_file_without_audio_is_a_file(tmp_path, opened, suffix):
    path = tmp_path / f"out{suffix}"
    with opened(f"file:{path}"):
        pass
    assert path.read_bytes()[:4] in {b"fLaC", b"OggS"}
    if suffix == ".flac":
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 24000, 1)
        assert path.stat().st_size == 42


# --- formats ---


@pytest.mark.parametrize(
    ("suffix", "wanted", "expected"),
    [
        (".flac", None, AudioFormat("pcm_s16le", 24000)),
        (".flac", AudioFormat("pcm_f32le", 44100), AudioFormat("pcm_s16le", 24000)),
        (".flac", AudioFormat("pcm_s16le", 44100), AudioFormat("pcm_s16le", 44100)),
        (".opus", None, AudioFormat("pcm_s16le", 24000)),
        (".opus", AudioFormat("pcm_mulaw", 8000), AudioFormat("pcm_s16le", 24000)),
        (".opus", AudioFormat("pcm_s16le", 44100), AudioFormat("pcm_s16le", 24000)),
        (".opus", AudioFormat("pcm_s16le", 48000), AudioFormat("pcm_s16le", 48000)),
    ],
)
def test_the_host_finds_a_format(tmp_path, suffix, wanted, expected):
    sink = open_sink(f"file:{tmp_path / 'out'}{suffix}").sink
    wake = RecordingWake()
    opened = sink.open(formats_to_offer(sink.capabilities(), wanted), wake)
    sink.close()
    wake.close()
    assert opened.format == expected


@pytest.mark.parametrize(
    ("suffix", "audio_format"),
    [
        (".flac", AudioFormat("pcm_f32le", 24000)),
        (".flac", AudioFormat("pcm_s16le", 24000, 3)),
        (".flac", AudioFormat("pcm_s16le", 768_000)),
        (".opus", AudioFormat("pcm_s16le", 44100)),
        (".opus", AudioFormat("pcm_f32le", 48000)),
        (".opus", AudioFormat("pcm_s16le", 48000, 3)),
    ],
    ids=str,
)
def test_a_format_that_the_codec_cannot_hold_is_refused(tmp_path, opened, suffix, audio_format):
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(FormatRefused):
        opened(f"file:{path}", audio_format)
    assert path.read_bytes() == b"precious"


# --- what is in the file ---


@pytest.mark.parametrize(("suffix", "most"), [(".flac", 4096), (".opus", 25_200)])
def test_the_bound_is_what_the_encoder_still_has(tmp_path, opened, decode, suffix, most):
    """At any moment a copy of the file, which is what a killed process leaves, has ``played - bound`` frames."""
    path = tmp_path / f"out{suffix}"
    piece = speech(5000)
    with opened(f"file:{path}") as out:
        bounds = []
        for count in range(1, 13):
            out.write(piece)
            position = out.drain()
            assert position.played == 5000 * count
            assert position.quality == "written"
            assert 0 < position.bound <= most
            bounds.append(position.bound)
            copy = tmp_path / f"copy{suffix}"
            shutil.copyfile(path, copy)
            if position.played - position.bound:
                found = decode(copy)
                assert len(found) // 2 == position.played - position.bound
                if suffix == ".flac":
                    assert found == (piece * count)[: len(found)]
        assert max(bounds) > most // 2
        out.sink.close()
        assert out.sink.position().bound == 0
    assert soundfile.info(path).frames == 60_000


def test_a_short_utterance_has_a_bound_of_its_own_length(tmp_path, opened):
    with opened(f"file:{tmp_path / 'out.flac'}") as out:
        out.write(speech(960))
        position = out.drain()
        assert (position.played, position.bound) == (960, 960)
        final = out.sink.clear()
        assert (final.played, final.bound) == (960, 960)
        assert out.sink.position().bound == 0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_decodes_the_same(tmp_path, opened):
    data = speech(30_000)
    for suffix in (".wav", ".flac"):
        path = tmp_path / f"out{suffix}"
        with opened(f"file:{path}") as out:
            out.write(data)
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-"]
        assert subprocess.run(command, capture_output=True, check=True, timeout=50).stdout == data


@pytest.mark.skipif(shutil.which("opusinfo") is None, reason="needs opusinfo")
def test_opusinfo_finds_no_fault(tmp_path, opened):
    path = tmp_path / "out.opus"
    with opened(f"file:{path}") as out:
        out.write(speech(60_000))
    result = subprocess.run(["opusinfo", str(path)], capture_output=True, text=True, check=True, timeout=50)
    assert "WARNING" not in result.stdout + result.stderr
    assert "Playback length: 0m:02.500s" in result.stdout
