"""The option ``realtime``: a file that is listened to while it is written."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest
import soundfile

from voxwire.audio import AudioFormat
from voxwire.playback import open_sink

MONO = AudioFormat()


def counter(first, frames):
    return struct.pack(f"<{frames}h", *(value % 32000 + 1 for value in range(first, first + frames)))


def values(path):
    with soundfile.SoundFile(path) as reader:
        return list(memoryview(reader.buffer_read(dtype="int16")).cast("h"))


def test_its_capabilities_are_those_of_a_device(tmp_path):
    plain = open_sink(f"file:{tmp_path / 'out.wav'}").sink.capabilities()
    paced = open_sink(f"file:{tmp_path / 'out.wav'}?realtime=1").sink.capabilities()
    assert (plain.clock, plain.can_clear, plain.position) == ("none", False, "written")
    assert (paced.clock, paced.can_clear, paced.position) == ("timer", True, "written")


def test_audio_is_played_in_its_own_time(tmp_path, opened):
    with opened(f"file:{tmp_path / 'out.wav'}?realtime=1") as out:
        begun = time.monotonic()
        out.write(counter(0, 12_000))
        while (position := out.sink.position()).played < 12_000:
            # Never ahead of the clock: what counts as played has ended.
            assert position.played <= (time.monotonic() - begun) * 24_000
            time.sleep(0.005)
        took_s = time.monotonic() - begun
        assert 0.5 <= took_s < 5
    assert values(tmp_path / "out.wav") == list(range(1, 12_001))


def test_a_long_recording_does_not_drift(tmp_path, opened):
    """Pieces that are late are made up for: two seconds take two seconds, not two and a hundred small delays."""
    with opened(f"file:{tmp_path / 'out.wav'}?realtime=1") as out:
        begun = time.monotonic()
        out.write(counter(0, 48_000))
        out.drain()
        took_s = time.monotonic() - begun
        assert took_s >= 2
        assert out.sink.position().xruns == 0
    assert took_s < 2 + 0.5


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".pcm"])
def test_an_interruption_leaves_in_the_file_what_was_heard(tmp_path, opened, suffix):
    path = tmp_path / f"out{suffix}"
    scheme = "raw" if suffix == ".pcm" else "file"
    with opened(f"{scheme}:{path}?realtime=1") as out:
        begun = time.monotonic()
        out.write(counter(0, 20_000))
        while out.sink.position().played < 5000:
            time.sleep(0.005)
        before = out.sink.position().played
        final = out.sink.clear()
        # The piece that is sounding now is the last one.
        assert before <= final.played <= (time.monotonic() - begun) * 24_000 + 480
        assert final.played + final.discarded == final.written == 20_000
        assert final.discarded > 0
    if suffix == ".pcm":
        assert path.read_bytes() == counter(0, final.played)
    else:
        assert values(path) == list(range(1, final.played + 1))


def test_after_an_interruption_the_next_words_take_their_time(tmp_path, opened):
    with opened(f"file:{tmp_path / 'out.wav'}?realtime=1") as out:
        out.write(counter(0, 24_000))
        while not out.sink.position().played:
            time.sleep(0.005)
        first = out.sink.clear()
        time.sleep(0.3)
        begun = time.monotonic()
        out.write(counter(0, 4800))
        out.drain()
        assert time.monotonic() - begun >= 0.2
        assert out.sink.position().xruns == 0
    # Without keep_gaps the pause is not in the file.
    assert values(tmp_path / "out.wav") == [*range(1, first.played + 1), *range(1, 4801)]


def test_close_is_at_once(tmp_path, opened):
    with opened(f"file:{tmp_path / 'out.wav'}?realtime=1") as out:
        out.write(counter(0, 24_000))
        begun = time.monotonic()
        out.sink.close()
        assert time.monotonic() - begun < 0.5
    stored = values(tmp_path / "out.wav")
    assert stored == list(range(1, len(stored) + 1))
    assert len(stored) < 20_000


@pytest.mark.parametrize(("suffix", "encoding"), [(".wav", "pcm_s16le"), (".wav", "pcm_mulaw"), (".flac", "pcm_s16le")])
def test_gaps_are_kept_and_not_counted(tmp_path, opened, suffix, encoding):
    """Two utterances with a pause between them: the file is as long as the listener's clock says."""
    path = tmp_path / f"out{suffix}"
    audio_format = AudioFormat(encoding, 24000)
    words = bytes([0x10] * 4800 * audio_format.frame_bytes)
    with opened(f"file:{path}?realtime=1&keep_gaps=1", audio_format) as out:
        begun = time.monotonic()
        out.write(words)
        out.drain()
        between = time.monotonic()
        time.sleep(0.45)
        resumed = time.monotonic()
        out.write(words)
        position = out.drain()
        took_s = time.monotonic() - begun
        assert (position.written, position.played, position.xruns) == (9600, 9600, 0)
    stored = values(path)
    spoken = [index for index, value in enumerate(stored) if value]
    first, second = spoken[:4800], spoken[4800:]
    assert len(second) == 4800
    assert first == list(range(4800))
    assert second == list(range(second[0], second[0] + 4800))
    gap_s = (second[0] - 4800) / 24_000
    assert resumed - between - 0.02 <= gap_s <= took_s - 0.4 + 0.02
    assert len(stored) == second[-1] + 1


def test_a_gap_is_written_while_it_lasts(tmp_path, opened):
    """A reader who follows the file, and whoever finds it after a crash, has the silence so far."""
    path = tmp_path / "out.wav"
    with opened(f"file:{path}?realtime=1&keep_gaps=1") as out:
        out.write(counter(0, 2400))
        out.drain()
        deadline = time.monotonic() + 10
        while len(values(path)) < 2400 + 4800:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert out.sink.position().played == 2400
        assert not any(values(path)[2400:])


def test_starvation_in_the_middle_is_an_underrun(tmp_path, opened):
    with opened(f"file:{tmp_path / 'out.wav'}?realtime=1") as out:
        for _ in range(3):
            out.write(counter(0, 480))
            while out.sink.position().played < out.sink.position().written:
                time.sleep(0.005)
            time.sleep(0.05)
        assert out.sink.position().xruns == 2
        out.drain()
        time.sleep(0.05)
        out.write(counter(0, 480))
        out.drain()
        # Behind a finish nothing was due.
        assert out.sink.position().xruns == 2


def test_a_stream_can_be_paced_too(tmp_path, opened):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    received = []

    def read():
        with path.open("rb", buffering=0) as reader:
            while data := reader.read(65536):
                received.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with opened(f"raw:{path}?realtime=1") as out:
        begun = time.monotonic()
        out.write(counter(0, 4800))
        position = out.drain()
        assert time.monotonic() - begun >= 0.2
        assert (position.played, position.quality) == (4800, "sent")
    reader.join(10)
    assert b"".join(received) == counter(0, 4800)
    # In pieces, although the reader takes what it can get.
    assert len(received) > 10
