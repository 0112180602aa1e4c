"""A writer that is killed at any moment has lost nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import wave

import pytest

KILLS = 20

#: Writes a counter, and reports over a pipe how many samples the sink says are played. The faulty control reports what
#: was merely taken, and must be caught, else the test proves nothing.
WRITER = """
import struct, sys
from voxwire.audio import AudioFormat
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake
address, report, faulty = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "faulty"
import os
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
    os.write(report, struct.pack("<Q", position.written if faulty else position.played))
"""


def acknowledged_and_stored(path, scheme, rng, *, faulty):
    """Starts a writer, kills it after a random number of reports, and returns both counts."""
    reader, writer = os.pipe()
    arguments = [sys.executable, "-c", WRITER, f"{scheme}:{path}", str(writer), "faulty" if faulty else "true"]
    child = subprocess.Popen(arguments, pass_fds=[writer])
    os.close(writer)
    last = 0
    try:
        reports = b""
        for _ in range(rng.randrange(1, 60)):
            reports = os.read(reader, 8 * rng.randrange(1, 64))
            assert reports
        child.send_signal(signal.SIGKILL)
        while more := os.read(reader, 65536):
            reports = more
        last = struct.unpack("<Q", reports[-(len(reports) % 8 + 8) :][:8])[0]
    finally:
        child.kill()
        child.wait()
        os.close(reader)
    if scheme == "file":
        with wave.open(str(path), "rb") as stored:
            data = stored.readframes(stored.getnframes())
    else:
        data = path.read_bytes()
    count = len(data) // 2
    assert data[: 2 * count] == struct.pack(f"<{count}h", *[k % 32000 + 1 for k in range(count)])
    return last, count


@pytest.mark.parametrize("scheme", ["file", "raw"])
def test_killed_writer_has_lost_nothing_acknowledged(tmp_path, scheme):
    rng = random.Random(20261123)
    total = 0
    for number in range(KILLS // 2):
        acknowledged, stored = acknowledged_and_stored(tmp_path / f"{number}.wav", scheme, rng, faulty=False)
        assert stored >= acknowledged
        total += acknowledged
    assert total > 0


def test_the_harness_sees_a_writer_that_acknowledges_too_early(tmp_path):
    rng = random.Random(1)
    for number in range(KILLS):
        acknowledged, stored = acknowledged_and_stored(tmp_path / f"{number}.wav", "file", rng, faulty=True)
        if acknowledged > stored:
            return
    pytest.fail("early acknowledgements went unnoticed")
