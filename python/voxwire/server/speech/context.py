"""One live context: text gathers, is spoken in order, flushed, and expires."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from voxwire.engines import Settings as EngineSettings
from voxwire.exceptions import ConnectionLost
from voxwire.server import languages
from voxwire.server.requests import FirstInput, Input, is_speakable
from voxwire.server.speech.buffering import ContinuationBuffer
from voxwire.server.speech.markup import Manner, Markup
from voxwire.server.speech.numbers import Numbers
from voxwire.server.speech.synthesis import Synthesis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from voxwire.engines import Span
    from voxwire.server.access.limits import Slot
    from voxwire.server.service import Service
    from voxwire.server.speech.buffering import Release

__all__ = ["Peer", "SpeechContext"]

_FLUSH: Literal["flush"] = "flush"


class Peer(Protocol):
    """The connection of a context: what it sends, and what it is told."""

    def send_chunk(self, context: SpeechContext, data: memoryview, step_time_ms: float) -> None:
        """Sends a ``chunk``."""

    def send_timestamps(
        self, context: SpeechContext, kind: Literal["words", "phonemes"], items: Sequence[Span]
    ) -> None:
        """Sends word or phoneme times."""

    def send_flush_done(self, context: SpeechContext) -> None:
        """Sends ``flush_done``."""

    def ready(self) -> Awaitable[None]:
        """Waits until the socket takes more; raises ConnectionLost once it is gone or too slow."""

    def context_drained(self, context: SpeechContext) -> None:
        """The input was closed, and all audio is sent."""

    def context_expired(self, context: SpeechContext) -> None:
        """The client left it open for too long."""

    def context_failed(self, context: SpeechContext, error: Exception) -> None:
        """It cannot go on."""


@dataclass(slots=True)
class _Speech:
    """Text that is ready, and its UTF-8 bytes that are not spoken yet."""

    releases: Iterator[Release]
    size_bytes: int


class SpeechContext:
    """What the server holds for a context from its first input until ``done``, an error or a cancel.

    It never outlives its peer's call of :meth:`stop`, and does nothing after it.

    Attributes:
        id: The client's name for it.
        flush_id: Label of the segment that is being sent.
    """

    def __init__(
        self, context_id: str, request: FirstInput, voice: str, *, peer: Peer, service: Service, slot: Slot
    ) -> None:
        """Makes a context; :meth:`add` and then :meth:`run` bring it to life.

        Args:
            context_id: The client's name for it.
            request: The first input, which fixes voice, format, language and timestamps.
            voice: The engine's id of the voice.
            peer: The connection.
            service: The server.
            slot: The place of this context among those of its credential; given back at the end.
        """
        self.id = context_id
        self.flush_id = 1
        self._request = request
        self._voice = voice
        self._peer = peer
        self._service = service
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._buffer = ContinuationBuffer(service.host.info.max_segment_chars)
        self._work: deque[_Speech | Literal["flush"]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._ended = False
        self._busy = True
        self._synthesis: Synthesis | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._first_audio_at: float | None = None

    # --- what the peer tells it

    @property
    def unspoken_bytes(self) -> int:
        """UTF-8 bytes of text that are not spoken yet."""
        return self._buffer.size_bytes + self._queued_bytes

    def add(self, given: Input, *, flush: bool = False, close: bool = False) -> None:
        """Takes an input that the state table accepted.

        Args:
            given: The input, checked.
            flush: It ends the segment.
            close: It is the last.
        """
        now = self._loop.time()
        custom = given.max_buffer_delay_ms == 0
        speakable = is_speakable(given.transcript)
        self._buffer.add(
            given.transcript,
            self._manner(given),
            delay_s=given.max_buffer_delay_ms / 1000,
            now=now,
            separate=custom,
        )
        if flush or close or (custom and speakable):
            size_bytes = self._buffer.size_bytes
            self._queue(self._buffer.take_all(), size_bytes)
        if flush or (custom and speakable):
            self._work.append(_FLUSH)
        self._closed = self._closed or close
        self._poll_buffer()

    def stop(self) -> None:
        """Ends it: frees its place and its timers; nothing more is sent for it."""
        if self._ended:
            return
        self._ended = True
        self._slot.release()
        self._cancel_expiry()
        if self._deadline is not None:
            self._deadline.cancel()
        # The two know each other: parted, both are freed at once, and not only when a collection finds them.
        self._synthesis = None

    def finish(self) -> None:
        """Sends the end of the audio, before ``done``."""
        if self._synthesis is not None:
            self._synthesis.finish()

    # --- the task

    async def run(self) -> None:
        """Speaks until the context ends; run by a task that the peer cancels after :meth:`stop`."""
        try:
            await self._slot.wait(self._service.settings.queue_wait_s)
            await self._speak_all()
        except ConnectionLost:
            # The connection tells all its contexts by itself.
            return
        except Exception as error:  # noqa: BLE001 - whatever happens, the client is told
            if not self._ended:
                self._peer.context_failed(self, error)
            return
        if not self._ended:
            self._peer.context_drained(self)

    async def _speak_all(self) -> None:
        request = self._request
        language = request.asked_language
        session = await self._service.host.open(
            EngineSettings(
                voice=self._voice,
                language=language,
                words=request.add_timestamps,
                phonemes=request.add_phoneme_timestamps,
            )
        )
        try:
            spoken = language or self._service.voices.language(self._voice)
            self._synthesis = synthesis = Synthesis(
                self._service.host,
                session,
                self,
                target=request.output_format.format,
                words=request.add_timestamps,
                phonemes=request.add_phoneme_timestamps,
                markup=self._markup(spoken),
            )
            while True:
                while self._work:
                    await self._do(self._work.popleft(), synthesis)
                if self._closed:
                    return
                self._wake.clear()
                self._busy = False
                self._arm_expiry()
                # Ended by the next input, the buffer's deadline, or the expiry timer, which stops this task.
                await self._wake.wait()
        finally:
            await session.close()

    async def _do(self, work: _Speech | Literal["flush"], synthesis: Synthesis) -> None:
        if isinstance(work, _Speech):
            for release in work.releases:
                more = not release.final or any(isinstance(later, _Speech) for later in self._work)
                await synthesis.speak(release, last=self._closed and not more)
                spoken = len(release.text.encode())
                work.size_bytes -= spoken
                self._queued_bytes -= spoken
                # A release may yield no audio, and then nothing of it waited.
                await self.ready()
            self._queued_bytes -= work.size_bytes
        else:
            await synthesis.flush()
            self._peer.send_flush_done(self)
            self.flush_id += 1

    # --- what the synthesis sends

    def send_chunk(self, data: memoryview, step_time_ms: float) -> None:
        """Sends audio."""
        if self._first_audio_at is None:
            self._first_audio_at = self._loop.time()
        self._peer.send_chunk(self, data, step_time_ms)

    def send_timestamps(self, kind: Literal["words", "phonemes"], items: Sequence[Span]) -> None:
        """Sends times."""
        self._peer.send_timestamps(self, kind, items)

    def ready(self) -> Awaitable[None]:
        """Waits until the socket takes more."""
        return self._peer.ready()

    # --- inside

    def _manner(self, given: Input) -> Manner:
        config = given.generation_config
        if not self._request.takes_generation_config:
            return Manner(self._request.base_speed)
        return Manner(
            speed=self._request.base_speed if config.speed is None else config.speed,
            volume=1.0 if config.volume is None else config.volume,
            emotion=None if config.emotion is None else config.emotion.lower(),
        )

    def _markup(self, spoken: str | None) -> Markup:
        """Returns what takes the tags out of the text; ``spoken`` is its language, None where nobody knows."""
        request = self._request
        numbers = Numbers.of(spoken, request.normalization) if request.use_normalized_timestamps else None
        return Markup(
            dictionary=self._service.dictionary(request),
            numbers=numbers,
            by_character=languages.by_character(spoken),
        )

    def _poll_buffer(self) -> None:
        """Takes what is ready out of the buffer, and asks again when more may be."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._ended:
            return
        size_bytes = self._buffer.size_bytes
        if releases := self._buffer.take(self._loop.time(), ahead_s=self._ahead_s()):
            self._queue(iter(releases), size_bytes - self._buffer.size_bytes)
        if (due := self._buffer.due) is not None:
            self._deadline = self._loop.call_at(due, self._handle_deadline)
        if self._work or self._closed:
            self._busy = True
            self._cancel_expiry()
            self._wake.set()
        elif not self._busy:
            self._arm_expiry()

    def _handle_deadline(self) -> None:
        try:
            self._poll_buffer()
        except Exception as error:  # noqa: BLE001 - there is no caller; the client is told
            self._peer.context_failed(self, error)

    def _queue(self, releases: Iterator[Release], size_bytes: int) -> None:
        self._queued_bytes += size_bytes
        self._work.append(_Speech(releases, size_bytes))

    def _ahead_s(self) -> float:
        """Seconds of audio that went out and cannot have been heard yet."""
        if self._first_audio_at is None or self._synthesis is None:
            return 0.0
        return self._synthesis.sent_s - (self._loop.time() - self._first_audio_at)

    def _arm_expiry(self) -> None:
        """Lets the context expire, counted from this moment, unless text still waits in the buffer."""
        self._cancel_expiry()
        if not self._ended and not self._buffer.speakable:
            self._expiry = self._loop.call_later(self._service.settings.context_expiry_s, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._peer.context_expired(self)

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
