"""The pool of worker programs: who speaks next, what replaces the dead."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxwire.engines.process import Speech, WorkerProcess
from voxwire.exceptions import EngineError
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Deadlines", "WorkerPool"]

RETRY_FIRST_S = 0.1
RETRY_LAST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """What a pool waits for, in seconds.

    Attributes:
        start_s: From the start of a program to its ``R``.
        queue_s: For a free worker.
        frame_s: Between two frames of a request.
        drain_s: For the rest of a request that nobody listens to any more.
        stop_s: For a program to end after its input did, before it is killed.
    """

    start_s: float = 10.0
    queue_s: float = 30.0
    frame_s: float = 5.0
    drain_s: float = 1.0
    stop_s: float = 1.0


class WorkerPool:
    """Keeps ``size`` worker programs running and hands requests to those that are free.

    A program that dies, stalls or writes garbage fails its own request, is counted and replaced in the background.
    No request is ever given to a second program: the text may be what killed the first.
    """

    def __init__(self, command: Sequence[str], *, size: int, sample_rate: int, deadlines: Deadlines) -> None:
        self._command = command
        self._size = size
        self._sample_rate = sample_rate
        self._deadlines = deadlines
        # The one used last comes first: its caches are warm.
        self._idle: asyncio.LifoQueue[WorkerProcess] = asyncio.LifoQueue()
        self._processes: set[WorkerProcess] = set()
        self._lost: set[WorkerProcess] = set()
        self._scope = Scope()
        self._running = False
        self.crashes = 0
        self.timeouts = 0

    @property
    def healthy(self) -> bool:
        """At least one worker lives."""
        return self._running and len(self._processes) > len(self._lost)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers that live."""
        return sorted(process.pid for process in self._processes - self._lost)

    async def start(self) -> None:
        """Starts all workers side by side.

        Raises:
            EngineError: One of them could not start; none is left running.
        """
        self._running = True
        starts = [self._scope.start(self._spawn(), "engine worker start") for _ in range(self._size)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends all workers and waits until they are gone."""
        self._running = False
        await self._scope.close()
        for process in self._processes:
            process.end_input()
        reaps = [
            self._scope.start(process.reap(self._deadlines.stop_s), "engine worker end")
            for process in self._processes
        ]
        await asyncio.gather(*reaps)
        self._processes.clear()
        self._lost.clear()

    async def begin(self, fields: Mapping[str, Any]) -> Speech:
        """Hands a request to a free worker.

        Raises:
            EngineError: No worker became free in time, or the pool was stopped.
        """
        try:
            async with asyncio.timeout(self._deadlines.queue_s):
                while self._running:
                    process = await self._idle.get()
                    if process.idle:
                        return process.send(fields)
        except TimeoutError as error:
            raise EngineError(
                f"no worker became free within {self._deadlines.queue_s:g} s",
                code="engine_timeout",
                retryable=True,
            ) from error
        raise EngineError("engine is not running", code="engine_failed")

    async def _spawn(self) -> None:
        try:
            process = WorkerProcess(
                self._command,
                frame_timeout_s=self._deadlines.frame_s,
                drain_timeout_s=self._deadlines.drain_s,
                on_idle=self._idle.put_nowait,
                on_death=self._handle_death,
            )
        except OSError as error:
            raise EngineError(f"worker program could not start: {error}", code="engine_failed") from error
        self._processes.add(process)
        rate = await process.start(self._deadlines.start_s)
        if rate != self._sample_rate:
            raise EngineError(
                f"worker program speaks at {rate} Hz, its engine says {self._sample_rate} Hz",
                code="engine_failed",
            )

    def _handle_death(self, process: WorkerProcess, error: EngineError) -> None:
        ...
