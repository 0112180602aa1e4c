"""voxwire, through its public client: ``batches``, ``joined`` (batches, neighbours joined) or ``each`` (async for).

Rivals never join.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack

from common import Meter, Run, start

from voxwire import Audio, Client


async def by_batches(client: Client, run: Run, meter: Meter) -> tuple[int, int]:
    count = total = 0
    watch = meter.watch
    async with client.context("Hi.", voice="tone-1") as context:
        async for events in context.batches(join=run.way == "joined"):
            for event in events:
                if type(event) is Audio:
                    data = event.data
                    count += 1
                    total += len(data)
                    if watch is not None:
                        watch(context, data)
    return count, total


async def one_by_one(client: Client, run: Run, meter: Meter) -> tuple[int, int]:  # noqa: ARG001 - as its sibling
    count = total = 0
    watch = meter.watch
    async with client.context("Hi.", voice="tone-1") as context:
        async for event in context:
            if type(event) is Audio:
                data = event.data
                count += 1
                total += len(data)
                if watch is not None:
                    watch(context, data)
    return count, total


async def main(run: Run) -> None:
    receive = one_by_one if run.way == "each" else by_batches
    tls = ssl.create_default_context() if run.way == "python_ssl" else None
    meter = Meter(run)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(run.url, ssl_context=tls)) for _ in range(run.connections)]
        for client in clients:
            await client.connect()
        meter.start()
        receivers = [receive(client, run, meter) for client in clients for _ in range(run.contexts)]
        # A single stream is read where the caller stands, as its user would.
        counts = [await receivers[0]] if len(receivers) == 1 else await asyncio.gather(*receivers)
        meter.stop(counts)


if __name__ == "__main__":
    start(main)
