"""RTP streams, paced by one thread that never needs the interpreter."""

from typing import TypeAlias, final

from typing_extensions import Buffer

__all__ = ["Stream", "pacer_statistics"]

#: Segment, written, played, discarded, underruns, time of the reading, bound, quality.
_Numbers: TypeAlias = tuple[int, int, int, int, int, int, int, str]

#: What the peer reported last: packets lost since the beginning, fraction lost since its report before (0 to 1), jitter
#: in ms, round trip in ms or None, packets received since the beginning, extended highest sequence number, monotonic
#: time of the arrival in ns.
_Report: TypeAlias = tuple[int, float, float, float | None, int, int, int]

#: Upper bounds in microseconds, the last without one, and how often a time was within.
_Histogram: TypeAlias = tuple[tuple[int | None, int], ...]

#: Packets, octets of payload, packets that left more than a packet's length after their time, slots skipped after
#: stalls, packets that the system refused, underruns, jitter and its worst value in ms (RFC 3550 6.4.1, over the times of
#: sending), how far the distances of packets were from what they should be, SSRC, peer, SSRCs given up after collisions,
#: whether the peer said BYE, its last report or None.
_Statistics: TypeAlias = tuple[
    int, int, int, int, int, int, float, float, _Histogram, int, tuple[str, int], int, bool, _Report | None
]

#: Streams now; of all streams since the process began packets, late packets and the longest time in us by which the
#: thread woke late; how late it woke; stalls, slots skipped, packets that the system refused, underruns; how far the
#: distances of packets were from what they should be; seconds of CPU that the thread has used; "fifo" or "ordinary"; why
#: it is not "fifo" although that was asked for, else "".
_PacerStatistics: TypeAlias = tuple[int, int, int, int, _Histogram, int, int, int, int, _Histogram, float, str, str]

@final
class Stream:
    """One stream, from its opening to its close; every method may be called from any thread."""

    def __new__(cls, name: str) -> Stream: ...
    def open(
        self,
        wake: int,
        *,
        encoding: str,
        sample_rate: int,
        payload_type: int,
        ptime_ms: int,
        idle: str,
        cn_payload_type: int,
        telephone_event: int | None,
        ssrc: int | None,
        sequence: int | None,
        timestamp: int | None,
        dscp: int,
        bind: str,
        local_ports: tuple[int, int] | None,
        peer: tuple[str, int],
        peer_rtcp: tuple[str, int] | None,
        rtcp_mux: bool,
        cname: str,
        latch: bool,
        suite: str | None,
        key: bytes,
        peer_key: bytes,
        realtime: bool,
    ) -> tuple[int, int]:
        """Opens the stream, once; returns the frames of a packet and the frames held at most.

        Encodings are the protocol's (pcm_mulaw, pcm_alaw, pcm_s16le, which leaves in network byte order), hosts are
        numeric, `bind` may be empty, `idle` is "silence", "gap" or "cn", keys are 30 bytes or empty.
        """

    def write(self, data: Buffer) -> int:
        """Takes whole frames and returns how many."""

    def finish(self) -> None:
        """Has the host woken when all that was written has been sent."""

    def clear(self) -> _Numbers:
        """Drops what was not sent and returns the segment's final numbers."""

    def position(self) -> _Numbers:
        """What was sent."""

    def pause(self) -> None:
        """Holds the audio from the next packet on."""

    def resume(self) -> None:
        """Goes on where it stopped."""

    def close(self) -> bool:
        """Stops at once, and returns when the goodbye has been sent, if one is owed; False if it was not within 2 s."""

    def send_digits(self, digits: str, duration_ms: int, pause_ms: int) -> None:
        """Sends telephone events, one after the other; audio waits meanwhile."""

    def local(self) -> tuple[str, int, int]:
        """Host, RTP port and RTCP port; the last is 0 where there is none."""

    def statistics(self) -> _Statistics:
        """The numbers of this stream."""

def pacer_statistics() -> _PacerStatistics:
    """The numbers of the thread that sends."""
