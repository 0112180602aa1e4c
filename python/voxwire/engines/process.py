"""One worker program behind pipes: its frames, its deadlines, its end.

It runs in callbacks of the loop: a frame is taken the moment it comes, whether its listener is quick or slow.
A deadline therefore only ever measures the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any, cast

from voxwire.engines.frames import FrameReader, Joined, encode_request, parse_rate, parse_reason
from voxwire.engines.speech import Speech
from voxwire.exceptions import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["WorkerProcess"]

#: Time that a frame already in the pipe has to be read when the loop itself was held up past a deadline.
GRACE_S = 0.05
#: Time after which a killed program that is still there is given up.
REAP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.005


class WorkerProcess(asyncio.Protocol):
    """A running worker program.

    Args:
        command: The program and its arguments.
        sample_rate: What it must say in its ``R``.
        frame_timeout_s: Longest silence while it works on a request.
        drain_timeout_s: Longest time that it may go on with an abandoned request.
        on_idle: Called when it can take a request again.
        on_death: Called once with the error when it died, or was killed for what it did, after it was ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        sample_rate: int,
        frame_timeout_s: float,
        drain_timeout_s: float,
        on_idle: Callable[[WorkerProcess], None],
        on_death: Callable[[WorkerProcess, EngineError], None],
    ) -> None:
        self._sample_rate = sample_rate
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
        # None once it is ready, else why it is not; empty where it just ended.
        self._ready: asyncio.Future[str | None] = self._loop.create_future()
        self._output_lost: asyncio.Future[None] = self._loop.create_future()
        self._input_lost: asyncio.Future[None] = self._loop.create_future()
        self._reader = FrameReader()
        self._joined = Joined()
        self._request_id = 0
        self._speech: Speech | None = None
        self._started = False
        self._working = False
        self._dead = False
        self._failed = False
        self._paused = False
        self._last_frame_s = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The system's number of the process."""
        return self._popen.pid

    @property
    def idle(self) -> bool:
        """It can take a request, as far as was heard from it."""
        return self._started and not (self._working or self._dead)

    @property
    def gone(self) -> bool:
        """The process has ended, whether or not its pipes have told already."""
        return self._popen.poll() is not None

    async def start(self, timeout_s: float) -> None:
        """Waits until the program is ready.

        Raises:
            EngineError: It ended, wrote something else, took longer than ``timeout_s`` or speaks at another rate. The
                caller still kills it.
        """
        input_pipe, output_pipe, error_pipe = self._popen.stdin, self._popen.stdout, self._popen.stderr
        await self._loop.connect_read_pipe(lambda: self._messages, error_pipe)
        await self._loop.connect_read_pipe(lambda: self, output_pipe)
        self._input, _ = await self._loop.connect_write_pipe(lambda: _Input(self, self._input_lost), input_pipe)
        try:
            async with asyncio.timeout(timeout_s):
                refusal = await self._ready
        except TimeoutError as error:
            raise EngineError(f"worker program was not ready within {timeout_s:g} s", code="engine_timeout") from error
        if refusal == "":
            # Its last words may still be in their pipe. No transcript can be in them yet.
            await asyncio.wait([self._messages.lost], timeout=GRACE_S)
            refusal = self._messages.text or "it gave no reason"
        if refusal is not None:
            raise EngineError(f"worker program could not start: {refusal}", code="engine_failed")

    def send(self, fields: Mapping[str, Any]) -> Speech:
        """Hands over a request; only while idle."""
        if self._input is None or not self.idle:
            raise RuntimeError("worker is not idle")
        self._request_id = self._request_id % 0xFFFF_FFFF + 1
        self._input.write(encode_request(self._request_id, fields))
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
            if not self._input.is_closing():
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
        if self._failed:
            return
        try:
            for kind, request_id, body in self._reader.read(data):
                self._touch()
                self._take(kind, request_id, body)
        except (ValueError, TypeError, KeyError) as error:
            self._die(EngineError("worker program wrote something that is not a frame", code="engine_crashed"), error)
            return
        self._hand_over()

    def _take(self, kind: bytes, request_id: int, body: bytes) -> None:
        if not self._ready.done():
            self._ready.set_result(self._refusal(kind, body))
            self._started = self._ready.result() is None
        elif kind == b"R":
            raise ValueError("only the first frame may be R")
        elif not self._working or request_id != self._request_id:
            return
        elif kind == b"A":
            self._joined.add_audio(body)
        elif kind == b"E":
            self._joined.add_times(body)
        else:
            self._hand_over()
            self._finish(EngineError(parse_reason(body), code="engine_failed") if kind == b"X" else None)
            if self._input is None or self._input.is_closing():
                self.handle_input_lost(None)
            else:
                self._on_idle(self)

    def _refusal(self, kind: bytes, body: bytes) -> str | None:
        """What the first frame says against using this program."""
        if kind == b"X":
            return parse_reason(body)
        if kind != b"R":
            return "its first frame is neither R nor X"
        rate = parse_rate(body)
        if rate != self._sample_rate:
            return f"it speaks at {rate} Hz, its engine says {self._sample_rate} Hz"
        return None

    def _hand_over(self) -> None:
        piece = self._joined.take()
        if self._speech is not None and piece is not None:
            self._speech.feed(piece)

    def eof_received(self) -> None:
        """The program ended or closed its output."""
        self._die(EngineError("worker program ended in the middle of its work", code="engine_crashed"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The output is closed."""
        self._die(EngineError("worker program closed its output", code="engine_crashed"), exc)
        if not self._output_lost.done():
            self._output_lost.set_result(None)

    def handle_input_lost(self, error: Exception | None) -> None:
        """The program no longer reads; what it still writes is taken."""
        if not self._working:
            self._die(EngineError("worker program closed its input", code="engine_crashed"), error)

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
        if self._speech is None:
            late = f"went on for {self._drain_timeout_s:g} s with a cancelled request"
        else:
            late = f"sent nothing for {self._frame_timeout_s:g} s"
        self._die(EngineError(f"worker program {late}", code="engine_timeout"))

    def _finish(self, error: EngineError | None) -> None:
        self._disarm()
        self._working = False
        speech, self._speech = self._speech, None
        if speech is not None:
            speech.end(error)

    def _die(self, error: EngineError, cause: Exception | None = None) -> None:
        if self._failed:
            return
        self._failed = True
        if self._dead:
            self._finish(EngineError("engine was stopped", code="engine_failed"))
            return
        error.__cause__ = cause
        self.kill()
        if self._started:
            self._finish(error)
            self._on_death(self, error)
        elif not self._ready.done():
            self._ready.set_result("")


class _Input(asyncio.Protocol):
    """Tells when the program no longer reads."""

    def __init__(self, process: WorkerProcess, lost: asyncio.Future[None]) -> None:
        self._process = process
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._process.handle_input_lost(exc)
        if not self._lost.done():
            self._lost.set_result(None)


class _LastLine(asyncio.Protocol):
    """Keeps the last line that the program wrote to its standard error, and empties that pipe."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: asyncio.BaseTransport | None = None
        self._tail = b""
        self.lost: asyncio.Future[None] = loop.create_future()

    @property
    def text(self) -> str:
        lines = self._tail.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-2000:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> asyncio.Future[None]:
        if self._transport is None:
            self.connection_lost(None)
        else:
            self._transport.close()
        return self.lost


def _environment() -> dict[str, str]:
    """The host's environment without its credentials."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(("VOXWIRE_", "CARTESIA_"))}
