"""A context: text in, events out, exactly one outcome."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from voxwire.client.alignment import Aligner
from voxwire.client.events import Audio, FlushDone, Phonemes, Word, Words
from voxwire.client.feeding import check_text, open_source
from voxwire.client.inbox import Inbox, joined
from voxwire.client.options import check_per_input
from voxwire.client.record import Ledger
from voxwire.client.refusals import failed_error
from voxwire.client.wire import Wire
from voxwire.exceptions import ContextEnded, ContextExpired, ProtocolError, VoxwireError
from voxwire.protocol import Failed, Finished, Timestamps
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from types import TracebackType

    from voxwire.audio import AudioFormat
    from voxwire.client import Client
    from voxwire.client.events import Event
    from voxwire.client.feeding import Text
    from voxwire.client.options import ContextOptions
    from voxwire.client.record import Outcome, Reason, Record
    from voxwire.client.wire import Services
    from voxwire.playback import Heard, Output, Playback

__all__ = ["Batches", "Consumer", "Context"]

# What a word costs in memory.
_WORD_BYTES = 128


class Consumer(Protocol):
    """Takes the events of a context in place of the iteration."""

    @property
    def buffered_bytes(self) -> int:
        """What it holds and has not passed on; bounded by the client's ``max_buffered_bytes``."""

    def handle_event(self, event: Event) -> None:
        """Takes one event, in the turn of the read that brought it; never blocks."""

    def handle_end(self, error: Exception | None) -> None:
        """Learns, once and last, that no more will come: None for a good end or a cancel."""


class Context:
    """One stream of speech: text goes in, audio and times come out.

    Made by ``Client.context`` and used as ``async with``. It has one consumer: the iteration, ``batches`` or ``play``.

    Attributes:
        playback: What ``play`` started; None before.
    """

    def __init__(self, client: Client, services: Services, options: ContextOptions, text: Text | None) -> None:
        self._client = client
        self._services = services
        self._options = options
        self._text = text
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = False
        self._scope = Scope()
        self._ledger = Ledger()
        self._wire = Wire(self, services, options, self._ledger)
        self._inbox = Inbox()
        self._aligner = Aligner()
        self._pieces: list[str] = []
        self._consumer: Consumer | None = None
        self._iterating = False
        self._feeder: asyncio.Task[None] | None = None
        self._feeding = 0
        self._refusing = False
        self._complete = False
        self._offset_s = 0.0
        self._ended = False
        self._outcome: Outcome | None = None
        self._reason: Reason | None = None
        self._error: Exception | None = None
        self._raised = False
        self.playback: Playback | None = None

    def __repr__(self) -> str:
        return f"<voxwire.Context {self.id} {self.outcome or 'open'}>"

    # --- what became of it

    @property
    def id(self) -> str:
        """The newest id on the wire; before the first input the one that it will get."""
        return self._ledger.context_ids[-1] if self._ledger.context_ids else self._wire.id

    @property
    def outcome(self) -> Outcome | None:
        """``finished``, ``cancelled`` or ``failed``; None before. A played context ends with its playback."""
        return self._outcome

    @property
    def reason(self) -> Reason | None:
        """``expired``: the server ended it first; ``interrupted``: its listener did; else None."""
        return self._reason if self._outcome is not None else None

    @property
    def record(self) -> Record:
        """The figures of this context so far; final once it has an outcome."""
        return self._ledger.record(self.outcome, self.reason)

    # --- the block

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a context is entered once")
        self._client.enlist(self)
        self._loop = asyncio.get_running_loop()
        if self._text is not None:
            self._feeding += 1
            self._feeder = self._scope.start(self._feed_given(self._text), "voxwire feed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.playback is not None:
                await self._play_out(self.playback)
        finally:
            self._left = True
            await self.stop()

    async def stop(self) -> None:
        """Ends whatever still runs, at once, and waits at most 2 s for it. Used on leaving and by ``Client.close``."""
        self.abandon()
        try:
            await self._settle()
        finally:
            self._client.discharge(self)

    def abandon(self) -> None:
        """Ends whatever still runs, without a wait."""
        if not self._ended:
            self._end("cancelled", how="cancel")
        if self.playback is not None and not self.playback.over:
            self.playback.abandon()
        self._set_outcome("cancelled")

    async def _settle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._services.close_timeout_s):
                await self._scope.close()
                if self.playback is not None:
                    await self.playback.settle()

    async def _play_out(self, playback: Playback) -> None:
        if self._feeder is not None:
            await asyncio.wait({self._feeder})
        await self.finish()
        seen = self._raised
        try:
            await playback.wait()
        except Exception as error:
            if not seen or error is not self._error:
                raise

    # --- text in

    async def push(self, text: str, *, flush: bool = False, **per_input: Any) -> None:
        """Sends text verbatim, after what was pushed before: blanks and punctuation are the caller's.

        Args:
            text: The next piece; the first of a context must hold a letter or a digit.
            flush: Ends a segment with this text: it is spoken in full, then ``FlushDone`` comes.
            **per_input: ``generation_config`` and ``max_buffer_delay_ms`` for this piece alone.

        Raises:
            TypeError: ``text`` is no str, or an option is unknown or of a wrong type.
            RuntimeError: After ``finish``, outside of the block, or from another loop or thread.
            ContextEnded: After a cancel or an interruption.
            ContextExpired: The server ended the context before.
            VoxwireError: The connection that it needed failed, or the context had failed and no consumer raised that.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be of type str, not {type(text).__name__}")
        options = check_per_input(per_input) if per_input else None
        self._check_inside()
        await self._wire.send(text, continues=True, flush=flush, per_input=options)

    async def feed(self, text: Text, *, finish: bool = True) -> None:
        """Sends text, an iterable of it piece by piece as they come, and closes the input.

        Where the server lets the context expire between two pieces, it goes on with a fresh one. A synchronous iterator
        runs in a thread. The iterator is always closed. Returns early when the context is cancelled or interrupted.

        Args:
            text: The text.
            finish: False leaves the input open for more.

        Raises:
            Exception: Whatever the iterator raised, and what ``push`` raises. A failure of the context only where no
                consumer is there to raise it.
        """
        check_text(text)
        self._check_inside()
        if (error := self.input_error()) is not None:
            raise error
        self._feeding += 1
        try:
            await self._feed(text, finish=finish)
        except ContextEnded:
            return
        except VoxwireError as error:
            if error is not self._error or not (self._iterating or self._consumer is not None):
                raise

    async def flush(self) -> None:
        """Ends the segment: what was pushed is spoken in full, then ``FlushDone`` comes; the context stays open."""
        self._check_inside()
        if not self._wire.used:
            raise RuntimeError("flush before any text was pushed")
        await self._wire.send("", continues=True, flush=True)

    async def finish(self) -> None:
        """Closes the input: what was pushed is spoken to its end. A no-op when closed or ended, or while it is fed."""
        self._check_inside()
        if self._ended or self._wire.closing or self._feeding:
            return
        try:
            await self._wire.close_input()
        except VoxwireError as error:
            # The state table of protocol.md 6.5: to close an ended context is no fault.
            if not isinstance(error, ContextEnded) and error is not self._error:
                raise

    async def cancel(self) -> None:
        """Stops at once: later messages are dropped, the iteration ends. A no-op when ended."""
        self._check_entered()
        self.abandon()
        await self._settle()

    async def _feed(self, text: Text, *, finish: bool) -> None:
        """Feeds; the caller has counted it in."""
        wire = self._wire
        try:
            if isinstance(text, str):
                await wire.send(text, continues=not finish)
                return
            source = open_source(text)
            try:
                while True:
                    async with wire.until_end():
                        piece = await source.next()
                    if piece is None:
                        break
                    await wire.send_piece(piece)
            finally:
                await source.close()
            if finish:
                await wire.close_input()
        finally:
            self._feeding -= 1
            if not self._feeding and not self._ended and wire.used and not wire.live:
                # It expired, and nobody is left who would go on.
                self._end("finished", reason="expired", how="answered")

    async def _feed_given(self, text: Text) -> None:
        try:
            await self._feed(text, finish=True)
        except ContextEnded:
            return
        except Exception as error:  # noqa: BLE001 - the consumer raises it, whatever the user's iterator raised
            if not self._ended:
                self._end("cancelled", error=error, how="cancel")

    # --- events out

    def __aiter__(self) -> Self:
        self._take_iteration()
        return self

    async def __anext__(self) -> Event:
        # The rule of who may iterate, first in the short form that nearly always holds.
        if not self._iterating or self._left or asyncio.get_running_loop() is not self._loop:
            self._take_iteration()
        while not self._inbox:
            self._check_more()
            await self._inbox.wait()
        return self._inbox.take()

    def batches(self, *, join: bool = False) -> Batches:
        """Returns an iterator over non-empty lists of events, as they were read.

        Args:
            join: Joins neighbouring audio of one segment into one piece.
        """
        self._take_iteration()
        return Batches(self, join=join)

    async def take_batch(self) -> list[Event]:
        """Waits for events and takes all; raises as the iteration does."""
        self._take_iteration()
        while not self._inbox:
            self._check_more()
            await self._inbox.wait()
        return self._inbox.take_all()

    def _check_more(self) -> None:
        """Ends the iteration where no more will come."""
        if not self._ended:
            return
        if self._error is not None and not self._raised:
            self._raised = True
            raise self._error
        raise StopAsyncIteration

    def _take_iteration(self) -> None:
        self._check_inside()
        if self._consumer is not None:
            raise RuntimeError("a second consumer of one context: it is played")
        self._iterating = True

    # --- playing

    async def play(self, sink: str | Output) -> Playback:
        """Plays into a sink, in place of the iteration.

        Args:
            sink: An address such as ``"file:out.wav"``, or what ``open_sink`` gave.

        Raises:
            RuntimeError: There is a consumer already.
            SinkError: The sink cannot be opened.
            PluginError: There is no usable sink of that name.
        """
        self._check_inside()
        from voxwire import playback  # noqa: PLC0415 - who only iterates needs none of it

        self.playback = await playback.play(self, sink)
        return self.playback

    # --- for the playback; all synchronous, in the loop's thread

    @property
    def format(self) -> AudioFormat | None:
        """The format of the audio; None before the first input fixed it."""
        return self._wire.format

    @property
    def requested_format(self) -> AudioFormat | None:
        """The ``output_format`` that was asked for, or None."""
        return self._options.output_format

    @property
    def pushed_text(self) -> str:
        """All text so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def words(self) -> list[Word]:
        """All word times so far."""
        return self._ledger.words

    @property
    def complete(self) -> bool:
        """All pushed text was spoken: the server answered our close."""
        return self._complete

    def fix_format(self, audio_format: AudioFormat) -> None:
        """Fixes the format, before the first input."""
        if self._wire.format is not None:
            raise RuntimeError("the format is fixed by the first input")
        self._wire.format = audio_format

    def request_timestamps(self) -> None:
        """Turns word times on; too late after the first input."""
        if not self._wire.used:
            self._options.request_timestamps()

    def hold_input(self) -> None:
        """Makes inputs wait, so that the first carries the negotiated format."""
        self._wire.hold()

    def release_input(self) -> None:
        """Lets held inputs go."""
        self._wire.release()

    def refuse_input(self) -> None:
        """Takes no more text: ``push`` raises ``ContextEnded`` and a running ``feed`` returns; audio goes on."""
        self._refusing = True
        self._wire.wake()

    def attach(self, consumer: Consumer) -> None:
        """Makes ``consumer`` the one consumer, and hands it what waits."""
        self._check_inside()
        if self._consumer is not None or self._iterating:
            raise RuntimeError("a second consumer of one context: it is iterated or played")
        self._consumer = consumer
        if self._outcome == "finished":
            self._outcome = None
        for event in self._inbox.take_all():
            consumer.handle_event(event)
        if self._ended:
            consumer.handle_end(self._error)

    def set_heard(
        self, heard: Heard, *, first_sound_at_s: float | None = None, stalls: int | None = None, underruns: int = 0
    ) -> None:
        """Takes the listener's side of the record: a moment on ``time.monotonic``; stalls None keeps our own count."""
        self._ledger.heard = heard
        self._ledger.first_sound_at_s = first_sound_at_s
        if stalls is not None:
            self._ledger.stalls = stalls
        self._ledger.underruns = underruns
        if self._error is not None and isinstance(self._error, VoxwireError):
            self._error.record = self.record

    def note_raised(self) -> None:
        """The playback has raised the failure of the context."""
        self._raised = True

    def end_played(self) -> None:
        """All was heard."""
        if self._ended:
            self._set_outcome("finished")

    def end_interrupted(self) -> None:
        """The listener interrupted it; also after the server's ``done``."""
        if self._outcome is not None:
            return
        if self._ended:
            self._set_outcome("cancelled", "interrupted")
        else:
            self._end("cancelled", reason="interrupted", how="cancel")

    def end_failed(self, error: VoxwireError) -> None:
        """The sink failed."""
        if self._outcome is not None:
            return
        self._error = error
        self._set_outcome("failed")
        self._describe(error)
        if not self._ended:
            self._ended = True
            self._wire.leave("cancel")

    # --- the wire tells us

    def handle_event(self, event: Any, now_s: float) -> None:
        """Takes one event of the connection."""
        if self._ended:
            self._ledger.late_dropped += 1
            return
        kind = type(event)
        if kind is Audio:
            self._ledger.add_audio(len(event.data), now_s)
            if self._offset_s:
                event = Audio(event.data, event.format, event.start_s + self._offset_s, event.flush_id, self)
            self._deliver(event)
        elif kind is FlushDone:
            self._deliver(event)
        elif kind is Timestamps:
            self._handle_timestamps(event)
        elif kind is Finished:
            self._handle_finished(event, now_s)
        elif kind is Failed:
            error = failed_error(event, self._services.mask, context_id=self.id, request_id=self._ledger.request_id)
            self._end("failed", error=error, how="answered")

    def handle_lost(self, error: VoxwireError) -> None:
        """Learns that the connection ended."""
        self._end("failed", error=error, how="answered")

    def _handle_timestamps(self, event: Timestamps) -> None:
        offset_s = self._offset_s
        if event.kind == "words":
            find = self._aligner.find
            items = tuple(
                Word(text, start_s + offset_s, end_s + offset_s, find(text)) for text, start_s, end_s in event.items
            )
            self._ledger.words += items
            if len(self._ledger.words) * _WORD_BYTES > self._services.max_buffered_bytes:
                # The record keeps them all, and no text that was pushed has so many.
                self._end("failed", error=ProtocolError("too many word times", code="invalid_message"), how="fail")
                return
            self._deliver(Words(items))
        else:
            sounds = tuple(Word(text, start_s + offset_s, end_s + offset_s) for text, start_s, end_s in event.items)
            self._deliver(Phonemes(sounds))

    def _handle_finished(self, event: Finished, now_s: float) -> None:
        if not event.expired:
            self._complete = True
            self._end("finished", how="answered")
        elif self._feeding:
            self._offset_s = self._ledger.audio_s
            self._wire.expire(now_s)
        else:
            self._end("finished", reason="expired", how="answered")

    def _deliver(self, event: Event) -> None:
        consumer = self._consumer
        if consumer is None:
            self._inbox.put(event)
            waiting = self._inbox.size_bytes
        else:
            consumer.handle_event(event)
            waiting = consumer.buffered_bytes
        if waiting > self._services.max_buffered_bytes and not self._ended:
            limit = self._services.max_buffered_bytes
            slow = VoxwireError(f"more than {limit} bytes waited for the consumer", code="consumer_too_slow")
            self._end("failed", error=slow, how="fail")

    # --- the wire's inputs ask us

    def input_error(self, *, under_way: bool = False) -> Exception | None:
        """What a push must raise now; None while text may be sent. ``under_way``: it waited when the context ended."""
        if not self._ended and not self._refusing:
            return RuntimeError("push after finish") if self._wire.closing else None
        if self._outcome == "failed" and self._error is not None and (under_way or not self._raised):
            return self._error
        if self._outcome == "failed":
            return RuntimeError("push on a context that has failed")
        if self._refusing or self._outcome == "cancelled":
            return ContextEnded("the context was cancelled or interrupted", context_id=self.id)
        if self._reason == "expired":
            return ContextExpired("the server ended the context before this text", context_id=self.id)
        return RuntimeError("push after finish")

    def note_text(self, text: str) -> None:
        """Text is on its way."""
        self._ledger.characters += len(text)
        self._pieces.append(text)
        self._aligner.push(text)

    def fail(self, error: VoxwireError) -> None:
        """The connection or the place that an input needed could not be had."""
        self._end("failed", error=error, how="answered")

    def finish_unsent(self) -> None:
        """The input is closed and nothing is left to be answered."""
        self._complete = True
        self._end("finished", how="answered")

    # --- the one end

    def _end(
        self,
        outcome: Outcome,
        *,
        how: Literal["answered", "cancel", "fail"],
        reason: Reason | None = None,
        error: Exception | None = None,
    ) -> None:
        """Ends the stream of events, once; ``how`` is what the wire is told."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        if outcome == "finished" and self._consumer is not None:
            self._reason = reason
        else:
            self._set_outcome(outcome, reason)
        if isinstance(error, VoxwireError):
            self._describe(error)
        if outcome == "cancelled" and error is None:
            self._inbox.clear()
        self._wire.leave(how)
        self._inbox.wake()
        if self._consumer is not None:
            self._consumer.handle_end(error)

    def _set_outcome(self, outcome: Outcome, reason: Reason | None = None) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._reason = reason if reason is not None or outcome != "finished" else self._reason

    def _describe(self, error: VoxwireError) -> None:
        error.context_id = self.id
        error.request_id = error.request_id or self._ledger.request_id
        error.record = self.record

    # --- right place, right moment

    def _check_inside(self) -> None:
        self._check_entered()
        if self._left:
            raise RuntimeError("the context is used after its block")

    def _check_entered(self) -> None:
        if self._loop is None:
            raise RuntimeError("the context is used outside of its block, enter it with async with")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop:
            raise RuntimeError("the context is used from another loop or thread")


class Batches:
    """Iterator over lists of events."""

    def __init__(self, context: Context, *, join: bool) -> None:
        self._context = context
        self._join = join

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        events = await self._context.take_batch()
        return joined(events) if self._join else events
