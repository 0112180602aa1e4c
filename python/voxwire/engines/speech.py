"""One request to a worker program, seen by its listener."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from voxwire.engines.contract import Piece
    from voxwire.exceptions import EngineError

__all__ = ["READ_AHEAD_BYTES", "Speech"]

#: Bytes of audio that wait for a slow listener before the program is made to wait: a minute and a half of eSpeak.
READ_AHEAD_BYTES = 4 * 1024 * 1024


class Source(Protocol):
    """What brings the pieces."""

    def pause(self) -> None:
        """Brings no more for now."""

    def resume(self) -> None:
        """Goes on."""

    def abandon(self) -> None:
        """Nobody listens any more."""


class Speech:
    """What one request brings, between the program and the listener."""

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source
        self._pieces: deque[Piece] = deque()
        self._held_bytes = 0
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> Piece | None:
        """Returns the next piece, or None at the end; the deadlines of the source bound the wait.

        Raises:
            EngineError: The request failed; the pieces before it have been returned.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._source is None:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece.pcm)
        if self._source is not None and self._held_bytes <= READ_AHEAD_BYTES // 2:
            self._source.resume()
        return piece

    def cancel(self) -> None:
        """Wants no more; returns at once, and so does a ``next`` that waits."""
        source, self._source = self._source, None
        self._pieces.clear()
        self._wake()
        if source is not None:
            source.abandon()

    def feed(self, piece: Piece) -> None:
        """Takes a piece."""
        self._pieces.append(piece)
        self._held_bytes += len(piece.pcm)
        if self._source is not None and self._held_bytes > READ_AHEAD_BYTES:
            self._source.pause()
        self._wake()

    def end(self, error: EngineError | None) -> None:
        """Takes the end, after which the source takes no calls."""
        self._source = None
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
