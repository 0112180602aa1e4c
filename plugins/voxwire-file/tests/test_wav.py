"""What is in the files: headers and samples."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import wave

import pytest
import soundfile

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused
from voxwire_file.wav import file_header

GIB4 = 1 << 32


def chunks(data):
    """The chunks of a file by an independent reading: outer name and size, then where each chunk's body is."""
    magic, size, kind = struct.unpack_from("<4sI4s", data)
    assert kind == b"WAVE"
    found, at = {}, 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        found[name] = (at + 8, length)
        at += 8 + length + length % 2
    return magic, size, found


TAGS = {"pcm_s16le": (1, 16), "pcm_f32le": (3, 32), "pcm_mulaw": (7, 8), "pcm_alaw": (6, 8)}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("encoding", TAGS)
def test_header_of_every_encoding(tmp_path, opened, encoding, channels):
    tag, bits = TAGS[encoding]
    path = tmp_path / "out.wav"
    audio_format = AudioFormat(encoding, 22050, channels)
    samples = bytes(range(1, 250)) * 4 * channels
    samples = samples[: len(samples) // (audio_format.frame_bytes * 3) * audio_format.frame_bytes * 3]
    with opened(f"file:{path}", audio_format) as out:
        out.write(samples)
    data = path.read_bytes()
    magic, size, found = chunks(data)
    assert magic == b"RIFF"
    assert size == len(data) - 8
    at, length = found[b"fmt "]
    frame_bytes = channels * bits // 8
    assert struct.unpack_from("<HHIIHH", data, at) == (
        tag,
        channels,
        22050,
        22050 * frame_bytes,
        frame_bytes,
        bits,
    )
    at_data, data_length = found[b"data"]
    assert data[at_data : at_data + data_length] == samples
    # The room that RF64 would need stands first, as EBU Tech 3306 wants it.
    assert found[b"JUNK"] == (20, 28)
    if tag == 1:
        assert length == 16
        assert at_data == 80
        assert b"fact" not in found
    else:
        assert length == 18
        assert struct.unpack_from("<H", data, at + 16) == (0,)
        assert at_data == 94
        at_fact, fact_length = found[b"fact"]
        assert fact_length == 4
        assert struct.unpack_from("<I", data, at_fact) == (data_length // frame_bytes,)


@pytest.mark.parametrize(
    ("encoding", "subtype"),
    [("pcm_s16le", "PCM_16"), ("pcm_f32le", "FLOAT"), ("pcm_mulaw", "ULAW"), ("pcm_alaw", "ALAW")],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_an_independent_reader_agrees(tmp_path, opened, encoding, subtype, channels):
    path = tmp_path / "out.wav"
    audio_format = AudioFormat(encoding, 16000, channels)
    with opened(f"file:{path}", audio_format) as out:
        out.write(bytes(audio_format.frame_bytes) * 4321)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", subtype, 16000, channels)
    assert info.frames == 4321


def test_odd_data_is_padded_and_the_pad_is_not_counted(tmp_path, opened):
    path = tmp_path / "odd.wav"
    with opened(f"file:{path}", AudioFormat("pcm_mulaw", 8000)) as out:
        out.write(b"\x7f" * 161)
    data = path.read_bytes()
    _, size, found = chunks(data)
    assert found[b"data"][1] == 161
    assert len(data) == 94 + 161 + 1
    assert size == len(data) - 8
    assert data[-1] == 0


def test_a_reader_can_follow_the_file_while_it_grows(tmp_path, opened):
    path = tmp_path / "live.wav"
    with opened(f"file:{path}") as out:
        for count in range(1, 6):
            out.write(struct.pack("<480h", *[count] * 480))
            out.drain()
            with wave.open(str(path), "rb") as reader:
                assert reader.getnframes() == 480 * count
                frames = reader.readframes(reader.getnframes())
            assert frames[-2:] == struct.pack("<h", count)


def test_everything_that_was_taken_is_stored_by_close(tmp_path, opened):
    path = tmp_path / "out.wav"
    data = os.urandom(2 * 24000 * 3)
    with opened(f"file:{path}") as out:
        out.write(data)
    with wave.open(str(path), "rb") as reader:
        assert reader.readframes(10**9) == data


def test_raw_is_the_samples_alone(tmp_path, opened):
    path = tmp_path / "any.name"
    with opened(f"raw:{path}", AudioFormat("pcm_f32le", 44100)) as out:
        out.write(b"abcd" * 1000)
    assert path.read_bytes() == b"abcd" * 1000


def test_an_existing_file_is_overwritten_not_extended(tmp_path, opened):
    path = tmp_path / "out.wav"
    path.write_bytes(b"x" * 100_000)
    with opened(f"file:{path}") as out:
        out.write(bytes(20))
    assert len(path.read_bytes()) == 100


@pytest.mark.parametrize("name", ["out.WAV", "out.wave"])
def test_suffix_is_not_case_sensitive(tmp_path, opened, name):
    with opened(f"file:{tmp_path / name}") as out:
        out.write(bytes(2))
    assert (tmp_path / name).read_bytes()[:4] == b"RIFF"


def test_wav_refuses_more_than_two_channels(tmp_path, opened):
    with pytest.raises(FormatRefused):
        opened(f"file:{tmp_path / 'out.wav'}", AudioFormat("pcm_s16le", 48000, 3))
    assert not (tmp_path / "out.wav").exists()


# --- beyond 4 GiB ---


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw"])
def test_the_header_changes_to_rf64_where_32_bits_end(encoding):
    audio_format = AudioFormat(encoding, 48000)
    frame_bytes = audio_format.frame_bytes
    length = len(file_header(audio_format, 0))
    # The outer size counts the file without its first 8 bytes, a pad byte included; 0xFFFFFFFF means "unknown".
    last = (GIB4 - 2 - (length - 8)) // frame_bytes * frame_bytes
    before = file_header(audio_format, last)
    magic, size, found = chunks(before)
    assert (magic, size) == (b"RIFF", length - 8 + last + last % 2)
    assert found[b"data"] == (length, last)
    assert b"ds64" not in found
    for data_bytes in (last + 2 * frame_bytes, GIB4, 3 * GIB4 + 4 * frame_bytes):
        after = file_header(audio_format, data_bytes)
        assert len(after) == length
        magic, size, found = chunks(after)
        assert (magic, size) == (b"RF64", GIB4 - 1)
        assert found[b"ds64"] == (20, 28)
        assert found[b"data"] == (length, GIB4 - 1)
        frames = data_bytes // frame_bytes
        outer = length - 8 + data_bytes + data_bytes % 2
        assert struct.unpack_from("<QQQI", after, 20) == (outer, data_bytes, frames, 0)
        if b"fact" in found:
            assert struct.unpack_from("<I", after, found[b"fact"][0]) == (min(frames, GIB4 - 1),)


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le"])
def test_a_wav_grows_beyond_4_gib(tmp_path, opened, encoding):
    """The file is grown as if an hour of silence had been written, so that its disk does not have to hold it."""
    path = tmp_path / "long.wav"
    audio_format = AudioFormat(encoding, 48000, 2)
    frame_bytes = audio_format.frame_bytes
    kinds = []
    with opened(f"file:{path}", audio_format) as out:
        out.write(bytes(range(1, 9)) * 600)
        out.drain()
        header_bytes = len(file_header(audio_format, 0))
        grown = header_bytes + (GIB4 - 4000 * frame_bytes - header_bytes) // frame_bytes * frame_bytes
        os.truncate(path, grown)
        out.sink._target._size = grown
        for _ in range(8):
            out.write(bytes(range(9, 17)) * (1000 * frame_bytes // 8))
            out.drain()
            # Each state of the file is read whole by somebody else.
            info = soundfile.info(path)
            assert info.frames * frame_bytes == path.stat().st_size - header_bytes
            kinds.append(info.format)
        played = out.sink.position().played
    assert kinds == ["WAV"] * 4 + ["RF64"] * 4
    assert played == 4800 // frame_bytes + 8000
    assert path.stat().st_size == grown + 8000 * frame_bytes > GIB4
    dtype, width = ("int16", 2) if encoding == "pcm_s16le" else ("float32", 4)
    with soundfile.SoundFile(path) as reader:
        first = bytes(reader.buffer_read(600, dtype=dtype))
        reader.seek(reader.frames - 8000)
        last = bytes(reader.buffer_read(8000, dtype=dtype))
    assert first == (bytes(range(1, 9)) * 600)[: 600 * 2 * width]
    assert last == bytes(range(9, 17)) * (1000 * frame_bytes)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_reads_the_length_of_rf64(tmp_path):
    path = tmp_path / "long.wav"
    header = file_header(AudioFormat(), 5 * GIB4)
    path.write_bytes(header)
    os.truncate(path, len(header) + 5 * GIB4)
    result = subprocess.run(["ffmpeg", "-i", str(path)], capture_output=True, text=True, check=False, timeout=50)
    hours, minutes, seconds = re.search(r"Duration: (\d+):(\d+):([\d.]+)", result.stderr).groups()
    assert int(hours) * 3600 + int(minutes) * 60 + float(seconds) == pytest.approx(5 * GIB4 / 48000, abs=0.01)
