"""voxwire's RTP sinks, fed by ``write`` as a host would; the pacing thread's scheduler is ``fifo`` or ``ordinary``.

``fifo, one port`` sends all streams from one socket; else each has its own. All sinks are open before the clock starts.
Nothing leaves between and after speech, so that every packet is one that was ordered.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rtp_common import HOST, Meter, Order, order

from voxwire.audio import AudioFormat
from voxwire.sinks import Address
from voxwire_rtp import RtpSink, pacer_statistics

FORMAT = AudioFormat("pcm_mulaw", 8000)
# Sinks that say goodbye at the same time; each waits for 0.3 s.
CLOSING = 256


class Wake:
    """What a sink wakes."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __call__(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        return self._descriptor

    def clear(self) -> None:
        os.eventfd_read(self._descriptor)


class Line:
    """One sink and what it has to say."""

    def __init__(self, target: str, options: dict[str, Any], audio: bytes) -> None:
        self.sink = RtpSink(Address("rtp", target, options))
        self.wake = Wake()
        self.sink.open([FORMAT], self.wake)
        self._left = memoryview(audio)

    def feed(self) -> None:
        """Writes what there is room for; what is left follows when the sink wakes."""
        self._left = self._left[self.sink.write(self._left) :]
        if not self._left:
            self.sink.finish()

    def is_over(self) -> bool:
        """Takes a wake; True where all was sent."""
        self.wake.clear()
        if self._left:
            self.feed()
            return False
        position = self.sink.position()
        return position.played == position.written


def main(order: Order) -> None:
    scheduler, _, port = order.way.partition(", ")
    options: dict[str, Any] = {"idle": "gap", "realtime": scheduler == "fifo"}
    if port:
        options["local_port"] = (free_port(),) * 2
    lines = [
        Line(f"{HOST}:{order.port(number)}", options | {"ssrc": order.first_ssrc + number}, audio)
        for number, audio in enumerate(order.audio())
    ]
    statistics = pacer_statistics()
    if statistics.scheduler != scheduler:
        raise SystemExit(f"the scheduler is {statistics.scheduler}: {statistics.refusal}")
    meter = Meter()
    meter.start()
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line.wake, selectors.EVENT_READ, line)
            line.feed()
        live = len(lines)
        while live:
            for key, _ in selector.select():
                live -= key.data.is_over()
    figures = meter.figures() | pacer_figures(statistics.cpu_s, statistics.packets)
    figures["xruns"] = sum(line.sink.position().xruns for line in lines)
    print(json.dumps(figures), flush=True)
    with ThreadPoolExecutor(CLOSING) as closing:
        list(closing.map(RtpSink.close, [line.sink for line in lines]))


def free_port() -> int:
    """Returns an even port that nobody uses."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HOST, 0))
            if (port := sock.getsockname()[1]) % 2 == 0:
                return int(port)


def pacer_figures(cpu_s: float, packets: int) -> dict[str, object]:
    """Returns what the pacing thread has done since it had used so much CPU and sent so many packets."""
    statistics = pacer_statistics()
    return {
        "pacer_cpu_s": statistics.cpu_s - cpu_s,
        "packets": statistics.packets - packets,
        "late": statistics.late,
        "worst_late_us": statistics.worst_late_us,
        "stalls": statistics.stalls,
        "lateness": statistics.lateness,
        "scheduler": statistics.scheduler,
    }


if __name__ == "__main__":
    main(order())
