"""The built-in engine: one triangle tone a word, the same bytes on every machine.

It needs nothing, so it is there for tests and for offline work. Integer arithmetic only: no libm, whose results differ
between systems. The audio depends on the joined text of a context, not on where it was cut between words, since
the pause after a word is sent before the next one.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import OrderedDict
from functools import lru_cache
from sys import byteorder
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from zlib import crc32

from voxwire.engines.contract import API_VERSION, Info, Piece, Segment, Settings, Span, Voice
from voxwire.exceptions import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

__all__ = ["ToneEngine"]

SAMPLE_RATE = 24_000
SAMPLES_PER_CHARACTER = 1440  # 60 ms
RAMP_SAMPLES = 120  # 5 ms
PAUSES_MS = {".": 300, "!": 300, "?": 300, ",": 150, ";": 200, ":": 200}
OTHER_PAUSE_MS = 20
#: Audio is handed over in stretches of at most a second, so that a word of any length holds nobody up.
STRETCH_SAMPLES = SAMPLE_RATE
CACHED_WORDS = 4096
CACHED_BYTES = 32 * 1024 * 1024


class ToneEngine:
    """Speaks every word as a tone whose pitch follows from voice and word.

    Options of ``start``: ``delay_ms_per_word`` (0 to 60000, waited before each word) and ``fail_on`` (a text: a
    segment that holds it fails there, after the words before it).
    """

    api_version: ClassVar[int] = API_VERSION
    info: ClassVar[Info] = Info(
        name="tone",
        sample_rate=SAMPLE_RATE,
        words=True,
        phonemes=True,
        speed_range=(0.25, 4.0),
        volume=True,
        text_streaming=True,
        max_parallel=1024,
    )

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._fail_on = ""
        self._cache = _Cache()
        self._running = False

    async def start(self, config: Mapping[str, Any]) -> None:
        """Reads the options."""
        for name in config:
            if name not in {"delay_ms_per_word", "fail_on"}:
                raise ValueError(f"unknown option {name!r} of engine tone, known are delay_ms_per_word, fail_on")
        self._delay_s = _milliseconds(config.get("delay_ms_per_word", 0)) / 1000
        self._fail_on = str(config.get("fail_on", ""))
        self._running = True

    async def stop(self) -> None:
        """Forgets the cached words."""
        self._running = False
        self._cache = _Cache()

    def voices(self) -> list[Voice]:
        """``tone-1`` (the default) to ``tone-8``."""
        return [
            Voice(
                id=f"tone-{number}",
                name=f"Tone {number}",
                gender="gender_neutral",
                description="a tone for each word, for tests",
                default=number == 1,
            )
            for number in range(1, 9)
        ]

    async def open(self, settings: Settings) -> ToneSession:
        """Opens a session; every language will do."""
        voice = settings.voice or "tone-1"
        if not re.fullmatch(r"tone-[1-8]", voice):
            raise EngineError("unknown voice, engine tone has tone-1 to tone-8", code="voice_not_found")
        return ToneSession(voice, settings, self._cache, delay_s=self._delay_s, fail_on=self._fail_on)

    def healthy(self) -> bool:
        """True between ``start`` and ``stop``."""
        return self._running


class ToneSession:
    """One context; remembers the pause that the last word has yet to get."""

    def __init__(self, voice: str, settings: Settings, cache: _Cache, *, delay_s: float, fail_on: str) -> None:
        self._voice = voice
        self._settings = settings
        self._cache = cache
        self._delay_s = delay_s
        self._fail_on = fail_on
        self._pause_samples = 0

    async def speak(self, segment: Segment) -> AsyncGenerator[Piece, None]:
        """Speaks word by word."""
        fails_at = segment.text.find(self._fail_on) if self._fail_on else -1
        position = 0
        for match in re.finditer(r"\S+", segment.text):
            if 0 <= fails_at < match.end():
                break
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            word = match.group()
            silence = self._pause_samples
            tone = _Tone.of(self._voice, word, segment)
            self._pause_samples = int(
                SAMPLE_RATE // 1000 * PAUSES_MS.get(word[-1], OTHER_PAUSE_MS) / segment.speed,
            )
            start = position + silence
            position = start + tone.samples
            words: tuple[Span, ...] = ()
            phonemes: tuple[Span, ...] = ()
            if self._settings.words:
                words = ((word, start / SAMPLE_RATE, position / SAMPLE_RATE),)
            if self._settings.phonemes:
                phonemes = tuple(_shares(word, start, tone.samples))
            before = bytes(2 * silence)
            for first in range(0, tone.samples, STRETCH_SAMPLES):
                # Whoever takes a piece lets other contexts have their turn before the next.
                yield Piece(before + self._cache.stretch(tone, first), words, phonemes)
                before, words, phonemes = b"", (), ()
        if fails_at >= 0:
            raise EngineError("engine tone was told to fail on this text", code="engine_failed")

    async def close(self) -> None:
        """Nothing is held."""


class _Tone(NamedTuple):
    """The tone of one word: what its samples depend on, and nothing else."""

    frequency_hz: int
    samples: int
    amplitude: int

    @staticmethod
    def of(voice: str, word: str, segment: Segment) -> _Tone:
        characters = sum(map(str.isalnum, word)) or 1
        key = f"{voice}\0{word.lower()}".encode(errors="replace")
        return _Tone(
            frequency_hz=110 + crc32(key) % 330,
            samples=int(SAMPLES_PER_CHARACTER * characters / segment.speed),
            amplitude=min(32_000, int(8000 * segment.volume)),
        )

    def render(self, first: int) -> bytes:
        """Returns the stretch of samples that begins at ``first``."""
        count = min(STRETCH_SAMPLES, self.samples - first)
        cycle = _cycle(self.amplitude)
        stretch = array("h")
        phase = first * self.frequency_hz % SAMPLE_RATE
        # Each slice goes once through the cycle in steps of the frequency: C does the work of a sample.
        while len(stretch) < count:
            stretch.extend(cycle[phase :: self.frequency_hz])
            phase = (first + len(stretch)) * self.frequency_hz % SAMPLE_RATE
        del stretch[count:]
        for index in (*range(min(RAMP_SAMPLES, count)), *range(max(RAMP_SAMPLES, count - RAMP_SAMPLES), count)):
            ramp = min(first + index, self.samples - 1 - first - index, RAMP_SAMPLES)
            stretch[index] = stretch[index] * ramp // RAMP_SAMPLES
        if byteorder == "big":
            stretch.byteswap()
        return stretch.tobytes()


@lru_cache(maxsize=32)
def _cycle(amplitude: int) -> array[int]:
    """One cycle of the triangle wave, a second long: index n is the phase n / 24000."""
    quarter = SAMPLE_RATE // 4
    rise = [amplitude * phase // quarter for phase in range(-quarter, quarter)]
    fall = [amplitude * phase // quarter for phase in range(quarter, -quarter, -1)]
    return array("h", rise[quarter:] + fall + rise[:quarter])


class _Cache:
    """The stretches used last, within a number and a size."""

    def __init__(self) -> None:
        self._stretches: OrderedDict[tuple[_Tone, int], bytes] = OrderedDict()
        self._size_bytes = 0

    def stretch(self, tone: _Tone, first: int) -> bytes:
        key = (tone, first)
        if (known := self._stretches.get(key)) is not None:
            self._stretches.move_to_end(key)
            return known
        made = tone.render(first)
        self._stretches[key] = made
        self._size_bytes += len(made)
        while len(self._stretches) > CACHED_WORDS or self._size_bytes > CACHED_BYTES:
            _, dropped = self._stretches.popitem(last=False)
            self._size_bytes -= len(dropped)
        return made


def _shares(word: str, start: int, samples: int) -> Iterator[Span]:
    """Yields one "phoneme" for each letter or digit, all of the same length."""
    letters = [character for character in word.lower() if character.isalnum()]
    for index, letter in enumerate(letters):
        begin = start + samples * index // len(letters)
        end = start + samples * (index + 1) // len(letters)
        yield letter, begin / SAMPLE_RATE, end / SAMPLE_RATE


def _milliseconds(value: Any) -> float:
    try:
        milliseconds = float(value)
    except (TypeError, ValueError):
        milliseconds = -1.0
    if not 0 <= milliseconds <= 60_000:
        raise ValueError("delay_ms_per_word must be a number from 0 to 60000")
    return milliseconds
