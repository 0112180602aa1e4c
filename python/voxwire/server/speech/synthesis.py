"""From text that is ready to chunks: engine, silence, volume, resampling, encoding, word times, back-pressure.

The audio of a context is one stream. Times count the frames that the engine's side has put into it, so that they map
onto the bytes that the client gets (protocol.md 8).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Literal, Protocol

from voxwire.audio import AudioFormat, Resampler
from voxwire.engines import Segment
from voxwire.protocol import LIMITS
from voxwire.server.requests import is_speakable
from voxwire.server.speech import sentences
from voxwire.server.speech.markup import Break, Speech
from voxwire.server.speech.times import WordTimes, estimated, shifted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Sequence

    from voxwire.engines import Piece, Session, Span
    from voxwire.server.host import EngineHost
    from voxwire.server.speech.buffering import Release
    from voxwire.server.speech.markup import Markup

__all__ = ["Outlet", "Synthesis"]

#: Silence is made in stretches of this length, so that a slow reader holds back its making too.
_SILENCE_STRETCH_S = 0.5
_CHUNK_BYTES = LIMITS["chunk_bytes"]
#: The first is short, so that it comes soon.
_FIRST_CHUNK_BYTES = LIMITS["first_chunk_bytes"]


class Outlet(Protocol):
    """Where what was made goes."""

    def send_chunk(self, data: memoryview, step_time_ms: float) -> None:
        """Sends audio."""

    def send_timestamps(self, kind: Literal["words", "phonemes"], items: Sequence[Span]) -> None:
        """Sends times, in seconds from the start of the context."""

    def ready(self) -> Awaitable[None]:
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
        markup: Markup,
    ) -> None:
        """Begins the stream of a context.

        Args:
            host: The engine.
            session: Its session for this context; closed by the caller.
            outlet: Where messages go.
            target: Format of the chunks.
            words: Word times are wanted.
            phonemes: Phoneme times are wanted.
            markup: What takes the tags out of its text.
        """
        self._host = host
        self._session = session
        self._outlet = outlet
        self._source = AudioFormat(host.info.encoding, host.info.sample_rate)
        self._target = target
        self._source_frame_bytes = self._source.frame_bytes
        self._target_frame_bytes = target.frame_bytes
        self._resampler = Resampler(self._source, target)
        self._is_unchanged = self._source == target
        self._markup = markup
        self._wants_words = words
        self._pending: dict[Literal["words", "phonemes"], deque[Span]] = {}
        if words:
            self._pending["words"] = deque()
        if phonemes:
            self._pending["phonemes"] = deque()
        self._words_end_s = 0.0
        self._frames_in = 0
        self._frames_out = 0
        self._step_began = 0.0

    @property
    def _made_s(self) -> float:
        """Seconds of audio that the engine's side has put in."""
        return self._frames_in / self._source.sample_rate

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
        spoken = [index for index, part in enumerate(parts) if isinstance(part, Speech) and is_speakable(part.text)]
        for index, part in enumerate(parts):
            self._step_began = perf_counter()
            if isinstance(part, Break):
                await self._be_silent(part.duration_s)
                continue
            if index not in spoken:
                # Punctuation between two tags is never voiced alone; its words are told all the same.
                self._note_words(WordTimes(part.text, part.words, self._made_s).rest())
                continue
            final = index == spoken[-1]
            await self._speak_part(
                part,
                ends_sentence=release.ends_sentence if final else sentences.ends_sentence(part.text),
                last=last and final,
            )

    async def flush(self) -> None:
        """Sends what the resampler holds, as if silence followed; the stream goes on."""
        for chunk in self._chunks(self._resampler.flush()):
            self._send_chunk(chunk)
            await self._outlet.ready()
        self._send_timestamps(None)

    def finish(self) -> None:
        """Sends the end of the stream."""
        for chunk in self._chunks(self._resampler.finish()):
            self._send_chunk(chunk)
        self._send_timestamps(None)

    async def _speak_part(self, part: Speech, *, ends_sentence: bool, last: bool) -> None:
        info = self._host.info
        low, high = info.speed_range
        gain = info.gain if info.volume else info.gain * part.manner.volume
        words = WordTimes(part.text, part.words, self._made_s)
        texts = list(_portions(part.text, info.max_segment_chars))
        for index, text in enumerate(texts):
            final = index == len(texts) - 1
            segment = Segment(
                text=text,
                ends_sentence=ends_sentence if final else sentences.ends_sentence(text),
                last=last and final,
                speed=min(max(part.manner.speed, low), high),
                volume=part.manner.volume if info.volume else 1.0,
                emotion=part.manner.emotion if info.emotion else None,
            )
            origin = self._frames_in
            take = partial(self._take, origin_s=origin / self._source.sample_rate, gain=gain, words=words)
            await self._host.speak(self._session, segment, take)
            if self._wants_words and not info.words:
                times = estimated(text, origin, self._frames_in, self._source.sample_rate)
                self._note_words(words.take(times))
        self._note_words(words.rest())

    async def _take(self, piece: Piece, origin_s: float, gain: float, words: WordTimes) -> None:
        if self._wants_words and piece.words:
            self._note_words(words.take(shifted(piece.words, origin_s)))
        if "phonemes" in self._pending and piece.phonemes:
            self._pending["phonemes"].extend(_rounded(shifted(piece.phonemes, origin_s)))
        await self._put(piece.pcm, gain)

    async def _be_silent(self, duration_s: float) -> None:
        left = round(duration_s * self._source.sample_rate)
        stretch = round(_SILENCE_STRETCH_S * self._source.sample_rate)
        while left > 0:
            frames = min(left, stretch)
            await self._put(bytes(frames * self._source.frame_bytes))
            left -= frames

    async def _put(self, pcm: bytes, gain: float = 1.0) -> None:
        self._frames_in += len(pcm) // self._source_frame_bytes
        for chunk in self._chunks(self._converted(pcm, gain)):
            self._send_chunk(chunk)
            await self._outlet.ready()
            self._step_began = perf_counter()

    def _converted(self, pcm: bytes, gain: float) -> bytes:
        """Returns what is ready of the target; where nothing is to be done, the very bytes of the engine."""
        if self._is_unchanged and gain == 1.0 and not len(pcm) % self._source_frame_bytes:
            return pcm
        return self._resampler.process(pcm, gain)

    def _chunks(self, data: bytes) -> Iterable[memoryview]:
        """Cuts audio into chunks of the size that the protocol allows."""
        audio = memoryview(data)
        limit = _CHUNK_BYTES if self._frames_out else _FIRST_CHUNK_BYTES
        if len(audio) <= limit:
            return (audio,) if audio else ()
        starts = range(limit, len(audio), _CHUNK_BYTES)
        return (audio[:limit], *(audio[start : start + _CHUNK_BYTES] for start in starts))

    def _send_chunk(self, chunk: memoryview) -> None:
        """Sends a chunk, after the times of what begins in it."""
        self._frames_out += len(chunk) // self._target_frame_bytes
        if self._pending:
            self._send_timestamps(self.sent_s)
        self._outlet.send_chunk(chunk, (perf_counter() - self._step_began) * 1000)

    def _send_timestamps(self, until_s: float | None) -> None:
        """Sends the times of all that begins before ``until_s``, or of all that is left."""
        for kind, pending in self._pending.items():
            due = []
            while pending and (until_s is None or pending[0][1] < until_s):
                due.append(pending.popleft())
            if due:
                self._outlet.send_timestamps(kind, due)

    def _note_words(self, words: Iterable[Span]) -> None:
        if not self._wants_words:
            return
        for text, start, end in _rounded(words):
            # Whatever an engine says, no word begins before the last one has ended.
            begun = max(start, self._words_end_s)
            self._words_end_s = max(end, begun)
            self._pending["words"].append((text, begun, self._words_end_s))


def _portions(text: str, limit: int) -> Iterator[str]:
    """Cuts text that an engine would not take whole, which only markup makes so long."""
    start = 0
    while len(text) - start > limit:
        end = sentences.cut_blank(text, start, start + limit) or sentences.cut_anywhere(text, start, start + limit)
        yield text[start:end]
        start = end
    yield text[start:]


def _rounded(spans: Iterable[Span]) -> Iterator[Span]:
    for text, start_s, end_s in spans:
        yield text, round(start_s, 6), round(end_s, 6)
