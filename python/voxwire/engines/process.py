"""One worker program behind pipes: its frames, its deadlines, its end.

The host writes one JSON object a line to the program's standard input: ``id``, ``text``, ``ends_sentence``, ``voice``,
``speed``, ``volume``, ``end_pause``, ``per_char``; a program skips keys that it does not know. The program writes
frames to its standard output, each a little-endian head (kind: 1 byte, id: u32, length of the body: u32) and a body:

    R   ready: {"rate": 22050}, once, before anything else
    E   times: {"w": [[word, start_s, end_s], ...], "p": [[ipa, start_s, end_s], ...]}
    A   audio: mono PCM
    D   done: the last frame of a request that went well
    X   failed: the last frame of one that did not; the body is a text for people, without any of the transcript.
        With id 0 before R: the program cannot work here

It speaks one request at a time and ends at the end of its input.

All of this runs in callbacks of the loop: a frame is taken the moment it comes, whether its listener is quick or slow.
A deadline therefore only ever measures the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import subprocess
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import orjson

from voxwire.engines.contract import Piece, Span
from voxwire.exceptions import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Speech", "WorkerProcess"]

HEAD = struct.Struct("<cII")
#: A longer body than this is not a frame but garbage.
MAX_BODY_BYTES = 16 * 1024 * 1024
#: Bytes of audio that wait for a slow listener before the program is made to wait: a minute and a half of eSpeak.
READ_AHEAD_BYTES = 4 * 1024 * 1024
#: Time that a frame already in the pipe has to be read when the loop itself was held up past a deadline.
GRACE_S = 0.05
#: Time after which a killed program that is still there is given up.
REAP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.005


class Speech:
    """What one request brings, between the program and the listener."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process: WorkerProcess | None = process
        self._pieces: deque[Piece] = deque()
        self._held_bytes = 0
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> Piece | None:
        """Returns the next piece, or None at the end; the process's deadlines bound the wait.

        Raises:
            EngineError: The request failed; the pieces before it have been returned.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._process is None:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece.pcm)
        if self._process is not None and self._held_bytes <= READ_AHEAD_BYTES // 2:
            self._process.resume()
        return piece

    def cancel(self) -> None:
        """Wants no more; returns at once."""
        process, self._process = self._process, None
        self._pieces.clear()
        if process is not None:
            process.abandon()

    def feed(self, piece: Piece) -> None:
        """Takes a piece from the program."""
        self._pieces.append(piece)
        self._held_bytes += len(piece.pcm)
        if self._process is not None and self._held_bytes > READ_AHEAD_BYTES:
            self._process.pause()
        self._wake()

    def end(self, error: EngineError | None) -> None:
        """Takes the end from the program."""
        self._process = None
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WorkerProcess(asyncio.Protocol):
    """A running worker program.

    Args:
        command: The program and its arguments.
        frame_timeout_s: Longest silence while it works on a request.
        drain_timeout_s: Longest time that it may go on with an abandoned request.
        on_idle: Called when it can take a request (again).
        on_death: Called once with the error when it died or was killed for what it did.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        frame_timeout_s: float,
        drain_timeout_s: float,
        on_idle: Callable[[WorkerProcess], None],
        on_death: Callable[[WorkerProcess, EngineError], None],
    ) -> None:
        self._frame_timeout_s = frame_timeout_s
        self._drain_timeout_s = drain_timeout_s
        self._on_idle = on_idle
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        # Not in a thread: a program that asks to die with its parent (PR_SET_PDEATHSIG) dies with the *thread* that
        # made it.
        self._popen = subprocess.Popen(  # noqa: S603 - the command is an engine's own, no user's text is in it
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
        )
        self._input: asyncio.WriteTransport | None = None
        self._output: asyncio.ReadTransport | None = None
        self._messages = _LastLine(self._loop)
        self._ready: asyncio.Future[int] = self._loop.create_future()
        self._output_lost: asyncio.Future[None] = self._loop.create_future()
        self._input_lost: asyncio.Future[None] = self._loop.create_future()
        self._buffer = bytearray()
        self._request_id = 0
        self._speech: Speech | None = None
        self._working = False
        self._dead = False
        self._paused = False
        self._last_frame_s = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The system's number of the process."""
        return self._popen.pid

    @property
    def idle(self) -> bool:
        """It can take a request."""
        return not (self._working or self._dead) and self._ready.done()

    async def start(self, timeout_s: float) -> int:
        """Waits until the program is ready and returns its sample rate.

        Raises:
            EngineError: It ended, wrote something else, or took longer than ``timeout_s``. The caller still kills it.
        """
        input_pipe, output_pipe, error_pipe = self._popen.stdin, self._popen.stdout, self._popen.stderr
        await self._loop.connect_read_pipe(lambda: self._messages, error_pipe)
        await self._loop.connect_read_pipe(lambda: self, output_pipe)
        transport, _ = await self._loop.connect_write_pipe(lambda: _Input(self, self._input_lost), input_pipe)
        self._input = cast("asyncio.WriteTransport", transport)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ready
        except TimeoutError as error:
            raise EngineError(
                f"worker program was not ready within {timeout_s:g} s",
                code="engine_timeout",
            ) from error

    def send(self, fields: Mapping[str, Any]) -> Speech:
        """Hands over a request; only while idle."""
        if self._input is None or not self.idle:
            raise RuntimeError("worker is not idle")
        self._request_id = self._request_id % 0xFFFF_FFFF + 1
        self._input.write(orjson.dumps({"id": self._request_id, **fields}) + b"\n")
        self._working = True
        self._speech = speech = Speech(self)
        self._touch()
        self._arm(self._frame_timeout_s, self._check_frames)
        return speech

    def abandon(self) -> None:
        """Nobody listens any more: reads the rest of the request away, for a while."""
        self._speech = None
        if self._working:
            self.resume()
            self._arm(self._drain_timeout_s, self._overrun)

    def pause(self) -> None:
        """Stops reading, so that the program waits."""
        if not self._paused and self._output is not None:
            self._paused = True
            self._output.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._paused and self._output is not None:
            self._paused = False
            self._touch()
            self._output.resume_reading()

    def end_input(self) -> None:
        """Asks the program to end."""
        self._dead = True
        self._disarm()
        if self._input is not None:
            self._input.close()

    def kill(self) -> None:
        """Ends the program at once."""
        self._dead = True
        self._disarm()
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()

    async def reap(self, grace_s: float = 0.0) -> None:
        """Waits until the process is gone, with a kill after ``grace_s``, and lets go of its pipes."""
        kill_at = self._loop.time() + grace_s
        end = kill_at + REAP_TIMEOUT_S
        # Polled, since a watcher of children would need signals or a thread, which belong to the embedding program.
        while self._popen.poll() is None and self._loop.time() < end:
            if self._loop.time() >= kill_at:
                self.kill()
            await asyncio.sleep(POLL_INTERVAL_S)
        waiting = [self._messages.close()]
        if self._input is not None:
            self._input.abort()
            waiting.append(self._input_lost)
        if self._output is not None:
            self._output.close()
            waiting.append(self._output_lost)
        await asyncio.wait(waiting, timeout=REAP_TIMEOUT_S)
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    # What the pipe tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The output can be read."""
        self._output = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Takes all whole frames; those of one read become one piece."""
        buffer = self._buffer
        buffer += data
        position = 0
        joined = _Joined()
        try:
            while len(buffer) - position >= HEAD.size:
                kind, request_id, size_bytes = HEAD.unpack_from(buffer, position)
                if size_bytes > MAX_BODY_BYTES:
                    raise ValueError("body is too long")
                start, end = position + HEAD.size, position + HEAD.size + size_bytes
                if len(buffer) < end:
                    break
                self._take(kind, request_id, bytes(memoryview(buffer)[start:end]), joined)
                position = end
        except (ValueError, TypeError, KeyError) as error:
            self._die(EngineError("worker program wrote something that is not a frame", code="engine_crashed"), error)
            return
        del buffer[:position]
        if position:
            self._touch()
        self._hand_over(joined)

    def _take(self, kind: bytes, request_id: int, body: bytes, joined: _Joined) -> None:
        if not self._ready.done():
            if kind == b"R":
                self._ready.set_result(int(orjson.loads(body)["rate"]))
                self._on_idle(self)
            elif kind == b"X":
                self._ready.set_exception(EngineError(_text(body), code="engine_failed"))
            else:
                raise ValueError("the first frame must be R or X")
            return
        if kind not in {b"A", b"E", b"D", b"X"}:
            raise ValueError("unknown kind")
        if not self._working or request_id != self._request_id:
            return
        if kind == b"A":
            joined.audio.append(body)
        elif kind == b"E":
            times = orjson.loads(body)
            joined.words.extend(_spans(times["w"]))
            joined.phonemes.extend(_spans(times["p"]))
        else:
            self._hand_over(joined)
            failure = EngineError(_text(body), code="engine_failed") if kind == b"X" else None
            self._finish(failure)
            if not self._dead:
                self._on_idle(self)

    def _hand_over(self, joined: _Joined) -> None:
        if self._speech is not None and joined:
            self._speech.feed(joined.piece())
        joined.clear()

    def eof_received(self) -> None:
        """The program ended or closed its output."""
        self._die(EngineError("worker program ended in the middle of its work", code="engine_crashed"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The output is closed."""
        self.handle_pipe_lost(exc)
        if not self._output_lost.done():
            self._output_lost.set_result(None)

    def handle_pipe_lost(self, error: Exception | None) -> None:
        """Either pipe is gone."""
        self._die(EngineError("worker program closed its pipes", code="engine_crashed"), error)

    # Deadlines and the end.

    def _touch(self) -> None:
        self._last_frame_s = self._loop.time()

    def _arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = self._loop.call_later(delay_s, callback)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _check_frames(self) -> None:
        """One timer a request, moved on only when it fires."""
        remaining_s = self._last_frame_s + self._frame_timeout_s - self._loop.time()
        if self._paused:
            self._arm(self._frame_timeout_s, self._check_frames)
        elif remaining_s > 0:
            self._arm(remaining_s, self._check_frames)
        else:
            # Some loops run timers before they read: what lies in the pipe is read first.
            seen_s = self._last_frame_s
            self._arm(GRACE_S, lambda: self._overrun() if self._last_frame_s == seen_s else self._check_frames())

    def _overrun(self) -> None:
        self._die(
            EngineError(
                f"worker program sent nothing for {self._frame_timeout_s:g} s",
                code="engine_timeout",
            )
        )

    def _finish(self, error: EngineError | None) -> None:
        self._disarm()
        self._working = False
        speech, self._speech = self._speech, None
        if speech is not None:
            speech.end(error)

    def _die(self, error: EngineError, cause: Exception | None = None) -> None:
        if self._dead:
            self._finish(EngineError("engine was stopped", code="engine_failed"))
            return
        error.__cause__ = cause
        self.kill()
        if not self._ready.done():
            reason = self._messages.text
            self._ready.set_exception(
                EngineError(
                    f"worker program could not start: {reason}" if reason else "worker program could not start",
                    code="engine_failed",
                )
            )
        self._finish(error)
        self._on_death(self, error)


class _Joined:
    """The frames of one read."""

    def __init__(self) -> None:
        self.audio: list[bytes] = []
        self.words: list[Span] = []
        self.phonemes: list[Span] = []

    def __bool__(self) -> bool:
        return bool(self.audio or self.words or self.phonemes)

    def piece(self) -> Piece:
        return Piece(b"".join(self.audio), tuple(self.words), tuple(self.phonemes))

    def clear(self) -> None:
        self.audio.clear()
        self.words.clear()
        self.phonemes.clear()


class _Input(asyncio.Protocol):
    """Tells when the program no longer reads."""

    def __init__(self, process: WorkerProcess, lost: asyncio.Future[None]) -> None:
        self._process = process
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._process.handle_pipe_lost(exc)
        if not self._lost.done():
            self._lost.set_result(None)


class _LastLine(asyncio.Protocol):
    """Keeps the last line that the program wrote to its standard error, and empties that pipe."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.BaseTransport | None = None
        self._lost: asyncio.Future[None] = loop.create_future()
        self._tail = b""

    @property
    def text(self) -> str:
        lines = self._tail.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-2000:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        if not self._lost.done():
            self._lost.set_result(None)

    def close(self) -> asyncio.Future[None]:
        if self._transport is None:
            self.connection_lost(None)
        else:
            self._transport.close()
        return self._lost


def _spans(items: Any) -> list[Span]:
    return [(str(text), float(start_s), float(end_s)) for text, start_s, end_s in items]


def _text(body: bytes) -> str:
    return " ".join(body[:500].decode(errors="replace").split()) or "worker program gave no reason"


def _environment() -> dict[str, str]:
    """The host's environment without its credentials."""
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("VOXWIRE_", "CARTESIA_"))
    }
