"""The contract between the host and a sink, version 1.

The host owns the queue, resampling, barge-in and the bookkeeping of utterances. A sink owns only what was handed over
to it, and must be able to say how much of that was heard. All counts are frames of the opened format, per *segment*:
what was written between two clears.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Buffer

__all__ = [
    "Address",
    "Capabilities",
    "Clock",
    "FormatPattern",
    "Opened",
    "Option",
    "Position",
    "Probe",
    "Quality",
    "Sink",
    "Wake",
    "accepts",
    "choose_format",
]

Clock = Literal["device", "timer", "remote", "none"]
"""Who paces: the device, a timer of the sink, a remote end, or nobody (as fast as it is written)."""
Quality = Literal["measured", "estimated", "sent", "written"]
"""What ``played`` means: measured at the device, estimated from a clock, sent to the far end, written to a file."""


@dataclass(frozen=True, slots=True)
class FormatPattern:
    """A set of formats, for ``Capabilities.formats``; None stands for any value.

    Attributes:
        encoding: Name of an encoding.
        sample_rate: Frames per second.
        channels: Samples per frame.

    Raises:
        ValueError: No ``AudioFormat`` has such a value.
        TypeError: A value is of another type.
    """

    encoding: str | None = None
    sample_rate: int | None = None
    channels: int | None = 1

    def __post_init__(self) -> None:
        given = {"encoding": self.encoding, "sample_rate": self.sample_rate, "channels": self.channels}
        AudioFormat(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a sink can do, known before it is opened.

    Attributes:
        formats: Formats in order of preference, a None field standing for any value; None where they are known only
            at ``open``.
        clock: Who paces.
        position: The best quality that ``Position.quality`` reaches.
        can_clear: ``clear`` takes back what was not yet played; else it discards nothing.
        can_pause: ``pause`` and ``resume`` work.
        max_lead_ms: The host never hands over more than this ahead of what was played; 0 for no limit.
    """

    formats: tuple[AudioFormat | FormatPattern, ...] | None
    clock: Clock
    position: Quality
    can_clear: bool
    can_pause: bool
    max_lead_ms: int


@dataclass(frozen=True, slots=True)
class Opened:
    """What ``open`` settled on.

    Attributes:
        format: Exactly one of the offered formats.
        quantum: Frames that leave together: a period, a packet; 1 where there is none.
        buffer: Frames that the sink holds at most.
        latency: Frames of a fixed further delay before they are heard.
    """

    format: AudioFormat
    quantum: int
    buffer: int
    latency: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a sink stands; always ``played <= written - discarded``.

    Attributes:
        segment: Number of the segment, one more after each clear of a segment that was not empty.
        written: Frames taken in this segment.
        played: Frames heard in the sense of ``quality``; never falls within a segment. Silence that the sink inserted
            is not counted.
        discarded: Frames that a clear took back.
        xruns: Underruns since the open.
        at_ns: ``time.monotonic_ns()`` of this reading.
        bound: Frames by which ``played`` may be off; 0 is exact.
        quality: What ``played`` means in this reading.
    """

    segment: int
    written: int
    played: int
    discarded: int
    xruns: int
    at_ns: int
    bound: int
    quality: str


class Wake(Protocol):
    """How a sink calls its host; made by the host, one for each opened sink, valid until ``close`` has returned."""

    def __call__(self) -> None:
        """Wakes the host; from Python, on any thread; never blocks and never fails."""

    def fileno(self) -> int:
        """A descriptor for native code: one write of 1 to 8 bytes wakes the host, without the GIL."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an address.

    Attributes:
        help: One line for lists and messages.
        default: Value where the address does not give it.
        parse: Makes the value from the text in the address; raises ValueError with what would be right.
    """

    help: str
    default: Any = None
    parse: Callable[[str], Any] = str


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a sink can be used on this machine.

    Attributes:
        usable: It can.
        reason: Why not, in one line; empty where it can.
        address: The address to use where the user gave none (a default sound device), or None.
    """

    usable: bool
    reason: str = ""
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: ``scheme:target?options``.

    Attributes:
        scheme: The sink's name, in lower case.
        target: What the sink is to open, without percent-encoding; of ``scheme://host:port`` the ``host:port``.
        options: Every option that the sink declares, parsed, with defaults filled in.
    """

    scheme: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.target}"


class Sink(Protocol):
    """Where audio goes.

    ``write`` comes from one thread, ``position`` and ``clear`` from any. The host calls ``open`` and ``close`` on a
    thread of its own, where they may block.

    ``wake`` is owed once: after a short ``write`` when half of the buffer is free again, after a ``finish`` when
    everything before it has played, and when the sink is lost.

    The other methods must return at once. Where one does not, no event loop hangs: the host calls them on a thread and
    gives the sink up after a second. A class that says ``inline = True`` vouches for the methods of its own and of its
    bases, and is called in the loop itself, which saves two switches of threads a call.
    """

    api_version: ClassVar[int] = 1
    options: ClassVar[Mapping[str, Option]]

    def __init__(self, address: Address) -> None:
        """Takes a checked address; does no I/O.

        Raises:
            ValueError: The target is none that this sink can ever open.
        """

    @classmethod
    def probe(cls) -> Probe:
        """Says whether this sink can be used here; quick and without side effects."""
        ...

    def capabilities(self) -> Capabilities:
        """What this sink can do; constant."""
        ...

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Opens the target with the first of the formats that it can do exactly.

        Raises:
            FormatRefused: It can do none of them; the host may call again with others.
            SinkBusy: Somebody else uses it.
            SinkError: Any other reason, naming the target.
        """
        ...

    def write(self, data: Buffer, /) -> int:
        """Takes whole frames and returns how many, from 0 to all; never blocks and keeps no reference to ``data``.

        An empty buffer takes nothing, and still raises where the sink is lost or closed.

        Raises:
            ValueError: The buffer ends inside a frame.
            SinkLost: The sink failed.
            SinkClosed: After ``close``.
        """
        ...

    def finish(self) -> None:
        """Plays out what was written and pads a short last quantum; never blocks, does not end the segment.

        Raises:
            SinkLost: The sink failed.
            SinkClosed: After ``close``.
        """

    def clear(self) -> Position:
        """Drops what can still be dropped and returns the final numbers of the segment.

        ``played + discarded == written``; ``played`` then counts what will have been heard, including what has left
        already. Takes at most 5 ms, or one period of a device. Clearing an empty segment changes nothing.
        """
        ...

    def position(self) -> Position:
        """Where the sink stands; cheap."""
        ...

    def pause(self) -> None:
        """Stops playing, keeping what was written.

        Raises:
            Unsupported: ``can_pause`` is False.
        """

    def resume(self) -> None:
        """Goes on after ``pause``.

        Raises:
            Unsupported: ``can_pause`` is False.
        """

    def close(self) -> None:
        """Closes at once, as after a clear; works twice and after a loss."""


def accepts(pattern: AudioFormat | FormatPattern, audio_format: AudioFormat) -> bool:
    """True if the format lies in the pattern."""
    return (
        pattern.encoding in {None, audio_format.encoding}
        and pattern.sample_rate in {None, audio_format.sample_rate}
        and pattern.channels in {None, audio_format.channels}
    )


def choose_format(
    offered: Sequence[AudioFormat], patterns: Sequence[AudioFormat | FormatPattern], who: str
) -> AudioFormat:
    """Returns the first offered format that lies in one of the patterns, as ``Sink.open`` must choose.

    Args:
        offered: What the host offered, best first.
        patterns: What the sink can do.
        who: The sink, for the message.

    Raises:
        FormatRefused: None does.
    """
    for audio_format in offered:
        if any(accepts(pattern, audio_format) for pattern in patterns):
            return audio_format
    possible = "; ".join(_spell(pattern) for pattern in patterns)
    asked = ", ".join(str(audio_format) for audio_format in offered[:3]) or "none"
    more = f" and {len(offered) - 3} more" if len(offered) > 3 else ""
    raise FormatRefused(f"{who} takes {possible}, offered was {asked}{more}")


def _spell(pattern: AudioFormat | FormatPattern) -> str:
    encoding = pattern.encoding or "any encoding"
    rate = "any rate" if pattern.sample_rate is None else f"{pattern.sample_rate} Hz"
    channels = "any number of channels" if pattern.channels is None else f"{pattern.channels} channel(s)"
    return f"{encoding} at {rate} with {channels}"
