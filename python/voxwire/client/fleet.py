"""The sockets that contexts share: placing, retiring, admission.

Today a fleet holds one socket, opened at the first need and again at the next need after it ended. A socket that ended
is never written to again. Attempts to connect are shared by all who wait for one.
"""

from __future__ import annotations

import asyncio
import copy
import time
from typing import TYPE_CHECKING, Protocol

from voxwire.client.backoff import Backoff, asked_wait, forget_asked_wait
from voxwire.client.refusals import closed_error
from voxwire.exceptions import AdmissionTimeout, ConnectError, ConnectTimeout, VoxwireError
from voxwire.protocol import Batch, Closed, Connection
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.client.dialing import Dialer
    from voxwire.client.settings import Settings
    from voxwire.protocol import Event
    from voxwire.transport import Transport

__all__ = ["Admission", "Fleet", "Link"]


class Member(Protocol):
    """A context, as its link sees it."""

    def handle_batch(self, batch: Batch, now_s: float) -> None:
        """Takes what one read brought for it."""

    def handle_lost(self, error: VoxwireError) -> None:
        """Learns that the link ended while the context was live on it."""


class Link:
    """One socket and the contexts that are live on it."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask
        self.transport: Transport | None = None
        self.members: set[Member] = set()
        self.closed: Closed | None = None

    @property
    def usable(self) -> bool:
        """A new context may be placed here."""
        return self.transport is not None and self.closed is None and self.transport.connection.state == "open"

    @property
    def request_id(self) -> str | None:
        """The server's id of this connection."""
        request_id = self.transport.request_id if self.transport is not None else None
        return None if request_id is None else self._mask(request_id)

    def handle_events(self, events: list[Event]) -> None:
        """Hands each context what came for it, in the turn of the read."""
        now_s = time.monotonic()
        for event in events:
            if isinstance(event, Batch):
                event.context.handle_batch(event, now_s)
            elif isinstance(event, Closed):
                self._handle_closed(event)

    def _handle_closed(self, closed: Closed) -> None:
        self.closed = closed
        members, self.members = self.members, set()
        for member in members:
            member.handle_lost(closed_error(closed, self._mask, request_id=self.request_id))

    async def close(self, timeout_s: float) -> None:
        """Closes with the closing handshake, in at most ``timeout_s``."""
        if self.transport is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self.transport.close()
        except TimeoutError:
            self.transport.abort()
            await self.transport.wait_closed()

    def abandon(self, *, loop_runs: bool) -> None:
        """Drops the socket without a word, also when the loop will never run again."""
        if self.transport is None:
            return
        if loop_runs:
            self.transport.abort()
        else:
            self.transport.discard()


class Admission:
    """Places among ``max_contexts``, given in the order of asking."""

    def __init__(self, max_contexts: int | None, timeout_s: float) -> None:
        self._max_contexts = max_contexts
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(max_contexts) if max_contexts is not None else None

    async def acquire(self) -> None:
        """Takes a place.

        Raises:
            AdmissionTimeout: None became free in time.
        """
        if self._places is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise AdmissionTimeout(
                f"no place among {self._max_contexts} contexts became free within {self._timeout_s:g} s"
            ) from None

    def release(self) -> None:
        """Gives the place back."""
        if self._places is not None:
            self._places.release()


class Fleet:
    """Owns the sockets of a client."""

    def __init__(self, dialer: Dialer, *, mask: Callable[[str], str], settings: Settings) -> None:
        self._dialer = dialer
        self._mask = mask
        self._settings = settings
        self._scope = Scope()
        self._link: Link | None = None
        self._retired: set[Link] = set()
        self._backoff = Backoff()
        self._failure: VoxwireError | None = None
        self._dial: asyncio.Task[Link | VoxwireError] | None = None
        self._waiters = 0

    @property
    def open_link(self) -> Link | None:
        """The link on which a context can be placed at once."""
        link = self._link
        return link if link is not None and link.usable else None

    async def link(self) -> Link:
        """Returns an open link, dialling where there is none.

        Raises:
            VoxwireError: Why there is none; a copy for each who waited.
        """
        if (link := self.open_link) is not None:
            return link
        if self._dial is None or self._dial.done():
            self._dial = self._scope.start(self._open(), "voxwire dial")
        dial = self._dial
        self._waiters += 1
        try:
            await asyncio.wait({dial})
        finally:
            self._waiters -= 1
            if not self._waiters and not dial.done():
                dial.cancel()
                self._dial = None
        if dial.cancelled():
            raise ConnectError("the client was closed while it connected", retryable=False)
        outcome = dial.result()
        if isinstance(outcome, Link):
            if outcome.closed is not None:
                raise closed_error(outcome.closed, self._mask, request_id=outcome.request_id)
            return outcome
        raise copy.copy(outcome) from outcome

    def sever(self) -> None:
        """Starts to close, before any wait: no further dial, and our Close frame is on its way."""
        self._scope.cancel()
        link = self.open_link
        if link is not None and link.transport is not None:
            link.transport.connection.close(1000, "", link.transport.now())
            link.transport.flush()

    async def close(self) -> None:
        """Leaves no task and no socket behind."""
        self.sever()
        link, self._link = self._link, None
        links = self._retired | {link} if link is not None else self._retired
        timeout_s = self._settings.close_timeout_s
        try:
            # At once: several that do not answer take no longer than one.
            if closing := [self._scope.start(each.close(timeout_s), "voxwire close") for each in links]:
                await asyncio.wait(closing)
        finally:
            await self._scope.close(self._settings.close_timeout_s)
            await self._dialer.close()

    @property
    def abandoned(self) -> bool:
        """A socket is open: dropping the fleet now would leak it."""
        return self._link is not None and self._link.transport is not None and not self._link.transport.closed

    def abandon(self, *, loop_runs: bool) -> None:
        """Drops everything without a word."""
        if loop_runs:
            self._scope.cancel()
            self._scope.start(self._dialer.close(), "voxwire release")
        for link in self._retired if self._link is None else self._retired | {self._link}:
            link.abandon(loop_runs=loop_runs)

    def _make_connection(self, now_s: float) -> Connection:
        settings = self._settings
        return Connection(
            "client",
            batched=True,
            ping_interval_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            close_timeout_s=settings.close_timeout_s,
            inactivity_timeout_s=settings.inactivity_timeout_s,
            now=now_s,
        )

    async def _open(self) -> Link | VoxwireError:
        """Dials until it succeeds, is refused for good, or the time is over; returns the last definite error."""
        clock, account = asyncio.get_running_loop().time, self._dialer.account
        deadline_s = clock() + self._settings.connect_timeout_s
        pause_s = self._backoff.hold_s(clock())
        last: VoxwireError | None = None
        while True:
            if account is not None and (asked := asked_wait(account)) is not None:
                pause_s = max(pause_s, asked[0])
                self._failure = asked[1]
            if pause_s > 0:
                if clock() + pause_s >= deadline_s and self._failure is not None:
                    return self._failure
                await asyncio.sleep(pause_s)
            link = Link(self._mask)
            try:
                link.transport = await self._dialer.dial(link, self._make_connection, deadline_s - clock())
            except ConnectTimeout as error:
                # protocol.md 13: never a time-out in place of a definite answer.
                if last is None:
                    last = ConnectTimeout(f"{error.message} (of {self._settings.connect_timeout_s:g} s)")
                self._backoff.note_failure(clock())
                self._failure = copy.copy(last)
                return last
            except VoxwireError as error:
                if not error.retryable:
                    return error
                pause_s = self._backoff.note_failure(clock())
                # A copy has no traceback, which would keep the frames of this attempt.
                self._failure = last = copy.copy(error)
                if error.status == 429:
                    return error
            else:
                self._backoff.reset()
                self._failure = None
                forget_asked_wait(account)
                self._take(link)
                return link

    def _take(self, link: Link) -> None:
        """Replaces the link that ended; what is left of its socket stays ours until that is gone."""
        retired = self._retired if self._link is None else self._retired | {self._link}
        self._retired = {each for each in retired if each.transport is not None and not each.transport.closed}
        self._link = link
