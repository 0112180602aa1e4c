"""What a stream, its peer and the pacer have counted."""

from __future__ import annotations

from dataclasses import dataclass

from voxwire_rtp import _native

__all__ = ["PacerStatistics", "Report", "Statistics", "pacer_statistics"]


@dataclass(frozen=True, slots=True)
class Report:
    """What the peer said last of what arrived (RFC 3550, 6.4.1).

    Attributes:
        lost: Packets that did not arrive, since the beginning; negative where some arrived twice.
        fraction_lost: Of those since its report before, 0 to 1.
        jitter_ms: Of the arrivals.
        round_trip_ms: From here to there and back; None until the peer has a report of ours to refer to.
        received: Packets that arrived, since the beginning.
        highest_sequence: The highest sequence number that arrived, extended by the rounds it has made.
        at_ns: ``time.monotonic_ns()`` when the report came.
    """

    lost: int
    fraction_lost: float
    jitter_ms: float
    round_trip_ms: float | None
    received: int
    highest_sequence: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one stream has sent since its opening.

    Attributes:
        packets: Packets of RTP.
        octets: Bytes of their payload.
        late: Packets that left more than a packet's length after their time.
        skipped: Packets that never left, as their time was over after a stall; no audio is lost with them.
        unsent: Packets that the system refused, of which the position has a bound.
        xruns: Times at which audio was late.
        jitter_ms: Of the departures, by the formula of RFC 3550, 6.4.1.
        worst_jitter_ms: Its worst value.
        jitter_histogram: By how much the time between two departures was not that between their timestamps: upper
            bounds in microseconds (None is beyond all) with counts.
        ssrc: The stream's number now.
        peer: Host and port to which it goes now.
        collisions: SSRCs that were given up, as the peer used the same.
        peer_left: The peer said BYE.
        report: What the peer said last, or None.
    """

    packets: int
    octets: int
    late: int
    skipped: int
    unsent: int
    xruns: int
    jitter_ms: float
    worst_jitter_ms: float
    jitter_histogram: tuple[tuple[int | None, int], ...]
    ssrc: int
    peer: tuple[str, int]
    collisions: int
    peer_left: bool
    report: Report | None


@dataclass(frozen=True, slots=True)
class PacerStatistics:
    """What the thread that sends for all streams of the process has counted since the process began.

    Attributes:
        streams: Streams now.
        packets: Packets of RTP.
        late: Packets that left more than a packet's length after their time.
        worst_late_us: The longest time by which the thread woke up late, in microseconds.
        lateness: How late the thread woke up: upper bounds in microseconds (None is beyond all) with counts.
        stalls: Times at which the thread had to skip packets.
        skipped: Packets that never left, as their time was over after a stall.
        unsent: Packets that the system refused.
        xruns: Times at which audio was late.
        jitter_histogram: As that of a stream, over all of them.
        cpu_s: Processor time that it has used.
        scheduler: ``fifo`` or ``ordinary``.
        refusal: Why it is not ``fifo`` although a stream asked for that, else empty.
    """

    streams: int
    packets: int
    late: int
    worst_late_us: int
    lateness: tuple[tuple[int | None, int], ...]
    stalls: int
    skipped: int
    unsent: int
    xruns: int
    jitter_histogram: tuple[tuple[int | None, int], ...]
    cpu_s: float
    scheduler: str
    refusal: str


def pacer_statistics() -> PacerStatistics:
    """Returns what the pacer has counted; cheap, from any thread."""
    return PacerStatistics(*_native.pacer_statistics())
