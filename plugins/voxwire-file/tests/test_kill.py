"""A writer that is killed at any moment has lost nothing that it acknowledged.

``VOXWIRE_KILLS`` says how many writers of each kind are killed.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
import wave

import pytest
import soundfile

KILLS = int(os.environ.get("VOXWIRE_KILLS", "6"))

#: Writes a counter, and reports over a pipe how many samples the sink says are certainly played. The faulty controls
#: report what was merely taken, or leave the bound aside, and must be caught, else the test proves nothing.
WRITER = """
import os, struct, sys
from voxwire.audio import AudioFormat
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake
address, report, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
wake = RecordingWake()
sink = open_sink(address).sink
sink.open([AudioFormat()], wake)
at = 0
while True:
    samples = [(at + k) % 32000 + 1 for k in range(480)]
    piece = memoryview(struct.pack("<480h", *samples))
    while piece:
        piece = piece[2 * sink.write(piece):]
        if piece:
            wake.wait(1)
    at += 480
    position = sink.position()
    count = {
        "true": position.played - position.bound,
        "taken": position.written,
        "unbound": position.played,
    }[kind]
    os.write(report, struct.pack("<Q", count))
"""


def acknowledged_and_stored(path, decode, rng, kind="true"):
    """Starts a writer, kills it after a random number of reports and a random time, and returns both counts."""
    scheme = "raw" if path.suffix == ".pcm" else "file"
    reader, writer = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", WRITER, f"{scheme}:{path}", str(writer), kind], pass_fds=[writer])
    os.close(writer)
    last = 0
    try:
        reports = b""
        for _ in range(rng.randrange(1, 60)):
            reports = os.read(reader, 8 * rng.randrange(1, 64))
            assert reports
        time.sleep(rng.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        while more := os.read(reader, 65536):
            reports = more
        last = struct.unpack("<Q", reports[-(len(reports) % 8 + 8) :][:8])[0]
    finally:
        child.kill()
        child.wait()
        os.close(reader)
    data = stored(path, decode)
    count = len(data) // 2
    if path.suffix != ".opus":
        assert data[: 2 * count] == struct.pack(f"<{count}h", *[k % 32000 + 1 for k in range(count)])
    return last, count


def stored(path, decode):
    """All samples that a reader finds in what was left."""
    if path.suffix == ".pcm":
        return path.read_bytes()
    if path.suffix == ".wav":
        with wave.open(str(path), "rb") as file:
            return file.readframes(file.getnframes())
    try:
        return decode(path)
    except soundfile.LibsndfileError:
        # Nothing of the audio has reached it, perhaps not even its header.
        assert path.stat().st_size < 2000
        return b""


@pytest.mark.timeout(60 + 2 * KILLS)
@pytest.mark.parametrize("suffix", [".wav", ".pcm", ".flac", ".opus"])
def test_killed_writer_has_lost_nothing_acknowledged(tmp_path, decode, suffix):
    rng = random.Random(20261123)
    total = 0
    for _ in range(KILLS):
        acknowledged, found = acknowledged_and_stored(tmp_path / f"out{suffix}", decode, rng)
        assert found >= acknowledged
        total += acknowledged
    assert total > 0


@pytest.mark.parametrize(("suffix", "kind"), [(".wav", "taken"), (".flac", "unbound")])
def test_the_harness_sees_a_writer_that_acknowledges_too_early(tmp_path, decode, suffix, kind):
    rng = random.Random(1)
    for _ in range(20):
        acknowledged, found = acknowledged_and_stored(tmp_path / f"out{suffix}", decode, rng, kind)
        if acknowledged > found:
            return
    pytest.fail("early acknowledgements went unnoticed")
