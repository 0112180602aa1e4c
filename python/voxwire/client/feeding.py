"""Text sources: one piece at a time from whatever was given, each iterator closed whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
import unicodedata
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Source", "Text", "check_text", "open_source", "speakable"]

Text = str | Iterable[str] | AsyncIterable[str]
"""Text as a whole, or in pieces that are spoken as they come."""

# How long an iterator may take over its own clean-up once nobody wants more of it.
_CLOSE_S = 2.0


class Source(Protocol):
    """Pieces of text, asked for one by one: nothing is read ahead."""

    async def next(self) -> str | None:
        """Returns the next piece, None at the end; raises what the iterator raised."""

    async def close(self) -> None:
        """Closes the iterator, in at most 2 s."""


def check_text(text: Any) -> None:
    """Raises TypeError for what is no text."""
    if not isinstance(text, (str, Iterable, AsyncIterable)) or isinstance(
        text, (bytes, bytearray, memoryview, Mapping)
    ):
        raise TypeError(f"text must be a str or an iterable of str, not {type(text).__name__}")


def check_piece(piece: Any) -> str:
    """Returns a piece that is a str."""
    if not isinstance(piece, str):
        raise TypeError(f"a piece of text must be of type str, not {type(piece).__name__}")
    return piece


def speakable(text: str) -> bool:
    """It holds a letter, mark or digit (protocol.md 6.1): only such text may be the first of a context."""
    return text.isalnum() or any(unicodedata.category(character)[0] in "LMN" for character in text)


def open_source(text: Iterable[str] | AsyncIterable[str]) -> Source:
    """Returns the source for text in pieces."""
    if isinstance(text, AsyncIterable):
        return _AsyncSource(text)
    if isinstance(text, (list, tuple)):
        return _ListSource(text)
    return _ThreadSource(text)


class _ListSource:
    """Cannot block, so it needs no thread."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)

    async def next(self) -> str | None:
        piece = next(self._pieces, None)
        return None if piece is None else check_piece(piece)

    async def close(self) -> None:
        pass


class _AsyncSource:
    def __init__(self, pieces: AsyncIterable[str]) -> None:
        self._pieces: AsyncIterator[str] = aiter(pieces)

    async def next(self) -> str | None:
        try:
            return check_piece(await anext(self._pieces))
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await close()


class _ThreadSource:
    """Runs a synchronous iterator in a thread of its own.

    Not in the loop's executor: the end of a program waits for that, and an iterator may block for ever. The iterator is
    only ever touched in its thread; one that blocks is closed when it returns.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._wishes: queue.SimpleQueue[asyncio.Future[str | None] | None] = queue.SimpleQueue()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run,), name="voxwire text", daemon=True
        )
        self._thread.start()

    async def next(self) -> str | None:
        wish: asyncio.Future[str | None] = self._loop.create_future()
        self._wishes.put(wish)
        piece = await wish
        return None if piece is None else check_piece(piece)

    async def close(self) -> None:
        self._wishes.put(None)
        await asyncio.wait({self._closed}, timeout=_CLOSE_S)
        if self._closed.done():
            self._closed.result()
        else:
            self._closed.cancel()

    def _run(self) -> None:
        iterator: Iterator[str] | None = None
        while (wish := self._wishes.get()) is not None:
            try:
                iterator = iter(self._pieces) if iterator is None else iterator
                self._answer(wish, next(iterator, None), None)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to who asked
                self._answer(wish, None, error)
        try:
            close = getattr(self._pieces if iterator is None else iterator, "close", None)
            if close is not None:
                close()
        except BaseException as error:  # noqa: BLE001 - as above
            self._answer(self._closed, None, error)
        else:
            self._answer(self._closed, None, None)

    def _answer(self, future: asyncio.Future[Any], value: str | None, error: BaseException | None) -> None:
        # The loop may have ended while the iterator blocked: then nobody wants the answer.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_resolve, future, value, error)


def _resolve(future: asyncio.Future[Any], value: str | None, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):
        # A future refuses it; out of an iterator's own close or start it is as any other error.
        future.set_exception(RuntimeError("the text iterator raised StopIteration outside of its end"))
    else:
        future.set_exception(error)
