"""Both sinks pass the public kit, with every container and option, on files and on pipes."""

from __future__ import annotations

import itertools
import os
import threading
from types import MappingProxyType

import pytest

from voxwire.sinks import Address
from voxwire.testing import SinkConformance
from voxwire_file import FileSink, RawSink


class TestWav(SinkConformance):
    kind = FileSink
    suffix = ".wav"
    options = MappingProxyType({})
    numbers = itertools.count()

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        self.latest = None

    def make(self):
        # One name in eight: many openings must not fill the disk, and two open sinks must not share a file.
        self.latest = self.folder / f"{next(self.numbers) % 8}{self.suffix}"
        return self.kind(Address("file", str(self.latest), self.options))

    def lose(self, sink):
        self.latest.unlink()
        return True


class TestAtomicWav(TestWav):
    options = MappingProxyType({"atomic": True})
    # Each is synced to the disk.
    open_close_cycles = 200

    def lose(self, sink):
        self.latest.with_name(self.latest.name + ".part").unlink()
        return True


class TestRealtimeWav(TestWav):
    options = MappingProxyType({"realtime": True})
    open_close_cycles = 1000


class TestRealtimeWavWithGaps(TestRealtimeWav):
    options = MappingProxyType({"realtime": True, "keep_gaps": True})


class TestRaw(TestWav):
    kind = RawSink
    suffix = ".pcm"


class TestFlac(TestWav):
    suffix = ".flac"
    open_close_cycles = 1000


class TestOpus(TestFlac):
    suffix = ".opus"


class TestRealtimeOpus(TestOpus):
    options = MappingProxyType({"realtime": True})
    open_close_cycles = 200


class TestRawPipe(SinkConformance):
    """A FIFO with a reader that keeps up, until it is told to leave."""

    kind = RawSink
    options = MappingProxyType({})
    open_close_cycles = 200

    @pytest.fixture(autouse=True)
    def _reader(self, tmp_path):
        self.path = tmp_path / "fifo.wav"
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
        return self.kind(Address("file", str(self.path), self.options))

    def lose(self, sink):
        self.leave.set()
        return True


class TestWavPipe(TestRawPipe):
    kind = FileSink


class TestRealtimePipe(TestRawPipe):
    options = MappingProxyType({"realtime": True})
