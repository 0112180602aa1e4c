"""The load, as a process of its own: a server that only sends, saturated or at the cadence of speech.

A context asks for what it wants by its text: ``saturated SIZE COUNT`` for so many chunks as fast as the socket takes
them, ``paced TOTAL MILLISECONDS`` for 20 ms of mu-law every 20 ms, from the moment when so many contexts have asked. In
the latter the first 8 bytes of a chunk are CLOCK_MONOTONIC in ns at its sending (big-endian), the ninth is its number
in the rotation. All frames are built before.
"""

from __future__ import annotations

import binascii
import contextlib
import selectors
import socket
import statistics
import sys
import time
from operator import itemgetter
from typing import Any

from voxwire.bench.child import answer_parent, say
from voxwire.bench.machine import pinned
from voxwire.bench.messages import CHUNK_BYTES, PLACEHOLDER, ROTATION, chunks, done_frame, frames
from voxwire.protocol import Closed, Connection, Request, ServerHandshake

__all__ = ["CADENCE_NS", "STAMP_BYTES"]

CADENCE_NS = 20_000_000
#: The clock and the number that lead a paced chunk: 12 characters of base64.
STAMP_BYTES = 9
#: What is given to one ``sendall``, about.
_BLOB_BYTES = 1_000_000
#: Who takes nothing for so long is gone.
_SEND_TIMEOUT_S = 10.0
#: Spreads the phases of neighbours over the whole period.
_GOLDEN = 0.6180339887498949


class Peer:
    """One connection, and the texts of its contexts whose input is still open."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(_SEND_TIMEOUT_S)
        self.socket = sock
        self._handshake = ServerHandshake()
        self._connection: Connection | None = None
        self._texts: dict[str, str] = {}

    def receive(self) -> list[tuple[str, str]] | None:
        """Reads once; returns id and text of the contexts whose input is complete, None once the peer is gone."""
        data = self.socket.recv(65536)
        if not data:
            return None
        if self._connection is None:
            if not self._handshake.handle_data(data):
                return []
            if self._handshake.failure is not None or self._handshake.upgrade_failure() is not None:
                return None
            self.socket.sendall(self._handshake.accept())
            self._connection = Connection("server", now=time.monotonic())
            data = self._handshake.remainder
        self._connection.handle_data(data, time.monotonic())
        complete, closed = [], False
        for event in self._connection.poll_events():
            closed = closed or isinstance(event, Closed)
            if isinstance(event, Request) and event.context_id is not None:
                text = self._texts.setdefault(event.context_id, event.fields["transcript"])
                if not event.fields.get("continue", False):
                    complete.append((event.context_id, text))
                    del self._texts[event.context_id]
        self.socket.sendall(self._connection.poll_transmit())
        return None if closed else complete


class Load:
    """All connections, and the contexts that wait until enough have asked."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._waiting: list[tuple[socket.socket, bytes]] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def run(self) -> None:
        """Serves until the process ends."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    sock = self._listener.accept()[0]
                    self._selector.register(sock, selectors.EVENT_READ, Peer(sock))
                else:
                    self._serve(key.data)

    def _serve(self, peer: Peer) -> None:
        try:
            complete = peer.receive()
            for context_id, text in complete or ():
                match text.split():
                    case ["saturated", size, count]:
                        saturate(peer.socket, context_id.encode(), int(size), int(count))
                    case ["paced", total, duration_ms]:
                        self._waiting.append((peer.socket, context_id.encode()))
                        if len(self._waiting) == int(total):
                            members, self._waiting = self._waiting, []
                            say(pace(members, int(duration_ms)))
        except OSError:
            complete = None
        if complete is None:
            self._selector.unregister(peer.socket)
            peer.socket.close()
            self._waiting = [member for member in self._waiting if member[0] is not peer.socket]


def saturate(sock: socket.socket, context_id: bytes, chunk_bytes: int, count: int) -> None:
    """Sends so many chunks and the end of the context, as fast as they are taken."""
    rotation = frames(chunk_bytes)
    rotations = max(1, round(_BLOB_BYTES / sum(map(len, rotation))))
    blobs, rest = divmod(count, ROTATION * rotations)
    blob = (b"".join(rotation) * rotations).replace(PLACEHOLDER, context_id)
    tail = b"".join([*(rotation * rotations)[:rest], done_frame()]).replace(PLACEHOLDER, context_id)
    for _ in range(blobs):
        sock.sendall(blob)
    sock.sendall(tail)


def pace(members: list[tuple[socket.socket, bytes]], duration_ms: int) -> dict[str, Any]:
    """Sends every member its chunk in every period, phases spread, then the end of its context.

    Returns:
        How many ``rounds`` were sent, and the median of how late in ms each was over, ``late_ms``.
    """
    template = frames(CHUNK_BYTES[0])
    data_at = template[0].index(b'"data":"') + len(b'"data":"')
    stamp_characters = 4 * STAMP_BYTES // 3
    head = template[0][:data_at]
    ends = [frame[data_at + stamp_characters :] for frame in template]
    order = [
        (int(index * _GOLDEN % 1 * CADENCE_NS), sock.sendall, [end.replace(PLACEHOLDER, context_id) for end in ends])
        for index, (sock, context_id) in enumerate(members)
    ]
    order.sort(key=itemgetter(0))
    clock, encode = time.monotonic_ns, binascii.b2a_base64
    rounds = duration_ms * 1_000_000 // CADENCE_NS
    late_ns = []
    start_ns = clock() + CADENCE_NS
    for number in range(rounds):
        round_ns = start_ns + number * CADENCE_NS
        place = number % ROTATION
        mark = bytes([place])
        for phase_ns, send, tails in order:
            due_ns = round_ns + phase_ns
            while (now_ns := clock()) < due_ns:
                time.sleep((due_ns - now_ns) / 1e9)
            send(b"".join((head, encode(now_ns.to_bytes(8, "big") + mark, newline=False), tails[place])))
        late_ns.append(clock() - round_ns - CADENCE_NS)
    for sock, context_id in members:
        with contextlib.suppress(OSError):
            sock.sendall(done_frame().replace(PLACEHOLDER, context_id))
    return {"rounds": rounds, "late_ms": max(0.0, statistics.median(late_ns) / 1e6)}


def main() -> None:
    """Says its port, then serves until its parent ends."""
    answer_parent(dict)
    for chunk_bytes in CHUNK_BYTES:
        chunks(chunk_bytes)
        frames(chunk_bytes)
    with pinned(int(sys.argv[1]) if sys.argv[1] else None):
        load = Load()
        say({"url": f"ws://127.0.0.1:{load.port}"})
        load.run()


if __name__ == "__main__":
    main()
