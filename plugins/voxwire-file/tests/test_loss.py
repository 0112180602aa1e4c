"""What goes wrong, at the open and later: the error, its number, and what is in the file then."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from voxwire.exceptions import PluginError, SinkBusy, SinkError, SinkLost
from voxwire.playback import open_sink

#: Every kind of file, each with frames enough to reach the disk.
KINDS = ["raw:{}.pcm", "file:{}.wav", "file:{}.flac", "file:{}.opus"]
FRAMES = 3 * 24000


@pytest.fixture(params=KINDS)
def address(tmp_path, request):
    return request.param.format(tmp_path / "out")


def path_of(address, tmp_path):
    return tmp_path / Path(address).name


def noise(frames, seed=1):
    """Samples that no encoder makes small."""
    import random

    return random.Random(seed).randbytes(2 * frames)


@pytest.fixture
def stored(decode):
    """Says how many frames an independent reader finds in a file."""
    return lambda path: (path.stat().st_size if path.suffix == ".pcm" else len(decode(path))) // 2


# --- later ---


def test_full_disk_is_a_loss_with_enospc(opened):
    with opened("raw:/dev/full") as out:
        out.sink.write(bytes(2000))
        error = out.loss()
        assert "'/dev/full': no space left on device" in str(error)
        assert error.errno == errno.ENOSPC
        assert out.sink.position().played == 0


def test_a_file_that_may_not_grow_keeps_what_was_acknowledged(tmp_path, opened, stored, address):
    """The limit strikes in the middle of a write, as a full disk does."""
    path = path_of(address, tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(address) as out:
        out.write(noise(FRAMES))
        out.drain()
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1001, before[1]))
        try:
            out.sink.write(noise(24000, 2))
            error = out.loss()
            assert out.sink.position().played >= FRAMES
            out.sink.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert error.errno == errno.EFBIG
        assert str(path) in str(error)
        position = out.sink.position()
        assert stored(path) >= position.played - position.bound


def test_an_error_of_the_device_is_a_loss_with_eio(opened):
    """Nothing is mapped at address 0 of a process, and its memory says so with EIO."""
    with opened("raw:/proc/self/mem") as out:
        out.sink.write(bytes(2000))
        error = out.loss()
        assert "'/proc/self/mem': input/output error" in str(error)
        assert error.errno == errno.EIO
        assert out.sink.position().played == 0


def test_deleted_file_is_a_loss(tmp_path, opened, address):
    path = path_of(address, tmp_path)
    with opened(address) as out:
        out.write(bytes(200))
        out.drain()
        path.unlink()
        out.sink.write(bytes(20))
        error = out.loss()
        assert "file was deleted" in str(error)
        assert error.errno == errno.ESTALE
        assert out.sink.position().played == 100
    assert not path.exists()


def test_a_file_put_in_its_place_is_a_loss_and_stays(tmp_path, opened):
    path, other = tmp_path / "out.wav", tmp_path / "other"
    other.write_bytes(b"precious")
    with opened(f"file:{path}") as out:
        out.write(bytes(200))
        out.drain()
        other.replace(path)
        out.sink.write(bytes(20))
        assert out.loss().errno == errno.ESTALE
    assert path.read_bytes() == b"precious"


def test_a_link_that_is_swapped_leads_nothing_astray(tmp_path, opened):
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "out.wav"
    first.touch()
    second.write_bytes(b"precious")
    link.symlink_to(first)
    for option in ("", "?atomic=1"):
        with opened(f"file:{link}{option}") as out:
            out.write(bytes(200))
            out.drain()
            link.unlink()
            link.symlink_to(second)
        with wave.open(str(first), "rb") as reader:
            assert reader.getnframes() == 100
        assert second.read_bytes() == b"precious"
        link.unlink()
        link.symlink_to(first)
    assert link.is_symlink()


# --- atomic ---


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".opus"])
def test_atomic_file_appears_at_the_end(tmp_path, opened, stored, suffix):
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"old")
    with opened(f"file:{path}?atomic=1") as out:
        out.write(bytes(20))
        out.drain()
        assert path.read_bytes() == b"old"
        assert (tmp_path / f"out{suffix}.part").exists()
    assert stored(path) == 10
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_atomic_file_is_on_the_disk_before_it_has_its_name(tmp_path, opened, monkeypatch):
    """What a failing power supply would show, the order of the calls shows too."""
    calls = []
    for name in ("fsync", "fdatasync", "rename", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _name=name, _real=real: (calls.append(_name), _real(*a))[1])
    with opened(f"file:{tmp_path / 'out.wav'}?atomic=1") as out:
        out.write(bytes(5 << 20))
        out.drain()
        # The disk keeps up, so that the end does not take long.
        assert calls == ["fdatasync"]
    assert calls == ["fdatasync", "fsync", "replace", "fsync"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_atomic_file_that_cannot_be_synced_does_not_take_the_name(tmp_path, opened, monkeypatch, number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    out = opened(f"file:{path}?atomic=1")
    out.write(bytes(20))
    out.drain()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SinkLost) as caught:
        out.sink.close()
    out.wake.close()
    assert caught.value.errno == number
    assert path.read_bytes() == b"old"


def test_a_lost_atomic_file_does_not_take_the_name(tmp_path, opened):
    path = tmp_path / "out.wav"
    with opened(f"file:{path}?atomic=1") as out:
        (tmp_path / "out.wav.part").unlink()
        out.sink.write(bytes(20))
        assert out.loss().errno == errno.ESTALE
    assert not path.exists()


@pytest.mark.parametrize("obstacle", ["directory", "replaced part"])
def test_an_atomic_file_whose_name_is_taken_away_is_a_loss(tmp_path, opened, obstacle):
    path, part = tmp_path / "out.wav", tmp_path / "out.wav.part"
    out = opened(f"file:{path}?atomic=1")
    out.write(bytes(20))
    out.drain()
    if obstacle == "directory":
        path.mkdir()
    else:
        (tmp_path / "other").write_bytes(b"precious")
        (tmp_path / "other").replace(part)
    with pytest.raises(SinkLost) as caught:
        out.sink.close()
    out.wake.close()
    if obstacle == "directory":
        assert caught.value.errno == errno.EISDIR
        assert stored_wav(part) == 10
    else:
        assert caught.value.errno == errno.ESTALE
        assert part.read_bytes() == b"precious"
        assert not path.exists()


def stored_wav(path):
    with wave.open(str(path), "rb") as reader:
        return reader.getnframes()


def test_an_atomic_file_finds_its_place_from_another_directory(tmp_path, opened, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened("file:out.wav?atomic=1") as out:
        out.write(bytes(20))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert stored_wav(tmp_path / "out.wav") == 10


# --- at the open ---


def test_full_disk_at_open_names_the_path(tmp_path, opened):
    path = tmp_path / "full.wav"
    path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"cannot write to '.*full.wav': no space left"):
        opened(f"file:{path}")


def test_a_header_that_does_not_fit_names_the_path(tmp_path):
    """In a process of its own: a limit of 10 bytes fits no report of any test."""
    path = tmp_path / "out.wav"
    code = (
        "import resource, sys\n"
        "from voxwire.audio import AudioFormat\n"
        "from voxwire.playback import open_sink\n"
        "from voxwire.testing.sinks import RecordingWake\n"
        "sink, wake = open_sink(sys.argv[1]).sink, RecordingWake()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "sink.open([AudioFormat()], wake)\n"
    )
    command = [sys.executable, "-B", "-c", code, f"file:{path}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert f"SinkError: cannot write to '{path}': file too large" in result.stderr


def test_a_file_has_one_writer(tmp_path, opened):
    path = tmp_path / "out.wav"
    with opened(f"file:{path}") as out:
        out.write(b"\1\0" * 100)
        with pytest.raises(SinkBusy, match="another sink"):
            opened(f"file:{path}")
        out.drain()
        assert len(path.read_bytes()) == 280
    with opened(f"file:{path}"):
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
@pytest.mark.parametrize("option", ["", "?atomic=1"])
def test_open_errors_name_the_path(tmp_path, opened, make, message, option):
    (tmp_path / "plain").write_text("")
    path = make(tmp_path)
    with pytest.raises(SinkError, match=message) as caught:
        opened(f"raw:{path}{option}")
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, SinkLost)


def test_read_only_directory_names_the_path(opened):
    with pytest.raises(SinkError, match=r"cannot open '/proc/out.pcm': "):
        opened("raw:/proc/out.pcm")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_read_only_file_names_the_path(tmp_path):
    path = tmp_path / "out.pcm"
    path.write_bytes(b"precious")
    path.chmod(0o444)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys\n"
        "from voxwire.audio import AudioFormat\n"
        "from voxwire.playback import open_sink\n"
        "sink = open_sink('raw:out.pcm').sink\n"
        "os.seteuid(65534)\n"
        "sink.open([AudioFormat()], None)\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=tmp_path)
    assert "SinkError: cannot open 'out.pcm': permission denied" in result.stderr
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("file:out.mp3", r"suffix '.mp3', it writes .wav, .wave, .flac, .opus \(or raw:out.mp3"),
        ("file:out.ogg", "suffix '.ogg'"),
        ("file:out", "no suffix"),
        ("file:", "needs a path"),
        ("raw:", "needs a path"),
        ("file:-?atomic=1", "'atomic' .* needs a path"),
        ("file:-?realtime=1&keep_gaps=1", "'keep_gaps' .* needs a path"),
        ("file:out.wav?keep_gaps=1", "'keep_gaps' .* needs realtime=1"),
        ("file:out.wav?atomic=2", "must be 1 or 0"),
        (
            "file:out.wav?speed=2",
            "unknown option 'speed' of sink 'file', known are: atomic, keep_gaps, realtime",
        ),
    ],
)
def test_wrong_addresses_say_what_is_right(address, message):
    with pytest.raises(ValueError, match=message):
        open_sink(address)


@pytest.mark.parametrize("suffix", [".flac", ".opus"])
def test_a_missing_encoder_says_what_to_install(monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(PluginError, match=rf"cannot write {suffix} here: pip install 'voxwire-file\[soundfile\]'"):
        open_sink(f"file:out{suffix}")
    open_sink("file:out.wav")


def test_an_encoder_that_does_not_load_is_an_error_of_the_open(tmp_path, opened, monkeypatch):
    (tmp_path / "soundfile.py").write_text("raise OSError('libsndfile is not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "soundfile")
    with pytest.raises(SinkError, match="soundfile does not load: libsndfile is not found"):
        opened(f"file:{tmp_path / 'out.flac'}")
