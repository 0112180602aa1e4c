"""websockets + orjson + pybase64: no compression, messages taken as bytes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import orjson
import pybase64
from common import Meter, Run, request, start
from websockets.asyncio.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


async def receive(socket: ClientConnection, contexts: int, watch: Callable[[Any, Any], None] | None) -> tuple[int, int]:
    count = total = 0
    for _ in range(contexts):
        await socket.send(request(), text=True)
    while contexts:
        message = orjson.loads(await socket.recv(decode=False))
        kind = message["type"]
        if kind == "chunk":
            data = pybase64.b64decode(message["data"], validate=True)
            count += 1
            total += len(data)
            if watch is not None:
                watch(message["context_id"], data)
        elif kind == "done":
            contexts -= 1
    return count, total


async def main(run: Run) -> None:
    meter = Meter(run)
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(run.url, compression=None, max_size=None))
            for _ in range(run.connections)
        ]
        meter.start()
        receivers = [receive(socket, run.contexts, meter.watch) for socket in sockets]
        counts = [await receivers[0]] if len(receivers) == 1 else await asyncio.gather(*receivers)
        meter.stop(counts)


if __name__ == "__main__":
    start(main)
