"""``voxwire trace`` as its user meets it: the timeline, the JSON, the picture, one line per error."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from test_cli import ENVIRONMENT, VOXWIRE, assert_one_line, voxwire

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "Some words, one after the other, which nobody hears to their end."
TONE = ("--url", "embedded:tone")
PACED = ("--to", "file:out.wav?realtime=1")


def await_true(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Polls for what tells nobody, as long as the program runs."""
    deadline = time.monotonic() + 20
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def traced(*arguments: str, cwd: Path) -> dict[str, Any]:
    result = voxwire("trace", *arguments, *TONE, "--json", cwd=cwd)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    seen: dict[str, Any] = json.loads(result.stdout)
    return seen


def test_the_json_holds_what_happened(tmp_path: Path) -> None:
    seen = traced(TEXT, "--to", "null:", cwd=tmp_path)
    record = seen["record"]
    assert record["outcome"] == "finished"
    assert (seen["server"], seen["sink"], seen["paced"]) == ("embedded:tone", "null:", False)
    assert [push["characters"] for push in seen["pushes"]] == [len(TEXT)]
    assert sum(arrival["duration_s"] for arrival in seen["arrivals"]) == pytest.approx(record["audio_s"])
    for series in ("pushes", "arrivals", "writes", "readings", "moments"):
        times = [item["time_s"] for item in seen[series]]
        assert times == sorted(times)
        assert all(0 <= time_s <= seen["end_s"] for time_s in times)
    assert all(reading["played"] <= reading["written"] for reading in seen["readings"])
    frames = round(record["audio_s"] * seen["format"]["sample_rate"])
    assert seen["readings"][-1]["played"] == sum(write["frames"] for write in seen["writes"]) == frames
    assert [word["text"] for word in seen["words"]] == TEXT.split()
    assert {word["state"] for word in seen["words"]} == {"heard"}
    assert [moment["name"] for moment in seen["moments"] if moment["name"] != "flush_done"][-1] == "done"


def test_a_paced_sink_has_a_buffer_and_an_interruption_leaves_words_unheard(tmp_path: Path) -> None:
    seen = traced(TEXT, *PACED, "--interrupt-at", "0.5", "--plot", "out.svg", cwd=tmp_path)
    record = seen["record"]
    assert (record["outcome"], record["reason"]) == ("cancelled", "interrupted")
    assert seen["sink"] == "file:out.wav"
    assert seen["paced"]
    for state in ("heard", "half_heard", "unheard"):
        told = [word["text"] for word in record["heard"][state]]
        assert [word["text"] for word in seen["words"] if word["state"] == state] == told
    sounded = [word for word in seen["words"] if word["state"] != "unheard"]
    assert all(before["to_s"] <= after["from_s"] + 1e-9 for before, after in pairwise(sounded))
    assert seen["readings"][-1]["played"] / seen["format"]["sample_rate"] == record["heard"]["played_s"]
    assert record["heard"]["played_s"] < record["audio_s"]
    written = texts(tmp_path / "out.svg")
    assert {"interrupted", *(word["text"] for word in sounded)} <= written


def texts(path: Path) -> set[str]:
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}


def test_without_a_device_a_silent_listener_hears_it_in_real_time(tmp_path: Path) -> None:
    seen = traced("Hello there.", cwd=tmp_path)
    assert seen["paced"]
    assert seen["end_s"] >= 0.9 * seen["record"]["audio_s"]
    assert {word["state"] for word in seen["words"]} == {"heard"}


def test_the_timeline_is_for_people(tmp_path: Path) -> None:
    result = voxwire("trace", "Hello there.", *TONE, "--to", "null:", "--plot", "out.PNG", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    said = [" ".join(line.split()[1:]) for line in lines[1:-1]]
    assert [line for line in said if line in {"Hello", "there."}] == ["Hello", "there."]
    assert {"text, 12 characters", "first audio", "first sound", "all received"} <= set(said)
    assert lines[-1].startswith("received ")
    picture = (tmp_path / "out.PNG").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert min(width, height) > 600


def test_standard_input_is_seen_piece_by_piece(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [VOXWIRE, "trace", *TONE, "--to", "null:", "--json"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate("One two. ", timeout=50)
    assert process.returncode == 0, err
    assert sum(push["characters"] for push in json.loads(out)["pushes"]) == 9


def test_the_json_makes_way_for_audio_on_standard_output(tmp_path: Path) -> None:
    result = subprocess.run(
        [VOXWIRE, "trace", "One two.", *TONE, "--to", "raw:-", "--json"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) == 2 * round(json.loads(result.stderr)["record"]["audio_s"] * 24000)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("x", "--plot", "out.pdf"), 2, ("--plot", ".png", ".svg")),
        (("x", "--plot", "out"), 2, ("--plot", ".png", ".svg")),
        (("x", "--plot", "no/such/out.png"), 2, ("--plot", "no/such")),
        (("x", "--interrupt-at", "-1"), 2, ("--interrupt-at",)),
        (("x", "--interrupt-at", "nan"), 2, ("--interrupt-at",)),
        (("x", "--to", "out.wav"), 2, ("file:out.wav",)),
        (("x", "--to", "file:no/such/folder/out.wav"), 6, ("no/such/folder",)),
        (("x", "--file", "y"), 2, ("--file",)),
        (("x", "--to", "null:", "--voice", "nobody"), 2, ("voice",)),
        (("x" * 400, "--timeout", "0.3"), 8, ("0.3 s",)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else str(value),
)
def test_misuse_is_one_line(arguments: tuple[str, ...], status: int, words: tuple[str, ...], tmp_path: Path) -> None:
    assert_one_line(voxwire("trace", *arguments, *TONE, cwd=tmp_path), status, *words)
    assert not list(tmp_path.glob("*.p??"))


def test_an_unreachable_server_leaves_no_picture(tmp_path: Path) -> None:
    arguments = ("x", "--url", "ws://127.0.0.1:1", "--timeout", "0.5", "--plot", "out.png")
    assert_one_line(voxwire("trace", *arguments, cwd=tmp_path), 8, "0.5 s")
    assert not (tmp_path / "out.png").exists()


def test_a_failure_in_the_middle_can_be_looked_at(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [VOXWIRE, "serve", "--port", "0", "--engine", "tone", "--engine-option", "fail_on=broken"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = json.loads(server.stdout.readline())["ws"]
        result = voxwire("trace", "This is broken.", "--url", f"{url}?secret=s", "--plot", "out.svg", cwd=tmp_path)
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()
    assert_one_line(result, 7, "engine")
    written = texts(tmp_path / "out.svg")
    assert "This" in written
    # Moments that coincide share a label.
    assert any(text.endswith("failed") for text in written)
    assert not any("secret" in text for text in written)


def test_an_interrupt_from_the_keyboard_shows_what_was_heard_till_then(tmp_path: Path) -> None:
    heard = tmp_path / "out.wav"
    process = subprocess.Popen(
        [VOXWIRE, "trace", "One two three. " * 200, *TONE, *PACED, "--plot", "out.svg", "--json"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    await_true(lambda: heard.exists() and heard.stat().st_size > 24_000, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (130, "voxwire: interrupted\n")
    seen = json.loads(stdout)
    assert seen["record"]["outcome"] == "cancelled"
    states = [word["state"] for word in seen["words"]]
    assert states[0] == "heard"
    assert states[-1] == "unheard"
    assert "One" in texts(tmp_path / "out.svg")


def test_a_missing_library_is_named_before_anything_is_spoken(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from voxwire.cli import main\n"
        "sys.argv = ['voxwire', 'trace', 'x', '--to', 'file:out.wav', '--url', 'embedded:tone', '--plot', 'out.png']\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert_one_line(result, 2, "matplotlib", "pip install 'voxwire[plot]'")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_imports_the_library_only_to_draw() -> None:
    program = "import sys, voxwire.cli\nprint([name for name in ('matplotlib', 'numpy', 'PIL') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_picture_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    (tmp_path / "full.png").symlink_to("/dev/full")
    result = voxwire("trace", "x", *TONE, "--to", "null:", "--json", "--plot", "full.png", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("voxwire: cannot write full.png: no space left on device")
