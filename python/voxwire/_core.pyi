"""The compiled core. Only ``voxwire.protocol`` and ``voxwire.audio`` import it; see there for the guide."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from typing_extensions import Buffer

from voxwire.audio import AudioFormat

# --- constants that the core owns ---------------------------------------------------------------------------------

__version__: Final[str]
SAMPLE_WIDTHS: Final[dict[str, int]]
"""Bytes of one sample, by the protocol's name of the encoding."""
SAMPLE_RATES: Final[tuple[int, ...]]
"""Sample rates of the protocol, in Hz, ascending."""
LIMITS: Final[dict[str, int]]
"""Fixed limits: ``client_message_bytes`` 16 MiB, ``server_message_bytes`` 1 MiB, ``json_depth`` 32,
``empty_fragments`` 1024, ``head_bytes`` 16384, ``head_line_bytes`` 8192, ``head_headers`` 64,
``error_body_bytes`` 65536, ``unusable_messages`` 10, ``chunk_bytes`` 16384, ``first_chunk_bytes`` 4096,
``context_id_length`` 256, ``buffer_delay_ms`` 3000 where an input names none, ``remembered_contexts`` 4096,
``joined_chunk_bytes`` 4096: audio of fewer bytes is joined where that is asked for."""
CLOSE_CODES: Final[dict[str, int]]
"""``normal`` 1000, ``going_away`` 1001, ``protocol_error`` 1002, ``unsupported`` 1003, ``no_status`` 1005,
``abnormal`` 1006, ``invalid_data`` 1007, ``policy`` 1008, ``too_big`` 1009, ``internal`` 1011."""

# --- audio --------------------------------------------------------------------------------------------------------

def decode_base64(text: str | Buffer) -> bytes: ...
def encode_base64(data: Buffer) -> str: ...
def transcode(data: Buffer, source: AudioFormat, target: AudioFormat) -> bytes: ...

@final
class Resampler:
    def __new__(cls, source: AudioFormat, target: AudioFormat) -> Resampler: ...
    def process(self, data: Buffer, gain: float = 1.0) -> bytes:
        """Takes whole frames; returns what is ready. Raises ValueError for a cut frame, which is not taken.

        Samples are first multiplied by ``gain`` (at least 0), in float, and held at full scale; 1 changes no bit."""
    def flush(self) -> bytes:
        """Returns everything due for the input so far, its end as if silence followed; the stream goes on."""
    def finish(self) -> bytes:
        """Returns the rest and ends the stream; what is given afterwards is a new one."""

# --- the socket ---------------------------------------------------------------------------------------------------

@final
class ReadBuffer:
    """Where reads go: one serves all sockets of a loop, as each read is used up before the next begins."""

    def __new__(cls, size: int) -> ReadBuffer:
        """``size`` in bytes; beyond 18 KiB where there is TLS, for its largest record."""
    def __len__(self) -> int: ...

@final
class Socket:
    """A connected stream socket that does not block, with TLS in it where a context is given.

    The descriptor stays the caller's: it must be open until :meth:`close`. Every call may raise OSError, or
    ``voxwire.exceptions.TlsError`` with the bare reason, code ``tls_untrusted`` where the certificate is it; both are
    for good."""

    def __new__(cls, fileno: int, *, tls: TlsContext | None = None, server_name: str = "") -> Socket:
        """With ``tls`` the TLS handshake begins; ``server_name`` is what the certificate must name."""
    def receive_bytes(self, buffer: ReadBuffer) -> tuple[bytes, bool]:
        """Reads once; returns the plain bytes, and whether the stream has ended behind them."""
    def send(self, data: Buffer) -> int:
        """Sends what the system takes, or TLS's handshake lets pass, at once and keeps the rest, in order.

        Returns :attr:`unsent_bytes`."""
    def flush(self) -> int:
        """Sends what waits, as far as the system takes it; returns :attr:`unsent_bytes`."""
    def shutdown_write(self) -> int:
        """Ends this side's stream once all that waits is sent; returns :attr:`unsent_bytes`."""
    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the system to take them: call :meth:`flush` when the socket can be written."""
    def close(self) -> None:
        """Forgets the descriptor, which may be closed then, and all that waits."""

@final
class Reader:
    """What a loop calls for a socket that can be read: reads once and hands what came to the connection, where it lies.

    Audio goes on to the inboxes of its contexts at once."""

    def __new__(
        cls,
        socket: Socket,
        connection: Connection,
        buffer: ReadBuffer,
        clock: Callable[[], float],
        tell: Callable[[bool, Exception | None], None],
    ) -> Reader:
        """``tell(ended, failure)`` is called where there is something to be seen to: events, bytes to send, of the
        connection or the socket, or a deadline that no timer was noted for; at the end of the stream, before which TLS
        may have brought something still; and with an Exception that the read has raised. Others are raised."""
    def __call__(self) -> None: ...

# --- TLS ----------------------------------------------------------------------------------------------------------

@final
class TlsContext:
    """How a client speaks TLS 1.2 and 1.3: whom it trusts, and what it shows where it is asked.

    Certificates and host names are always checked. It never changes, and any number of clients may share it: sessions
    with one host then begin with a shorter handshake than the first."""

    def __new__(
        cls,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> TlsContext:
        """Reads PEM files, all at once.

        ``ca_file`` holds the authorities to trust; None for the platform's, which are read once per process from where
        ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` point, or else from where the system keeps them. ``certificate_file``
        holds a certificate of the client's own with its chain, ``key_file`` its unencrypted key; None where that
        stands in ``certificate_file`` too.

        Raises OSError, such as FileNotFoundError, for a file that cannot be read; ValueError for one that holds
        something else, for a key that is not that of the certificate, and for a key without a certificate."""
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def certificate_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...

# --- the upgrade --------------------------------------------------------------------------------------------------

@final
class ClientHandshake:
    """The client's half of the HTTP upgrade (RFC 6455 section 4.1)."""

    def __new__(cls, *, host: str, target: str, headers: Sequence[tuple[str, str]] = (), key: bytes) -> ClientHandshake:
        """``host`` is the Host header, ``target`` path and query, ``key`` 16 random bytes.

        Raises ValueError for CR, LF, NUL or another control character anywhere, before any I/O."""
    def poll_transmit(self) -> bytes:
        """The request, once; then empty."""
    def handle_data(self, data: Buffer) -> bool:
        """Takes bytes; True once the answer is whole (head, and for a refusal as much body as is kept)."""
    def handle_eof(self) -> bool:
        """The peer ended the stream; True where that completes the answer (a body without length)."""
    @property
    def accepted(self) -> bool:
        """The answer is a 101 that fulfils every rule of the RFC."""
    @property
    def failure(self) -> str | None:
        """Why the answer is no valid HTTP or no valid upgrade; None for a plain refusal by status."""
    @property
    def status(self) -> int | None: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def body(self) -> bytes:
        """Of a refusal, at most ``LIMITS["error_body_bytes"]``."""
    @property
    def remainder(self) -> bytes:
        """What followed the head of an accepted upgrade: the first frames."""

@final
class ServerHandshake:
    """The server's half: reads one request head under the limits, then answers."""

    def __new__(cls) -> ServerHandshake: ...
    def handle_data(self, data: Buffer) -> bool:
        """Takes bytes; True once the head is whole or refused."""
    @property
    def failure(self) -> tuple[int, str] | None:
        """HTTP status and reason with which the head is to be refused (400, 414, 431, 505 ...)."""
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def headers(self) -> list[tuple[str, str]]:
        """In order, names in lower case, values decoded as Latin-1."""
    @property
    def received(self) -> bytes:
        """Every byte taken so far, to be replayed to another HTTP parser."""
    @property
    def remainder(self) -> bytes:
        """What followed the head."""
    def upgrade_failure(self) -> tuple[int, str] | None:
        """Why this head is no valid WebSocket upgrade: (status, reason), None if it is one."""
    def accept(self, headers: Sequence[tuple[str, str]] = ()) -> bytes:
        """The 101 answer."""
    @staticmethod
    def refuse(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        """A whole HTTP/1.1 answer with ``Content-Length`` and ``Connection: close``."""

# --- events -------------------------------------------------------------------------------------------------------

@final
class AudioTally:
    """How much audio has come for a context, and how it kept up with real time."""

    def __new__(cls) -> AudioTally: ...
    bytes_per_s: float
    """1 until it is set, which must be before audio comes."""
    stalls: int
    """How often audio came after all before it would have been heard, had it been played as it came."""
    def add(self, size_bytes: int, now_s: float) -> None:
        """Counts audio that came now, on ``time.monotonic``."""
    @property
    def size_bytes(self) -> int: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def first_at_s(self) -> float | None:
        """When the first came; None before."""

@final
class Inbox:
    """Events that wait for the one consumer of a context: batches in the order of their reads.

    What it gives to be awaited is no coroutine, but counts as one; nothing leaves before that is awaited. One loop uses
    it; a waiter is a future of that loop."""

    EVENT_BYTES: Final[int]
    """What an event, or a word in it, counts beside its samples: 128."""
    def __new__(cls, owner: Any, tally: AudioTally, limit_bytes: int) -> Inbox:
        """Closed.

        While it is, and where somebody comes from another thread or loop, ``owner.check_wait()`` is called; for who has
        waited here already, ``owner.check_end()``. Both raise where nothing is to be had, as an iteration does; the first
        also where the place is wrong. Events behind the first of a batch are given without a question in one thread."""
    def open(self, event_loop: asyncio.AbstractEventLoop) -> None:
        """From now on audio comes straight here from a batched ``Connection`` that has this as owner of a context, as
        long as no more than ``limit_bytes`` wait, and is counted by the tally. All else comes as ``Batch``, whose
        context is the owner of this. ``event_loop`` is running: its tasks are those who wait."""
    def close(self) -> None:
        """Has all come as ``Batch``, and the owner asked; what waits here can still be taken."""
    def put(self, events: list[Any], size_bytes: int) -> None:
        """Appends a batch, which must not be empty, and wakes who waits."""
    def take(self) -> list[Any]:
        """Takes the oldest batch, or what is left of it. Raises IndexError where nothing waits."""
    def clear(self) -> None:
        """Forgets what waits."""
    def wake(self) -> None:
        """Has whoever waits look again."""
    @property
    def size_bytes(self) -> int:
        """What the batches count that none has been taken of."""
    def next_batch(self) -> Coroutine[Any, Any, list[Any]]:
        """The oldest batch, or what is left of it; waits for one. Raises RuntimeError where somebody waits already."""
    def batches(self) -> Batches:
        """Iterates over batches, as :meth:`next_batch`."""
    def __bool__(self) -> bool:
        """Something waits to be taken."""
    def __aiter__(self) -> Inbox: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]:
        """The oldest event, as :meth:`next_batch`."""

@final
class Batches:
    """Made by :meth:`Inbox.batches`."""

    def __aiter__(self) -> Batches: ...
    def __anext__(self) -> Coroutine[Any, Any, list[Any]]: ...

@final
class Audio:
    """A piece of audio of one context: whole samples, strictly decoded.

    Attributes:
        data: The samples in ``format``; never empty.
        format: The format that the context was opened with.
        start_s: Seconds from the start of the context's audio to the first sample here.
        flush_id: The server's label of the segment, or None.
        context: The owner given to ``Connection.open_context``; None in a ``Batch``, which has it.
    """

    def __new__(
        cls, data: bytes, format: AudioFormat, start_s: float, flush_id: int | None, context: Any = None
    ) -> Audio: ...
    @property
    def data(self) -> bytes: ...
    @property
    def format(self) -> AudioFormat: ...
    @property
    def start_s(self) -> float: ...
    @property
    def flush_id(self) -> int | None: ...
    @property
    def context(self) -> Any: ...

@final
class Timestamps:
    """Word or phoneme times of one context, as received: three lists of one length."""

    @property
    def context(self) -> Any: ...
    @property
    def kind(self) -> Literal["words", "phonemes"]: ...
    @property
    def items(self) -> list[tuple[str, float, float]]:
        """(text, start_s, end_s)."""
    @property
    def flush_id(self) -> int | None: ...

@final
class FlushDone:
    """Everything before flush ``flush_id`` has arrived."""

    def __new__(cls, flush_id: int | None, context: Any = None) -> FlushDone: ...
    @property
    def context(self) -> Any: ...
    @property
    def flush_id(self) -> int | None: ...

@final
class Finished:
    """The context ended well; ``expired`` if the server ended it before our own close."""

    @property
    def context(self) -> Any: ...
    @property
    def expired(self) -> bool: ...

@final
class Failed:
    """The context failed. ``side`` is "remote" for the server's error event; "local" for what we found
    (``code`` then ``invalid_message``, ``invalid_audio``, ``inactivity``): a cancel was then queued already."""

    @property
    def context(self) -> Any: ...
    @property
    def side(self) -> Literal["local", "remote"]: ...
    @property
    def code(self) -> str | None: ...
    @property
    def status(self) -> int | None: ...
    @property
    def message(self) -> str:
        """Of a remote error ``title: message`` or the legacy text, at most 1000 characters."""
    @property
    def request_id(self) -> str | None: ...

@final
class Message:
    """A plain WebSocket message (``messages=False``): str for text, bytes for binary."""

    @property
    def data(self) -> str | bytes: ...

@final
class Request:
    """A generation request, as the server received it: an object without duplicate keys."""

    @property
    def context_id(self) -> str | None:
        """The value of ``context_id`` where it is a string, else None."""
    @property
    def fields(self) -> dict[str, Any]:
        """The members that the protocol names, as Python values; all others were skipped."""

@final
class Cancel:
    """A cancel request."""

    @property
    def context_id(self) -> str: ...

@final
class Unusable:
    """A message that is neither request nor cancel (protocol.md 3.6)."""

    @property
    def context_id(self) -> str | None: ...
    @property
    def reason(self) -> str:
        """Kind and byte position; quotes nothing of the message."""
    @property
    def continues(self) -> bool:
        """``continue`` where it could be read, else False."""
    @property
    def last(self) -> bool:
        """It is the tenth in a row: once its answer is out, the connection closes by itself."""

@final
class Closed:
    """The last event: the WebSocket is over. Live contexts of a client got no event of their own: their end is this.

    Attributes:
        code: Close code that counts (1006 without a Close frame).
        reason: The peer's reason, or ours.
        clean: The closing handshake was completed.
        error: None, or what the peer did wrong, with the byte index in the stream.
        timed_out: "ping", "close" or None: which timer ended it.
    """

    @property
    def code(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def clean(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def timed_out(self) -> Literal["ping", "close"] | None: ...

@final
class Batch:
    """What one read brought for one context, in order; of a connection with ``batched=True``.

    Attributes:
        context: The owner given to ``Connection.open_context``.
        events: Never empty.
        audio_bytes: Size of all audio here, in bytes, where there is nothing else; otherwise None.
    """

    @property
    def context(self) -> Any: ...
    @property
    def events(self) -> list[Audio | Timestamps | FlushDone | Finished | Failed]: ...
    @property
    def audio_bytes(self) -> int | None: ...

Event: TypeAlias = (
    Audio | Batch | Timestamps | FlushDone | Finished | Failed | Message | Request | Cancel | Unusable | Closed
)

ClientVerdict: TypeAlias = Literal["sent", "ignored", "usage", "ended", "expired", "failed"]
ServerState: TypeAlias = Literal["none", "open", "draining", "ended", "expired", "cancelled", "failed"]
ServerAction: TypeAlias = Literal[
    "ignore",
    "create",
    "create_and_close",
    "append",
    "append_and_close",
    "append_silent",
    "end_segment",
    "close",
    "stop",
    "fail",
    "stop_and_fail",
    "repeat_error",
    "done",
    "done_and_fail",
    "refuse",
]

# --- the connection -----------------------------------------------------------------------------------------------

@final
class Connection:
    """One WebSocket after its upgrade: bytes in, events out (RFC 6455 and protocol.md); no socket, no clock.

    Getters may be read at any time. ``handle_*`` tell it what the world did and never fail. Commands raise only for the
    caller's own mistakes. After each ``handle_*`` or command drain ``poll_events``, ``poll_transmit``, ``poll_timeout``, in
    this order: what came before the peer's Close or a violation may be answered until then, and a Close of ours that is
    due then goes out after the answers.
    ``now`` is seconds of any monotonic clock; None means the time last told.
    """

    def __new__(
        cls,
        role: Literal["client", "server"],
        *,
        messages: bool = True,
        batched: bool = False,
        max_message_bytes: int | None = None,
        ping_interval_s: float | None = 20.0,
        ping_timeout_s: float = 20.0,
        close_timeout_s: float = 2.0,
        inactivity_timeout_s: float | None = 10.0,
        seed: bytes | None = None,
        now: float = 0.0,
    ) -> Connection:
        """
        Args:
            role: Which end this is.
            messages: False delivers plain WebSocket messages as ``Message``.
            batched: The events of each context come as one ``Batch`` a drain.
            max_message_bytes: Limit of one received message; None for 16 MiB (client, and both roles with
                ``messages=False``) or 1 MiB (server).
            ping_interval_s: Seconds between our pings; None for none.
            ping_timeout_s: Seconds to wait for a pong before the connection counts as dead.
            close_timeout_s: Seconds to wait for the peer's Close.
            inactivity_timeout_s: Of each context of a client; None for none.
            seed: 32 random bytes for the masks of a client; None takes them from the system.
            now: Present time.
        """
    # Getters.
    @property
    def role(self) -> Literal["client", "server"]: ...
    @property
    def state(self) -> Literal["open", "closing", "closed"]: ...
    @property
    def counters(self) -> dict[str, int]:
        """``messages``, ``bytes``, ``late`` (for ended contexts), ``unknown_contexts``, ``unknown_types``,
        ``dropped_timestamps``."""
    @property
    def transmit_size(self) -> int:
        """Bytes that wait in ``poll_transmit``."""
    # The world tells us.
    def handle_data(self, data: Buffer, now: float | None = None) -> None: ...
    def handle_eof(self, now: float | None = None) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def handle_progress(self, now: float) -> None:
        """The peer took what was sent before: our ping may stand behind that, so its pong gets its whole time again.

        Data that arrives does the same by itself."""
    # What the caller drains.
    def poll_transmit(self) -> bytes: ...
    def poll_events(self) -> list[Event]: ...
    def note_timer(self, due: float | None) -> None:
        """Tells when ``handle_timeout`` will be called at the latest, for a ``Reader``: None for never."""
    def poll_timeout(self) -> float | None:
        """When ``handle_timeout`` is due, on the clock of ``now``."""
    # Commands of both roles.
    def send_text(self, payload: str | Buffer) -> None:
        """Sends one text message as it is. Raises ValueError if bytes are no UTF-8, RuntimeError once closing."""
    def send_binary(self, payload: Buffer) -> None: ...
    def send_ping(self, payload: Buffer = b"") -> None: ...
    def close(self, code: int = 1000, reason: str = "", now: float | None = None) -> None:
        """Starts the closing handshake; later calls do nothing."""
    # Commands of a client.
    def open_context(
        self, context_id: str, context: Any, format: AudioFormat, deliver: AudioFormat | None = None
    ) -> None:
        """Registers a context whose audio comes in ``format``; its events carry ``context``.

        With ``deliver`` the audio is decoded, resampled and encoded to that format in the same call, and the events
        carry it; what the resampler still holds comes as a last Audio before FlushDone and Finished. Raises ValueError
        for an id in use, and where no conversion leads from the one format to the other."""
    def send_input(
        self,
        context_id: str,
        transcript: str,
        *,
        continues: bool,
        flush: bool = False,
        settings: Buffer,
        buffer_delay_ms: int | None = None,
        now: float | None = None,
    ) -> ClientVerdict:
        """Sends a generation request if the state table (protocol.md 6.5) allows it.

        ``settings`` is one JSON object with every other field; ``context_id``, ``transcript``, ``continue`` and
        ``flush`` are added here. ``buffer_delay_ms`` is the ``max_buffer_delay_ms`` of this input; None for the
        protocol's default. Returns "sent", "ignored" (a no-op close), "usage", "ended", "expired" or "failed"."""
    def join_audio(self, context_id: str) -> None:
        """From the next read on neighbouring chunks of the context, each under ``LIMITS["joined_chunk_bytes"]``, come as
        one Audio of at most 64 KiB. Nothing happens for an unknown id."""
    def send_cancel(self, context_id: str, now: float | None = None) -> bool:
        """Cancels; False where the table says no-op. Later messages of the id are dropped."""
    def forget_context(self, context_id: str) -> int:
        """The caller lets the context go: sends a cancel if it is live, emits no event.

        Returns how many messages came for it since it ended; later ones stay counted in ``counters``."""
    # Commands of a server.
    def context_state(self, context_id: str, now: float | None = None) -> ServerState: ...
    def handle_input(
        self,
        context_id: str,
        transcript: str | None,
        *,
        continues: bool,
        flush: bool,
        valid: bool,
        now: float | None = None,
    ) -> ServerAction:
        """Applies an input to the state table (protocol.md 6.2). ``transcript`` None: it could not be read (then
        ``valid`` is False). What the caller must do:

        ignore: nothing. create, create_and_close: new context with this text (and the input is closed). append,
        append_and_close: add text. append_silent: add unspeakable text verbatim. end_segment: an empty flush.
        close: release the buffer, no more input. stop: drop everything silently. fail: send the error, there is no
        live context. stop_and_fail: stop the audio, send the error. repeat_error: send the last error of this id once
        more. done: send ``done``. refuse: keep this input's refusal until the context is done. done_and_fail: send
        ``done``, then the refusal that was kept.
        """
    def handle_cancel(self, context_id: str, now: float | None = None) -> ServerAction: ...
    def handle_context(
        self, context_id: str, event: Literal["synthesis_failed", "drained", "expired"], now: float | None = None
    ) -> ServerAction:
        """``drained``: input closed and all audio sent. ``expired``: the expiry timer fired."""
    def send_chunk(self, context_id: str, data: Buffer, *, step_time_ms: float, flush_id: int | None = None) -> None:
        """Sends a ``chunk``: frame, JSON and base64 in one pass. ``data`` is not empty."""
    def send_timestamps(
        self,
        context_id: str,
        kind: Literal["words", "phonemes"],
        items: Sequence[tuple[str, float, float]],
        *,
        flush_id: int | None = None,
    ) -> None: ...
    def send_flush_done(self, context_id: str, flush_id: int) -> None: ...
    def send_done(self, context_id: str) -> None: ...
    def send_error(
        self,
        context_id: str | None,
        *,
        status: int,
        title: str,
        message: str,
        request_id: str,
        code: str | None = None,
    ) -> None:
        """Sends the superset shape of protocol.md 4.6; a null ``error_code`` is sent as null."""
