"""What a measurement gives, and the arithmetic that all share."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Conversion", "Paced", "Row", "Saturated", "Served", "Timing", "percentile"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Repetitions of one measurement: their median, the least of them, and how many they were."""

    median: float
    minimum: float
    repetitions: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Returns what is told of these, at least one."""
        return cls(statistics.median(values), min(values), len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturated:
    """Receiving as fast as one connection brings it: the cost of a burst, not of a call.

    Attributes:
        chunk_bytes: PCM of one message.
        way: ``async for``, ``batches`` or ``joined`` (batches with neighbouring chunks in one piece).
        messages: In each repetition.
        cpu_us_per_message: Microseconds of CPU.
        messages_per_s: By one core, from the median.
        pcm_megabytes_per_s: 10^6 bytes of PCM by one core, from the median.
    """

    measurement: Literal["receive_saturated"] = "receive_saturated"
    chunk_bytes: int
    way: str
    messages: int
    cpu_us_per_message: Timing
    messages_per_s: int
    pcm_megabytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """Receiving calls at the cadence of speech: every context a chunk of 20 ms every 20 ms.

    Attributes:
        connections: WebSockets.
        calls: Contexts on all of them.
        held: No queue grew: every chunk was sent in its period and taken in one.
        refused: Numbers of calls that were tried before and not held, descending.
        limited_by: Of those that were not held: ``load``, the process that sends, or ``receiver``; else None.
        messages: In all repetitions.
        cpu_us_per_message: Microseconds of CPU.
        cpu_share: Of one core, 0 to 1.
        calls_per_core: That one core receives at this cost.
        latency_us_median: From the sending to the samples in hand, in microseconds.
        latency_us_p99: The same of the slowest hundredth.
    """

    measurement: Literal["receive_paced"] = "receive_paced"
    connections: int
    calls: int
    held: bool
    refused: tuple[int, ...] = ()
    limited_by: str | None
    messages: int
    cpu_us_per_message: Timing
    cpu_share: float
    calls_per_core: int
    latency_us_median: float
    latency_us_p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Converting audio in chunks of 20 ms.

    Attributes:
        name: From what to what.
        sample_rate: Of what goes in, in Hz.
        cpu_ns_per_sample: Nanoseconds of CPU for each sample that goes in.
        streams_per_core: That one core converts in real time.
    """

    measurement: Literal["convert"] = "convert"
    name: str
    sample_rate: int
    cpu_ns_per_sample: Timing
    streams_per_core: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The server with the tone engine, every context talking at the speed of speech, s16 at 24 kHz.

    Attributes:
        talkers: Contexts that talked at once.
        held: They talked at the speed of speech, or nearly: at least 0.9 s of audio came in a second.
        cpu_ms_per_audio_s: Milliseconds of CPU for a second of audio.
        talkers_per_core: That one core serves in real time at this cost.
    """

    measurement: Literal["serve_paced"] = "serve_paced"
    talkers: int
    held: bool
    cpu_ms_per_audio_s: Timing
    talkers_per_core: int


Row = Saturated | Paced | Conversion | Served


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value below which this share of them lies; there must be one."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
