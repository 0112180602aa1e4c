"""Who guesses credentials: failures counted by address (faults.md H1)."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict, deque

__all__ = ["Guesses"]

_PER_WINDOW = 10
_WINDOW_S = 60.0
#: So many addresses are remembered, those with the newest failures.
_ADDRESSES = 4096


class Guesses:
    """The failed credentials of the last minute, for each address; loopback is not counted.

    Only failures are refused: a valid credential opens the server from every address, since behind a proxy all callers
    have the same one.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def count(self, address: str | None, now: float) -> int | None:
        """Counts a failure.

        Args:
            address: IP address of the peer; None where it has none, as over a socketpair.
            now: Seconds of a monotonic clock.

        Returns:
            None, or if there were too many: the whole seconds after which the next one is counted again.
        """
        if address is None or _is_loopback(address):
            return None
        times = self._times.setdefault(address, deque())
        self._times.move_to_end(address)
        if len(self._times) > _ADDRESSES:
            self._times.popitem(last=False)
        while times and times[0] <= now - _WINDOW_S:
            times.popleft()
        if len(times) < _PER_WINDOW:
            times.append(now)
            return None
        return math.ceil(times[0] + _WINDOW_S - now)


def _is_loopback(address: str) -> bool:
    try:
        # The zone of a link-local address belongs to the interface, not to the peer.
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
