"""The conformance kits as an author meets them: five lines, and a failure that says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SINK = """
from voxwire.audio import AudioFormat
from voxwire.sinks import Address, ThreadSink
from voxwire.testing import SinkConformance

class Counter(ThreadSink):
    formats = (AudioFormat("pcm_s16le", 16000),)

    def start(self, audio_format):
        self.size_bytes = 0

    def send(self, data):
        self.size_bytes += len(data)

class TestCounter(SinkConformance):
    open_close_cycles = 20

    def make(self):
        return Counter(Address("counter", "x"))
"""

ENGINE = """
from voxwire.engines import Info, Piece, Voice
from voxwire.testing import EngineConformance

class Session:
    async def speak(self, segment):
        for number, word in enumerate(segment.text.split()):
            yield Piece(bytes(16000), words=((word, number / 2, number / 2 + 0.5),))

    async def close(self):
        pass

class Flawed:
    api_version = 1
    info = Info(name="flawed", sample_rate=16000, words=True)

    async def start(self, config):
        pass

    async def stop(self):
        pass

    def voices(self):
        return [Voice(id="one", name="One", default=True)]

    async def open(self, settings):
        return Session()

    def healthy(self):
        return True

class TestFlawed(EngineConformance):
    long_text_characters = 1000

    def make(self):
        return Flawed()
"""


def run(directory: Path, source: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_plugin.py").write_text(source)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-W",
            "error",
            "test_plugin.py",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def test_a_sink_of_a_few_lines_passes(tmp_path: Path) -> None:
    result = run(tmp_path, SINK)
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout


def test_an_engine_is_told_what_it_does_wrong(tmp_path: Path) -> None:
    result = run(tmp_path, ENGINE)
    assert result.returncode == 1, result.stdout
    assert "it is healthy after a stop" in result.stdout
    assert "an unknown option was taken" in result.stdout
    assert "words are timed that nobody asked for" in result.stdout
    # What was compared is shown too.
    assert "assert None == 'voice_not_found'" in result.stdout
