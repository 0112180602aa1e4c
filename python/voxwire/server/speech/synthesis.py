"""From text that is ready to chunks: engine, silence, volume, resampling, encoding, word times, back-pressure.

The audio of a context is one stream. Times count the frames that the engine's side has put into it, so that they map
onto the bytes that the client gets (protocol.md 8).
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from sys import byteorder
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from voxwire.audio import AudioFormat, Resampler
from voxwire.engines import Segment
from voxwire.protocol import LIMITS
from voxwire.server import languages
from voxwire.server.speech import sentences
from voxwire.server.speech.markup import Break, Markup, Speech

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from voxwire.engines import Piece, Session, Span
    from voxwire.server.host import EngineHost
    from voxwire.server.speech.buffering import Release
    from voxwire.server.speech.markup import Word

__all__ = ["Outlet", "Synthesis"]

#: Silence is made in stretches of this length, so that a slow reader holds back its making too.
_SILENCE_STRETCH_S = 0.5


class Outlet(Protocol):
    """Where what was made goes."""

    def send_chunk(self, data: memoryview, step_time_ms: float) -> None:
        """Sends audio."""

    def send_timestamps(self, kind: Literal["words", "phonemes"], items: Sequence[Span]) -> None:
        """Sends times, in seconds from the start of the context."""

    async def ready(self) -> None:
        """Waits until more may be sent; lets others have their turn."""


class Synthesis:
    """The audio of one context."""

    def __init__(
        self,
        host: EngineHost,
        session: Session,
        outlet: Outlet,
        *,
        target: AudioFormat,
        words: bool,
        phonemes: bool,
        language: str | None,
    ) -> None:
        """Begins the stream of a context.

        Args:
            host: The engine.
            session: Its session for this context; closed by the caller.
            outlet: Where messages go.
            target: Format of the chunks.
            words: Word times are wanted.
            phonemes: Phoneme times are wanted.
            language: Two letters, or None where nobody knows.
        """
        self._host = host
        self._session = session
        self._outlet = outlet
        self._source = AudioFormat(host.info.encoding, host.info.sample_rate)
        self._target = target
        self._resampler = Resampler(self._source, target)
        self._markup = Markup()
        self._wants_words = words
        self._by_character = language in languages.BY_CHARACTER
        self._pending: dict[Literal["words", "phonemes"], deque[Span]] = {}
        if words:
            self._pending["words"] = deque()
        if phonemes:
            self._pending["phonemes"] = deque()
        self._frames_in = 0
        self._frames_out = 0
        self._step_began = 0.0

    @property
    def sent_s(self) -> float:
        """Seconds of audio that went out."""
        return self._frames_out / self._target.sample_rate

    async def speak(self, release: Release, *, last: bool) -> None:
        """Speaks text that is ready.

        Args:
            release: The text.
            last: Nothing follows in this context.

        Raises:
            EngineError: The engine failed.
        """
        parts = [part for text, manner in release.runs for part in self._markup.parts(text, manner)]
        spoken = [index for index, part in enumerate(parts) if isinstance(part, Speech)]
        for index, part in enumerate(parts):
            self._step_began = perf_counter()
            if isinstance(part, Break):
                await self._be_silent(part.duration_s)
                continue
            final = index == spoken[-1]
            await self._speak_part(
                part,
                ends_sentence=release.ends_sentence if final else sentences.ends_sentence(part.text),
                last=last and final,
            )

    async def flush(self) -> None:
        """Sends what the resampler holds, as if silence followed; the stream goes on."""
        for _ in self._chunks(self._resampler.flush()):
            await self._outlet.ready()
        self._send_timestamps(None)

    def finish(self) -> None:
        """Sends the end of the stream."""
        for _ in self._chunks(self._resampler.finish()):
            pass
        self._send_timestamps(None)

    async def _speak_part(self, part: Speech, *, ends_sentence: bool, last: bool) -> None:
        low, high = self._host.info.speed_range
        rejoin = _Rejoin(part.words)
        texts = list(_portions(part.text, self._host.info.max_segment_chars))
        for index, text in enumerate(texts):
            final = index == len(texts) - 1
            segment = Segment(
                text=text,
                ends_sentence=ends_sentence if final else sentences.ends_sentence(text),
                last=last and final,
                speed=min(max(part.manner.speed, low), high),
                volume=part.manner.volume if self._host.info.volume else 1.0,
                emotion=part.manner.emotion if self._host.info.emotion else None,
            )
            gain = 1.0 if self._host.info.volume else part.manner.volume
            origin = self._frames_in
            speech = self._host.speak(self._session, segment)
            try:
                async for piece in speech:
                    await self._take(piece, origin / self._source.sample_rate, gain, rejoin)
            finally:
                await speech.aclose()
            if self._wants_words and not self._host.info.words:
                self._note_words(rejoin.words(_estimate(text, origin, self._frames_in, self._source.sample_rate)))

    async def _take(self, piece: Piece, origin_s: float, gain: float, rejoin: _Rejoin) -> None:
        if self._wants_words and piece.words:
            self._note_words(rejoin.words(_shift(piece.words, origin_s)))
        if "phonemes" in self._pending and piece.phonemes:
            self._pending["phonemes"].extend(_shift(piece.phonemes, origin_s))
        pcm = piece.pcm if gain == 1.0 else _amplify(piece.pcm, self._source.encoding, gain)
        await self._put(pcm)

    async def _be_silent(self, duration_s: float) -> None:
        left = round(duration_s * self._source.sample_rate)
        stretch = round(_SILENCE_STRETCH_S * self._source.sample_rate)
        while left > 0:
            frames = min(left, stretch)
            await self._put(bytes(frames * self._source.frame_bytes))
            left -= frames

    async def _put(self, pcm: bytes) -> None:
        self._frames_in += self._source.frames(len(pcm))
        for _ in self._chunks(self._resampler.process(pcm)):
            await self._outlet.ready()
            self._step_began = perf_counter()

    def _chunks(self, data: bytes) -> Iterator[None]:
        """Sends audio in chunks of the size that the protocol allows, each after the times of what begins in it."""
        audio = memoryview(data)
        while audio:
            limit = LIMITS["chunk_bytes"] if self._frames_out else LIMITS["first_chunk_bytes"]
            chunk, audio = audio[:limit], audio[limit:]
            self._frames_out += self._target.frames(len(chunk))
            self._send_timestamps(self.sent_s)
            self._outlet.send_chunk(chunk, (perf_counter() - self._step_began) * 1000)
            yield

    def _send_timestamps(self, until_s: float | None) -> None:
        """Sends the times of all that begins before ``until_s``, or of all that is left."""
        for kind, pending in self._pending.items():
            due = []
            while pending and (until_s is None or pending[0][1] < until_s):
                due.append(pending.popleft())
            if due:
                self._outlet.send_timestamps(kind, due)

    def _note_words(self, words: Iterable[Span]) -> None:
        pending = self._pending["words"]
        for text, start, end in words:
            if self._by_character and len(text) > 1 and not text.startswith("<"):
                pending.extend(_spread(text, start, end))
            else:
                pending.append((text, start, end))


class _Rejoin:
    """Puts together again what the client sent as one word and the engine spoke as several."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._left = deque(words)
        self._open: list[Span] = []

    def words(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Returns the words as the client sent them; a joined one comes with the last of its parts."""
        for span in spans:
            if self._open and span[0] != self._left[0].spoken[len(self._open)]:
                # It only began like the word that is awaited, or the engine skipped a part.
                yield from self._open
                self._open.clear()
            if not self._left or span[0] != self._left[0].spoken[len(self._open)]:
                yield span
                continue
            self._open.append(span)
            if len(self._open) == len(self._left[0].spoken):
                yield self._left.popleft().text, self._open[0][1], span[2]
                self._open.clear()


def _portions(text: str, limit: int) -> Iterator[str]:
    """Cuts text that an engine would not take whole, which only markup makes so long."""
    start = 0
    while len(text) - start > limit:
        end = sentences.cut_blank(text, start, start + limit) or sentences.cut_anywhere(text, start, start + limit)
        yield text[start:end]
        start = end
    yield text[start:]


def _shift(spans: Iterable[Span], origin_s: float) -> Iterator[Span]:
    for text, start, end in spans:
        yield text, round(origin_s + start, 6), round(origin_s + end, 6)


def _spread(text: str, start: float, end: float) -> Iterator[Span]:
    """Gives every character of a word an equal share of its time."""
    share = (end - start) / len(text)
    for index, character in enumerate(text):
        yield character, round(start + index * share, 6), round(start + (index + 1) * share, 6)


def _estimate(text: str, first: int, last: int, rate: int) -> Iterator[Span]:
    """Spreads the words of a segment over its audio by their length."""
    found = re.findall(r"\S+", text)
    total = sum(len(word) for word in found)
    position = 0
    for word in found:
        start = (first + (last - first) * position / total) / rate
        position += len(word)
        yield word, round(start, 6), round((first + (last - first) * position / total) / rate, 6)


def _amplify(pcm: bytes, encoding: str, gain: float) -> bytes:
    """Applies a volume to the samples of an engine that has none of its own."""
    if encoding == "pcm_f32le":
        levels = array("f", pcm)
        _swap(levels)
        louder = array("f", (min(max(level * gain, -1.0), 1.0) for level in levels))
        _swap(louder)
        return louder.tobytes()
    samples = array("h", pcm)
    _swap(samples)
    amplified = array("h", (min(max(round(sample * gain), -32768), 32767) for sample in samples))
    _swap(amplified)
    return amplified.tobytes()


def _swap(samples: array[Any]) -> None:
    """Turns between the machine's order and the little-endian one of the formats."""
    if byteorder == "big":
        samples.byteswap()
