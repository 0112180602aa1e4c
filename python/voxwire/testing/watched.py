"""A sink whose every call is timed and bounded, and whose every answer is held against the contract."""

# ruff: noqa: S101 - asserting is what this module is for

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Any, get_args

import pytest

from voxwire.exceptions import SinkLost
from voxwire.sinks import Capabilities, Opened, Position, Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from voxwire.audio import AudioFormat
    from voxwire.sinks import Sink, Wake

__all__ = ["Aside", "Calls", "Watched", "bounded"]

#: What "returns at once" is held to, for the same reason.
_AT_ONCE_S = 0.5
#: What may take its time.
_MAY_BLOCK = frozenset({"make", "probe", "open", "close"})
#: After this long a call counts as one that never returns; to ``open`` the host itself gives 15 s.
_NEVER_S = {"open": 16.0}
_ELSE_NEVER_S = 5.0
_COUNTS = ("segment", "written", "played", "discarded", "xruns", "at_ns", "bound")


class Calls:
    """The calls of the sinks of one test that have not returned, by thread."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[str, float]] = {}

    def make(self, method: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Makes a call."""
        ident = threading.get_ident()
        started = time.monotonic()
        self._running[ident] = (method, started)
        try:
            result = call(*arguments)
        finally:
            del self._running[ident]
        took_s = time.monotonic() - started
        if method not in _MAY_BLOCK:
            assert took_s <= _AT_ONCE_S, f"{method} took {took_s:.2f} s, it must never block"
        return result

    def check(self) -> None:
        """Fails where a call has not returned for so long that it never will."""
        now = time.monotonic()
        for method, started in list(self._running.values()):
            limit_s = _NEVER_S.get(method, _ELSE_NEVER_S)
            if now - started > limit_s:
                pytest.fail(f"{method} did not return within {limit_s:g} s")


class Aside(threading.Thread):
    """A second thread of a test; ``done`` raises what went wrong on it."""

    def __init__(self, body: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._body = body
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Runs the body."""
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001 - raised by `done`
            self._error = error

    def done(self) -> None:
        """Waits for the end of the thread."""
        self.join()
        if self._error is not None:
            raise self._error


def bounded(test: Callable[[Any], None]) -> Callable[[Any], None]:
    """Runs a test on a second thread, and gives it up where the sink does not come back."""

    @functools.wraps(test)
    def run(kit: Any) -> None:
        kit._calls = Calls()  # noqa: SLF001 - its own
        aside = Aside(functools.partial(test, kit))
        while aside.is_alive():
            aside.join(0.05)
            kit._calls.check()  # noqa: SLF001
        aside.done()

    return run


class Watched:
    """A sink whose every call is timed, and whose every answer is held against the contract."""

    def __init__(self, sink: Sink, calls: Calls) -> None:
        self.sink = sink
        self._calls = calls
        self._frame_bytes = 1
        self._lost = False
        self._can_clear = self.capabilities().can_clear

    def capabilities(self) -> Capabilities:
        """Of the right type."""
        capabilities: Capabilities = self._calls.make("capabilities", self.sink.capabilities)
        assert isinstance(capabilities, Capabilities)
        return capabilities

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """With one of the formats offered, and sizes that make sense."""
        opened: Opened = self._calls.make("open", self.sink.open, formats, wake)
        assert isinstance(opened, Opened)
        assert opened.format in formats, f"opened {opened.format}, which was not offered"
        for name, least in (("quantum", 1), ("buffer", 1), ("latency", 0)):
            value = getattr(opened, name)
            assert type(value) is int, f"{name} is {type(value).__name__}, must be int"
            assert value >= least, f"{name} of {value} frames"
        self._frame_bytes = opened.format.frame_bytes
        return opened

    def write(self, data: Buffer, /) -> int:
        """Takes no more than there is."""
        frames = memoryview(data).nbytes // self._frame_bytes
        try:
            taken: int = self._calls.make("write", self.sink.write, data)
        except SinkLost:
            self._lost = True
            raise
        assert type(taken) is int, f"write returned {type(taken).__name__}, must be int"
        assert 0 <= taken <= frames, f"write returned {taken} of {frames} frames"
        return taken

    def finish(self) -> None:
        """In time."""
        self._calls.make("finish", self.sink.finish)

    def clear(self) -> Position:
        """Accounts for every frame."""
        final = self._seen("clear", self._calls.make("clear", self.sink.clear))
        assert final.played + final.discarded == final.written, f"clear does not account for all: {final}"
        # What a lost sink has not stored is gone, whatever it can clear.
        assert self._can_clear or self._lost or not final.discarded, "clear discards although can_clear is False"
        return final

    def position(self) -> Position:
        """Numbers that agree with one another."""
        return self._seen("position", self._calls.make("position", self.sink.position))

    def pause(self) -> None:
        """In time."""
        self._calls.make("pause", self.sink.pause)

    def resume(self) -> None:
        """In time."""
        self._calls.make("resume", self.sink.resume)

    def close(self) -> None:
        """In time."""
        self._calls.make("close", self.sink.close)

    def _seen(self, method: str, position: Position) -> Position:
        assert isinstance(position, Position), f"{method} returned {type(position).__name__}, must be Position"
        for name in _COUNTS:
            value = getattr(position, name)
            assert type(value) is int, f"{name} is {type(value).__name__}, must be int"
            assert value >= 0, position
        assert position.played <= position.written - position.discarded, position
        assert position.quality in get_args(Quality), position
        return position
