"""The host of speech engines that are programs of their own: any program with the frames of ``frames.py``.

An engine that may crash, is not thread-safe, or has another licence, language or Python runs this way: a small pool of
its programs, one request at a time each. The death of one fails the request that it was working on and nothing else.
"""

from __future__ import annotations

import abc
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from voxwire.engines.contract import API_VERSION, Info, Piece, Segment, Settings, Voice
from voxwire.engines.emotions import primary_emotion
from voxwire.engines.pool import Deadlines, WorkerPool
from voxwire.exceptions import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from voxwire.engines.speech import Speech

__all__ = ["WorkerEngine", "WorkerVoice"]

MAX_WORKERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerVoice:
    """What a worker program is told about a context.

    Attributes:
        name: The program's own name of the voice.
        per_char: Times are wanted for each character and not for each word.
    """

    name: str
    per_char: bool = False


class WorkerEngine(abc.ABC):
    """An engine whose speech is made by a pool of worker programs.

    A subclass sets ``info`` and says ``command``, ``voices`` and ``select``. Option of ``start``: ``workers`` (1 to
    256, default a quarter of the processors); one more is kept so that the death of one is not noticed by the others.
    Since a program is only held while it works, never while somebody listens, ``info.max_parallel`` may be many times
    the number of workers.
    """

    api_version: ClassVar[int] = API_VERSION
    info: ClassVar[Info]
    deadlines: ClassVar[Deadlines] = Deadlines()

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None
        self._crashes = 0
        self._timeouts = 0

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments; one of them is or ends in ``voxwire-<engine>-worker``."""

    @abc.abstractmethod
    def voices(self) -> list[Voice]:
        """All voices; exactly one is the default."""

    @abc.abstractmethod
    def select(self, settings: Settings) -> WorkerVoice:
        """Returns what to tell the program about this context.

        The name must come from a list of the engine's own, never from the settings: programs read paths and more
        out of it.

        Raises:
            EngineError: With code ``voice_not_found`` or ``language_not_supported``.
        """

    async def start(self, config: Mapping[str, Any]) -> None:
        """Starts the workers, all at once."""
        for name in config:
            if name != "workers":
                raise ValueError(f"unknown option {name!r} of engine {self.info.name}, known are workers")
        if self._pool is not None:
            raise RuntimeError(f"engine {self.info.name} runs already")
        pool = WorkerPool(
            self.command(),
            size=_workers(config.get("workers")) + 1,
            sample_rate=self.info.sample_rate,
            deadlines=self.deadlines,
        )
        self._pool = pool
        try:
            await pool.start()
        except BaseException:
            self._pool = None
            raise

    async def stop(self) -> None:
        """Ends all speech and all workers."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.stop()
            self._crashes += pool.crashes
            self._timeouts += pool.timeouts

    async def open(self, settings: Settings) -> WorkerSession:
        """Opens a session; no worker is bound to it."""
        voice = self.select(settings)
        if self._pool is None:
            raise EngineError(f"engine {self.info.name} is not running", code="engine_failed")
        return WorkerSession(self.info, self._pool, voice, settings)

    def healthy(self) -> bool:
        """At least one worker lives."""
        return self._pool is not None and self._pool.healthy

    @property
    def worker_pids(self) -> list[int]:
        """Process numbers of the workers that live."""
        return [] if self._pool is None else self._pool.pids

    @property
    def crashes(self) -> int:
        """Workers that died or wrote garbage so far."""
        return self._crashes + (0 if self._pool is None else self._pool.crashes)

    @property
    def timeouts(self) -> int:
        """Workers that were killed at a deadline so far: silent, or busy with a cancelled text."""
        return self._timeouts + (0 if self._pool is None else self._pool.timeouts)


class WorkerSession:
    """One context; its segments may be spoken by different workers."""

    def __init__(self, info: Info, pool: WorkerPool, voice: WorkerVoice, settings: Settings) -> None:
        self._info = info
        self._pool = pool
        self._voice = voice
        self._settings = settings
        self._speech: Speech | None = None
        self._sample_bytes = 2 if info.encoding == "pcm_s16le" else 4

    async def speak(self, segment: Segment) -> AsyncGenerator[Piece, None]:
        """Speaks a segment; closing the generator returns at once, its worker is emptied in the background."""
        text = _UNSPEAKABLE.sub(" ", segment.text)
        if len(text) > self._info.max_segment_chars:
            raise EngineError(
                f"segment of {len(text)} characters, limit is {self._info.max_segment_chars}",
                code="engine_failed",
            )
        if not text.strip():
            return
        slowest, fastest = self._info.speed_range
        self._speech = speech = await self._pool.begin(
            {
                "text": text,
                "ends_sentence": segment.ends_sentence,
                "voice": self._voice.name,
                "speed": min(max(segment.speed, slowest), fastest),
                "volume": segment.volume,
                "emotion": primary_emotion(segment.emotion),
                # A pause belongs between two sentences: neither inside one nor after the last.
                "end_pause": segment.ends_sentence and not segment.last,
                "per_char": self._voice.per_char,
            },
        )
        try:
            while (piece := await speech.next()) is not None:
                if len(piece.pcm) % self._sample_bytes:
                    raise EngineError("worker program sent a broken sample", code="engine_failed")
                yield Piece(
                    piece.pcm,
                    piece.words if self._settings.words else (),
                    piece.phonemes if self._settings.phonemes else (),
                )
        finally:
            speech.cancel()

    async def close(self) -> None:
        """Cancels what is still spoken."""
        if self._speech is not None:
            self._speech.cancel()


#: Control characters (some engines read commands in them) except the line feed, and lone surrogates, which no UTF-8
#: can carry. One character in, one out, so that positions hold; joiners stay, emoji and Indic scripts need them.
_UNSPEAKABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _workers(value: Any) -> int:
    if value is None:
        return max(1, _processors() // 4)
    try:
        workers = int(value)
    except (TypeError, ValueError):
        workers = 0
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"workers must be a whole number from 1 to {MAX_WORKERS}")
    return workers


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
