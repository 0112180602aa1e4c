"""Whether to give the interpreter up around a read: what one read takes beside a thread that is busy in Python.

``python benches/choices/gil.py``. Compared are a ``Reader``, which keeps the interpreter, here for a closed core
that looks at nothing, and ``socket.recv_into``, which gives it up around the same system call: at two sizes, alone and
beside a busy thread; one read in microseconds. It is checked that nothing is left unread.

Chosen: keep it. A large read that gives it up loses it, at one read in a hundred or so, to the busy thread for a whole
switch interval (5 ms); a small one is over before that thread wakes. Alone neither way gains: the call never blocks.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

from voxwire.protocol import Connection, ReadBuffer, Reader, Socket

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER_BYTES = 256 * 1024
READS = 3000


def busy(stop: threading.Event) -> None:
    """Keeps the interpreter as busy as Python code can."""
    count = 0
    while not stop.is_set():
        count += 1


def measured(read: Callable[[], object], fill: Callable[[], int], unread_bytes: Callable[[], int]) -> list[float]:
    """Returns what each read took, in microseconds."""
    times = []
    for _ in range(READS):
        fill()
        began = time.perf_counter()
        read()
        times.append((time.perf_counter() - began) * 1e6)
        if left := unread_bytes():
            raise AssertionError(f"{left} bytes were not read")
    return times


def main() -> None:
    """Prints the table."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * BUFFER_BYTES)
    ours.settimeout(0)
    link, native = Socket(ours.fileno()), ReadBuffer(BUFFER_BYTES)
    shared = bytearray(BUFFER_BYTES)
    closed = Connection("server")
    closed.handle_eof()
    readers: dict[str, Callable[[], object]] = {
        "kept": Reader(link, closed, native, lambda: 0.0, lambda ended, failure: None),  # noqa: ARG005 - told and let be
        "given up": lambda: ours.recv_into(shared),
    }

    def unread_bytes() -> int:
        return int.from_bytes(fcntl.ioctl(ours, termios.FIONREAD, bytes(4)), sys.byteorder)

    print("interpreter  beside         bytes    median       99 %       max")
    for beside in ("nothing", "a busy thread"):
        stop = threading.Event()
        thread = threading.Thread(target=busy, args=(stop,), daemon=True)
        if beside != "nothing":
            thread.start()
        for size in (1024, BUFFER_BYTES):
            data = bytes(size)
            for name, read in readers.items():
                times = sorted(measured(read, lambda data=data: theirs.send(data), unread_bytes))
                shares = "".join(f"{times[int(share * (READS - 1))]:>10.1f}" for share in (0.5, 0.99, 1))
                print(f"{name:<12} {beside:<13}{size:>7}{shares}")
        stop.set()
        if beside != "nothing":
            thread.join()
    ours.close()
    theirs.close()


if __name__ == "__main__":
    main()
