"""What was seen of one context while it was spoken and played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat
    from voxwire.client.record import Record

__all__ = ["Arrival", "Gap", "Moment", "Push", "Reading", "State", "TimedWord", "Trace", "Write"]

State = Literal["heard", "half_heard", "unheard"]
"""What became of a word."""


@dataclass(frozen=True, slots=True)
class Push:
    """Text on its way to the server."""

    time_s: float
    characters: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A piece of audio that came from the server.

    Attributes:
        time_s: When it came.
        size_bytes: Its size, in the format of the context.
        start_s: Where it begins in the context's audio.
        duration_s: How long it sounds.
    """

    time_s: float
    size_bytes: int
    start_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Write:
    """Audio that the sink took; frames of the sink's format."""

    time_s: float
    frames: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the playback stood; frames of the sink's format, from the start of the context's audio.

    Attributes:
        time_s: When the sink was asked.
        written: Frames handed over.
        played: Frames played, in the sink's sense of it.
        pending: Frames that waited to be handed over.
        xruns: Underruns so far.
    """

    time_s: float
    written: int
    played: int
    pending: int
    xruns: int


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word, in the audio and at the ear.

    Attributes:
        text: As the server sent it.
        start_s: Where it begins in the context's audio.
        end_s: Where it ends there.
        state: What became of it.
        from_s: When it began to be heard; None where it never was.
        to_s: When that ended.
    """

    text: str
    start_s: float
    end_s: float
    state: State
    from_s: float | None
    to_s: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened once: ``first_audio``, ``first_sound``, ``flush_done``, ``done``, ``interrupted`` ..."""

    name: str
    time_s: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch in which a listener who began with the first audio had nothing left to hear."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What was seen of one context. All times of day are seconds from its first push.

    Attributes:
        server: Host and port of the server, or ``embedded``.
        sink: Where it was played, without options.
        voice: The id that was asked for; None for the server's own.
        format: The format of the sink.
        paced: The sink plays at the pace of speech; one that does not takes all at once, and counts it as played.
        end_s: When the last of it happened.
        pushes: Text as it went.
        arrivals: Audio as it came.
        writes: Audio as the sink took it.
        readings: The sink's position, about every 10 ms where it moved.
        words: Words in order, with what became of them.
        moments: What happened once, in order.
        stalls: Where the audio came later than it was needed.
        underruns: When the sink was seen to have run dry.
        record: The figures of the context.
    """

    server: str
    sink: str
    voice: str | None
    format: AudioFormat
    paced: bool
    end_s: float
    pushes: tuple[Push, ...]
    arrivals: tuple[Arrival, ...]
    writes: tuple[Write, ...]
    readings: tuple[Reading, ...]
    words: tuple[TimedWord, ...]
    moments: tuple[Moment, ...]
    stalls: tuple[Gap, ...]
    underruns: tuple[float, ...]
    record: Record
