"""Back-pressure: how long a full socket is waited for (protocol.md 2.6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxwire.transport import Transport

__all__ = ["wait_writable"]

#: How often a full socket is looked at, to see whether it takes anything.
_LOOK_S = 1.0


async def wait_writable(transport: Transport, limit_s: float) -> None:
    """Waits until a socket takes more.

    A reader that is merely slow empties the queue bit by bit, which is no reason to give it up; only standing still
    counts. Bit by bit it is in the system's own queue: ours moves only when much of that one has become free.

    Args:
        transport: The connection.
        limit_s: Seconds that it may take nothing.

    Raises:
        TimeoutError: It took nothing for so long.
        ConnectionLost: It is gone.
    """
    loop = asyncio.get_running_loop()
    stuck_at = loop.time()
    taken_bytes = transport.taken_bytes
    while (left_s := stuck_at + limit_s - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left_s, _LOOK_S)):
                await transport.drain()
        except TimeoutError:
            if (taken_now := transport.taken_bytes) > taken_bytes:
                stuck_at = loop.time()
                taken_bytes = taken_now
        else:
            return
    raise TimeoutError
