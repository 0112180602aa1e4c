"""An event loop whose clock jumps to the next timer as soon as nothing moves: minutes pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

__all__ = ["VirtualLoop"]

# How long real sockets get to move before the clock does.
_QUIET_S = 0.01


class VirtualLoop(asyncio.SelectorEventLoop):
    """Real sockets, virtual time."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return super().time() + self._ahead_s

    def jump(self, seconds: float) -> None:
        self._ahead_s += seconds


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout <= _QUIET_S:
            return super().select(timeout)
        ready = super().select(_QUIET_S)
        if not ready:
            self._loop.jump(timeout)
        return ready
