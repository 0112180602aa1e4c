"""Transcoding and resampling through Python, beside numpy tables and soxr; a rival that is not installed is skipped.

Each stack converts the same tone and is checked against it before it is timed: soxr in quality HQ, by its stream, a
chunk a call. A call holds the interpreter lock: letting go of it cost 40 to 80 ns more from 160 to 38400 B, and beside
a busy thread the mean call at 38400 B took 0.8 ms in place of 0.16, since the lock has to be won back.
"""

from __future__ import annotations

import math
import struct
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from messages import ROTATION, SIZES

from voxwire.audio import AudioFormat, Resampler, transcode

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[bytes], bytes]

RATES = [
    (24000, 8000), (24000, 16000), (44100, 16000), (48000, 8000), (8000, 24000), (24000, 48000), (44100, 48000)
]  # fmt: skip
ENCODINGS = [
    ("pcm_mulaw", "pcm_s16le"), ("pcm_s16le", "pcm_mulaw"), ("pcm_s16le", "pcm_f32le"), ("pcm_f32le", "pcm_s16le")
]  # fmt: skip
TONE_HZ = 1000
AMPLITUDE = 16000


def tone(rate: int, frames: int) -> bytes:
    turn = 2 * math.pi * TONE_HZ / rate
    return array("h", (round(AMPLITUDE * math.cos(turn * frame)) for frame in range(frames))).tobytes()


def mulaw_code(sample: int) -> int:
    """One sample by the definition of G.711."""
    magnitude = min(abs(sample), 32635) + 132
    segment = magnitude.bit_length() - 8
    return ~((sample < 0) << 7 | segment << 4 | magnitude >> segment + 3 & 15) & 0xFF


def mulaw_sample(code: int) -> int:
    magnitude = (((~code & 15) << 3) + 132 << (~code >> 4 & 7)) - 132
    return magnitude if code & 128 else -magnitude


def voxwire_transcode(source: str, target: str) -> Convert:
    formats = AudioFormat(source), AudioFormat(target)
    return lambda data: transcode(data, *formats)


def numpy_transcode(source: str, target: str) -> Convert:
    """Tables where a table holds every sample, else numpy's own conversions."""
    numpy = pytest.importorskip("numpy")
    if source == "pcm_mulaw":
        decoding = numpy.array([mulaw_sample(code) for code in range(256)], dtype="<i2")
        return lambda data: decoding[numpy.frombuffer(data, numpy.uint8)].tobytes()
    if target == "pcm_mulaw":
        encoding = numpy.array([mulaw_code((word ^ 0x8000) - 0x8000) for word in range(65536)], dtype=numpy.uint8)
        return lambda data: encoding[numpy.frombuffer(data, "<u2")].tobytes()
    scale = numpy.float32(32768)
    if target == "pcm_f32le":
        return lambda data: (numpy.frombuffer(data, "<i2") / scale).astype("<f4").tobytes()
    return lambda data: (
        numpy.rint(numpy.clip(numpy.frombuffer(data, "<f4") * scale, -32768, 32767)).astype("<i2").tobytes()
    )


def voxwire_resample(source_rate: int, target: AudioFormat) -> Convert:
    return Resampler(AudioFormat("pcm_s16le", source_rate), target).process


def soxr_resample(source_rate: int, target: AudioFormat) -> Convert:
    numpy = pytest.importorskip("numpy")
    soxr = pytest.importorskip("soxr")
    stream = soxr.ResampleStream(source_rate, target.sample_rate, 1, dtype="int16", quality="HQ")
    if target.encoding == "pcm_s16le":
        return lambda data: stream.resample_chunk(numpy.frombuffer(data, "<i2")).tobytes()
    encode = numpy_transcode("pcm_s16le", target.encoding)
    return lambda data: encode(stream.resample_chunk(numpy.frombuffer(data, "<i2")).tobytes())


TRANSCODERS: dict[str, Callable[[str, str], Convert]] = {"voxwire": voxwire_transcode, "numpy": numpy_transcode}
RESAMPLERS: dict[str, Callable[[int, AudioFormat], Convert]] = {"voxwire": voxwire_resample, "soxr": soxr_resample}


def scalar(sample: int, source: str, target: str) -> bytes:
    """What one sample, encoded in ``source``, has to become."""
    if source == "pcm_mulaw":
        sample = mulaw_sample(mulaw_code(sample))
    if target == "pcm_mulaw":
        return bytes([mulaw_code(sample)])
    return struct.pack("<h", sample) if target == "pcm_s16le" else struct.pack("<f", sample / 32768)


def check_tone(convert: Convert, pieces: list[bytes], target: AudioFormat) -> None:
    """The tone has to come out at the level it went in, late by whatever the stack is late."""
    out = b"".join(convert(piece) for piece in pieces * (1 + 64000 // sum(map(len, pieces))))
    heard = array("h", transcode(out, target, AudioFormat("pcm_s16le", target.sample_rate)))
    # Whole turns, after every filter has filled and before the end.
    turn = target.sample_rate // math.gcd(target.sample_rate, TONE_HZ)
    middle = heard[len(heard) // 2 :][: len(heard) // 4 // turn * turn]
    assert middle, "nothing came out"
    level = math.sqrt(2 * sum(sample * sample for sample in middle) / len(middle))
    tolerance = 0.01 if target.encoding == "pcm_mulaw" else 0.0001
    assert level == pytest.approx(AMPLITUDE, rel=tolerance)


def measure(benchmark: Any, stack: str, convert: Convert, pieces: list[bytes]) -> None:
    benchmark.extra_info.update(stack=stack, size=len(pieces[0]), messages=len(pieces))

    def rotation() -> None:
        for piece in pieces:
            convert(piece)

    benchmark(rotation)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("source", "target"), ENCODINGS)
@pytest.mark.parametrize("stack", TRANSCODERS)
def test_transcode(benchmark, stack: str, source: str, target: str, size: int) -> None:
    convert = TRANSCODERS[stack](source, target)
    width = {"pcm_mulaw": 1, "pcm_s16le": 2, "pcm_f32le": 4}[source]
    # Neighbouring values far apart, so that all ranges of the tables are used.
    samples = [(7919 * (place + 1)) % 65536 - 32768 for place in range(ROTATION * size // width)]
    data = b"".join(scalar(sample, "pcm_s16le", source) for sample in samples)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    expected = b"".join(scalar(sample, source, target) for sample in samples)
    assert b"".join(map(convert, pieces)) == expected
    benchmark.group = f"transcode {size} B, {source} to {target}"
    measure(benchmark, stack, convert, pieces)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_mulaw"])
@pytest.mark.parametrize("stack", RESAMPLERS)
def test_resample(benchmark, stack: str, encoding: str, size: int) -> None:
    target = AudioFormat(encoding, 8000)
    # The rotation joins without a step: each size times the rotation holds whole turns of the tone.
    data = tone(24000, ROTATION * 3 * size // 2)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    check_tone(RESAMPLERS[stack](24000, target), pieces, target)
    benchmark.group = f"resample {size} B, pcm_s16le at 24000 Hz to {target}"
    measure(benchmark, stack, RESAMPLERS[stack](24000, target), pieces)


@pytest.mark.parametrize(("source_rate", "target_rate"), RATES)
@pytest.mark.parametrize("stack", RESAMPLERS)
def test_resample_20_ms(benchmark, stack: str, source_rate: int, target_rate: int) -> None:
    target = AudioFormat("pcm_s16le", target_rate)
    pieces = [tone(source_rate, source_rate // 50)] * ROTATION
    check_tone(RESAMPLERS[stack](source_rate, target), pieces, target)
    benchmark.group = f"resample 20 ms, {source_rate} to {target_rate} Hz"
    measure(benchmark, stack, RESAMPLERS[stack](source_rate, target), pieces)
