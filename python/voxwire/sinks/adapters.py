"""Two adapters for authors of sinks: write ``send``, get the whole contract.

    import socket

    from voxwire.audio import AudioFormat
    from voxwire.sinks import ThreadSink

    class Speaker(ThreadSink):
        formats = (AudioFormat("pcm_s16le", 16000),)

        def start(self, audio_format):
            self.socket = socket.create_connection(("192.0.2.7", 4000))

        def send(self, data):           # blocking, on the sink's own thread
            self.socket.sendall(data)

        def stop(self):
            self.socket.close()

``AsyncSink`` is the same with ``async def`` for the hooks. It runs on the event loop in which it was constructed, or,
constructed outside of one, on a loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from voxwire.exceptions import SinkClosed, SinkError, SinkLost, Unsupported
from voxwire.sinks.contract import (
    Address,
    Capabilities,
    Clock,
    FormatPattern,
    Opened,
    Option,
    Position,
    Probe,
    Quality,
    Wake,
    choose_format,
)
from voxwire.sinks.ledger import Ledger
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

    from voxwire.audio import AudioFormat

__all__ = ["AsyncSink", "ThreadSink"]


class _QueuedSink(ABC):  # noqa: B024 - each adapter declares its own kind of `send`
    """What both adapters share: everything but who sends.

    Attributes:
        formats: What the sink can do, best first; a None field of a pattern is any value.
        clock: Who paces; see ``Capabilities``.
        quality: What a sent frame counts as.
        can_clear: False if a clear is not to drop what waits here.
        max_lead_ms: See ``Capabilities``.
        buffer_ms: Audio held here at most.
        piece_ms: Audio handed to one ``send`` at most; what is being sent cannot be taken back.
        close_timeout_s: How long ``close`` waits for ``send`` to return, and, where ``can_clear`` is False, for what
            was taken to be sent; it ends within twice this time.
        latency_ms: Fixed delay between ``send`` and the ear.
        bound: Frames by which ``played`` may be off (see ``Position``); the author sets it before ``send`` returns.
        xruns: Underruns since the open, which the author counts.
    """

    api_version: ClassVar[int] = 1
    options: ClassVar[Mapping[str, Option]] = {}

    formats: tuple[AudioFormat | FormatPattern, ...] = (FormatPattern(),)
    clock: Clock = "none"
    quality: Quality = "sent"
    can_clear: bool = True
    max_lead_ms: int = 0
    buffer_ms: int = 200
    piece_ms: int = 20
    latency_ms: int = 0
    bound: int = 0
    xruns: int = 0
    close_timeout_s: float = 0.8

    def __init__(self, address: Address) -> None:
        self.address = address
        self._ledger: Ledger | None = None
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """The sink is closing and waits no longer: a ``send`` that waits in turns should give up."""
        return self._stopping

    @property
    def lost(self) -> bool:
        """A hook has failed."""
        return self._ledger is not None and self._ledger.error is not None

    @property
    def pending(self) -> int:
        """Frames that wait to be sent."""
        return 0 if self._ledger is None else self._ledger.queued

    @property
    def segment(self) -> int:
        """Number of the segment that is being written; a clear begins the next one."""
        return 0 if self._ledger is None else self._ledger.segment

    def held(self) -> int:
        """Frames that ``send`` has returned for and that are not played yet; may be overridden.

        Called from any thread, often: it must be cheap and never fail. Where it is used, ``drained`` must return only
        when it has become 0, or when ``pending`` shows that there is more to send.
        """
        return 0

    @classmethod
    def probe(cls) -> Probe:
        """Usable, unless a subclass knows better."""
        return Probe(usable=True)

    def capabilities(self) -> Capabilities:
        """Made of the attributes of the class."""
        return Capabilities(
            formats=self.formats,
            clock=self.clock,
            position=self.quality,
            can_clear=self.can_clear,
            can_pause=False,
            max_lead_ms=self.max_lead_ms,
        )

    def write(self, data: Buffer, /) -> int:
        """Takes what fits in the queue."""
        return self._live().offer(data)

    def finish(self) -> None:
        """Has ``drained`` called behind what was written, then wakes the host."""
        self._live().finish()

    def clear(self) -> Position:
        """Drops what no ``send`` has yet (unless ``can_clear`` is False); what is being sent counts as played."""
        return self._judge(self._live().clear())

    def position(self) -> Position:
        """Counts as played what ``send`` has returned for, less what is ``held``."""
        return self._judge(self._live().position())

    def pause(self) -> None:
        """Unsupported: the host holds its audio back instead."""
        raise Unsupported(f"sink {str(self.address)!r} cannot pause")

    def resume(self) -> None:
        """Unsupported."""
        raise Unsupported(f"sink {str(self.address)!r} cannot pause")

    def _live(self) -> Ledger:
        if self._ledger is None:
            raise SinkClosed(f"sink {str(self.address)!r} is not open")
        return self._ledger

    def _judge(self, position: Position) -> Position:
        # Read after the counts: by then the bound covers at least what they say.
        bound = min(self.bound, position.played)
        return replace(position, bound=bound, xruns=self.xruns) if bound or self.xruns else position

    def _prepare(self, formats: Sequence[AudioFormat], wake: Wake) -> tuple[Opened, Ledger]:
        if self._ledger is not None:
            raise SinkError(f"sink {str(self.address)!r} was opened before, a sink opens once")
        audio_format = choose_format(formats, self.formats, f"sink {str(self.address)!r}")
        rate = audio_format.sample_rate
        opened = Opened(
            audio_format,
            quantum=1,
            buffer=max(1, rate * self.buffer_ms // 1000),
            latency=rate * self.latency_ms // 1000,
        )
        ledger = Ledger(
            f"sink {str(self.address)!r}",
            audio_format,
            buffer_frames=opened.buffer,
            piece_frames=max(1, rate * self.piece_ms // 1000),
            can_clear=self.can_clear,
            quality=self.quality,
            wake=wake,
            ready=self._ready,
            held=self.held,
        )
        return opened, ledger

    def _ready(self) -> None:  # noqa: B027 - only some have a step to take
        """There may be a step to take."""

    def _raise_unsaved(self, ledger: Ledger, *, told: bool) -> None:
        """Raises what went wrong in a close, unless the host has been told of a loss before, or a clear drops it."""
        if told or ledger.error is None:
            return
        if self.can_clear and ledger.aborted:
            return
        raise ledger.error

    def loss(self, error: BaseException) -> SinkLost:
        """The error that the host gets for what a hook raised; may be overridden for a better text."""
        if isinstance(error, SinkLost):
            return error
        if isinstance(error, OSError):
            lost = SinkLost(
                f"sink {str(self.address)!r} failed: {error.strerror or type(error).__name__}", errno=error.errno
            )
        else:
            lost = SinkLost(f"sink {str(self.address)!r} failed: {type(error).__name__}: {error}")
        lost.__cause__ = error
        return lost


class ThreadSink(_QueuedSink):
    """A sink whose author writes a blocking ``send``; it runs on a thread of its own, started by the first write.

    Attributes:
        idle_ms: How often ``idle`` is called while there is nothing to send; 0 for never.
    """

    idle_ms: int = 0

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._thread: threading.Thread | None = None

    # --- hooks of the author ---

    def start(self, audio_format: AudioFormat) -> None:
        """Opens the target, on a thread of the host.

        Raises:
            SinkError: It cannot be opened; the message names the target.
        """

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Sends whole frames, blocking until they are out; anything raised means that the sink is lost."""

    def drained(self) -> None:
        """Everything before a finish has been sent."""

    def idle(self) -> None:
        """Nothing came for ``idle_ms``."""

    def stop(self) -> None:
        """Closes the target; called once, after the last ``send``, also after a loss."""

    # --- the contract ---

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Calls ``start`` with the first format that ``formats`` allows."""
        opened, ledger = self._prepare(formats, wake)
        self.start(opened.format)
        self._ledger = ledger
        return opened

    def write(self, data: Buffer, /) -> int:
        """Takes what fits in the queue."""
        taken = super().write(data)
        if self._thread is None:
            self._launch()
        return taken

    def finish(self) -> None:
        """Has ``drained`` called behind what was written, then wakes the host."""
        super().finish()
        if self._thread is None:
            self._launch()

    def close(self) -> None:
        """Stops sending and calls ``stop``; see ``close_timeout_s``.

        Raises:
            SinkLost: What was taken could not be stored, or closing the target failed.
        """
        ledger = self._ledger
        if ledger is None:
            return
        # Before the close: what fails from then on nobody has been told of.
        told = ledger.error is not None
        if not ledger.close():
            return
        if self._thread is None:
            self._stop(ledger)
        else:
            self._stopping = self.can_clear
            self._thread.join(self.close_timeout_s)
            self._stopping = True
            if self._thread.is_alive():
                self._thread.join(self.close_timeout_s)
            if self._thread.is_alive():
                raise SinkLost(f"sink {str(self.address)!r} did not end, its thread is left behind")
        self._raise_unsaved(ledger, told=told)

    def _launch(self) -> None:
        # A daemon: a send that never returns must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"sink {self.address.scheme}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        ledger = self._live()
        idle_s = self.idle_ms / 1000 if self.idle_ms else None
        try:
            while (step := ledger.wait_step(idle_s)).kind != "stop":
                if step.kind == "send":
                    self.send(step.data)
                    ledger.sent()
                elif step.kind == "idle":
                    self.idle()
                else:
                    self.drained()
                    ledger.drained()
        except BaseException as error:  # noqa: BLE001 - whatever an author's hook raises is a loss, told to the host
            ledger.lose(self.loss(error))
        self._stop(ledger)

    def _stop(self, ledger: Ledger) -> None:
        try:
            self.stop()
        except BaseException as error:  # noqa: BLE001 - as above
            ledger.lose(self.loss(error))


class AsyncSink(_QueuedSink):
    """A sink whose author writes ``async def send``, for instance over a carrier's WebSocket.

    ``open`` and ``close`` are called on a thread of the host, never on the loop of the sink.
    """

    open_timeout_s: float = 10.0

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._thread: threading.Thread | None = None
        self._scope = Scope()
        self._task: asyncio.Task[None] | None = None
        self._steps = asyncio.Event()
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    # --- hooks of the author ---

    async def start(self, audio_format: AudioFormat) -> None:
        """Opens the target.

        Raises:
            SinkError: It cannot be opened; the message names the target.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Sends whole frames; anything raised means that the sink is lost."""

    async def drained(self) -> None:
        """Everything before a finish has been sent."""

    async def stop(self) -> None:
        """Closes the target; called once, after the last ``send``, also after a loss."""

    # --- the contract ---

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Calls ``start`` with the first format that ``formats`` allows.

        Raises:
            RuntimeError: Called on the loop of the sink, which would wait for itself.
        """
        if self._on_loop():
            raise RuntimeError("open was called on the sink's own loop, call it on another thread")
        opened, ledger = self._prepare(formats, wake)
        self._ledger = ledger
        try:
            if self._loop is None:
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._serve(ledger, opened.format)),
                    name=f"sink {self.address.scheme}",
                    daemon=True,
                )
                self._thread.start()
            else:
                self._loop.call_soon_threadsafe(self._launch, ledger, opened.format)
            self._started.result(self.open_timeout_s)
        except BaseException as error:
            self._ledger = None
            ledger.close()
            self._cancel()
            if isinstance(error, concurrent.futures.TimeoutError):
                message = f"sink {str(self.address)!r} did not open within {self.open_timeout_s:g} s"
                raise SinkError(message) from error
            raise
        return opened

    def close(self) -> None:
        """Stops sending and calls ``stop``; see ``close_timeout_s``.

        Raises:
            SinkLost: What was taken could not be sent, or closing the target failed.
        """
        ledger = self._ledger
        if ledger is None:
            return
        # Before the close: what fails from then on nobody has been told of.
        told = ledger.error is not None
        if not ledger.close():
            return
        self._stopping = self.can_clear
        if self._on_loop():
            # The loop cannot wait for itself; its task ends in later turns.
            self._stopping = True
            return
        if not self._wait_ended():
            self._stopping = True
            self._cancel()
            if not self._wait_ended():
                raise SinkLost(f"sink {str(self.address)!r} did not end, its task is left behind")
        if self._thread is not None:
            self._thread.join(self.close_timeout_s)
        self._raise_unsaved(ledger, told=told)

    def _wait_ended(self) -> bool:
        if self._loop is not None and self._loop.is_closed():
            if not self._ended.done():
                self._ended.set_result(None)
            return True
        done, _ = concurrent.futures.wait([self._ended], self.close_timeout_s)
        return bool(done)

    def _on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _ready(self) -> None:
        if self._on_loop():
            self._steps.set()
        elif self._loop is not None:
            # A loop that was closed under the sink sends no more; its task has told the host.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._steps.set)

    def _cancel(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _launch(self, ledger: Ledger, audio_format: AudioFormat) -> None:
        self._scope.start(self._serve(ledger, audio_format), f"sink {self.address.scheme}")

    async def _serve(self, ledger: Ledger, audio_format: AudioFormat) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        try:
            await self.start(audio_format)
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits in open
            self._started.set_exception(error)
            self._ended.set_result(None)
            return
        self._started.set_result(None)
        try:
            await self._send_all(ledger)
        except BaseException as error:  # noqa: BLE001 - whatever an author's hook raises is a loss, told to the host
            ledger.lose(self.loss(error))
        try:
            await asyncio.wait_for(self.stop(), self.close_timeout_s)
        except BaseException as error:  # noqa: BLE001 - as above
            ledger.lose(self.loss(error))
        self._ended.set_result(None)

    async def _send_all(self, ledger: Ledger) -> None:
        while True:
            step = ledger.next_step()
            if step is None:
                self._steps.clear()
                # Looked at again: the step may have come between the two lines above.
                step = ledger.next_step()
            if step is None:
                await self._steps.wait()
            elif step.kind == "send":
                await self.send(step.data)
                ledger.sent()
            elif step.kind == "drain":
                await self.drained()
                ledger.drained()
            else:
                return
