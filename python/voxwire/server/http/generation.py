"""One answer that speaks: a context whose peer is an HTTP request (protocol.md 11.1, 11.2)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Literal

from voxwire.exceptions import ConnectionLost
from voxwire.server.failures import refusal_of, shutting_down
from voxwire.server.speech.context import SpeechContext
from voxwire.tasks import Scope
from voxwire.transport import unacknowledged_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive, Send
    from starlette.types import Scope as RequestScope

    from voxwire.engines import Span
    from voxwire.server.access.limits import Account
    from voxwire.server.http.containers import Form
    from voxwire.server.refusal import Refusal
    from voxwire.server.requests import FirstInput
    from voxwire.server.service import Service

__all__ = ["Generation"]

#: So much is handed on at once: what the connection holds then is bounded too.
_PIECE_BYTES = 65_536
#: How often a connection is looked at, to see whether it takes anything.
_LOOK_S = 1.0
#: How often the end of an answer looks whether a slow reader has come there.
_END_LOOK_S = 0.05


class Generation:
    """The answer to one request, as an ASGI application.

    It holds back synthesis while its reader is slow, is cut off when that takes nothing for too long, and stops when
    the reader goes away. A failure before the first byte is the status of the answer, as far as the form says no other
    way; a later one is told by the form, or cuts the answer.
    """

    def __init__(
        self,
        service: Service,
        account: Account,
        request: FirstInput,
        voice: str,
        form: Form,
        *,
        version: str,
        request_id: str,
        transport: asyncio.Transport,
    ) -> None:
        """Makes an answer; it begins when it is called.

        Args:
            service: The server.
            account: Of the credential.
            request: What is to be spoken, checked.
            voice: The engine's id of the voice.
            form: How the answer is written.
            version: Of the protocol.
            request_id: UUID of the request.
            transport: The connection.
        """
        self._service = service
        self._account = account
        self._request = request
        self._voice = voice
        self._form = form
        self._version = version
        self._request_id = request_id
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._pieces: deque[bytes] = deque()
        self._queued_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._complete = False
        self._failure: Refusal | None = None
        self._gone = asyncio.Event()
        self._ended = asyncio.Event()
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._moved_at = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Speaks, and writes the answer.

        Raises:
            Refusal: It failed before the answer began.
        """
        service = self._service
        context = SpeechContext(
            self._request_id, self._request, self._voice, peer=self, service=service, slot=self._account.slot()
        )
        service.context_began()
        service.sessions.add(self)
        watchers = Scope()
        watchers.start(self._await_departure(receive), "departure of an HTTP client")
        speaking: asyncio.Task[None] | None = None
        try:
            context.add(self._request, close=True)
            speaking = service.scope.start(context.run(), f"context of {self._request_id}")
            speaking.add_done_callback(self._handle_end)
            self._look()
            await self._answer(send)
        finally:
            self._gone.set()
            self._room.set()
            context.stop()
            if speaking is not None:
                speaking.cancel()
            if self._watch is not None:
                self._watch.cancel()
            service.sessions.discard(self)
            service.context_ended()
            self._ended.set()
            await watchers.close()

    # --- the server tells us

    async def shut_down(self) -> None:
        """Ends the answer because the server ends, and waits until it is written."""
        self._fail(shutting_down())
        await self._ended.wait()

    def abort(self) -> None:
        """Drops the connection at once."""
        self._transport.abort()

    # --- the context tells us

    def send_chunk(self, context: SpeechContext, data: memoryview, step_time_ms: float) -> None:  # noqa: ARG002
        """Writes audio."""
        self._put(self._form.chunk(data, step_time_ms))

    def send_timestamps(
        self,
        context: SpeechContext,  # noqa: ARG002 - there is but one
        kind: Literal["words", "phonemes"],
        items: Sequence[Span],
    ) -> None:
        """Writes times."""
        self._put(self._form.timestamps(kind, items))

    def send_flush_done(self, context: SpeechContext) -> None:
        """Writes nothing: no flush can be asked for."""

    async def ready(self) -> None:
        """Waits until the reader has taken enough; ended by the reader, or by the watch over it.

        Raises:
            ConnectionLost: The reader is gone.
        """
        if self._room.is_set():
            await asyncio.sleep(0)
        await self._room.wait()
        if self._gone.is_set():
            raise ConnectionLost("the reader of the answer is gone")

    def context_drained(self, context: SpeechContext) -> None:
        """Ends the answer well."""
        try:
            context.finish()
            self._put(self._form.end())
        except Exception as error:  # noqa: BLE001 - whatever happens, the client is told
            self.context_failed(context, error)
            return
        self._complete = True
        self._changed.set()

    def context_expired(self, context: SpeechContext) -> None:
        """Does the same: the input was closed at once, so that nothing can be missing."""
        self.context_drained(context)

    def context_failed(self, context: SpeechContext, error: Exception) -> None:  # noqa: ARG002 - there is but one
        """Ends the answer with what the failure means."""
        self._fail(refusal_of(error, self._service.voices, self._version, self._request_id))

    # --- inside: the writing

    async def _answer(self, send: Send) -> None:
        piece = await self._take()
        if not piece and self._failure is not None and not self._told_within(self._failure):
            # It may be shared, and would gather the frames of every raise.
            raise self._failure.with_traceback(None)
        if self._gone.is_set():
            return
        headers = [(b"content-type", self._form.media_type.encode()), (b"cache-control", b"no-cache")]
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": headers})
        while piece:
            await self._send(send, {"type": "http.response.body", "body": piece, "more_body": True})
            piece = await self._take()
        last = b""
        if self._failure is not None:
            told = self._form.failure(self._failure, self._request_id)
            if told is None:
                # An answer without its end is the only sign that is left.
                self._transport.close()
                await self._gone.wait()
                return
            last = told
        # Once the answer is over nobody watches the reader any more.
        while self._transport.get_write_buffer_size() and not self._gone.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_LOOK_S):
                    await self._gone.wait()
        if not self._gone.is_set():
            await self._send(send, {"type": "http.response.body", "body": last, "more_body": False})

    def _told_within(self, failure: Refusal) -> bool:
        """Says whether an answer that has not begun may tell a failure; what the client did wrong is a status."""
        return failure.status >= 500 and self._form.failure(failure, self._request_id) is not None

    async def _send(self, send: Send, message: Message) -> None:
        await send(message)
        self._sent_bytes += len(message.get("body", b""))

    async def _take(self) -> bytes:
        """Returns what comes next; nothing at the end, of whatever kind."""
        while not self._pieces:
            if self._complete or self._failure is not None or self._gone.is_set():
                return b""
            self._changed.clear()
            await self._changed.wait()
        taken = [self._pieces.popleft()]
        size_bytes = len(taken[0])
        while self._pieces and size_bytes + len(self._pieces[0]) <= _PIECE_BYTES:
            taken.append(self._pieces.popleft())
            size_bytes += len(taken[-1])
        self._queued_bytes -= size_bytes
        if self._queued_bytes < self._service.settings.send_queue_bytes:
            self._room.set()
        return b"".join(taken)

    def _put(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            data = self._form.begin() + data
        if not data or self._failure is not None or self._gone.is_set():
            return
        self._pieces.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes >= self._service.settings.send_queue_bytes:
            self._room.clear()
        self._changed.set()

    def _fail(self, refusal: Refusal) -> None:
        if not self._complete and self._failure is None:
            self._failure = refusal
            self._changed.set()

    # --- inside: the watching

    async def _await_departure(self, receive: Receive) -> None:
        """The body was read, so that all that can come is the end of the connection."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        self._room.set()
        self._changed.set()

    def _handle_end(self, speaking: asyncio.Task[None]) -> None:
        """A context that neither came to its end nor failed was stopped with the server."""
        if speaking.cancelled():
            self._fail(shutting_down())

    def _look(self) -> None:
        """Cuts off a reader that takes nothing for too long; merely slow ones are waited for (protocol.md 2.6)."""
        now = self._loop.time()
        limit_s = self._service.settings.slow_reader_s
        held_bytes = self._transport.get_write_buffer_size()
        if (handle := self._transport.get_extra_info("socket")) is not None and handle.fileno() >= 0:
            held_bytes += unacknowledged_bytes(handle.fileno())
        taken_bytes = self._sent_bytes - held_bytes
        if taken_bytes > self._taken_bytes or not held_bytes:
            self._taken_bytes = max(taken_bytes, self._taken_bytes)
            self._moved_at = now
        elif now - self._moved_at >= limit_s:
            self.abort()
            return
        self._watch = self._loop.call_later(min(_LOOK_S, limit_s / 4), self._look)
