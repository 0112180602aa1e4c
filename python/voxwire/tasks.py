"""The one module that makes tasks: each belongs to a scope, which cancels and awaits it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Scope"]

_T = TypeVar("_T")


class Scope:
    """Owns tasks."""

    # A set is dear, and most scopes of idle contexts never have a task.
    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] | None = None

    def __len__(self) -> int:
        return len(self._tasks or ())

    def start(self, coroutine: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Starts a task; whoever needs its result or exception awaits it."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancels all tasks at once; they end in later turns of the loop."""
        for task in self._tasks or ():
            task.cancel()

    async def close(self, timeout_s: float | None = None) -> None:
        """Cancels all tasks and waits until they have ended, at most ``timeout_s``."""
        self.cancel()
        current = asyncio.current_task()
        if pending := {task for task in self._tasks or () if task is not current}:
            await asyncio.wait(pending, timeout=timeout_s)
