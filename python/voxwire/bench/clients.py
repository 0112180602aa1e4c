"""The clients of the suite, as a user makes them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from voxwire.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["opened", "results"]

_T = TypeVar("_T")


@contextlib.asynccontextmanager
async def opened(url: str, count: int = 1) -> AsyncIterator[list[Client]]:
    """Opens connections, one for each client; an interrupt drops them without a word, since the peer may be busy."""
    # An empty key: the one in the environment is for another server.
    clients = [Client(url, api_key="") for _ in range(count)]
    try:
        for client in clients:
            await client.connect()
        yield clients
    except BaseException:
        for client in clients:
            client.abort()
        raise
    for client in clients:
        await client.close()


async def results(tasks: Sequence[asyncio.Task[_T]], timeout_s: float) -> list[_T]:
    """Waits for tasks that a scope owns, and returns what each returned.

    Raises:
        TimeoutError: One has not ended in time.
        Exception: The first that one of them raised.
    """
    done, pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    if pending:
        raise TimeoutError(f"{len(pending)} of {len(tasks)} contexts had not ended after {timeout_s:g} s")
    return [task.result() for task in tasks]
