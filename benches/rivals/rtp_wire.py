"""voxwire from the wire: each context of a server is played to an RTP sink of its own, all in one event loop.

The pacing thread's scheduler is ``fifo`` or ``ordinary``. The audio comes as the mu-law that the sink wants; by
``fifo, s16`` as s16 at 24 kHz, from which the client makes that.

The clock runs from when all sinks are open to a second before the last packet: all of the server's chunks have come by
then. Each begins to speak when its second chunk has come, so that the server is not what is measured.
"""

from __future__ import annotations

import asyncio
import json

import uvloop
from rtp_common import HOST, Meter, Order, order
from rtp_ours import FORMAT, pacer_figures

from voxwire import Client, open_sink
from voxwire.audio import AudioFormat
from voxwire_rtp import pacer_statistics

PREBUFFER_MS = 300
LAST_PACKETS = 50
LOOK_S = 0.05


async def main(order: Order) -> None:
    scheduler, _, wire = order.way.partition(", ")
    formats = {"output_format": AudioFormat(), "deliver_format": FORMAT} if wire else {}
    clients = [Client(order.url) for _ in range(order.connections)]
    opened: asyncio.Queue[int] = asyncio.Queue()
    start = asyncio.Event()

    async def speak(number: int) -> None:
        options = f"ssrc={order.first_ssrc + number}&idle=gap&realtime={int(scheduler == 'fifo')}"
        sink = open_sink(f"rtp://{HOST}:{order.port(number)}?{options}", prebuffer_ms=PREBUFFER_MS)
        async with sink as output:
            await output.open([FORMAT])
            opened.put_nowait(number)
            await start.wait()
            async with clients[number % len(clients)].context("Hi.", voice="tone-1", **formats) as context:
                playback = await context.play(output)
                await playback.wait()

    async with asyncio.TaskGroup() as speaking:
        for number in range(order.streams):
            speaking.create_task(speak(number))
        for _ in range(order.streams):
            await opened.get()
        statistics = pacer_statistics()
        if statistics.scheduler != scheduler:
            raise SystemExit(f"the scheduler is {statistics.scheduler}: {statistics.refusal}")
        meter = Meter()
        meter.start()
        start.set()
        due = order.streams * (order.packets - LAST_PACKETS)
        while pacer_statistics().packets - statistics.packets < due:  # noqa: ASYNC110 - the pacer tells nobody
            await asyncio.sleep(LOOK_S)
        figures = meter.figures() | pacer_figures(statistics.cpu_s, statistics.packets)
    for client in clients:
        await client.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main(order()))
