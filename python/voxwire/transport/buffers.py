"""Where reads go.

One buffer of a kind and size serves all connections of a loop: what a read brought is used up before the next begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["READ_BYTES", "SERVER_READ_BYTES", "shared_buffer"]

# Measured by benches/choices/read_buffer.py: larger buffers spill the second-level cache, smaller ones cost more reads.
READ_BYTES = 256 * 1024
# A server reads in smaller pieces: one may hold hundreds of requests, and while they are carried out all others wait.
SERVER_READ_BYTES = 16 * 1024

Buffer = TypeVar("Buffer")

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Any]] = WeakKeyDictionary()


def shared_buffer(loop: asyncio.AbstractEventLoop, make: Callable[[int], Buffer], size_bytes: int) -> Buffer:
    """Returns the loop's buffer of that kind and size; the first to ask has it made."""
    buffers = _buffers.setdefault(loop, {})
    key = (make, size_bytes)
    if key not in buffers:
        buffers[key] = make(size_bytes)
    buffer: Buffer = buffers[key]
    return buffer
