"""How often a server is dialled: jittered pauses, a bound on attempts, and the waits that the server asked for."""

from __future__ import annotations

import copy
import random
import time
from typing import TYPE_CHECKING

from voxwire.exceptions import RateLimited

if TYPE_CHECKING:
    from collections.abc import Hashable

    from voxwire.exceptions import VoxwireError

__all__ = ["Backoff", "asked_wait", "forget_asked_wait", "note_asked_wait"]

# faults.md 2: full jitter with a cap, reset on success. The first pause lies between 0 and 1 s.
_FIRST_S = 1.0
_CAP_S = 30.0
# faults.md F5: luck may draw a row of short pauses, and callers may ask again at once; these two leave room for
# 4 + 60 / 7.5 = 12 failures in a minute, and for an attempt at least every 7.5 s where somebody needs one.
_BURST = 4
_INTERVAL_S = 7.5
# A longer Retry-After is told to the caller, but does not lock the whole process out.
_ASKED_CAP_S = 60.0

# What servers asked of this process, by account: until when, and with which refusal (faults.md 6: one client that is
# refused must not leave the others of its process to run into the same wall).
_asked: dict[Hashable, tuple[float, VoxwireError]] = {}


class Backoff:
    """Paces the attempts of one fleet over all its dials, until one succeeds."""

    def __init__(self) -> None:
        self._limit_s = _FIRST_S
        self._spent_until_s = 0.0

    def note_failure(self, now_s: float) -> float:
        """Counts a failure that another attempt may mend; returns seconds until that attempt."""
        self._spent_until_s = max(self._spent_until_s, now_s) + _INTERVAL_S
        pause_s = random.uniform(0, self._limit_s)  # noqa: S311 - jitter, no secret
        self._limit_s = min(2 * self._limit_s, _CAP_S)
        return max(pause_s, self.hold_s(now_s))

    def hold_s(self, now_s: float) -> float:
        """Seconds that even a new need has to wait, as too many attempts have failed."""
        return max(0.0, self._spent_until_s - (_BURST - 1) * _INTERVAL_S - now_s)

    def reset(self) -> None:
        """Notes a success."""
        self._limit_s = _FIRST_S
        self._spent_until_s = 0.0


def note_asked_wait(account: Hashable, wait_s: float, error: VoxwireError) -> None:
    """Notes the ``Retry-After`` of a refusal; ``account`` is the server with the credentials that it refused."""
    now_s = time.monotonic()
    for other, (until_s, _) in list(_asked.items()):
        if until_s <= now_s:
            _asked.pop(other, None)
    # A copy has no traceback, which would keep the frames of this attempt.
    _asked[account] = (now_s + min(wait_s, _ASKED_CAP_S), copy.copy(error))


def asked_wait(account: Hashable) -> tuple[float, VoxwireError] | None:
    """Returns seconds that are left of what this server asked for, spread by jitter, and why; None for no wait."""
    until_s, error = _asked.get(account, (0.0, None))
    left_s = until_s - time.monotonic()
    if error is None or left_s <= 0:
        return None
    error = copy.copy(error)
    if isinstance(error, RateLimited):
        error.retry_after_s = left_s
    return left_s + random.uniform(0, _FIRST_S), error  # noqa: S311 - jitter, no secret


def forget_asked_wait(account: Hashable) -> None:
    """The server took a connection."""
    _asked.pop(account, None)
