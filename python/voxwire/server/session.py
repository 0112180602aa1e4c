"""One WebSocket of the server: carries out what the state table of the core decides."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal

from voxwire.exceptions import ConnectionLost
from voxwire.protocol import CLOSE_CODES, LIMITS, Cancel, Closed, Connection, Request, Unusable
from voxwire.server.failures import INTERNAL, log_fault, refusal_of, shutting_down
from voxwire.server.pressure import wait_writable
from voxwire.server.refusal import Refusal
from voxwire.server.requests import FirstInput, Input, check_later, is_speakable
from voxwire.server.speech.context import SpeechContext
from voxwire.server.versions import VOICE_BY_ID_ONLY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from voxwire.engines import Span
    from voxwire.protocol import Event
    from voxwire.server.access.limits import Account, Slot
    from voxwire.server.service import Service
    from voxwire.transport import Transport

__all__ = ["Session"]

_IDLE_REASON = "connection idle timeout"
_SLOW_REASON = "slow consumer"

_UNSPEAKABLE = Refusal(
    400,
    "transcript empty or contains only punctuation",
    "first transcript for WS is empty or contains only punctuation",
)
_CONTEXT_CLOSED = Refusal(
    400, "Context closed", "the context took its last input before this one, use a new `context_id`"
)
_BROKEN = Refusal(500, "Connection closed", "the connection broke a rule of WebSocket or a limit of the server")
_LIVE = frozenset({"open", "draining"})


class Session:
    """The contexts of one connection.

    Attributes:
        request_id: The id of this connection, in every error and in ``X-Request-Id``.
    """

    def __init__(self, service: Service, account: Account, version: str, request_id: str) -> None:
        """Makes the session of an accepted upgrade; :meth:`begin` starts it.

        Args:
            service: The server.
            account: Of the credential; its socket is counted already, and counted out at the end.
            version: Of the protocol.
            request_id: UUID of the connection.
        """
        self.request_id = request_id
        self._service = service
        self._account = account
        self._version = version
        self._labels = version >= VOICE_BY_ID_ONLY
        self._loop = asyncio.get_running_loop()
        self._contexts: dict[str, SpeechContext] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, Refusal] = {}
        self._errors: OrderedDict[str, Refusal] = OrderedDict()
        self._transport: Transport
        self._connection: Connection
        self._active_at = self._loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._over = False

    def begin(self, transport: Transport, remainder: bytes = b"") -> None:
        """Takes over the open WebSocket.

        Args:
            transport: With this session as its handler.
            remainder: What followed the request head.
        """
        self._transport = transport
        self._connection = transport.connection
        self._service.sessions.add(self)
        self._watch_idleness()
        if remainder:
            self._connection.handle_data(remainder, transport.now())
        transport.flush()

    # --- the transport tells us

    def handle_events(self, events: list[Event]) -> None:
        """Answers what one read brought."""
        self._active_at = self._loop.time()
        for event in events:
            if isinstance(event, Closed):
                self._end(event)
            else:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        context_id = getattr(event, "context_id", None)
        try:
            if isinstance(event, Request):
                self._handle_request(event)
            elif isinstance(event, Cancel):
                self._handle_cancel(event.context_id)
            elif isinstance(event, Unusable):
                self._handle_unusable(event)
        except Exception as error:  # noqa: BLE001 - no message may end the connection of all contexts
            log_fault(error, self.request_id)
            self._fail(context_id, INTERNAL)

    # --- inputs

    def _handle_request(self, event: Request) -> None:
        fields = event.fields
        context_id = event.context_id
        transcript = fields.get("transcript")
        continues = fields.get("continue") is True
        if not isinstance(transcript, str):
            transcript = None
        if context_id is None and fields.get("context_id") is None and self._version <= VOICE_BY_ID_ONLY:
            context_id = str(uuid.uuid4())
        if context_id is None:
            refusal = Refusal(400, "Invalid context_id", "`context_id` is required and must be a string")
            self._answer(None, refusal)
            return
        if not _is_context_id(context_id):
            # Such an id is no context's: it is answered, and not remembered.
            length = LIMITS["context_id_length"]
            message = f"`context_id` must have 1 to {length} characters, none of them U+0000"
            self._answer(context_id, Refusal(400, "Invalid context_id", message))
            return
        state = self._connection.context_state(context_id, self._transport.now())
        try:
            given, voice, slot = self._check(context_id, state, transcript, fields)
        except Refusal as refusal:
            self._refuse(context_id, transcript, refusal, continues=continues)
            return
        action = self._connection.handle_input(
            context_id,
            given.transcript,
            continues=given.continues,
            flush=given.flush,
            valid=True,
            now=self._transport.now(),
        )
        if action in {"create", "create_and_close"} and slot is not None and isinstance(given, FirstInput):
            context = SpeechContext(context_id, given, voice, peer=self, service=self._service, slot=slot)
            self._contexts[context_id] = context
            self._service.context_began()
            context.add(given, flush=given.flush, close=action == "create_and_close")
            self._tasks[context_id] = self._service.scope.start(context.run(), f"context of {self.request_id}")
            return
        if slot is not None:
            slot.release()
        if action in {"append", "append_silent"}:
            self._contexts[context_id].add(given, flush=given.flush)
        elif action == "end_segment":
            self._contexts[context_id].add(given, flush=True)
        elif action in {"append_and_close", "close"}:
            self._contexts[context_id].add(given, flush=given.flush, close=True)
        elif action in {"create", "create_and_close"}:
            # Only characters younger than one of the two Unicode tables come here: the core takes them for letters.
            self._fail(context_id, _UNSPEAKABLE)
        else:
            self._carry_out(action, context_id, _CONTEXT_CLOSED if action == "refuse" else _UNSPEAKABLE)

    def _handle_unusable(self, event: Unusable) -> None:
        refusal = Refusal(400, "Invalid message", event.reason)
        if event.context_id is not None and _is_context_id(event.context_id):
            self._refuse(event.context_id, None, refusal, continues=event.continues)
        else:
            self._answer(event.context_id, refusal)
        if event.last:
            # The core closes after this answer.
            self._fail_all(Refusal(500, "Connection closed", "too many unusable messages in a row"))

    def _check(
        self, context_id: str, state: str, transcript: str | None, fields: dict[str, Any]
    ) -> tuple[Input, str, Slot | None]:
        """Returns the input, checked as far as the state of its context asks for, with voice and place of a new one.

        Raises:
            Refusal: It is not valid, or not admitted.
        """
        if state == "failed" and transcript is not None:
            # What its first input was refused for is often in the later ones too; the close is still one.
            return check_later({"transcript": transcript, "continue": fields.get("continue") is True}), "", None
        if state in _LIVE or transcript is None or not is_speakable(transcript):
            given = check_later(fields)
            if state == "open":
                size_bytes = self._contexts[context_id].unspoken_bytes
                self._check_size(size_bytes + len(given.transcript.encode()))
            return given, "", None
        request, voice = self._service.check(fields, self._version)
        self._check_size(len(request.transcript.encode()))
        if self._service.draining:
            raise shutting_down()
        return request, voice, self._account.slot()

    def _check_size(self, size_bytes: int) -> None:
        limit = self._service.settings.context_text_bytes
        if size_bytes > limit:
            raise Refusal(400, "Too much text", f"more than {limit} bytes of text wait to be spoken")

    def _refuse(self, context_id: str, transcript: str | None, refusal: Refusal, *, continues: bool) -> None:
        """Answers an input that is not valid or not admitted, as the state table says."""
        now = self._transport.now()
        action = self._connection.handle_input(
            context_id, transcript, continues=continues, flush=False, valid=False, now=now
        )
        self._carry_out(action, context_id, refusal)

    def _handle_cancel(self, context_id: str) -> None:
        action = self._connection.handle_cancel(context_id, self._transport.now())
        self._carry_out(action, context_id, INTERNAL)
        if action == "stop" and self._service.settings.cancel_done:
            self._connection.send_done(context_id)

    def _carry_out(self, action: str, context_id: str, refusal: Refusal) -> None:
        """Does what ends a context or answers for one that is not live; ``refusal`` is the error to send, if any."""
        later = None
        if action in {"stop", "stop_and_fail", "done", "done_and_fail"}:
            self._forget(context_id)
            later = self._refused.pop(context_id, None)
        if action in {"fail", "stop_and_fail"}:
            self._send_error(context_id, refusal)
        elif action == "refuse":
            self._refused[context_id] = refusal
        elif action == "repeat_error":
            self._send_error(context_id, self._errors.get(context_id, INTERNAL))
        elif action in {"done", "done_and_fail"}:
            self._connection.send_done(context_id)
            if action == "done_and_fail" and later is not None:
                self._send_error(context_id, later)

    def _forget(self, context_id: str) -> None:
        """Lets go of a live context: nothing more is sent for it."""
        context = self._contexts.pop(context_id, None)
        if context is None:
            return
        context.stop()
        self._service.context_ended()
        task = self._tasks.pop(context_id, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _send_error(self, context_id: str, refusal: Refusal) -> None:
        """Sends the error of a context, and keeps it: it may be asked for once more."""
        self._errors[context_id] = refusal
        self._errors.move_to_end(context_id)
        if len(self._errors) > LIMITS["remembered_contexts"]:
            self._errors.popitem(last=False)
        self._answer(context_id, refusal)

    def _answer(self, context_id: str | None, refusal: Refusal) -> None:
        if self._connection.state != "open":
            return
        self._connection.send_error(
            context_id,
            status=refusal.status,
            title=refusal.title,
            message=refusal.message,
            request_id=self.request_id,
            code=refusal.code,
        )

    def _fail(self, context_id: str | None, refusal: Refusal) -> None:
        """Ends a context with an error that is not its client's fault."""
        if context_id is None or self._connection.state != "open":
            self._fail_all(refusal)
            self._connection.close(CLOSE_CODES["internal"], "internal error", self._transport.now())
            return
        action = self._connection.handle_context(context_id, "synthesis_failed", self._transport.now())
        if action == "ignore" and context_id not in self._contexts:
            action = "fail"
        self._carry_out(action, context_id, refusal)

    # --- contexts tell us

    def send_chunk(self, context: SpeechContext, data: memoryview, step_time_ms: float) -> None:
        """Sends a ``chunk``."""
        if self._is_live(context):
            self._connection.send_chunk(
                context.id,
                data,
                step_time_ms=step_time_ms,
                flush_id=context.flush_id if self._labels else None,
            )
            self._active_at = self._loop.time()
            self._transport.send()

    def send_timestamps(
        self, context: SpeechContext, kind: Literal["words", "phonemes"], items: Sequence[Span]
    ) -> None:
        """Sends word or phoneme times."""
        if self._is_live(context):
            self._connection.send_timestamps(
                context.id, kind, items, flush_id=context.flush_id if self._labels else None
            )

    def send_flush_done(self, context: SpeechContext) -> None:
        """Sends ``flush_done``."""
        if self._is_live(context):
            self._connection.send_flush_done(context.id, context.flush_id)
            self._sent()

    def ready(self) -> Awaitable[None]:
        """Waits until the socket takes more, and lets others have their turn.

        Raises:
            ConnectionLost: The socket is gone, or its reader takes nothing.
        """
        if self._transport.writable and not self._transport.closed:
            return asyncio.sleep(0)
        return self._wait_writable()

    async def _wait_writable(self) -> None:
        try:
            await wait_writable(self._transport, self._service.settings.slow_reader_s)
        except TimeoutError:
            self._close_slow()
            raise ConnectionLost("the reader of the connection takes nothing") from None

    def context_drained(self, context: SpeechContext) -> None:
        """Ends a context whose input was closed and whose audio is sent."""
        self._end_well(context, "drained")

    def context_expired(self, context: SpeechContext) -> None:
        """Ends a context that the client left open."""
        self._end_well(context, "expired")

    def context_failed(self, context: SpeechContext, error: Exception) -> None:
        """Ends a context with the error that its failure means."""
        if self._is_live(context):
            self._fail(context.id, self._refusal(error))
            self._transport.flush()

    def _end_well(self, context: SpeechContext, event: Literal["drained", "expired"]) -> None:
        if not self._is_live(context):
            return
        try:
            context.finish()
            action = self._connection.handle_context(context.id, event, self._transport.now())
            self._carry_out(action, context.id, INTERNAL)
        except Exception as error:  # noqa: BLE001 - a timer may be the caller; the client is told
            self._fail(context.id, self._refusal(error))
        self._sent()

    def _refusal(self, error: Exception) -> Refusal:
        return refusal_of(error, self._service.voices, self._version, self.request_id)

    def _is_live(self, context: SpeechContext) -> bool:
        return self._contexts.get(context.id) is context and self._connection.state == "open"

    def _sent(self) -> None:
        self._active_at = self._loop.time()
        self._transport.flush()

    # --- the end

    async def close(self, code: int, reason: str, refusal: Refusal) -> None:
        """Tells every live context why, closes with the closing handshake, and waits until it is closed."""
        if not self._over:
            self._fail_all(refusal)
            await self._transport.close(code, reason)

    async def shut_down(self) -> None:
        """Closes because the server ends."""
        await self.close(CLOSE_CODES["going_away"], "", shutting_down())

    def abort(self) -> None:
        """Drops the connection at once."""
        if not self._over:
            self._transport.abort()

    def _fail_all(self, refusal: Refusal) -> None:
        for context_id in list(self._contexts):
            self._forget(context_id)
            self._send_error(context_id, refusal)

    def _close_slow(self) -> None:
        refusal = Refusal(500, "Slow consumer", "the connection took no more audio")
        self._fail_all(refusal)
        self._connection.close(CLOSE_CODES["policy"], _SLOW_REASON, self._transport.now())
        self._transport.flush()

    def _end(self, closed: Closed) -> None:
        """The connection is over: so are its contexts."""
        if self._over:
            return
        self._over = True
        if not closed.clean:
            # After a broken rule they can still be told; the Close frame goes out after it.
            self._fail_all(_BROKEN)
        for context_id in list(self._contexts):
            self._forget(context_id)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._account.close_socket()
        self._service.sessions.discard(self)

    def _watch_idleness(self) -> None:
        """Closes the socket when it was idle for long enough, else looks again when it may have been."""
        now = self._loop.time()
        limit_s = self._service.settings.idle_timeout_s
        due = (now if self._contexts else self._active_at) + limit_s
        if due <= now:
            self._connection.close(CLOSE_CODES["normal"], _IDLE_REASON, self._transport.now())
            self._transport.flush()
            return
        self._idle_timer = self._loop.call_at(due, self._watch_idleness)


def _is_context_id(context_id: str) -> bool:
    return 1 <= len(context_id) <= LIMITS["context_id_length"] and "\0" not in context_id
