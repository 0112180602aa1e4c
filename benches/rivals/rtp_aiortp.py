"""aiortp's paced sending: a session for each stream, all of its audio handed over at once, as is its supported way."""

from __future__ import annotations

import asyncio
import json

import uvloop
from aiortp import PayloadType, RTPSession
from rtp_common import FRAMES, HOST, Meter, Order, order


async def main(order: Order) -> None:
    sessions = [
        await RTPSession.create(
            local_addr=(HOST, 0),
            remote_addr=(HOST, order.port(number)),
            payload_type=PayloadType.PCMU,
            ssrc=order.first_ssrc + number,
            paced=True,
        )
        for number in range(order.streams)
    ]
    audio = order.audio()
    meter = Meter()
    meter.start()
    for session, data in zip(sessions, audio, strict=True):
        for place in range(0, len(data), FRAMES):
            session.send_audio_auto(data[place : place + FRAMES])
    await asyncio.gather(*(session.drain() for session in sessions))
    print(json.dumps(meter.figures()), flush=True)
    for session in sessions:
        await session.close()


if __name__ == "__main__":
    uvloop.run(main(order()))
