"""The service's own SDK, asynchronous: ``ctx.receive()``, then ``event.audio``. Defaults otherwise."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from cartesia import AsyncCartesia
from common import FORMAT, Meter, Run, start


async def receive(connection: Any, meter: Meter) -> tuple[int, int]:
    count = total = 0
    watch = meter.watch
    context = connection.context(
        model_id="sonic-3", voice={"mode": "id", "id": "tone-1"}, output_format=FORMAT, timeout=60
    )
    await context.push("Hi.")
    async for event in context.receive():
        if event.type == "chunk":
            data = event.audio
            count += 1
            total += len(data)
            if watch is not None:
                watch(context, data)
    return count, total


async def main(run: Run) -> None:
    meter = Meter(run)
    # The SDK adds its own path to the base.
    base = run.url.removesuffix("/tts/websocket")
    async with AsyncExitStack() as stack:
        sdk = await stack.enter_async_context(AsyncCartesia(api_key="not-checked", websocket_base_url=base))
        connections = [await stack.enter_async_context(sdk.tts.websocket_connect()) for _ in range(run.connections)]
        meter.start()
        receivers = [receive(connection, meter) for connection in connections for _ in range(run.contexts)]
        counts = [await receivers[0]] if len(receivers) == 1 else await asyncio.gather(*receivers)
        meter.stop(counts)


if __name__ == "__main__":
    start(main)
