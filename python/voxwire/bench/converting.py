"""Converting audio on the way, in chunks of 20 ms: G.711 both ways, and 24 kHz to telephony."""

from __future__ import annotations

import array
import asyncio
import cmath
import functools
import math
import sys
import time
from typing import TYPE_CHECKING

from voxwire.audio import AudioFormat, Resampler, transcode
from voxwire.bench.figures import Conversion, Timing
from voxwire.bench.machine import pinned

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.bench.machine import Cores

__all__ = ["RESAMPLING", "measure_converting"]

RESAMPLING = "s16 24 kHz to mu-law 8 kHz"

_CHUNKS_PER_S = 50
_REPETITIONS = 7
_TONE_HZ = 1000
_TONE_AMPLITUDE = 8000
_NARROW = AudioFormat("pcm_s16le", 8000)
_WIDE = AudioFormat("pcm_s16le", 24000)
_MULAW = AudioFormat("pcm_mulaw", 8000)
_ALAW = AudioFormat("pcm_alaw", 8000)
_LAWS = {"mu-law": _MULAW, "A-law": _ALAW}


async def measure_converting(seconds: float, cores: Cores, advance: Callable[[float], None]) -> list[Conversion]:
    """Measures each conversion on a second of a tone.

    Args:
        seconds: About how long.
        cores: Where to run.
        advance: Told after each step how many of the seconds are over.
    """
    _check_laws()
    tone = _tone(_NARROW)
    cases: list[tuple[str, AudioFormat, bytes, Callable[[bytes], bytes]]] = []
    for name, law in _LAWS.items():
        to_law = functools.partial(transcode, source=_NARROW, target=law)
        from_law = functools.partial(transcode, source=law, target=_NARROW)
        cases += [
            (f"s16 to {name}", _NARROW, tone, to_law),
            (f"{name} to s16", law, transcode(tone, _NARROW, law), from_law),
        ]
    resampler = Resampler(_WIDE, _MULAW)
    cases.append((RESAMPLING, _WIDE, _tone(_WIDE), resampler.process))
    _check_resampler()
    costs_ns: dict[str, list[float]] = {name: [] for name, *_ in cases}
    with pinned(cores.measured):
        # Once each, again and again: a machine has slow moments, which are to hit all of them.
        for repetition in range(_REPETITIONS):
            for name, source, data, convert in cases:
                costs_ns[name].append(_cost_ns(source, data, convert, seconds / len(cases) / _REPETITIONS))
                # An interrupt gets through between two of them.
                await asyncio.sleep(0)
            advance(seconds * (repetition + 1) / _REPETITIONS)
    return [_row(name, source.sample_rate, costs_ns[name]) for name, source, *_ in cases]


def _row(name: str, sample_rate: int, costs_ns: list[float]) -> Conversion:
    timing = Timing.of(costs_ns)
    streams = int(1e9 / timing.median / sample_rate)
    return Conversion(name=name, sample_rate=sample_rate, cpu_ns_per_sample=timing, streams_per_core=streams)


def _cost_ns(source: AudioFormat, data: bytes, convert: Callable[[bytes], bytes], seconds: float) -> float:
    """Returns the nanoseconds of CPU for a sample that goes in; what comes out was checked before."""
    size = source.sample_rate // _CHUNKS_PER_S * source.frame_bytes
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    end_s = time.monotonic() + seconds
    begin_s = time.process_time()
    rounds = 0
    while not rounds or time.monotonic() < end_s:
        for piece in pieces:
            convert(piece)
        rounds += 1
    return (time.process_time() - begin_s) / (rounds * source.frames(len(data))) * 1e9


def _tone(audio_format: AudioFormat) -> bytes:
    """Returns a second of a tone, s16."""
    step = 2 * math.pi * _TONE_HZ / audio_format.sample_rate
    samples = (round(_TONE_AMPLITUDE * math.sin(step * n)) for n in range(audio_format.sample_rate))
    return _bytes_of(array.array("h", samples))


def _bytes_of(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _samples_of(data: bytes) -> array.array[int]:
    samples = array.array("h", data)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _check_laws() -> None:
    """Compares all codes with the formulas of ITU-T G.711, and each with its own way back.

    Raises:
        RuntimeError: One differs.
    """
    codes = bytes(range(256))
    for name, expected in (("mu-law", _mulaw_sample), ("A-law", _alaw_sample)):
        law = _LAWS[name]
        samples = transcode(codes, law, _NARROW)
        if list(_samples_of(samples)) != [expected(code) for code in codes]:
            raise RuntimeError(f"{name} is not that of G.711")
        back = transcode(samples, _NARROW, law)
        # Mu-law has two codes of zero.
        if any(_samples_of(transcode(back, law, _NARROW))[code] != expected(code) for code in codes):
            raise RuntimeError(f"{name} is not what it was after the way there and back")


def _mulaw_sample(code: int) -> int:
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_sample(code: int) -> int:
    code ^= 0x55
    segment, mantissa = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = mantissa + 8 if segment == 0 else mantissa + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def _check_resampler() -> None:
    """Looks for the tone in what was made of it: the same length, the same level.

    Raises:
        RuntimeError: It is not there.
    """
    tone = _tone(_WIDE)
    size = _WIDE.sample_rate // _CHUNKS_PER_S * _WIDE.frame_bytes
    resampler = Resampler(_WIDE, _MULAW)
    pieces = [resampler.process(tone[start : start + size]) for start in range(0, len(tone), size)]
    samples = _samples_of(transcode(b"".join([*pieces, resampler.finish()]), _MULAW, _NARROW))
    middle = samples[len(samples) // 4 : len(samples) * 3 // 4]
    turn = -2j * math.pi * _TONE_HZ / _MULAW.sample_rate
    level = abs(sum(sample * cmath.exp(turn * n) for n, sample in enumerate(middle))) * 2 / len(middle)
    if abs(len(samples) - _MULAW.sample_rate) > 1 or abs(level / _TONE_AMPLITUDE - 1) > 0.02:
        raise RuntimeError("a tone came out of the resampler shorter, longer or at another level")
