"""The pool of worker programs: who speaks next, what replaces the dead."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxwire.engines.process import WorkerProcess
from voxwire.exceptions import EngineError
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voxwire.engines.speech import Speech

__all__ = ["Deadlines", "WorkerPool"]

logger = logging.getLogger(__name__)

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
    queue_s: float = 20.0
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
        # The one used last comes first: its caches are warm. None wakes those who wait when the pool stops.
        self._idle: asyncio.LifoQueue[WorkerProcess | None] = asyncio.LifoQueue()
        #: Those that can be given work, and all that are not yet gone.
        self._living: set[WorkerProcess] = set()
        self._processes: set[WorkerProcess] = set()
        self._scope = Scope()
        self._running = False
        self.crashes = 0
        self.timeouts = 0

    @property
    def healthy(self) -> bool:
        """At least one worker lives."""
        return bool(self._living)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers that live."""
        return sorted(process.pid for process in self._living)

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
        self._idle.put_nowait(None)
        self._living.clear()
        await self._scope.close()
        for process in self._processes:
            process.end_input()
        ends = [
            self._scope.start(process.reap(self._deadlines.stop_s), "engine worker end") for process in self._processes
        ]
        try:
            await asyncio.gather(*ends)
        finally:
            for process in self._processes:
                process.kill()
        self._processes.clear()

    async def begin(self, fields: Mapping[str, Any]) -> Speech:
        """Hands a request to a free worker.

        Raises:
            EngineError: No worker became free in time, or the pool was stopped.
        """
        try:
            async with asyncio.timeout(self._deadlines.queue_s):
                while self._running:
                    process = await self._idle.get()
                    if process is None:
                        self._idle.put_nowait(None)
                    elif process.idle and not process.gone:
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
                sample_rate=self._sample_rate,
                frame_timeout_s=self._deadlines.frame_s,
                drain_timeout_s=self._deadlines.drain_s,
                on_idle=self._idle.put_nowait,
                on_death=self._handle_death,
            )
        except OSError as error:
            raise EngineError(f"worker program could not start: {error}", code="engine_failed") from error
        self._processes.add(process)
        try:
            await process.start(self._deadlines.start_s)
        except BaseException:
            process.kill()
            if self._running:
                self._scope.start(self._bury(process), "engine worker end")
            raise
        if process.idle:
            self._living.add(process)
            self._idle.put_nowait(process)

    def _handle_death(self, process: WorkerProcess, error: EngineError) -> None:
        if error.code == "engine_timeout":
            self.timeouts += 1
        else:
            self.crashes += 1
        logger.info("engine worker %d is replaced: %s", process.pid, error.message)
        self._living.discard(process)
        waiting = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for other in reversed(waiting):
            if other is not process:
                self._idle.put_nowait(other)
        if self._running:
            self._scope.start(self._bury(process), "engine worker end")
            self._scope.start(self._replace(), "engine worker start")

    async def _bury(self, process: WorkerProcess) -> None:
        await process.reap()
        self._processes.discard(process)

    async def _replace(self) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await self._spawn()
            except EngineError as error:
                logger.warning("engine worker could not be replaced, next try in %g s: %s", delay_s, error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_LAST_S)
            else:
                return
