"""The blocking face: the same names without ``await``.

Each client runs its own event loop in a thread of its own; its methods may be called from any one thread at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from voxwire import client as asynchronous

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from types import TracebackType

    from voxwire.audio import AudioFormat
    from voxwire.client.context import Context as AsynchronousContext
    from voxwire.client.events import Event
    from voxwire.client.feeding import Text
    from voxwire.client.record import Outcome, Reason, Record
    from voxwire.exceptions import VoxwireError
    from voxwire.playback import Heard, Playback
    from voxwire.playback import Output as AsynchronousOutput

__all__ = ["Client", "Context", "Output", "SyncPlayback", "open_sink"]

_T = TypeVar("_T")
# The loop is at rest when it is stopped; a thread that does not end by then has been lost to foreign code.
_JOIN_S = 5.0
# The text of a context waits this long for the caller's first word: ``play`` negotiates before the first text leaves.
_GRACE_S = 0.05


class _LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.outputs: set[Output] = set()
        self._thread = threading.Thread(target=self._run, name="voxwire loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine on the loop and waits for it; interrupted, it cancels it."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call from its own loop would wait for ever")
        if self.loop.is_closed():
            coroutine.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def invoke(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Calls a function on the loop and waits for it."""

        async def run() -> _T:
            return function(*arguments)

        return self.call(run())

    def stop(self) -> None:
        """Ends the loop; what still runs on it is dropped."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)

    def join(self) -> None:
        """Waits for the thread."""
        self._thread.join(_JOIN_S)


class Client:
    """``voxwire.Client``, blocking; the same arguments."""

    def __init__(self, url: str | None = None, **settings: Any) -> None:
        # Wrong arguments are found before a thread exists.
        self._client = asynchronous.Client(url, **settings)
        self._thread: _LoopThread | None = None
        self._closed = False

    def __repr__(self) -> str:
        return repr(self._client).replace("voxwire.Client", "voxwire.sync.Client", 1)

    def __enter__(self) -> Self:
        self._loop_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        thread = getattr(self, "_thread", None)
        if thread is not None and not self._closed:
            warnings.warn(f"unclosed {self!r}, use with or close()", ResourceWarning, source=self, stacklevel=1)
            thread.loop.call_soon_threadsafe(self._client.abort)
            thread.stop()

    def connect(self) -> None:
        """As ``voxwire.Client.connect``."""
        self._loop_thread().call(self._client.connect())

    def close(self) -> None:
        """As ``voxwire.Client.close``; the loop's thread ends too."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.call(self._client.close())
                for output in list(thread.outputs):
                    output.close()
            finally:
                thread.stop()
                thread.join()

    def voices(self) -> list[dict[str, Any]]:
        """As ``voxwire.Client.voices``."""
        return self._loop_thread().call(self._client.voices())

    def say(self, text: Text, *, sink: str | Output | None = None, **options: Any) -> Record:
        """As ``voxwire.Client.say``."""
        thread = self._loop_thread()

        async def run() -> Record:
            return await self._client.say(text, sink=_bound(sink, thread), **options)

        return thread.call(run())

    def context(self, text: Text | None = None, /, **options: Any) -> Context:
        """As ``voxwire.Client.context``; used with ``with``."""
        return Context(self._loop_thread(), self._client.context(text, **options))

    def _loop_thread(self) -> _LoopThread:
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._thread is None:
            self._thread = _LoopThread()
        return self._thread


class Context:
    """``voxwire.Context``, blocking."""

    def __init__(self, thread: _LoopThread, context: AsynchronousContext) -> None:
        self._thread = thread
        self._context = context
        self._taken: deque[Event] = deque()
        self._grace: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._thread.call(self._enter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._context.__aexit__(kind, error, trace))

    @property
    def id(self) -> str:
        """As ``voxwire.Context.id``."""
        return self._context.id

    @property
    def outcome(self) -> Outcome | None:
        """As ``voxwire.Context.outcome``."""
        return self._context.outcome

    @property
    def reason(self) -> Reason | None:
        """As ``voxwire.Context.reason``."""
        return self._context.reason

    @property
    def record(self) -> Record:
        """As ``voxwire.Context.record``."""
        return self._context.record

    def push(self, text: str, *, flush: bool = False, **per_input: Any) -> None:
        """As ``voxwire.Context.push``."""
        self._call(self._context.push(text, flush=flush, **per_input))

    def feed(self, text: Text, *, finish: bool = True) -> None:
        """As ``voxwire.Context.feed``."""
        self._call(self._context.feed(text, finish=finish))

    def flush(self) -> None:
        """As ``voxwire.Context.flush``."""
        self._call(self._context.flush())

    def finish(self) -> None:
        """As ``voxwire.Context.finish``."""
        self._call(self._context.finish())

    def cancel(self) -> None:
        """As ``voxwire.Context.cancel``."""
        self._taken.clear()
        self._call(self._context.cancel())

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        # One hop to the loop brings all that is there.
        if not self._taken:
            self._taken.extend(self._next_batch())
        return self._taken.popleft()

    def batches(self, *, join: bool = False) -> Iterator[list[Event]]:
        """As ``voxwire.Context.batches``."""
        batches = self._thread.invoke(lambda: self._context.batches(join=join))
        while (events := self._call(_next_or_none(batches.__anext__()))) is not None:
            yield events

    def play(self, sink: str | Output) -> SyncPlayback:
        """As ``voxwire.Context.play``."""
        return SyncPlayback(self._thread, self._thread.call(self._play(sink)))

    def _next_batch(self) -> list[Event]:
        events = self._call(_next_or_none(self._context.take_batch()))
        if events is None:
            raise StopIteration
        return events

    async def _enter(self) -> None:
        await self._context.__aenter__()
        self._context.hold_input()
        self._grace = asyncio.get_running_loop().call_later(_GRACE_S, self._context.release_input)

    def _call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Makes a call that is not ``play``: the text need not wait for that any longer."""

        async def run() -> _T:
            self._end_grace()
            self._context.release_input()
            return await coroutine

        return self._thread.call(run())

    async def _play(self, sink: str | Output) -> Playback:
        self._end_grace()
        try:
            return await self._context.play(_bound(sink, self._thread))
        finally:
            self._context.release_input()

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


class SyncPlayback:
    """``voxwire.Playback``, blocking."""

    def __init__(self, thread: _LoopThread, playback: Playback) -> None:
        self._thread = thread
        self._playback = playback

    def wait(self) -> Heard:
        """As ``voxwire.Playback.wait``."""
        return self._thread.call(self._playback.wait())

    def interrupt(self, **options: Any) -> Heard:
        """As ``voxwire.Playback.interrupt``."""
        return self._thread.call(self._playback.interrupt(**options))

    def pause(self) -> None:
        """As ``voxwire.Playback.pause``."""
        self._invoke(self._playback.pause)

    def resume(self) -> None:
        """As ``voxwire.Playback.resume``."""
        self._invoke(self._playback.resume)

    @property
    def heard(self) -> Heard:
        """As ``voxwire.Playback.heard``."""
        return self._thread.invoke(lambda: self._playback.heard)

    @property
    def played_s(self) -> float:
        """As ``voxwire.Playback.played_s``."""
        return self._thread.invoke(lambda: self._playback.played_s)

    def _invoke(self, function: Callable[[], Any]) -> None:
        async def run() -> None:
            result = function()
            if inspect.isawaitable(result):
                await result

        self._thread.call(run())


def open_sink(address: Any, *, prebuffer_ms: float = 0) -> Output:
    """As ``voxwire.open_sink``; used with ``with``."""
    from voxwire import playback  # noqa: PLC0415 - who only iterates needs none of it

    return Output(playback.open_sink(address, prebuffer_ms=prebuffer_ms))


class Output:
    """``voxwire.Output``, blocking: plays of one client follow one another in it; made by :func:`open_sink`.

    It runs in the loop of the client that plays into it first, and is closed with that client at the latest.
    """

    def __init__(self, output: AsynchronousOutput) -> None:
        self._output = output
        self._thread: _LoopThread | None = None
        self._state: Literal["new", "inside", "left"] = "new"
        self._failure: VoxwireError | None = None

    def __enter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError("output was entered before, open another one")
        self._state = "inside"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "left"
        thread = self._thread
        if thread is not None and self in thread.outputs:
            thread.outputs.discard(self)
            thread.call(self._output.__aexit__(kind, error, trace))
        elif kind is None and self._failure is not None:
            raise self._failure

    @property
    def format(self) -> AudioFormat | None:
        """As ``voxwire.Output.format``."""
        return self._output.format

    @property
    def sink(self) -> Any:
        """As ``voxwire.Output.sink``."""
        return self._output.sink

    def close(self) -> None:
        """Closes the sink, as its client is closed; what went wrong is raised on leaving the block."""
        thread = self._thread
        if thread is not None and self in thread.outputs:
            thread.outputs.discard(self)
            self._failure = thread.call(self._output.close())

    def bind(self, thread: _LoopThread) -> AsynchronousOutput:
        """Enters the loop of the client that plays into it; called in that loop."""
        if self._state != "inside":
            raise RuntimeError("output is used outside its block, write: with voxwire.sync.open_sink(...) as output")
        if self._thread is None:
            self._output.enter()
            self._thread = thread
            thread.outputs.add(self)
        elif self._thread is not thread:
            raise RuntimeError("output is used by another client than the one that played into it first")
        return self._output


def _bound(sink: str | Output | None, thread: _LoopThread) -> Any:
    return sink.bind(thread) if isinstance(sink, Output) else sink


async def _next_or_none(step: Awaitable[_T]) -> _T | None:
    """The end of an iteration as a value: a future cannot carry it."""
    try:
        return await step
    except StopAsyncIteration:
        return None


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
