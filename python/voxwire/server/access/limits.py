"""How much one credential may do at once (protocol.md 2.6)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from voxwire.server.access.auth import Principal

__all__ = ["Account", "Accounts", "Slot"]

#: Sockets, and waiting contexts, for each context that may run at once.
_PER_CONTEXT = 10
_RETRY_AFTER_S = 1


def _too_many_contexts() -> Refusal:
    return Refusal(
        429,
        "Too many requests",
        "the limit of contexts at once is reached, retry when one has ended",
        code="concurrency_limited",
    )


class Slot:
    """A place for one context: asked for at once, given when one is free, given back once."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, timeout_s: float) -> None:
        """Waits for the place.

        Raises:
            Refusal: 429, none became free in time.
        """
        if self._granted.done():
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._granted
        except TimeoutError:
            raise _too_many_contexts() from None

    def release(self) -> None:
        """Gives the place back, or leaves the queue."""
        self._account.release(self)

    def grant(self) -> None:
        """Called by the account."""
        if not self._granted.done():
            self._granted.set_result(None)


class Account:
    """What one credential has in use."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._running: set[Slot] = set()
        self._waiting: OrderedDict[Slot, None] = OrderedDict()
        self._sockets = 0

    def open_socket(self) -> None:
        """Counts a socket.

        Raises:
            Refusal: 429, the credential has too many open.
        """
        if self._limit is not None and self._sockets >= _PER_CONTEXT * self._limit:
            raise Refusal(
                429,
                "Too many connections",
                "the limit of open sockets is reached, close one or retry later",
                code="concurrency_limited",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._sockets += 1

    def close_socket(self) -> None:
        """Counts it out again."""
        self._sockets -= 1

    def slot(self) -> Slot:
        """Asks for a place for a context.

        Raises:
            Refusal: 429, even the queue is full.
        """
        slot = Slot(self)
        if self._limit is None or len(self._running) < self._limit:
            self._running.add(slot)
            slot.grant()
        elif len(self._waiting) < _PER_CONTEXT * self._limit:
            self._waiting[slot] = None
        else:
            raise _too_many_contexts()
        return slot

    def release(self, slot: Slot) -> None:
        """Takes a place back and hands it to whoever waits longest."""
        self._waiting.pop(slot, None)
        if slot in self._running:
            self._running.remove(slot)
            if self._waiting:
                heir, _ = self._waiting.popitem(last=False)
                self._running.add(heir)
                heir.grant()


class Accounts:
    """One account a credential, for the life of the process: there are no more than configured keys."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._accounts: dict[bytes, Account] = {}

    def of(self, principal: Principal) -> Account:
        """Returns the account of a caller."""
        return self._accounts.setdefault(principal.digest, Account(self._limit))
