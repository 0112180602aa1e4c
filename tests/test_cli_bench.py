"""``voxwire bench``: what it prints, that it checks before it counts, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from voxwire.bench import cadence, converting, receiving
from voxwire.bench.figures import Paced, Saturated, Served, Timing
from voxwire.bench.machine import Cores, pinned
from voxwire.bench.suite import summarise
from voxwire.protocol import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

VOXWIRE = Path(sys.executable).parent / "voxwire"
FREE = Cores(None, None, 2)
SIZES = (160, 1920, 9600, 38400)
WAYS = ("async for", "batches", "joined")


def bench(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [VOXWIRE, "bench", *arguments], capture_output=True, text=True, timeout=50, check=False, **options
    )


def test_json_tells_machine_figures_and_meaning(tmp_path: Path) -> None:
    # What lies in the present directory is not what runs.
    (tmp_path / "random.py").write_text("raise SystemExit('not this one')\n")
    result = bench("--seconds", "1", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    report = json.loads(result.stdout)
    assert set(report) == {"version", "date", "machine", "seconds", "rows", "summary"}
    assert report["version"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", report["date"])
    assert report["machine"]["cores"] == len(os.sched_getaffinity(0))
    rows = {kind: [] for kind in ("receive_saturated", "receive_paced", "convert", "serve_paced")}
    for row in report["rows"]:
        rows[row["measurement"]].append(row)

    bursts = rows["receive_saturated"]
    assert [(row["chunk_bytes"], row["way"]) for row in bursts] == [(size, way) for size in SIZES for way in WAYS]
    for row in bursts:
        cost_us = plausible(row["cpu_us_per_message"])
        assert row["messages_per_s"] == pytest.approx(1e6 / cost_us, abs=1)
        assert row["pcm_megabytes_per_s"] == pytest.approx(row["chunk_bytes"] / cost_us)

    (paced,) = rows["receive_paced"]
    assert paced["calls_per_core"] == int(1e6 / plausible(paced["cpu_us_per_message"]) / 50)
    assert 0 < paced["latency_us_median"] <= paced["latency_us_p99"]
    assert paced["messages"] > 0
    assert all(tried > paced["calls"] for tried in paced["refused"])

    for row in rows["convert"]:
        assert row["streams_per_core"] == int(1e9 / plausible(row["cpu_ns_per_sample"]) / row["sample_rate"])
    assert len(rows["convert"]) == 5

    (served,) = rows["serve_paced"]
    assert served["talkers_per_core"] == int(1000 / plausible(served["cpu_ms_per_audio_s"]))
    assert any("Not measured: TLS, a network card" in sentence for sentence in report["summary"])


def plausible(timing: dict[str, float]) -> float:
    assert 0 < timing["minimum"] <= timing["median"] < 1e6
    assert timing["repetitions"] >= 3
    return timing["median"]


def test_one_core_and_a_table_of_80_columns() -> None:
    core = min(os.sched_getaffinity(0))
    with pinned(core):
        result = bench("--seconds", "1", env=os.environ | {"COLUMNS": "80"})
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout
    text = " ".join(result.stdout.split())
    assert f"voxwire {__version__} on " in text
    assert "There was one core for the load and for what was measured" in text
    for size in SIZES:
        for way in WAYS:
            assert re.search(rf"{size} B, {way} +[\d.]+ us +[\d.]+ us +[\d,]+/s, [\d,]+ MB/s", result.stdout)


@pytest.mark.parametrize("value", ["0", "0.9", "121", "nan", "long"])
def test_seconds_out_of_range_are_misuse(value: str) -> None:
    result = bench("--seconds", value)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("voxwire: ")
    assert "--seconds" in line


class Running:
    """A bench with a terminal for its progress."""

    def __init__(self) -> None:
        self._terminal, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [VOXWIRE, "bench", "--seconds", "30"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        )
        os.close(theirs)

    def children(self) -> list[int]:
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in task.read_text().split()]

    def measuring(self) -> None:
        """Waits until some of the time is over."""
        deadline_s = time.monotonic() + 40
        while not re.search(r"receiving bursts.* [1-9]\d?%", self.shown):
            self.read(deadline_s - time.monotonic())

    def end(self) -> list[str]:
        """Waits for the end and returns what was said but for the progress."""
        deadline_s = time.monotonic() + 20
        while self.read(deadline_s - time.monotonic()):
            pass
        self.process.wait(10)
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.shown)
        return [line for line in re.split(r"[\r\n]+", plain) if line.strip() and "%" not in line]

    def read(self, timeout_s: float) -> bool:
        assert select.select([self._terminal], [], [], max(timeout_s, 0))[0], "no progress"
        try:
            data = os.read(self._terminal, 65536)
        except OSError:
            # So a terminal ends whose other side is closed.
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)
        os.close(self._terminal)


@pytest.fixture
def running() -> Iterator[Running]:
    started = Running()
    yield started
    started.close()


def test_an_interrupt_ends_it_at_once_and_leaves_no_process(running: Running) -> None:
    running.measuring()
    (child,) = running.children()
    running.process.send_signal(signal.SIGINT)
    assert running.end() == ["voxwire: interrupted"]
    assert running.process.returncode == 130
    assert running.process.stdout.read() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_load_that_dies_is_one_line(running: Running) -> None:
    running.measuring()
    (child,) = running.children()
    os.kill(child, signal.SIGKILL)
    (line,) = running.end()
    assert line.startswith("voxwire: ")
    assert running.process.returncode == 3


def test_the_load_ends_with_what_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "voxwire.bench.load", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as load:
        assert json.loads(load.stdout.readline())["url"].startswith("ws://127.0.0.1:")
        load.stdin.close()
        assert load.wait(20) == 0


async def test_bursts_are_compared_before_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    right = receiving.chunks

    def one_bit_off(size: int) -> tuple[bytes, ...]:
        *others, last = right(size)
        return (*others, last[:-1] + bytes([last[-1] ^ 1]))

    monkeypatch.setattr(receiving, "chunks", one_bit_off)
    with pytest.raises(RuntimeError, match="is not what was sent"):
        await receiving.measure_receiving(0.1, FREE, lambda _: None)


async def test_calls_are_compared_before_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cadence, "_LEVELS", ((1, 2),))
    row = await cadence.measure_cadence(0.4, FREE, lambda _: None)
    assert row.calls == 2
    right = cadence.chunks
    monkeypatch.setattr(cadence, "chunks", lambda size: right(size)[::-1])
    with pytest.raises(RuntimeError, match="chunks were wrong"):
        await cadence.measure_cadence(0.4, FREE, lambda _: None)


async def test_conversions_are_compared_before_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    right = converting.transcode
    monkeypatch.setattr(converting, "transcode", lambda data, source, target: bytes(len(right(data, source, target))))
    with pytest.raises(RuntimeError, match=r"is not that of G\.711"):
        await converting.measure_converting(0.1, FREE, lambda _: None)


def paced(**changes) -> Paced:
    given = {
        "connections": 50,
        "calls": 1000,
        "held": True,
        "limited_by": None,
        "messages": 5000,
        "cpu_us_per_message": Timing(8.0, 7.0, 5),
        "cpu_share": 0.4,
        "calls_per_core": 2512,
        "latency_us_median": 130.0,
        "latency_us_p99": 2100.0,
    }
    return Paced(**given | changes)


def test_calls_are_told_from_the_cadence_of_speech_and_not_from_bursts() -> None:
    burst = Saturated(
        chunk_bytes=160,
        way="batches",
        messages=1000,
        cpu_us_per_message=Timing(0.5, 0.4, 5),
        messages_per_s=2_000_000,
        pcm_megabytes_per_s=320.0,
    )
    sentences = summarise([burst, paced()], FREE)
    assert [sentence for sentence in sentences if "2,500 calls" in sentence]
    assert not [sentence for sentence in sentences if "40,000" in sentence or "fell behind" in sentence]


def test_falling_behind_is_told() -> None:
    (_, behind, *_) = summarise([paced(calls=500, refused=(1000,), limited_by="load")], FREE)
    assert "1,000 calls" in behind
    assert "the process that sends them fell behind" in behind
    (no_figure, *_) = summarise([paced(calls=1, held=False, refused=(1000, 500), limited_by="receiver")], FREE)
    assert no_figure.startswith("No figure for calls in real time: the receiver fell behind")
    slow = Served(talkers=200, held=False, cpu_ms_per_audio_s=Timing(5.0, 4.0, 5), talkers_per_core=200)
    (_, behind, *_) = summarise([slow], FREE)
    assert "fell behind the speed of speech" in behind


def test_cores_that_cannot_be_chosen_are_told() -> None:
    assert any("No core could be reserved" in sentence for sentence in summarise([], FREE))
    assert not any("core" in sentence for sentence in summarise([], Cores(1, 0, 2)))
