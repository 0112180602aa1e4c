"""How large the read buffer of a loop should be: time per message by its size, saturated, over loopback TCP.

``python benches/choices/read_buffer.py``. A thread of the system's own (``sendfile`` keeps no interpreter) floods a
socket with messages; reads of one native call each hand them to the core. Best of interleaved rounds, microseconds per
message of processor time of the reading thread; counts are checked.

Chosen: 256 KiB, within the noise of the best at every size. Smaller ones cost more reads per message; larger ones spill
the second-level cache.
"""

from __future__ import annotations

import os
import random
import select
import socket
import tempfile
import threading
import time

from voxwire.audio import AudioFormat
from voxwire.protocol import Connection, ReadBuffer, Reader, Socket

BUFFERS_KIB = (32, 64, 128, 256, 512, 1024)
#: Bytes of PCM in a message, and messages of a round.
SIZES = {160: 60_000, 1920: 20_000, 9600: 6_000, 38400: 2_000}
ROUNDS = 6


def stream(size: int, count: int) -> bytes:
    """Returns the messages of a round, as a server's core writes them."""
    server = Connection("server", ping_interval_s=None)
    client = Connection("client", ping_interval_s=None)
    client.open_context("c", None, AudioFormat())
    client.send_input("c", "a", continues=False, settings=b'{"model_id":"m"}')
    server.handle_data(client.poll_transmit())
    server.poll_events()
    server.handle_input("c", "a", continues=False, flush=False, valid=True)
    noise = random.Random(size)
    pieces = []
    for index in range(count):
        if index < 16:
            server.send_chunk("c", noise.randbytes(size), step_time_ms=1.0)
            pieces.append(server.poll_transmit())
        else:
            pieces.append(pieces[index % 16])
    return b"".join(pieces)


def spent_us(buffer: ReadBuffer, path: str, length: int, size: int, count: int) -> float:
    """Returns microseconds per message of one round."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    core = Connection("client", ping_interval_s=None)
    core.open_context("c", None, AudioFormat())
    core.send_input("c", "a", continues=False, settings=b'{"model_id":"m"}')
    core.poll_transmit()
    with open(path, "rb") as file, theirs, ours:  # noqa: PTH123 - a descriptor is wanted
        ours.settimeout(0)
        failures: list[Exception] = []

        def tell(ended: bool, failure: Exception | None) -> None:  # noqa: FBT001 - as a Reader tells
            if ended or failure is not None:
                failures.append(failure or EOFError("the stream ended"))

        read = Reader(Socket(ours.fileno()), core, buffer, lambda: 0.0, tell)

        def flood() -> None:
            sent = 0
            while sent < length:
                sent += os.sendfile(theirs.fileno(), file.fileno(), sent, length - sent)

        sender = threading.Thread(target=flood, daemon=True)
        readable = select.epoll()
        readable.register(ours, select.EPOLLIN)
        seen = total = 0
        sender.start()
        began = time.thread_time()
        while seen < count:
            readable.poll(10)
            read()
            if failures:
                raise failures[0]
            for event in core.poll_events():
                seen += 1
                total += len(event.data)  # type: ignore[union-attr] # nothing but audio was sent
        spent = time.thread_time() - began
        sender.join()
        readable.close()
    if total != size * count:
        raise AssertionError(f"{total} bytes of PCM came of {size * count}")
    return spent / count * 1e6


def main() -> None:
    """Prints the table."""
    buffers = {kib: ReadBuffer(kib * 1024) for kib in BUFFERS_KIB}
    print("bytes of PCM" + "".join(f"{kib:>9} KiB" for kib in BUFFERS_KIB))
    for size, count in SIZES.items():
        with tempfile.NamedTemporaryFile() as file:
            data = stream(size, count)
            file.write(data)
            file.flush()
            best = dict.fromkeys(BUFFERS_KIB, float("inf"))
            for _ in range(ROUNDS):
                for kib in random.sample(BUFFERS_KIB, len(BUFFERS_KIB)):
                    best[kib] = min(best[kib], spent_us(buffers[kib], file.name, len(data), size, count))
        print(f"{size:>12}" + "".join(f"{best[kib]:>13.3f}" for kib in BUFFERS_KIB))


if __name__ == "__main__":
    main()
