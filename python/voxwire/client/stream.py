"""What comes for a context, and its one end: events in, a consumer or the iteration out, exactly one outcome."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Literal, Protocol, cast

from voxwire.client.alignment import Aligner
from voxwire.client.events import Audio, FlushDone, Phonemes, Word, Words, size_bytes_of
from voxwire.client.record import Ledger
from voxwire.client.refusals import failed_error
from voxwire.client.wire import Wire
from voxwire.exceptions import ContextEnded, ContextExpired, ProtocolError, VoxwireError
from voxwire.protocol import Failed, Inbox, Timestamps

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.client.events import Event
    from voxwire.client.options import ContextOptions
    from voxwire.client.record import Outcome, Reason, Record
    from voxwire.client.wire import Services
    from voxwire.protocol import Batch, Finished

__all__ = ["Consumer", "Stream"]

# What a word costs in memory.
_WORD_BYTES = 128


class Consumer(Protocol):
    """Takes the events of a context in place of the iteration."""

    @property
    def buffered_bytes(self) -> int:
        """What it holds and has not passed on; bounded by the client's ``max_buffered_bytes``."""

    def handle_events(self, events: list[Event]) -> None:
        """Takes the events of one read, in its turn; never blocks."""

    def handle_end(self, error: Exception | None) -> None:
        """Learns, once and last, that no more will come: None for a good end or a cancel."""


class Stream:
    """One stream of speech, as its connection sees it: the owner of its wire."""

    # A process holds many contexts: see benches/memory.py.
    __slots__ = (
        "__weakref__",
        "_aligner",
        "_complete",
        "_consumer",
        "_ended",
        "_error",
        "_feeding",
        "_iterating",
        "_ledger",
        "_left",
        "_loop",
        "_offset_s",
        "_options",
        "_outcome",
        "_pieces",
        "_raised",
        "_reason",
        "_refusing",
        "_services",
        "_text_watcher",
        "_wire",
        "inbox",
    )

    def __init__(self, services: Services, options: ContextOptions) -> None:
        self._services = services
        self._options = options
        self._ledger = Ledger()
        self._wire = Wire(self, services, options, self._ledger)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = False
        self.inbox = Inbox(self, self._ledger.audio, min(services.max_buffered_bytes, sys.maxsize))
        self._aligner: Aligner | None = None
        self._pieces: list[str] = []
        self._text_watcher: Callable[[str], None] | None = None
        self._consumer: Consumer | None = None
        self._iterating = False
        self._feeding = 0
        self._refusing = False
        self._complete = False
        self._offset_s = 0.0
        self._ended = False
        self._outcome: Outcome | None = None
        self._reason: Reason | None = None
        self._error: Exception | None = None
        self._raised = False

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

    # --- the wire tells us

    def handle_batch(self, batch: Batch, now_s: float) -> None:
        """Takes what one read brought for this context."""
        size_bytes = batch.audio_bytes
        if size_bytes is None or self._offset_s or self._ended:
            self._handle_mixed(batch, now_s)
            return
        events = cast("list[Event]", batch.events)
        self._ledger.audio.add(size_bytes, now_s)
        self._deliver(events, size_bytes + Inbox.EVENT_BYTES * len(events))

    def _handle_mixed(self, batch: Batch, now_s: float) -> None:
        """Takes events one by one; those for the user are handed on together, and before an end is."""
        delivered: list[Event] = []
        for event in batch.events:
            if self._ended:
                self._ledger.late_dropped += 1
            elif isinstance(event, Audio):
                self._ledger.audio.add(len(event.data), now_s)
                delivered.append(self._moved(event) if self._offset_s else event)
            elif isinstance(event, FlushDone):
                delivered.append(event)
            elif isinstance(event, Timestamps):
                delivered.append(self._times(event))
            else:
                self._deliver_mixed(delivered)
                delivered = []
                self._handle_end(event)
        self._deliver_mixed(delivered)

    def _moved(self, audio: Audio) -> Audio:
        """The audio, behind that of the ids before."""
        return Audio(audio.data, audio.format, audio.start_s + self._offset_s, audio.flush_id)

    def handle_lost(self, error: VoxwireError) -> None:
        """Learns that the connection ended."""
        self._end("failed", error=error, how="answered")

    def _times(self, event: Timestamps) -> Words | Phonemes:
        offset_s = self._offset_s
        find = self._aligned().find if event.kind == "words" else None
        items = tuple(
            Word(text, start_s + offset_s, end_s + offset_s, find(text) if find is not None else None)
            for text, start_s, end_s in event.items
        )
        if find is None:
            return Phonemes(items)
        self._ledger.add_words(items)
        return Words(items)

    def _aligned(self) -> Aligner:
        """Made at the first word times: most contexts never get any."""
        if self._aligner is None:
            self._aligner = Aligner()
            self._aligner.push("".join(self._pieces))
        return self._aligner

    def _handle_end(self, event: Finished | Failed) -> None:
        if isinstance(event, Failed):
            error = failed_error(event, self._services.mask, context_id=self.id, request_id=self._ledger.request_id)
            self._end("failed", error=error, how="answered")
            return
        if not event.expired:
            self._complete = True
            self._end("finished", how="answered")
        elif self._feeding:
            self._offset_s = self._ledger.audio.duration_s
            # What follows has to be moved.
            self.inbox.close()
            self._wire.expire()
        else:
            self._end("finished", reason="expired", how="answered")

    def _deliver_mixed(self, events: list[Event]) -> None:
        if not events or self._ended:
            return
        if len(self._ledger.words) * _WORD_BYTES > self._services.max_buffered_bytes:
            # The record keeps them all, and no text that was pushed has so many.
            self._end("failed", error=ProtocolError("too many word times", code="invalid_message"), how="fail")
            return
        self._deliver(events, sum(map(size_bytes_of, events)))

    def _deliver(self, events: list[Event], size_bytes: int) -> None:
        consumer = self._consumer
        if consumer is None:
            self.inbox.put(events, size_bytes)
            waiting = self.inbox.size_bytes
        else:
            consumer.handle_events(events)
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
        if self._aligner is not None:
            self._aligner.push(text)
        if self._text_watcher is not None:
            self._text_watcher(text)

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
            self.inbox.clear()
        self.inbox.close()
        self._wire.leave(how)
        self.inbox.wake()
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

    def check_wait(self) -> None:
        """Lets an iteration take and wait; raises where it is in the wrong place, or nothing more will come."""
        self._take_iteration()
        self.check_end()

    def check_end(self) -> None:
        """Lets an iteration wait on; raises what it ends with where nothing more will come."""
        if not self._ended or self.inbox:
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
