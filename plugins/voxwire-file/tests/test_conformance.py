"""Both sinks pass the public kit, on files and on pipes."""

from __future__ import annotations

import itertools
import os
import threading

import pytest

from voxwire.sinks import Address
from voxwire.testing import SinkConformance
from voxwire_file import FileSink, RawSink


class TestFile(SinkConformance):
    kind = FileSink
    suffix = ".wav"
    atomic = False
    numbers = itertools.count()

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        self.latest = None

    def make(self):
        # One name in eight: many openings must not fill the disk, and two open sinks must not share a file.
        self.latest = self.folder / f"{next(self.numbers) % 8}{self.suffix}"
        return self.kind(Address("file", str(self.latest), {"atomic": self.atomic}))

    def lose(self, sink):
        self.latest.unlink()
        return True


class TestAtomicFile(TestFile):
    atomic = True
    open_close_cycles = 1000

    def lose(self, sink):
        self.latest.with_name(self.latest.name + ".part").unlink()
        return True


class TestRaw(TestFile):
    kind = RawSink
    suffix = ".pcm"


class TestRawPipe(SinkConformance):
    """A FIFO with a reader that keeps up, until it is told to leave."""

    open_close_cycles = 200

    @pytest.fixture(autouse=True)
    def _reader(self, tmp_path):
        self.path = tmp_path / "fifo"
        os.mkfifo(self.path)
        # Opened for both, so that neither end waits for the other.
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.leave = threading.Event()
        reader = threading.Thread(target=self._read)
        reader.start()
        yield
        self.leave.set()
        reader.join()

    def _read(self):
        while not self.leave.is_set():
            try:
                os.read(self.descriptor, 65536)
            except BlockingIOError:
                self.leave.wait(0.002)
        os.close(self.descriptor)

    def make(self):
        return RawSink(Address("raw", str(self.path), {"atomic": False}))

    def lose(self, sink):
        self.leave.set()
        return True
