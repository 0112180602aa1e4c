"""Standard output and named pipes: what is in them, and what their readers have heard."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest

from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkError
from voxwire_file.wav import stream_header

MONO = AudioFormat()

STDOUT = """
import sys
from voxwire.audio import AudioFormat
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake
wake = RecordingWake()
sink = open_sink({address!r}).sink
sink.open([AudioFormat({encoding!r})], wake)
view = memoryview(bytes(range(200)) * 1000)
while view:
    view = view[sink.write(view) * AudioFormat({encoding!r}).frame_bytes:]
    if view:
        assert wake.wait(10)
sink.finish()
while sink.position().played < sink.position().written:
    assert wake.wait(10)
sink.close()
"""


def run_child(address, encoding="pcm_s16le", **options):
    code = STDOUT.format(address=address, encoding=encoding)
    return subprocess.Popen([sys.executable, "-c", code], **options)


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo.wav"
    os.mkfifo(path)
    return path


def unread(reader):
    return struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4)))[0]


def wait_until(condition):
    """Waits for what nothing tells of."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Listener(threading.Thread):
    """Reads a FIFO as slowly as it is told, and keeps what it has heard."""

    def __init__(self, path, bytes_per_second):
        super().__init__()
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self.descriptor, True)
        self.bytes_per_second = bytes_per_second
        self.heard = b""

    def run(self):
        piece = self.bytes_per_second // 100
        due = None
        while data := os.read(self.descriptor, piece):
            self.heard += data
            due = (due or time.monotonic()) + len(data) / self.bytes_per_second
            time.sleep(max(0, due - time.monotonic()))
        os.close(self.descriptor)


# --- standard output ---


def test_wav_to_standard_output_has_open_sizes():
    child = run_child("file:-", "pcm_f32le", stdout=subprocess.PIPE)
    data, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert data[4:8] == b"\xff" * 4
    assert data[58:] == bytes(range(200)) * 1000
    assert data[50:58] == b"data" + b"\xff" * 4
    assert data[38:50] == b"fact" + struct.pack("<I", 4) + b"\xff" * 4
    assert data[:58] == stream_header(AudioFormat("pcm_f32le"))
    assert len(stream_header(MONO)) == 44


def test_raw_to_standard_output_is_the_samples():
    child = run_child("raw:-", stdout=subprocess.PIPE)
    data, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert data == bytes(range(200)) * 1000


def test_standard_output_may_be_a_file(tmp_path):
    with (tmp_path / "out.raw").open("wb") as file:
        assert run_child("raw:-", stdout=file).wait(20) == 0
    assert (tmp_path / "out.raw").read_bytes() == bytes(range(200)) * 1000


def test_a_terminal_is_refused():
    controller, terminal = os.openpty()
    try:
        child = run_child("file:-", stdout=terminal, stderr=subprocess.PIPE)
        _, errors = child.communicate(timeout=20)
        assert b"standard output is a terminal, redirect it" in errors
    finally:
        os.close(terminal)
        os.close(controller)


def test_closed_standard_output_is_named():
    # The wake of the child takes the free number, and must not be written to.
    child = run_child("file:-", stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    _, errors = child.communicate(timeout=20)
    assert b"SinkError: standard output is closed" in errors


# --- what a pipe holds ---


@pytest.mark.parametrize(
    "audio_format",
    [AudioFormat(), AudioFormat("pcm_mulaw", 8000), AudioFormat("pcm_f32le", 48000, 2)],
    ids=str,
)
def test_a_pipe_holds_70_ms_whatever_the_format(fifo, opened, audio_format):
    """Its 64 KiB would be over a second of speech that nobody can take back, in mu-law eight."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with opened(f"raw:{fifo}", audio_format) as out:
        second = audio_format.sample_rate * audio_format.frame_bytes
        while out.sink.write(bytes(second // 10)) or out.wake.wait(0.2):
            pass
        assert 0.05 * second < unread(reader) <= 0.07 * second
        # Nobody has heard anything.
        position = out.sink.position()
        assert (position.played, position.quality, position.bound) == (0, "sent", 0)
        # Reading 30 ms makes them played, and no more.
        os.read(reader, second * 30 // 1000)
        wait_until(lambda: out.sink.position().played >= audio_format.sample_rate * 30 // 1000)
        assert out.sink.position().played == audio_format.sample_rate * 30 // 1000
    os.close(reader)


@pytest.mark.parametrize("scheme", ["raw", "file"])
def test_an_interrupted_listener_hears_what_counts_as_played(fifo, opened, scheme):
    """A listener in real time is interrupted: the count is exact, and 80 ms later nothing more is heard."""
    listener = Listener(fifo, MONO.sample_rate * 2)
    out = opened(f"{scheme}:{fifo}")
    header = len(stream_header(MONO)) if scheme == "file" else 0
    listener.start()
    with out:
        counter = struct.pack("<24000h", *range(1, 24001))
        view = memoryview(counter)
        while len(listener.heard) < 0.4 * 48000:
            view = view[out.sink.write(view) * 2 :]
            out.wake.wait(0.02)
        final = out.sink.clear()
        heard = len(listener.heard)
        assert final.discarded > 0
        assert final.played + final.discarded == final.written
        assert final.bound == 0
    # The listener may have taken 10 ms more and not have noted them.
    assert 0 <= (header + final.played * 2 - heard) / 48000 <= 0.080 + 0.010
    listener.join(10)
    assert len(listener.heard) == header + final.played * 2
    assert listener.heard[header:] == counter[: final.played * 2]


def test_what_is_played_follows_the_reader(fifo, opened):
    """Polled all the time, the position lies between what the reader had before and what it had after."""
    listener = Listener(fifo, MONO.sample_rate * 2)
    with opened(f"raw:{fifo}") as out:
        listener.start()
        view = memoryview(bytes(2 * 12000))
        last = 0
        while view or last < 12000:
            if view:
                view = view[out.sink.write(view) * 2 :]
                if not view:
                    out.sink.finish()
            before = len(listener.heard)
            played = out.sink.position().played
            # The reader notes 10 ms a moment after it has taken them; the sink notes 10 ms once they are in the pipe.
            assert before - 480 <= played * 2 <= len(listener.heard) + 480
            assert played >= last
            last = played
    listener.join(10)


def test_finish_waits_for_the_reader(fifo, opened):
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with opened(f"raw:{fifo}") as out:
        out.write(bytes(2 * 100))
        out.sink.finish()
        assert not out.wake.wait(0.2)
        assert out.sink.position().played == 0
        # What follows does not wait for the finish.
        out.write(bytes(2 * 100))
        out.sink.finish()
        wait_until(lambda: unread(reader) == 400)
        assert out.sink.position().played == 0
        out.wake.forget()
        assert len(os.read(reader, 1000)) == 400
        assert out.wake.wait(5)
        assert out.sink.position().played == 200
    os.close(reader)


def test_a_slow_reader_does_not_fill_the_memory(fifo, opened):
    """100 kB/s where 192 are wanted: what is taken and unheard stays below what was promised at the open."""
    listener = Listener(fifo, 100_000)
    with opened(f"raw:{fifo}", AudioFormat("pcm_f32le", 48000)) as out:
        listener.start()
        view = memoryview(bytes(4 * 24000))
        limit = out.opened.buffer + 48000 * 70 // 1000
        while view:
            view = view[out.sink.write(view) * 4 :]
            position = out.sink.position()
            assert position.written - position.played <= limit
            if view:
                assert out.wake.wait(5)
        out.drain()
    listener.join(10)
    assert len(listener.heard) == 4 * 24000


# --- readers that are not there ---


def test_fifo_waits_for_its_reader(fifo, opened):
    received = []

    def read():
        with fifo.open("rb") as reader:
            received.append(reader.read())

    reader = threading.Thread(target=read)
    reader.start()
    with opened(f"raw:{fifo}") as out:
        out.write(b"ab" * 10_000)
        out.drain()
    reader.join(10)
    assert received == [b"ab" * 10_000]


def test_fifo_without_a_reader_is_an_error(fifo, opened, monkeypatch):
    monkeypatch.setattr("voxwire_file.target._FIFO_READER_S", 0.05)
    with pytest.raises(SinkError, match="nobody opened"):
        opened(f"raw:{fifo}")


def test_reader_that_leaves_is_a_loss_with_epipe(fifo, opened):
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with opened(f"raw:{fifo}") as out:
        out.write(bytes(2))
        out.sink.finish()
        wait_until(lambda: unread(reader) == 2)
        os.read(reader, 2)
        assert out.wake.wait(5)
        assert out.sink.position().played == 1
        os.close(reader)
        out.sink.write(bytes(2))
        error = out.loss()
        assert "broken pipe" in str(error)
        assert error.errno == errno.EPIPE
        assert out.sink.position().played == 1


def test_reader_that_leaves_the_end_unread_is_a_loss(fifo, opened):
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with opened(f"raw:{fifo}") as out:
        out.write(bytes(2 * 240))
        out.sink.finish()
        wait_until(lambda: unread(reader) == 480)
        os.read(reader, 2 * 100)
        os.close(reader)
        assert out.loss().errno == errno.EPIPE
        assert out.sink.position().played == 100


def test_reader_that_stands_still_does_not_keep_close_from_ending(fifo, opened):
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    out = opened(f"raw:{fifo}")
    while out.sink.write(bytes(2 * 1000)) or out.wake.wait(0.3):
        pass
    # A close is a clear: what waits is dropped, and nobody is told of a loss.
    out.sink.close()
    out.wake.close()
    assert out.sink.position().played == 0
    assert 0 < len(os.read(reader, 1_000_000)) <= 2 * 24 * 80
    os.close(reader)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("file:{}.flac", "FLAC needs a regular file"),
        ("file:{}.wav?atomic=1", "option 'atomic' needs a regular file"),
        ("file:{}.wav?realtime=1&keep_gaps=1", "option 'keep_gaps' needs a regular file"),
    ],
)
def test_what_a_stream_cannot_do_is_said(tmp_path, opened, address, message):
    address = address.format(tmp_path / "fifo")
    path = address.removeprefix("file:").partition("?")[0]
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(SinkError, match=message):
        opened(address)
    os.close(reader)
