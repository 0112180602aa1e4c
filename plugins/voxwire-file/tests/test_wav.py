"""What is in the files: headers, sizes, errors."""

from __future__ import annotations

import errno
import os
import resource
import struct
import subprocess
import sys
import threading
import wave

import pytest

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused, SinkBusy, SinkError, SinkLost, Unsupported
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake
from voxwire_file.wav import wav_header

MONO = AudioFormat()


class Opened:
    """A sink with its wake."""

    def __init__(self, address, audio_format=MONO):
        self.wake = RecordingWake()
        try:
            self.sink = open_sink(address).sink
            self.sink.open([audio_format], self.wake)
        except BaseException:
            self.wake.close()
            raise
        self.frame_bytes = audio_format.frame_bytes

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.sink.write(view) * self.frame_bytes :]
            if view:
                assert self.wake.wait(5)

    def drain(self):
        self.sink.finish()
        position = self.sink.position()
        while position.played < position.written:
            assert self.wake.wait(5)
            position = self.sink.position()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sink.close()
        self.wake.close()


def loss(out):
    """The error that a sink reports once it has woken for it."""
    with pytest.raises(SinkLost) as caught:
        while out.wake.wait(5):
            out.sink.write(b"")
    return caught.value


def chunks(data):
    """The chunks of a RIFF file by an independent reading, and the outer size."""
    magic, size, kind = struct.unpack_from("<4sI4s", data)
    assert (magic, kind) == (b"RIFF", b"WAVE")
    found, at = {}, 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        found[name] = (at + 8, length)
        at += 8 + length + length % 2
    return size, found


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("encoding", "tag", "bits"),
    [("pcm_s16le", 1, 16), ("pcm_f32le", 3, 32), ("pcm_mulaw", 7, 8), ("pcm_alaw", 6, 8)],
)
def test_header_of_every_encoding(tmp_path, encoding, tag, bits, channels):
    path = tmp_path / "out.wav"
    audio_format = AudioFormat(encoding, 22050, channels)
    samples = bytes(range(1, 250)) * 4 * channels
    samples = samples[: len(samples) // (audio_format.frame_bytes * 3) * audio_format.frame_bytes * 3]
    with Opened(f"file:{path}", audio_format) as out:
        out.write(samples)
    data = path.read_bytes()
    size, found = chunks(data)
    assert size == len(data) - 8
    at, length = found[b"fmt "]
    frame_bytes = channels * bits // 8
    assert struct.unpack_from("<HHIIHH", data, at) == (
        tag,
        channels,
        22050,
        22050 * frame_bytes,
        frame_bytes,
        bits,
    )
    at_data, data_length = found[b"data"]
    assert data[at_data : at_data + data_length] == samples
    if tag == 1:
        assert length == 16
        assert at_data == 44
        assert b"fact" not in found
    else:
        assert length == 18
        assert struct.unpack_from("<H", data, at + 16) == (0,)
        at_fact, fact_length = found[b"fact"]
        assert fact_length == 4
        assert struct.unpack_from("<I", data, at_fact) == (data_length // frame_bytes,)


def test_odd_data_is_padded_and_the_pad_is_not_counted(tmp_path):
    path = tmp_path / "odd.wav"
    with Opened(f"file:{path}", AudioFormat("pcm_mulaw", 8000)) as out:
        out.write(b"\x7f" * 161)
    data = path.read_bytes()
    size, found = chunks(data)
    assert found[b"data"][1] == 161
    assert len(data) == 58 + 161 + 1
    assert size == len(data) - 8
    assert data[-1] == 0


def test_a_reader_can_follow_the_file_while_it_grows(tmp_path):
    path = tmp_path / "live.wav"
    with Opened(f"file:{path}") as out:
        for count in range(1, 6):
            out.write(struct.pack("<480h", *[count] * 480))
            out.drain()
            with wave.open(str(path), "rb") as reader:
                assert reader.getnframes() == 480 * count
                frames = reader.readframes(reader.getnframes())
            assert frames[-2:] == struct.pack("<h", count)


def test_everything_that_was_taken_is_stored_by_close(tmp_path):
    path = tmp_path / "out.wav"
    data = os.urandom(2 * 24000 * 3)
    with Opened(f"file:{path}") as out:
        out.write(data)
    with wave.open(str(path), "rb") as reader:
        assert reader.readframes(10**9) == data


def test_raw_is_the_samples_alone(tmp_path):
    path = tmp_path / "any.name"
    with Opened(f"raw:{path}", AudioFormat("pcm_f32le", 44100)) as out:
        out.write(b"abcd" * 1000)
    assert path.read_bytes() == b"abcd" * 1000


def test_an_existing_file_is_overwritten_not_extended(tmp_path):
    path = tmp_path / "out.wav"
    path.write_bytes(b"x" * 100_000)
    with Opened(f"file:{path}") as out:
        out.write(bytes(20))
    assert len(path.read_bytes()) == 64


def test_atomic_file_appears_at_the_end(tmp_path):
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    with Opened(f"file:{path}?atomic=1") as out:
        out.write(bytes(20))
        out.drain()
        assert path.read_bytes() == b"old"
        assert (tmp_path / "out.wav.part").exists()
    with wave.open(str(path), "rb") as reader:
        assert reader.getnframes() == 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.wav"]


def test_a_lost_atomic_file_does_not_take_the_name(tmp_path):
    path = tmp_path / "out.wav"
    with Opened(f"file:{path}?atomic=1") as out:
        (tmp_path / "out.wav.part").unlink()
        out.sink.write(bytes(20))
        assert out.wake.wait(5)
    assert not path.exists()


def run_child(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], **options)


STDOUT = """
import sys
from voxwire.audio import AudioFormat
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake
wake = RecordingWake()
sink = open_sink(sys.argv[1] if len(sys.argv) > 1 else "file:-").sink
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


def test_wav_to_standard_output_has_open_sizes():
    child = run_child(STDOUT.format(encoding="pcm_f32le"), stdout=subprocess.PIPE)
    data, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert data[4:8] == b"\xff" * 4
    assert data[58:] == bytes(range(200)) * 1000
    assert data[50:58] == b"data" + b"\xff" * 4
    assert data[38:50] == b"fact" + struct.pack("<I", 4) + b"\xff" * 4
    assert data[:58] == wav_header(AudioFormat("pcm_f32le"), None)


def test_raw_to_standard_output_is_the_samples():
    code = STDOUT.format(encoding="pcm_s16le").replace('"file:-"', '"raw:-"')
    child = run_child(code, stdout=subprocess.PIPE)
    data, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert data == bytes(range(200)) * 1000


def test_a_pipe_holds_little():
    import fcntl

    reader, writer = os.pipe()
    try:
        code = STDOUT.format(encoding="pcm_s16le")
        child = run_child(code, stdout=writer)
        assert os.read(reader, 4) == b"RIFF"
        assert fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) == 4096
        os.close(writer)
        writer = -1
        with os.fdopen(os.dup(reader), "rb") as rest:
            assert len(rest.read()) == 40 + 200_000
        assert child.wait(20) == 0
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def test_a_terminal_is_refused():
    controller, terminal = os.openpty()
    try:
        child = run_child(STDOUT.format(encoding="pcm_s16le"), stdout=terminal, stderr=subprocess.PIPE)
        _, errors = child.communicate(timeout=20)
        assert b"standard output is a terminal, redirect it" in errors
    finally:
        os.close(terminal)
        os.close(controller)


def test_closed_standard_output_is_named():
    # The wake of the child takes the free number, and must not be written to.
    child = run_child(STDOUT.format(encoding="pcm_s16le"), stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    _, errors = child.communicate(timeout=20)
    assert b"SinkError: standard output is closed" in errors


def test_reader_that_leaves_is_a_loss_with_epipe(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with Opened(f"raw:{path}") as out:
        out.write(bytes(2))
        out.drain()
        os.close(reader)
        out.sink.write(bytes(2))
        error = loss(out)
        assert "broken pipe" in str(error)
        assert error.errno == errno.EPIPE
        assert out.sink.position().played == 1


def test_reader_that_stands_still_does_not_keep_close_from_ending(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    out = Opened(f"raw:{path}")
    while out.sink.write(bytes(2 * 1000)) or out.wake.wait(0.3):
        pass
    with pytest.raises(SinkLost) as caught:
        out.sink.close()
    assert caught.value.errno == errno.ECANCELED
    # What counted as played is what the pipe has.
    assert out.sink.position().played * 2 <= len(os.read(reader, 1_000_000))
    os.close(reader)
    out.wake.close()


def test_full_disk_is_a_loss_with_enospc():
    with Opened("raw:/dev/full") as out:
        out.sink.write(bytes(2000))
        error = loss(out)
        assert "'/dev/full': no space left on device" in str(error)
        assert error.errno == errno.ENOSPC
        assert out.sink.position().played == 0


def test_full_disk_at_open_names_the_path(tmp_path):
    path = tmp_path / "full.wav"
    path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"cannot write to '.*full.wav': no space left"):
        Opened(f"file:{path}")


def test_file_size_limit_keeps_what_was_acknowledged(tmp_path):
    """The limit strikes in the middle of a write, as a full disk does."""
    path = tmp_path / "out.wav"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Opened(f"file:{path}") as out:
        out.write(b"\1\0" * 5000)
        out.drain()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_001, before[1]))
        try:
            out.sink.write(b"\2\0" * 20_000)
            error = loss(out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert error.errno == errno.EFBIG
        played = out.sink.position().played
    with wave.open(str(path), "rb") as reader:
        assert reader.getnframes() >= played >= 5000
        assert reader.readframes(5000) == b"\1\0" * 5000


def test_four_gib_is_the_end_of_a_wav(tmp_path):
    with Opened(f"file:{tmp_path / 'long.wav'}") as out:
        out.sink._data_bytes = 0xFFFF_FFFF - 8 - 59 - 100
        out.sink.write(bytes(102))
        error = loss(out)
        assert "4 GiB" in str(error)
        assert error.errno == errno.EFBIG


def test_deleted_file_is_a_loss(tmp_path):
    path = tmp_path / "out.wav"
    with Opened(f"file:{path}") as out:
        out.write(bytes(200))
        out.drain()
        path.unlink()
        out.sink.write(bytes(20))
        assert "file was deleted" in str(loss(out))
        assert out.sink.position().played == 100


def test_a_file_has_one_writer(tmp_path):
    path = tmp_path / "out.wav"
    with Opened(f"file:{path}") as out:
        out.write(b"\1\0" * 100)
        with pytest.raises(SinkBusy, match="another sink"):
            Opened(f"file:{path}")
        out.drain()
        assert len(path.read_bytes()) == 244
    with Opened(f"file:{path}"):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing" / "out.wav", "directory '.*missing' does not exist"),
        (lambda folder: folder, "is a directory"),
        (lambda folder: folder / "plain" / "out.wav", "not a directory|does not exist"),
        (lambda folder: folder / ("x" * 300 + ".wav"), "file name too long"),
    ],
)
def test_open_errors_name_the_path(tmp_path, make, message):
    (tmp_path / "plain").write_text("")
    path = make(tmp_path)
    with pytest.raises(SinkError, match=message) as caught:
        Opened(f"raw:{path}")
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, SinkLost)


def test_read_only_directory_names_the_path():
    with pytest.raises(SinkError, match=r"cannot open '/proc/out.pcm': "):
        Opened("raw:/proc/out.pcm")


def test_fifo_waits_for_its_reader(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    received = []

    def read():
        with path.open("rb") as reader:
            received.append(reader.read())

    reader = threading.Thread(target=read)
    reader.start()
    with Opened(f"raw:{path}") as out:
        out.write(b"ab" * 10_000)
    reader.join(10)
    assert received == [b"ab" * 10_000]


def test_fifo_without_a_reader_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("voxwire_file.target._FIFO_READER_S", 0.05)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(SinkError, match="nobody opened"):
        Opened(f"raw:{path}")


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("file:out.mp3", ValueError, r"suffix '.mp3', it writes .wav and .wave \(or raw:out.mp3"),
        ("file:out", ValueError, "no suffix"),
        ("file:", ValueError, "needs a path"),
        ("raw:", ValueError, "needs a path"),
        ("file:out.flac", Unsupported, "cannot write .flac yet, it writes .wav and .wave"),
        ("file:out.opus", Unsupported, "cannot write .opus yet"),
        ("file:-?atomic=1", ValueError, "'atomic' .* needs a path"),
        ("file:out.wav?atomic=2", ValueError, "must be 1 or 0"),
        ("file:out.wav?speed=2", ValueError, "unknown option 'speed' of sink 'file', known are: atomic"),
    ],
)
def test_wrong_addresses_say_what_is_right(address, error, message):
    with pytest.raises(error, match=message):
        open_sink(address)


@pytest.mark.parametrize("name", ["out.WAV", "out.wave"])
def test_suffix_is_not_case_sensitive(tmp_path, name):
    with Opened(f"file:{tmp_path / name}") as out:
        out.write(bytes(2))
    assert (tmp_path / name).read_bytes()[:4] == b"RIFF"


def test_wav_refuses_more_than_two_channels(tmp_path):
    with pytest.raises(FormatRefused):
        Opened(f"file:{tmp_path / 'out.wav'}", AudioFormat("pcm_s16le", 48000, 3))
    assert not (tmp_path / "out.wav").exists()
