"""A limit for each of many waits, at the price of one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Patience", "WaitedTooLong"]


class WaitedTooLong(Exception):
    """A wait took longer than it may."""


class Patience:
    """Limits the waits of one task, each a ``with`` block; made by that task, and ended by it.

    ``asyncio.timeout`` sets a timer for each wait, which costs more than most waits for a piece of audio. Here one
    timer looks whether the present wait is too long already, and looks again when it may be.
    """

    def __init__(self, limit_s: float) -> None:
        """Begins.

        Args:
            limit_s: Seconds that one wait may take.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only tasks wait
        self._task = task
        self._cancelling = task.cancelling()
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._is_over = False
        self._timer = self._loop.call_later(limit_s, self._look)

    def __enter__(self) -> None:
        self._began = self._loop.time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._began = None
        if not self._is_over:
            return
        # As in ``asyncio.timeout``: a cancel that came from elsewhere meanwhile is the stronger one.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise WaitedTooLong from error
        # Who was waited for has caught the cancel and goes on: so does the limit.
        self._is_over = False
        self._timer = self._loop.call_later(self._limit_s, self._look)

    def end(self) -> None:
        """Frees the timer."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due = (now if self._began is None else self._began) + self._limit_s
        if due > now:
            self._timer = self._loop.call_at(due, self._look)
            return
        self._is_over = True
        self._task.cancel()
