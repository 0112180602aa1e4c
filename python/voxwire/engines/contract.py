"""The contract between the server and a speech engine, version 1.

An engine is a class in the entry-point group ``voxwire.engines``, made without arguments. The host calls
``start`` once, ``open`` for each context, ``Session.speak`` for each piece of text that is ready, and ``stop`` at
the end, all on one event loop. Text goes in as segments; audio and times are *pulled* out of an async generator,
which gives back-pressure, and whose ``aclose`` cancels.

The host takes markup out, cuts text into segments, substitutes pronunciations, resamples and encodes, makes the
silence of breaks, adds the time of earlier segments, estimates word times where an engine has none, applies volume
where an engine cannot, and keeps to ``Info.max_parallel`` and ``Info.max_segment_chars``. The engine normalises
text, times words, and changes speed (never by resampling).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

__all__ = ["API_VERSION", "Engine", "Info", "Piece", "Segment", "Session", "Settings", "Span", "Voice"]

#: Version of this contract; an engine class says it as ``api_version``.
API_VERSION = 1

#: What was spoken (a word as it stands in the segment, or an IPA symbol) and its start and end in seconds from the
#: start of the segment's audio.
Span: TypeAlias = tuple[str, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice that an engine offers.

    Attributes:
        id: What a request names; stable between releases.
        name: For people, unique within the engine.
        languages: Codes the voice was made for, native first; empty for any. ``Engine.open`` decides about others.
        gender: ``masculine``, ``feminine`` or ``gender_neutral``; None where it has none.
        description: One line for people.
        default: True for exactly one voice of an engine.
        aliases: Other ids that mean this voice; the host passes on ``id`` alone.
    """

    id: str
    name: str
    languages: tuple[str, ...] = ()
    gender: str | None = None
    description: str = ""
    default: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What an engine can do; read once after ``start``.

    Attributes:
        name: Its name in the entry-point group.
        sample_rate: Samples per second of all its audio.
        encoding: ``pcm_s16le`` or ``pcm_f32le``, of all its audio; always mono.
        languages: Codes it speaks (ISO 639-1); empty for any.
        words: It times words; otherwise the host estimates them.
        phonemes: It times phonemes.
        speed_range: Lowest and highest ``Segment.speed``.
        volume: It applies ``Segment.volume``; otherwise the host does, exactly.
        gain: What the host multiplies its samples by. Below 1 for an engine that uses the full scale: that leaves room
            for a volume of 2, the loudest there is, where 0.5 leaves enough for all.
        emotion: It honours ``Segment.emotion``.
        text_streaming: It takes text that is not cut at sentences.
        max_parallel: ``speak`` calls at once; the host queues the rest.
        max_segment_chars: Code points of a segment's text at most.
    """

    name: str
    sample_rate: int
    encoding: str = "pcm_s16le"
    languages: tuple[str, ...] = ()
    words: bool = False
    phonemes: bool = False
    speed_range: tuple[float, float] = (1.0, 1.0)
    volume: bool = False
    gain: float = 1.0
    emotion: bool = False
    text_streaming: bool = False
    max_parallel: int = 1
    max_segment_chars: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is fixed for a context.

    Attributes:
        voice: Id of a voice; None for the default one.
        language: Code or locale (``en``, ``en-GB``); None for the voice's own.
        words: Word times are wanted; without it none are given.
        phonemes: Phoneme times are wanted; without it none are given.
        options: Specific to the engine.
    """

    voice: str | None = None
    language: str | None = None
    words: bool = True
    phonemes: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of text to be spoken.

    Attributes:
        text: Plain text; markup is already out.
        ends_sentence: False where more of the same sentence follows: the pitch stays up, no pause is made.
        last: Nothing follows in this context.
        speed: Factor, 1 is normal; within ``Info.speed_range``.
        volume: Factor, 1 is normal.
        emotion: Name of an emotion as the client gave it, or None; ``primary_emotion`` tells the nearest of a few.
    """

    text: str
    ends_sentence: bool = True
    last: bool = False
    speed: float = 1.0
    volume: float = 1.0
    emotion: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a segment's audio, with what is known by then.

    Times come before the audio they speak of, or with it; a word may be reported one word late.

    Attributes:
        pcm: Mono samples at ``Info.sample_rate`` in ``Info.encoding``; whole samples, may be empty.
        words: Word times in order: each word as it stands in the segment, none with a letter or digit left out, the
            last one ending with the audio (within 50 ms).
        phonemes: Phoneme times in order.
    """

    pcm: bytes
    words: tuple[Span, ...] = ()
    phonemes: tuple[Span, ...] = ()


class Session(Protocol):
    """The engine's side of one context; it may keep prosody from segment to segment."""

    def speak(self, segment: Segment) -> AsyncGenerator[Piece, None]:
        """Speaks a segment; one at a time.

        Closing the generator (``aclose``, or cancelling the task that runs it) cancels the speech within 50 ms.

        Raises:
            EngineError: This context fails; no other is touched. Codes: ``engine_failed`` (the engine raised),
                ``engine_crashed`` (its process died), ``engine_timeout`` (it took longer than its deadline).
        """

    async def close(self) -> None:
        """Ends the session and whatever it still speaks."""


class Engine(Protocol):
    """Turns text into speech."""

    api_version: ClassVar[int]

    @property
    def info(self) -> Info:
        """What it can do; fixed once ``start`` has returned."""

    async def start(self, config: Mapping[str, Any]) -> None:
        """Loads models and starts workers, without using the network.

        Args:
            config: Options by name; values may be text.

        Raises:
            ValueError: An option is unknown, or its value is wrong.
            EngineError: It cannot work here; the message names what is missing.
        """

    async def stop(self) -> None:
        """Ends all speech; leaves no process, no task and no descriptor.

        Does nothing where nothing was started. The engine may be started again.
        """

    def voices(self) -> list[Voice]:
        """All voices; exactly one is the default."""

    async def open(self, settings: Settings) -> Session:
        """Opens the session of a context.

        Raises:
            EngineError: With code ``voice_not_found`` or ``language_not_supported``.
        """

    def healthy(self) -> bool:
        """Says whether a segment handed over now would be spoken: never before ``start`` or after ``stop``."""
