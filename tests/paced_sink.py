"""A sound device of the tests: the whole contract by hand, paced by its own thread, and a record of what it played."""

from __future__ import annotations

import os
import threading
import time
from typing import ClassVar

from voxwire.exceptions import SinkClosed, SinkLost, Unsupported
from voxwire.sinks import Address, Capabilities, FormatPattern, Opened, Option, Position, Probe, choose_format

TICK_S = 0.002
#: What a sink waits for that never returns: the test lets it go at its end, so that no thread outlives it.
RELEASE = threading.Event()


class PacedSink:
    """Plays at ``speed`` times real time.

    Attributes:
        played_audio: Every byte that was heard, in order, whatever was cleared; silence is not recorded.
        clears: For each clear of a segment that was not empty, the bytes that had been heard by then.
    """

    api_version: ClassVar[int] = 1
    options: ClassVar[dict[str, Option]] = {"speed": Option("times real time", default=8.0, parse=float)}

    formats: tuple = (FormatPattern(),)
    clock = "device"
    quality = "measured"
    can_clear = True
    can_pause = True
    max_lead_ms = 0
    buffer_ms = 200
    quantum = 1

    def __init__(self, address=None, **settings):
        self.address = address or Address("paced", "", {"speed": 8.0})
        self.speed = float(self.address.options.get("speed", 8.0))
        for name, value in settings.items():
            setattr(self, name, value)
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.thread = None
        self.format = None
        self.wake = None
        self.error = None
        self.closed = False
        self.paused = self.short = self.finishing = False
        self.queue = bytearray()
        self.played_audio = bytearray()
        self.clears = []
        self.segment = self.written = self.played = 0
        #: Frames before which nothing is left of a quantum: those that a finish has padded.
        self.padded = 0
        self.finishes = 0

    @classmethod
    def probe(cls):
        return Probe(usable=True)

    def capabilities(self):
        return Capabilities(self.formats, self.clock, self.quality, self.can_clear, self.can_pause, self.max_lead_ms)

    def open(self, formats, wake):
        self.format = choose_format(formats, self.formats, "sink 'paced'")
        self.wake = wake
        self.buffer = self.format.sample_rate * self.buffer_ms // 1000
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return Opened(self.format, self.quantum, self.buffer, 0)

    def write(self, data):
        view = memoryview(data)
        frames, rest = divmod(view.nbytes, self.format.frame_bytes)
        if rest:
            raise ValueError(f"buffer of {view.nbytes} bytes ends inside a frame")
        with self.lock:
            self.check()
            taken = min(frames, self.buffer - len(self.queue) // self.format.frame_bytes)
            self.short = self.short or taken < frames
            self.queue += view.cast("B")[: taken * self.format.frame_bytes]
            self.written += taken
        return taken

    def finish(self):
        with self.lock:
            self.check()
            self.finishing = True
            self.finishes += 1

    def clear(self):
        with self.lock:
            if not self.can_clear:
                self.play(len(self.queue) // self.format.frame_bytes)
            discarded = len(self.queue) // self.format.frame_bytes
            self.queue.clear()
            final = self.read(discarded)
            if self.written:
                self.segment += 1
                self.written = self.played = self.padded = 0
                self.clears.append(len(self.played_audio))
            self.finishing = self.short = False
        return final

    def position(self):
        with self.lock:
            return self.read(0)

    def pause(self):
        if not self.can_pause:
            raise Unsupported("sink 'paced' cannot pause")
        self.paused = True

    def resume(self):
        if not self.can_pause:
            raise Unsupported("sink 'paced' cannot pause")
        self.paused = False

    def close(self):
        self.closed = True
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()

    # What the contract does not know.

    def lose(self, error):
        with self.lock:
            self.error = error
        self.call_host()

    def check(self):
        if self.error is not None:
            raise SinkLost(self.error.message, errno=self.error.errno)
        if self.closed:
            raise SinkClosed("sink 'paced' is closed")

    def read(self, discarded):
        return Position(self.segment, self.written, self.played, discarded, 0, time.monotonic_ns(), 0, self.quality)

    def call_host(self):
        self.wake()

    def run(self):
        before = time.monotonic()
        while not self.stopping.wait(TICK_S):
            now = time.monotonic()
            with self.lock:
                if self.error is not None:
                    return
                due = 0 if self.paused else round((now - before) * self.format.sample_rate * self.speed)
                owed = self.tick(due)
            before = now
            if owed:
                self.call_host()

    def tick(self, due):
        """Plays what is due, and says whether a wake is owed."""
        # What is less than a quantum waits for more, or for a finish.
        whole = self.padded + (self.written - self.padded) // self.quantum * self.quantum
        self.play(min(due, (self.written if self.finishing else whole) - self.played))
        empty = not self.queue
        half_free = 2 * len(self.queue) // self.format.frame_bytes <= self.buffer
        owed = (self.finishing and empty) or (self.short and half_free)
        if self.finishing and empty:
            self.finishing = False
            self.padded = self.written
        if self.short and half_free:
            self.short = False
        return owed

    def play(self, frames):
        size = frames * self.format.frame_bytes
        self.played_audio += self.queue[:size]
        del self.queue[:size]
        self.played += frames


class NativePacedSink(PacedSink):
    """Wakes as native code does: by a write to the descriptor."""

    def call_host(self):
        os.write(self.wake.fileno(), (1).to_bytes(8, "little"))
