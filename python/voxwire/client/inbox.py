"""What waits for the iteration of a context: one deque, at most one waiter."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from voxwire.client.events import Audio, Phonemes, Words

if TYPE_CHECKING:
    from voxwire.client.events import Event

__all__ = ["Inbox", "joined"]

# What an event, or a word in it, costs beside its samples, so that very many small ones are bounded too.
_EVENT_BYTES = 128


class Inbox:
    """Events in order, counted in bytes. Nothing is taken out before the taker runs: a cancelled wait loses none."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Appends an event and wakes the waiter."""
        self._events.append(event)
        self.size_bytes += _size_bytes(event)
        if self._waiter is not None:
            self.wake()

    def take(self) -> Event:
        """Takes the oldest event; there must be one."""
        event = self._events.popleft()
        self.size_bytes -= _size_bytes(event)
        return event

    def take_all(self) -> list[Event]:
        """Takes all that is there."""
        events = list(self._events)
        self.clear()
        return events

    def clear(self) -> None:
        """Forgets all that is there."""
        self._events.clear()
        self.size_bytes = 0

    def wake(self) -> None:
        """Lets the waiter look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Waits for :meth:`wake`.

        Raises:
            RuntimeError: Somebody waits already.
        """
        if self._waiter is not None:
            raise RuntimeError("a second consumer of one context: another task waits for its events")
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None


def _size_bytes(event: Event) -> int:
    if isinstance(event, Audio):
        return _EVENT_BYTES + len(event.data)
    return _EVENT_BYTES * (1 + len(event.items)) if isinstance(event, Words | Phonemes) else _EVENT_BYTES


def joined(events: list[Event]) -> list[Event]:
    """Returns the events with neighbouring audio of one segment in one piece."""
    result: list[Event] = []
    run: list[Audio] = []
    for event in events:
        if type(event) is Audio and (not run or run[-1].flush_id == event.flush_id):
            run.append(event)
            continue
        _close_run(run, result)
        if type(event) is Audio:
            run.append(event)
        else:
            result.append(event)
    _close_run(run, result)
    return result


def _close_run(run: list[Audio], result: list[Event]) -> None:
    if len(run) == 1:
        result.append(run[0])
    elif run:
        first = run[0]
        data = b"".join([audio.data for audio in run])
        result.append(Audio(data, first.format, first.start_s, first.flush_id, first.context))
    run.clear()
