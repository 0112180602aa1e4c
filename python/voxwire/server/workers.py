"""Several processes that share a port: a parent that starts them, says where they are, and ends them.

Each worker is a whole server; the kernel spreads connections over them. Quotas are per process. The parent serves
nothing: it hands signals on, and ends all when one of them ends unasked.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

    from voxwire.server.config import Settings

    _Serve = Callable[[Callable[[dict[str, Any]], None], int], int]

__all__ = ["supervise"]

_log = logging.getLogger(__name__)

_DRAINED = 0
_FAILED = 1
_INTERRUPTED = 130


def supervise(settings: Settings, serve: _Serve, announce: Callable[[Any], None]) -> int:
    """Runs ``settings.workers`` processes until a signal ends them, and returns the exit status.

    Args:
        settings: With the ports that all of them are to listen on.
        serve: Runs one worker to its end: it gets whom to tell where it listens, and a descriptor that ends with the
            parent; it returns an exit status.
        announce: Called once with what the first worker told, when all of them accept.

    Raises:
        Exception: What kept a worker from starting.
    """
    workers: set[int] = set()
    received: list[int] = []

    def hand_on(number: int, _frame: types.FrameType | None) -> None:
        if number != signal.SIGHUP:
            received.append(number)
        for worker in workers:
            os.kill(worker, signal.SIGTERM if number == signal.SIGINT else number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, hand_on)
    # Its other end is the parent's alone: a worker that reads its end there knows that the parent is gone.
    lifeline, parent_end = os.pipe()
    reports = []
    for _ in range(settings.workers):
        report, worker_end = os.pipe()
        worker = os.fork()
        if not worker:
            os.close(parent_end)
            os._exit(_work(serve, worker_end, lifeline))
        os.close(worker_end)
        workers.add(worker)
        reports.append(os.fdopen(report, "rb"))
    os.close(lifeline)
    told = [_read(report) for report in reports]
    failures = [report for report in told if isinstance(report, Exception)]
    if failures or received:
        hand_on(signal.SIGTERM, None)
    elif None not in told:
        announce(told[0] | {"pid": os.getpid()})
    codes = _wait(workers, received)
    if failures:
        raise failures[0]
    if any(codes):
        return _FAILED
    return _INTERRUPTED if received[0] == signal.SIGINT else _DRAINED


def _wait(workers: set[int], received: list[int]) -> list[int]:
    codes = []
    while workers:
        worker, status = os.waitpid(-1, 0)
        workers.discard(worker)
        codes.append(os.waitstatus_to_exitcode(status))
        if not received:
            _log.error("worker %d ended unasked with status %d, so all end", worker, codes[-1])
            received.append(signal.SIGTERM)
            codes.append(_FAILED)
            for other in workers:
                os.kill(other, signal.SIGTERM)
    return codes


def _work(serve: _Serve, report: int, lifeline: int) -> int:
    """What a worker does from its first moment to its exit status; nothing of the parent's may run in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def tell(what: Any) -> None:
        with os.fdopen(report, "wb") as pipe:
            pickle.dump(what, pipe)

    try:
        return serve(tell, lifeline)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        tell(error)
        return _FAILED


def _read(report: Any) -> Any:
    with report:
        data = report.read()
    # From our own child, over a pipe that nobody else holds.
    return pickle.loads(data) if data else None  # noqa: S301
