"""An event loop whose clock stands still until a test moves it, over real sockets.

Timers fire when :meth:`StillLoop.advance` says so and never by themselves, so that a second, ten seconds or five
minutes of the protocol cost nothing and are exact. A watchdog on the real clock ends what hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from voxwire import server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

Result = TypeVar("Result")

#: With nothing to do for so long, in real seconds, the loop counts as idle: a loopback write has arrived by then.
_IDLE_S = 0.0005


class _Selector(selectors.DefaultSelector):
    """Tells the loop when there was nothing to do."""

    idle: asyncio.Future[None] | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.idle is None or timeout == 0:
            return super().select(timeout)
        found = super().select(_IDLE_S)
        if not found:
            waiting, self.idle = self.idle, None
            if not waiting.done():
                waiting.set_result(None)
        return found


class StillLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._quiet = _Selector()
        self._moved_s = 0.0
        self._still_at: float | None = None
        super().__init__(self._quiet)

    def time(self) -> float:
        """The clock, in seconds."""
        return (super().time() if self._still_at is None else self._still_at) + self._moved_s

    def freeze(self) -> None:
        """Stops the clock, at a whole second: sums of halves and quarters stay exact."""
        self._still_at = float(int(super().time()) + 1)

    async def idle(self) -> None:
        """Waits until no task has anything to do, and no socket has anything to read, at this time of the clock."""
        self._quiet.idle = self.create_future()
        await self._quiet.idle

    async def advance(self, seconds: float) -> None:
        """Moves the clock, and waits until everything that was due is done."""
        await self.idle()
        self._moved_s += seconds
        await self.idle()


def clock() -> StillLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StillLoop)
    return loop


@contextlib.asynccontextmanager
async def still_server(**settings: Any) -> AsyncIterator[server.Server]:
    """A server with the tone engine; the clock stands still once it runs."""
    running = server.serve(engine="tone", idle_timeout_s=86_400, **settings)
    await running.start()
    clock().freeze()
    try:
        yield running
    finally:
        closing = asyncio.ensure_future(running.close())
        while not closing.done():
            await clock().advance(0.5)
        await closing


def run_still(scenario: Coroutine[Any, Any, Result], patience_s: float = 60.0) -> Result:
    """Runs a scenario on a loop of its own, for at most so many real seconds."""
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        loop = runner.get_loop()
        overdue = threading.Timer(patience_s, lambda: loop.call_soon_threadsafe(_cancel_all, loop))
        overdue.daemon = True
        overdue.start()
        try:
            return runner.run(scenario)
        finally:
            overdue.cancel()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
