"""What waits for the iteration of a context: batches in order, at most one waiter."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from voxwire.client.events import Audio, Phonemes, Words
from voxwire.protocol import LIMITS

if TYPE_CHECKING:
    import asyncio

    from voxwire.client.events import Event

__all__ = ["EVENT_BYTES", "Inbox", "joined", "size_bytes_of"]

# What an event, or a word in it, costs beside its samples, so that very many small ones are bounded too.
EVENT_BYTES = 128


class Inbox:
    """Lists of events as they were read, counted in bytes.

    Nothing is taken out before the taker runs: a cancelled wait loses none.

    Attributes:
        holds: Something waits to be taken.
        size_bytes: How much.
    """

    # Most contexts never have more than one batch waiting, and a deque is dear.
    __slots__ = ("_first", "_more", "_waiter", "holds", "size_bytes")

    def __init__(self) -> None:
        self._first: tuple[list[Event], int] | None = None
        self._more: deque[tuple[list[Event], int]] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.holds = False
        self.size_bytes = 0

    def put(self, events: list[Event], size_bytes: int) -> None:
        """Appends a batch, which must not be empty, and wakes the waiter."""
        if self._first is None:
            self._first = (events, size_bytes)
            self.holds = True
        else:
            if self._more is None:
                self._more = deque()
            self._more.append((events, size_bytes))
        self.size_bytes += size_bytes
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def take(self) -> list[Event]:
        """Takes the oldest batch; there must be one."""
        if self._first is None:
            raise AssertionError("an empty inbox")
        events, size_bytes = self._first
        self.size_bytes -= size_bytes
        self._first = self._more.popleft() if self._more else None
        self.holds = self._first is not None
        return events

    def clear(self) -> None:
        """Forgets all that is there."""
        self._first = self._more = None
        self.holds = False
        self.size_bytes = 0

    def wake(self) -> None:
        """Lets the waiter look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def begin_wait(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Returns what ends with :meth:`put` or :meth:`wake`; whoever awaits it calls :meth:`end_wait` then.

        Raises:
            RuntimeError: Somebody waits already.
        """
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("a second consumer of one context: another task waits for its events")
        waiter = self._waiter = loop.create_future()
        return waiter

    def end_wait(self, waiter: asyncio.Future[None]) -> None:
        """Lets another wait begin."""
        if self._waiter is waiter:
            self._waiter = None


def size_bytes_of(event: Event) -> int:
    """What one event counts while it waits."""
    if isinstance(event, Audio):
        return EVENT_BYTES + len(event.data)
    return EVENT_BYTES * (1 + len(event.items)) if isinstance(event, Words | Phonemes) else EVENT_BYTES


def joined(events: list[Event]) -> list[Event]:
    """Returns the events with neighbouring small audio of one segment in one piece."""
    result: list[Event] = []
    run: list[Audio] = []
    for event in events:
        small = type(event) is Audio and len(event.data) < LIMITS["joined_chunk_bytes"]
        if run and not (small and run[-1].flush_id == cast("Audio", event).flush_id):
            result.append(_one(run))
            run = []
        if small:
            run.append(cast("Audio", event))
        else:
            result.append(event)
    if run:
        result.append(_one(run))
    return result


def _one(run: list[Audio]) -> Audio:
    first = run[0]
    if len(run) == 1:
        return first
    data = b"".join([audio.data for audio in run])
    return Audio(data, first.format, first.start_s, first.flush_id, first.context)
