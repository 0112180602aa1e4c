"""RTP as one writes it in Python: ``tasks`` (one for each stream, absolute deadlines) or ``wheel`` (slots of 1 ms).

Each stream has a connected socket of its own, and its phase within the 20 ms.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time

import uvloop
from rtp_common import FIRST_BYTE, FRAMES, HEADER, HOST, INTERVAL_S, MARKER, PAYLOAD_TYPE, Meter, Order, order

SLOT_S = 0.001
SLOTS = round(INTERVAL_S / SLOT_S)
LEAD_S = 0.1


class Stream:
    """One stream, whose next packet leaves when it is told."""

    def __init__(self, order: Order, number: int, audio: bytes | bytearray) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.settimeout(0)
        self._sock.connect((HOST, order.port(number)))
        self._ssrc = order.first_ssrc + number
        self._audio = audio
        self._sequence = self._timestamp = self._place = 0
        self._second = PAYLOAD_TYPE | MARKER

    def send(self) -> None:
        header = HEADER.pack(FIRST_BYTE, self._second, self._sequence, self._timestamp, self._ssrc)
        self._sock.send(header + self._audio[self._place : self._place + FRAMES])
        self._second = PAYLOAD_TYPE
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + FRAMES) & 0xFFFFFFFF
        self._place += FRAMES


async def pace(stream: Stream, start_s: float, packets: int) -> None:
    for packet in range(packets):
        if (delay_s := start_s + packet * INTERVAL_S - time.monotonic()) > 0:
            await asyncio.sleep(delay_s)
        stream.send()


async def turn(streams: list[Stream], start_s: float, packets: int) -> None:
    slots = [streams[slot::SLOTS] for slot in range(SLOTS)]
    for slot in range(packets * SLOTS):
        if not slots[slot % SLOTS]:
            continue
        if (delay_s := start_s + slot * SLOT_S - time.monotonic()) > 0:
            await asyncio.sleep(delay_s)
        for stream in slots[slot % SLOTS]:
            stream.send()


async def main(order: Order) -> None:
    streams = [Stream(order, number, audio) for number, audio in enumerate(order.audio())]
    meter = Meter()
    meter.start()
    start_s = time.monotonic() + LEAD_S
    if order.way == "wheel":
        await turn(streams, start_s, order.packets)
    else:
        phases = (start_s + INTERVAL_S * number / len(streams) for number in range(len(streams)))
        await asyncio.gather(*(pace(*pair, order.packets) for pair in zip(streams, phases, strict=True)))
    print(json.dumps(meter.figures()))


if __name__ == "__main__":
    uvloop.run(main(order()))
