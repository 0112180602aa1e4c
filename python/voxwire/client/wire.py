"""The text side of a context: its place, its connection, its ids on the wire, its inputs in order.

A context has one live id at a time. It gets its first at its first input, and another where the server let the first
expire while text was still being fed (protocol.md 13, "early done").
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from voxwire.audio import AudioFormat
from voxwire.client.feeding import speakable
from voxwire.exceptions import ContextExpired, VoxwireError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from voxwire.client.fleet import Admission, Fleet, Link
    from voxwire.client.options import ContextOptions, InputOptions
    from voxwire.client.record import Ledger
    from voxwire.protocol import Batch, Inbox

__all__ = ["Owner", "Services", "Wire"]

# protocol.md 13: inputs younger than this when an expiry arrives cannot have been processed.
_UNPROCESSED_S = 1.0


class Owner(Protocol):
    """The context, as its wire sees it.

    Attributes:
        inbox: Takes its audio, and stands for it on a connection.
    """

    inbox: Inbox

    def input_error(self, *, under_way: bool = False) -> Exception | None:
        """What a push must raise now; None while text may be sent. ``under_way``: it waited when the context ended."""

    def fail(self, error: VoxwireError) -> None:
        """The context cannot go on."""

    def finish_unsent(self) -> None:
        """The input is closed, and nothing is on the wire that could still be answered."""

    def note_text(self, text: str) -> None:
        """Text is on its way."""

    def handle_batch(self, batch: Batch, now_s: float) -> None:
        """Takes what one read brought for it."""

    def handle_lost(self, error: VoxwireError) -> None:
        """Learns that the connection ended."""


@dataclass(frozen=True, slots=True)
class Services:
    """What a client lends to its contexts.

    Attributes:
        fleet: Where connections come from.
        admission: Places among ``max_contexts``.
        default_voice: Finds the voice of a context that names none.
        mask: Removes our secrets from a text.
        max_buffered_bytes: Bound of what waits for one consumer.
        close_timeout_s: Longest wait of leaving and cancelling.
    """

    fleet: Fleet
    admission: Admission
    default_voice: Callable[[], Awaitable[str]]
    mask: Callable[[str], str]
    max_buffered_bytes: int
    close_timeout_s: float


@dataclass(frozen=True, slots=True)
class _Sent:
    at_s: float
    text: str
    flush: bool
    options: InputOptions


class Wire:
    """Sends the inputs of one context, in the order of the calls."""

    __slots__ = (
        "_admitted",
        "_defaults",
        "_gates",
        "_held",
        "_hold",
        "_joins",
        "_ledger",
        "_left",
        "_link",
        "_options",
        "_owner",
        "_recent",
        "_services",
        "_turn",
        "closing",
        "format",
        "id",
    )

    def __init__(self, owner: Owner, services: Services, options: ContextOptions, ledger: Ledger) -> None:
        self._owner = owner
        self._services = services
        self._options = options
        self._ledger = ledger
        self._defaults: InputOptions | None = None
        self._link: Link | None = None
        self._admitted = False
        self._left = False
        self._turn: asyncio.Lock | None = None
        self._joins = False
        self._hold: asyncio.Future[None] | None = None
        self._gates: set[asyncio.Timeout] | None = None
        self._held = ""
        self._recent: list[_Sent] = []
        self.id = str(uuid.uuid4())
        self.format: AudioFormat | None = None
        self.closing = False

    @property
    def live(self) -> bool:
        """An id is on the wire and the server may still answer it."""
        return self._link is not None

    @property
    def used(self) -> bool:
        """Something was sent at some time."""
        return bool(self._ledger.context_ids)

    # --- waiting that ends with the context

    @contextlib.asynccontextmanager
    async def until_end(self) -> AsyncIterator[None]:
        """Bounds a wait by the life of the context: when that ends, raises what a push then raises."""
        gate = asyncio.timeout(None)
        try:
            async with gate:
                if self._gates is None:
                    self._gates = set()
                self._gates.add(gate)
                yield
        except TimeoutError:
            error = self._owner.input_error(under_way=True) if gate.expired() else None
            if error is None:
                raise
            raise error from None
        finally:
            if self._gates is not None:
                self._gates.discard(gate)
                self._gates = self._gates or None

    def wake(self) -> None:
        """Ends all waits: the context has ended, or takes no more text."""
        gates, self._gates = self._gates, None
        for gate in gates or ():
            gate.reschedule(asyncio.get_running_loop().time())

    def hold(self) -> None:
        """Makes inputs wait until :meth:`release`."""
        if self._hold is None:
            self._hold = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        """Lets held inputs go."""
        hold, self._hold = self._hold, None
        if hold is not None and not hold.done():
            hold.set_result(None)

    def join_audio(self) -> None:
        """Asks for neighbouring small chunks as one piece."""
        self._joins = True
        if self._link is not None and self._link.transport is not None:
            self._link.transport.connection.join_audio(self.id)

    # --- inputs

    async def send(
        self, text: str, *, continues: bool, flush: bool = False, per_input: dict[str, Any] | None = None
    ) -> None:
        """Sends one input. Cancelled, it has sent nothing.

        Raises:
            VoxwireError: The connection that it needed failed, or the context has ended.
            RuntimeError: The input was closed before.
        """
        self._check_open()
        if self._ledger.started_at_s is None:
            self._ledger.started_at_s = time.monotonic()
        link = self._link
        if link is None or self._taken or self._hold is not None or not _writable(link):
            async with self.until_end(), self._in_turn():
                link = await self._prepare()
                self._check_open()
                self._transmit(link, text, continues=continues, flush=flush, per_input=per_input)
        else:
            self._transmit(link, text, continues=continues, flush=flush, per_input=per_input)

    async def send_piece(self, piece: str) -> None:
        """Sends a piece of a longer text. What may not open a context waits for the first piece that may."""
        if piece and not self.live and not speakable(piece):
            self._held += piece
            self._owner.note_text(piece)
        elif piece:
            await self.send(piece, continues=True)

    async def close_input(self) -> None:
        """Sends the close, with what was held back. A no-op where the input is closed or the context has ended."""
        if self._held and (not self.used or speakable(self._held)):
            await self.send("", continues=False)
            return
        link = self._link
        if link is not None and not self._taken and _writable(link):
            self._transmit(link, "", continues=False)
            return
        async with self.until_end(), self._in_turn():
            if self.closing:
                return
            if self._link is not None:
                link = await self._prepare()
                self._check_open()
                self._transmit(link, "", continues=False)
            else:
                # What is left can only follow audio that has ended: it is nothing to speak.
                self._held = ""
                self._owner.finish_unsent()

    def leave(self, how: Literal["answered", "cancel", "fail"]) -> None:
        """Takes the context off the wire, once and for all, and gives its place back."""
        self._left = True
        self.wake()
        self.release()
        if self._admitted:
            self._admitted = False
            self._services.admission.release()
        link, self._link = self._link, None
        if link is None or link.transport is None:
            return
        link.members.discard(self._owner)
        if link.closed is None:
            connection = link.transport.connection
            if how == "cancel":
                connection.send_cancel(self.id, link.transport.now())
            self._ledger.late_dropped += connection.forget_context(self.id)
            link.transport.flush()

    def expire(self) -> None:
        """The server ended the live id before its close: goes on with another, at the next input.

        Inputs that cannot have been processed are sent again at once.
        """
        link, self._link = self._link, None
        again: list[_Sent] = []
        if link is not None and link.transport is not None:
            now_s = link.transport.now()
            again = [sent for sent in self._recent if now_s - sent.at_s < _UNPROCESSED_S]
            link.members.discard(self._owner)
            link.transport.connection.forget_context(self.id)
        self._recent.clear()
        self.id = str(uuid.uuid4())
        for sent in again:
            if link is not None and link.usable and (self.live or speakable(self._held + sent.text)):
                self._put(link, self._held + sent.text, continues=True, flush=sent.flush, options=sent.options)
                self._held = ""
            else:
                self._held += sent.text
        if self.live and link is not None and link.transport is not None:
            link.transport.flush()

    # --- inside

    @property
    def _taken(self) -> bool:
        """An input is under way that later ones wait for."""
        return self._turn is not None and self._turn.locked()

    def _in_turn(self) -> asyncio.Lock:
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn

    async def _prepare(self) -> Link:
        """Waits for all that an input needs; nothing is sent before it returns."""
        clock = time.monotonic
        services = self._services
        link = self._link
        try:
            if link is None:
                if not self._admitted:
                    asked_s = clock()
                    await services.admission.acquire()
                    if self._left:
                        # The context ended in the turn that gave us the place: nobody else would give it back.
                        services.admission.release()
                        self._check_open()
                    self._admitted = True
                    self._ledger.queued_s += clock() - asked_s
                asked_s = clock()
                await services.fleet.link()
                self._ledger.connect_s += clock() - asked_s
            if self._hold is not None:
                await asyncio.wait({self._hold})
            if link is None:
                if self._options.voice is None:
                    self._options.voice = await services.default_voice()
                link = await services.fleet.link()
            if link.transport is not None:
                await link.transport.drain()
        except VoxwireError as error:
            self._owner.fail(error)
            raise
        # A feed that went on after an expiry may have opened an id meanwhile.
        return self._link or link

    def _transmit(
        self, link: Link, text: str, *, continues: bool, flush: bool = False, per_input: dict[str, Any] | None = None
    ) -> None:
        """Sends, without a wait."""
        self._fix()
        options = self._defaults
        if per_input and options is not None:
            options = options.with_fields(per_input)
        whole = self._held + text
        self._put(link, whole, continues=continues, flush=flush, options=options)
        self._held = ""
        if text:
            self._owner.note_text(text)
        if link.transport is not None:
            link.transport.flush()

    def _put(self, link: Link, text: str, *, continues: bool, flush: bool, options: InputOptions | None) -> None:
        transport = link.transport
        if transport is None or options is None or self.format is None:
            raise AssertionError("an input before its connection and format")
        now_s = transport.now()
        if self._link is None:
            transport.connection.open_context(self.id, self._owner.inbox, self.format, self._options.deliver_format)
            if self._joins:
                transport.connection.join_audio(self.id)
            self._link = link
            link.members.add(self._owner)
            self._ledger.context_ids += (self.id,)
            self._ledger.request_id = link.request_id or self._ledger.request_id
        verdict = transport.connection.send_input(
            self.id,
            text,
            continues=continues,
            flush=flush,
            settings=options.settings,
            buffer_delay_ms=options.buffer_delay_ms,
            now=now_s,
        )
        if verdict == "expired":
            raise ContextExpired("the server ended the context before this text", context_id=self.id)
        if verdict not in {"sent", "ignored"}:
            raise RuntimeError(f"the context takes no more text: {verdict}")
        self.closing = self.closing or not continues
        recent = self._recent
        recent.append(_Sent(now_s, text, flush, options))
        old = 0
        while old < len(recent) - 1 and now_s - recent[old].at_s >= _UNPROCESSED_S:
            old += 1
        del recent[:old]

    def _fix(self) -> None:
        """The first input fixes format and options for good (protocol.md 3.5)."""
        if self.format is None:
            self.format = self._options.output_format or AudioFormat()
        if self._defaults is None:
            self._defaults = self._options.freeze(self.format)
            delivered = self._options.deliver_format or self.format
            self._ledger.audio.bytes_per_s = delivered.frame_bytes * delivered.sample_rate

    def _check_open(self) -> None:
        if (error := self._owner.input_error()) is not None:
            raise error


def _writable(link: Link) -> bool:
    return link.transport is not None and link.transport.writable
