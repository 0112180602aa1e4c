"""The host of one sink: makes it, opens and closes it on a thread, wakes for it, and contains its faults."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from voxwire import plugins
from voxwire.audio import AudioFormat
from voxwire.exceptions import PluginError, SinkClosed, SinkError, VoxwireError
from voxwire.guard import Blocked, Guard, Outcome, call_once
from voxwire.playback.threads import call_in_thread
from voxwire.playback.wake import LoopWake
from voxwire.sinks import Address, Capabilities, Clock, FormatPattern, Opened, Position, Quality, split_address
from voxwire.sinks.address import check_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voxwire.sinks import Sink

__all__ = ["BLOCKED_S", "CLOSE_TIMEOUT_S", "SinkHost", "make_sink"]

BLOCKED_S = 1.0
"""How long a sink may hold up the event loop: once, then it is given up."""
OPEN_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 2.0

# What is called in the turns of the loop, and what is called once before the open.
_IN_TURN = frozenset({"write", "finish", "clear", "position", "pause", "resume"})
_BEFORE = frozenset({"capabilities"})
_ROOM = "voxwire.sinks."

_COUNTS = ("segment", "written", "played", "discarded", "xruns", "at_ns", "bound")
_counts = attrgetter(*_COUNTS)
_LARGEST = 2**63 - 1
_CLOCKS: tuple[str, ...] = get_args(Clock)
_QUALITIES: tuple[str, ...] = get_args(Quality)


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
        # As at its import: a plugin that wants to end the program is broken, not in charge.
        if not plugins.foreign(error) and not isinstance(error, SystemExit):
            raise
        raise PluginError(f"{plugins.describe(kind)} cannot be made: {type(error).__name__}: {error}") from error
    return sink


class SinkHost:
    """One sink, from its opening to its close. All methods belong to one event loop.

    What the sink raises against the contract, or returns, becomes a ``SinkError`` that names its distribution; so does
    a method that does not return, unless its class has vouched that none ever blocks.

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
        self._guard = None if _is_inline(type(sink), _IN_TURN) else Guard(f"guard of {self.name}")
        self._stuck: SinkError | None = None

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
        if self._guard is not None:
            self._guard.end()
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
        opened: Opened = self._call_here("open", formats, wake)
        fault = _fault_of_opened(opened, formats)
        if fault is not None:
            with contextlib.suppress(SinkError):
                self._call_here("close")
            raise SinkError(f"{self.name} {fault}")
        return opened

    def _close_sink(self) -> None:
        try:
            self._call_here("close")
        finally:
            # Only now: until its close has returned a sink may wake.
            if self._wake is not None:
                self._wake.close()

    def _call_here(self, method: str, *arguments: Any) -> Any:
        """Calls a method on this thread, which is there for it alone: whatever it raises is the sink's."""
        try:
            return self._make(method, *arguments)
        except BaseException as error:  # noqa: BLE001 - named and raised
            self._raise(method, error)

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
            capabilities: Capabilities = self._ask("capabilities")
            fault = _fault_of_capabilities(capabilities)
            if fault is not None:
                raise SinkError(f"{self.name} {fault}")
            self._capabilities = capabilities
        return self._capabilities

    def write(self, data: Any, frames: int) -> int:
        """Writes that many frames and returns how many were taken."""
        taken: int = self.call("write", data)
        if type(taken) is not int or not 0 <= taken <= frames:
            kind = "" if type(taken) is int else ", an int"
            raise SinkError(f"{self.name} returned {taken!r} from write, must be 0 to {frames} frames{kind}")
        return taken

    def position(self) -> Position:
        """Where the sink stands."""
        return self._position("position")

    def clear(self) -> Position:
        """Drops what can be dropped; the final numbers of the segment."""
        return self._position("clear")

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the sink, in this turn of the loop."""
        guard = self._guard
        if guard is None:
            return self._call_inline(method, *arguments)
        if self._stuck is not None:
            raise self._stuck
        try:
            outcome = guard.call(partial(self._make, method, *arguments), BLOCKED_S)
        except Blocked:
            # Asked again it would hold up the loop again.
            self._stuck = self._blocked(method)
            raise self._stuck from None
        return self._result(method, outcome)

    def _ask(self, method: str) -> Any:
        """Calls a method before the sink is open, when there is no need to keep a thread for it."""
        if _is_inline(type(self.sink), _BEFORE):
            return self._call_inline(method)
        try:
            outcome = call_once(partial(self._make, method), BLOCKED_S, f"ask {self.name}")
        except Blocked:
            raise self._blocked(method) from None
        return self._result(method, outcome)

    def _call_inline(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.sink, method)(*arguments)
        except BaseException as error:
            # Here a signal may have come while the sink was called.
            if not plugins.foreign(error):
                raise
            self._raise(method, error)

    def _make(self, method: str, *arguments: Any) -> Any:
        return getattr(self.sink, method)(*arguments)

    def _result(self, method: str, outcome: Outcome) -> Any:
        if outcome.error is not None:
            self._raise(method, outcome.error)
        return outcome.result

    def _position(self, method: str) -> Position:
        position: Position = self.call(method)
        if not isinstance(position, Position):
            raise SinkError(f"{self.name} returned {type(position).__name__} from {method}, must be Position")
        counts = _counts(position)
        for value in counts:
            if type(value) is not int or not 0 <= value <= _LARGEST:
                name = next(name for name, count in zip(_COUNTS, counts, strict=True) if count is value)
                raise SinkError(f"{self.name} returned {name} {value!r} from {method}, must be an int of 0 or more")
        if position.quality not in _QUALITIES:
            known = ", ".join(_QUALITIES)
            raise SinkError(f"{self.name} returned quality {position.quality!r} from {method}, must be one of {known}")
        return position

    def _raise(self, method: str, error: BaseException) -> NoReturn:
        """Raises what the sink raised: its own words where it has any, and who provides it where it is broken."""
        if not isinstance(error, SinkError):
            raise SinkError(f"{self.name} failed in {method}: {type(error).__name__}: {error}") from error
        if _is_bug(error) and self.name not in error.message:
            error.message = f"{error.message} ({self.name})"
        raise error

    def _blocked(self, method: str) -> SinkError:
        return SinkError(f"{self.name} did not return from {method} within {BLOCKED_S:g} s, must not block")


def _is_inline(kind: type[Any], methods: frozenset[str]) -> bool:
    """True where these methods are ours, or vouched for by the class that they are of or by one derived from it."""
    for base in kind.__mro__:
        if "inline" in vars(base):
            return vars(base)["inline"] is True
        if base.__module__.startswith(_ROOM):
            return True
        if not methods.isdisjoint(vars(base)):
            return False
    return False


def _is_bug(error: BaseException) -> bool:
    """True where an error of a sink was made of one that no device, file or network brings about."""
    # An error may have been raised from itself.
    for _ in range(8):
        if error.__cause__ is None:
            break
        error = error.__cause__
    return not isinstance(error, VoxwireError | OSError)


def _fault_of_opened(opened: Any, formats: Sequence[AudioFormat]) -> str | None:
    if not isinstance(opened, Opened):
        return f"returned {type(opened).__name__} from open, must be Opened"
    if not isinstance(opened.format, AudioFormat) or opened.format not in formats:
        return f"opened {opened.format!r}, which was not offered"
    for name, least in (("quantum", 1), ("buffer", 1), ("latency", 0)):
        value = getattr(opened, name)
        if type(value) is not int or value < least:
            return f"opened with a {name} of {value!r}, must be {least} or more frames"
    return None


def _fault_of_capabilities(capabilities: Any) -> str | None:
    if not isinstance(capabilities, Capabilities):
        return f"returned {type(capabilities).__name__} from capabilities, must be Capabilities"
    formats = capabilities.formats
    known = isinstance(formats, tuple) and all(isinstance(one, AudioFormat | FormatPattern) for one in formats)
    lead_ms = capabilities.max_lead_ms
    checks = (
        ("formats", formats is None or known, "a tuple of AudioFormat and FormatPattern, or None"),
        ("clock", capabilities.clock in _CLOCKS, f"one of {', '.join(_CLOCKS)}"),
        ("position", capabilities.position in _QUALITIES, f"one of {', '.join(_QUALITIES)}"),
        ("can_clear", type(capabilities.can_clear) is bool, "bool"),
        ("can_pause", type(capabilities.can_pause) is bool, "bool"),
        ("max_lead_ms", type(lead_ms) is int and lead_ms >= 0, "0 or more"),
    )
    for name, right, wanted in checks:
        if not right:
            return f"has capabilities with {name} {getattr(capabilities, name)!r}, must be {wanted}"
    return None


def _look_at(future: asyncio.Future[None]) -> None:
    future.exception()


def _pass_on(future: asyncio.Future[None], waiting: asyncio.Future[None]) -> None:
    error = future.exception()
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)
