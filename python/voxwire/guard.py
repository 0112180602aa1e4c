"""Calls of code that is not ours, each of them bounded.

What never returns cannot be stopped, only left behind: it runs on a thread of its own, for which its caller waits a
while.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Blocked", "Guard", "Outcome", "call_once"]


class Blocked(Exception):
    """A call has not returned in time; its thread is left behind."""


class Outcome(NamedTuple):
    """What became of a call: its result, or what it raised.

    Nothing that is raised on a thread of its own is meant for the caller: no signal and no cancellation arrives there.
    """

    result: Any
    error: BaseException | None


class _Desk:
    """Where the caller and the thread meet; the thread knows nothing else."""

    __slots__ = ("called", "ended", "function", "outcome", "returned")

    def __init__(self) -> None:
        self.called = threading.Lock()
        self.returned = threading.Lock()
        self.called.acquire()
        self.returned.acquire()
        self.function: Callable[[], Any] | None = None
        self.outcome: Outcome | None = None
        self.ended = False


class Guard:
    """Makes calls on one thread, one after the other, while the caller waits for each.

    The thread is started by the first call; ``end`` lets it go. After a call that was left behind there are no more.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._desk = _Desk()
        self._thread: threading.Thread | None = None

    def __del__(self) -> None:
        self.end()

    def call(self, function: Callable[[], Any], timeout_s: float) -> Outcome:
        """Calls a function on the thread and waits for it; from one thread only.

        Raises:
            Blocked: It did not return within ``timeout_s``, or an earlier one did not, or ``end`` was called.
        """
        desk = self._desk
        if desk.ended:
            raise Blocked
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(desk,), name=self._name, daemon=True)
            self._thread.start()
        desk.function = function
        desk.called.release()
        outcome: Outcome | None = None
        try:
            if desk.returned.acquire(timeout=timeout_s):
                outcome, desk.outcome = desk.outcome, None
        finally:
            # Also where a signal ended the wait: a later call would get the answer to this one.
            if outcome is None:
                self.end()
        if outcome is None:
            raise Blocked
        return outcome

    def end(self) -> None:
        """Takes no more calls; the thread ends, as soon as it has returned from the last."""
        if not self._desk.ended:
            self._desk.ended = True
            self._desk.called.release()


def call_once(function: Callable[[], Any], timeout_s: float, name: str) -> Outcome:
    """Calls a function on a thread of its own and waits for it.

    Raises:
        Blocked: It did not return within ``timeout_s``.
    """
    guard = Guard(name)
    try:
        return guard.call(function, timeout_s)
    finally:
        guard.end()


def _serve(desk: _Desk) -> None:
    while True:
        desk.called.acquire()
        function = desk.function
        if desk.ended or function is None:
            return
        try:
            desk.outcome = Outcome(function(), None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            desk.outcome = Outcome(None, error)
        desk.function = function = None
        desk.returned.release()
