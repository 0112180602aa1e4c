"""The host of one sink: makes it, opens and closes it on a thread, wakes for it, and contains its faults."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from voxwire import plugins
from voxwire.exceptions import PluginError, SinkClosed, SinkError, VoxwireError
from voxwire.playback.threads import call_in_thread
from voxwire.playback.wake import LoopWake
from voxwire.sinks import Address, Capabilities, Opened, Position, split_address
from voxwire.sinks.address import check_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voxwire.audio import AudioFormat
    from voxwire.sinks import Sink

__all__ = ["CLOSE_TIMEOUT_S", "SinkHost", "make_sink"]

_T = TypeVar("_T")

OPEN_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 2.0


def make_sink(text: str) -> Sink:
    """Imports the plugin that an address names and makes its sink, without opening it.

    Raises:
        ValueError: The address, an option or the target is wrong.
        PluginError: There is no usable sink of that name.
    """
    scheme, target, given = split_address(text)
    kind = plugins.load(plugins.SINKS, scheme)
    try:
        values = check_options(scheme, given, getattr(kind, "options", {}))
        sink: Sink = kind(Address(scheme, target, values))
    except (ValueError, VoxwireError):
        raise
    except BaseException as error:
        if not plugins.foreign(error):
            raise
        raise PluginError(f"{plugins.describe(kind)} cannot be made: {type(error).__name__}: {error}") from error
    return sink


class SinkHost:
    """One sink, from its opening to its close. All methods belong to one event loop.

    What the sink raises of its own kind, or returns against the contract, becomes a ``SinkError`` that names its
    distribution.

    Args:
        sink: The sink.
        woken: Called in the loop after the sink woke its host.
    """

    def __init__(self, sink: Sink, woken: Callable[[], None]) -> None:
        self.sink = sink
        self._woken = woken
        self._capabilities: Capabilities | None = None
        self._opened: Opened | None = None
        self._opening: asyncio.Future[Opened] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._wake: LoopWake | None = None

    @property
    def name(self) -> str:
        """The sink and the distribution it comes from, for messages."""
        return plugins.describe(self.sink)

    @property
    def opened(self) -> Opened | None:
        """What the sink settled on; None while it is not open."""
        return self._opened

    @property
    def closing(self) -> bool:
        """The close has begun."""
        return self._closing is not None

    # --- opening and closing ---

    async def open(self, formats: Sequence[AudioFormat]) -> Opened:
        """Opens the sink with the first of the formats that it can do; once, later calls return the same.

        Raises:
            SinkError: It cannot be opened, or not within 15 s.
        """
        if self._opened is not None:
            return self._opened
        if self._opening is None:
            wake = self._wake = LoopWake(asyncio.get_running_loop(), self._woken)
            self._opening = call_in_thread(lambda: self._open_sink(formats, wake), f"open {self.name}")
            self._opening.add_done_callback(self._has_opened)
        opening = self._opening
        # A cancelled waiter leaves the opening alone: another playback may wait for the same sink.
        done, _ = await asyncio.wait({opening}, timeout=OPEN_TIMEOUT_S)
        if not done:
            raise SinkError(f"{self.name} did not open within {OPEN_TIMEOUT_S:g} s")
        opened = opening.result()
        if self._closing is not None:
            raise SinkClosed(f"{self.name} is closed")
        return opened

    def close(self) -> asyncio.Future[None]:
        """Closes the sink on a thread, also one that is still opening; the future ends with the close."""
        if self._closing is not None:
            return self._closing
        self.detach()
        if self._opened is not None:
            self._closing = call_in_thread(self._close_sink, f"close {self.name}")
        else:
            self._closing = asyncio.get_running_loop().create_future()
            if self._opening is None:
                self._closing.set_result(None)
        # Whoever cares reads the exception; nobody has to.
        self._closing.add_done_callback(_look_at)
        return self._closing

    def detach(self) -> None:
        """Heeds no further wake."""
        if self._wake is not None:
            self._wake.detach()

    def _open_sink(self, formats: Sequence[AudioFormat], wake: LoopWake) -> Opened:
        opened = self.call("open", formats, wake)
        if not isinstance(opened, Opened) or opened.format not in formats:
            self.call("close")
            raise SinkError(f"{self.name} opened {opened!r}, which was not offered")
        return opened

    def _close_sink(self) -> None:
        try:
            self.call("close")
        finally:
            # Only now: until its close has returned a sink may wake.
            if self._wake is not None:
                self._wake.close()

    def _has_opened(self, opening: asyncio.Future[Opened]) -> None:
        if opening.exception() is not None:
            # It may be tried again, with other formats.
            self._opening = None
            if self._wake is not None:
                self._wake.detach()
                self._wake.close()
                self._wake = None
            if self._closing is not None:
                self._closing.set_result(None)
        elif self._closing is None:
            self._opened = opening.result()
        else:
            closing = self._closing
            call_in_thread(self._close_sink, f"close {self.name}").add_done_callback(
                lambda future: _pass_on(future, closing)
            )

    # --- the contract, guarded ---

    @property
    def capabilities(self) -> Capabilities:
        """What the sink can do."""
        if self._capabilities is None:
            self._capabilities = self._checked("capabilities", Capabilities)
        return self._capabilities

    def write(self, data: Any, frames: int) -> int:
        """Writes that many frames and returns how many were taken."""
        taken = self.call("write", data)
        if type(taken) is not int or not 0 <= taken <= frames:
            raise SinkError(f"{self.name} returned {taken!r} from write, must be 0 to {frames} frames")
        return taken

    def position(self) -> Position:
        """Where the sink stands."""
        return self._checked("position", Position)

    def clear(self) -> Position:
        """Drops what can be dropped; the final numbers of the segment."""
        return self._checked("clear", Position)

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the sink."""
        try:
            return getattr(self.sink, method)(*arguments)
        except VoxwireError:
            raise
        except BaseException as error:
            if not plugins.foreign(error):
                raise
            raise SinkError(f"{self.name} failed in {method}: {type(error).__name__}: {error}") from error

    def _checked(self, method: str, kind: type[_T]) -> _T:
        result = self.call(method)
        if not isinstance(result, kind):
            raise SinkError(f"{self.name} returned {type(result).__name__} from {method}, must be {kind.__name__}")
        return result


def _look_at(future: asyncio.Future[None]) -> None:
    future.exception()


def _pass_on(future: asyncio.Future[None], waiting: asyncio.Future[None]) -> None:
    error = future.exception()
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)
