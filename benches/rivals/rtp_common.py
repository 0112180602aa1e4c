"""What every sender of RTP shares: its order, the audio of its streams, the clocks.

A program is started anew for each run with one argument, an object in JSON (``Order``), and prints one line of JSON.
Every stream leaves from a socket of its own; 20 ms of mu-law are 160 bytes in a packet.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import resource
import struct
import sys
import time
from pathlib import Path

HOST = "127.0.0.1"
FRAMES = 160
INTERVAL_S = 0.02
PAYLOAD_TYPE = 0
HEADER = struct.Struct("!BBHII")
FIRST_BYTE, MARKER = 0x80, 0x80


@dataclasses.dataclass(frozen=True)
class Order:
    """One order.

    Attributes:
        way: Which way of several that the program has.
        ports: Where the receiver listens for RTP; the streams take turns.
        first_ssrc: Synchronisation source of the first stream; each has the next number.
        streams: How many.
        packets: Of each.
        source: File with blocks of mu-law, which take turns from stream to stream; a stream repeats its own.
        block_bytes: Length of a block: whole packets.
        url: Where the load server listens; empty where the audio comes from ``source``.
        connections: Sockets to it, between which the streams are divided.
    """

    way: str
    ports: list[int]
    first_ssrc: int
    streams: int
    packets: int
    source: str
    block_bytes: int
    url: str = ""
    connections: int = 0

    def port(self, stream: int) -> int:
        return self.ports[stream % len(self.ports)]

    def audio(self) -> list[bytes]:
        """Returns the whole audio of each stream; those with the same have the same object."""
        data = Path(self.source).read_bytes()
        size = self.packets * FRAMES
        starts = range(0, len(data), self.block_bytes)
        turns = -(-size // self.block_bytes)
        wholes = [(data[start : start + self.block_bytes] * turns)[:size] for start in starts]
        return [wholes[stream % len(wholes)] for stream in range(self.streams)]


class Meter:
    """The clock of a run: CPU is user and system time of this process with all of its threads."""

    def start(self) -> None:
        gc.collect()
        self._wall_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def figures(self) -> dict[str, float]:
        """Returns what has been spent since the start."""
        return {"cpu_s": time.process_time() - self._cpu_s, "wall_s": time.perf_counter() - self._wall_s}


def order() -> Order:
    """Returns the order, and lets this process have as many sockets as it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return Order(**json.loads(sys.argv[1]))
