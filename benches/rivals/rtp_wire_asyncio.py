"""RTP from the wire as one writes it in Python: voxwire's client, and the slots of ``rtp_asyncio`` in the same loop.

So it differs from ``rtp_wire`` in the pacing alone. The clock runs from the requests to the last packet.
"""

from __future__ import annotations

import asyncio
import json
import time

import uvloop
from rtp_asyncio import SLOT_S, SLOTS, Stream
from rtp_common import FRAMES, Meter, Order, order
from rtp_ours import FORMAT
from rtp_wire import PREBUFFER_MS

from voxwire import Audio, Client

PREBUFFER_BYTES = PREBUFFER_MS * 8


class Line:
    """A stream, and what has come of its audio."""

    def __init__(self, order: Order, number: int) -> None:
        self.audio = bytearray()
        self._stream = Stream(order, number, self.audio)
        self._sent_bytes = 0
        self._has_begun = False

    def pass_slot(self) -> bool:
        """Sends a packet where there is one; True where it did."""
        waiting = len(self.audio) - self._sent_bytes
        self._has_begun |= waiting >= PREBUFFER_BYTES
        if waiting < FRAMES or not self._has_begun:
            return False
        self._stream.send()
        self._sent_bytes += FRAMES
        return True


async def turn(lines: list[Line], packets: int) -> None:
    slots = [lines[slot::SLOTS] for slot in range(SLOTS)]
    start_s = time.monotonic()
    slot = 0
    while packets:
        if (delay_s := start_s + slot * SLOT_S - time.monotonic()) > 0:
            await asyncio.sleep(delay_s)
        packets -= sum(line.pass_slot() for line in slots[slot % SLOTS])
        slot += 1


async def main(order: Order) -> None:
    clients = [Client(order.url) for _ in range(order.connections)]
    lines = [Line(order, number) for number in range(order.streams)]

    async def listen(number: int) -> None:
        audio = lines[number].audio
        async with clients[number % len(clients)].context("Hi.", voice="tone-1", output_format=FORMAT) as context:
            async for event in context:
                if type(event) is Audio:
                    audio += event.data

    meter = Meter()
    meter.start()
    await asyncio.gather(turn(lines, order.streams * order.packets), *map(listen, range(order.streams)))
    figures = meter.figures()
    for client in clients:
        await client.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main(order()))
