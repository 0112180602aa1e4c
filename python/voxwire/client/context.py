"""A context: text in, events out, exactly one outcome."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

from voxwire.client.events import joined
from voxwire.client.feeding import check_text, open_source
from voxwire.client.options import check_per_input
from voxwire.client.playable import Playable
from voxwire.exceptions import ContextEnded, VoxwireError
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from voxwire.client import Client
    from voxwire.client.events import Event
    from voxwire.client.feeding import Text
    from voxwire.client.options import ContextOptions
    from voxwire.client.wire import Services
    from voxwire.playback import Output, Playback
    from voxwire.protocol import Inbox

__all__ = ["Context"]


class Context(Playable):
    """One stream of speech: text goes in, audio and times come out.

    Made by ``Client.context`` and used as ``async with``. It has one consumer: the iteration, ``batches`` or ``play``.

    Attributes:
        playback: What ``play`` started; None before.
    """

    # The attributes of a user have their place too.
    __slots__ = ("__dict__", "_client", "_feeder", "_scope", "_text", "playback")

    def __init__(self, client: Client, services: Services, options: ContextOptions, text: Text | None) -> None:
        super().__init__(services, options)
        self._client = client
        self._text = text
        self._scope = Scope()
        self._feeder: asyncio.Task[None] | None = None
        self.playback: Playback | None = None

    def __repr__(self) -> str:
        return f"<voxwire.Context {self.id} {self.outcome or 'open'}>"

    # --- the block

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a context is entered once")
        self._client.enlist(self)
        self._loop = asyncio.get_running_loop()
        self.inbox.open(self._loop)
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
            # Whoever kept the iterator gets nothing more either.
            self.inbox.clear()
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

    def __aiter__(self) -> Inbox:
        self._take_iteration()
        return self.inbox

    async def __anext__(self) -> Event:
        self._take_iteration()
        return await anext(self.inbox)

    def batches(self, *, join: bool = False) -> AsyncIterator[list[Event]]:
        """Returns an iterator over non-empty lists of events, as they were read.

        Args:
            join: Joins neighbouring audio of one segment, each piece under 4096 bytes, into one. Larger pieces come as
                they are: to join them would cost more than it saves.
        """
        self._take_iteration()
        if not join:
            return self.inbox.batches()
        self._wire.join_audio()
        return _Joined(self)

    async def take_batch(self) -> list[Event]:
        """Waits for events and takes those of the oldest read; raises as the iteration does."""
        self._take_iteration()
        return await self.inbox.next_batch()

    def take_waiting(self) -> list[Event]:
        """Takes all that later reads have brought."""
        events: list[Event] = []
        while self.inbox:
            events += self.inbox.take()
        return events

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


class _Joined:
    """Iterator over lists of events, neighbouring audio in one piece."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        context = self._context
        return joined(await context.take_batch() + context.take_waiting())
