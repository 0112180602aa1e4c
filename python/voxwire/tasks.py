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

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Starts a task; whoever needs its result or exception awaits it."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancels all tasks at once; they end in later turns of the loop."""
        for task in self._tasks:
            task.cancel()

    async def close(self, timeout_s: float | None = None) -> None:
        """Cancels all tasks and waits until they have ended, at most ``timeout_s``."""
        self.cancel()
        current = asyncio.current_task()
        if pending := {task for task in self._tasks if task is not current}:
            await asyncio.wait(pending, timeout=timeout_s)
