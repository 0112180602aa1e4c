"""Faults of devices, brought about by a library that pretends: mended, or a typed error; in time, never a busy loop.

Each runs in a process of its own, since a process opens one libasound.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from alsa_sound import assert_told, counter, split

HERE = Path(__file__).parent
PERIOD = 240

#: What every scenario has at hand; it prints a dict as JSON.
PREAMBLE = """
import json, logging, random, sys, threading, time
from alsa_sound import RATE, Playing, await_true, counter
from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkError, SinkLost

def lost(playing, patience_s=10):
    woken, deadline = False, time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            playing.sink.write(bytes(2 * 240))
        except SinkLost as error:
            assert woken or playing.wake.wait(1), "no wake for the loss"
            return {"errno": error.errno, "message": str(error)}
        woken = playing.wake.wait(0.01) or woken
    raise AssertionError("not lost")

def opening_error(address="alsa:fake"):
    try:
        Playing(address)
    except SinkError as error:
        return {"kind": type(error).__name__, "message": str(error)}
    raise AssertionError("it opened")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The folder of the library that pretends."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, get it with: apt-get install build-essential")
    folder = tmp_path_factory.mktemp("library")
    source, target = HERE / "fake_asound.c", folder / "libasound.so.2"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", target, source]
    subprocess.run(command, check=True, timeout=50)
    return folder


@pytest.fixture
def run(library, tmp_path):
    """Runs a scenario and returns what it printed, what was heard, and what it wrote to standard error."""

    def run(fault, scenario):
        heard = tmp_path / "heard.raw"
        heard.touch()
        paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        variables = {"LD_LIBRARY_PATH": str(library), "FAKE_ALSA": fault, "FAKE_ALSA_HEARD": str(heard)}
        child = subprocess.run(
            [sys.executable, "-W", "error", "-c", PREAMBLE + scenario],
            env=os.environ | variables | {"PYTHONPATH": paths},
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert child.returncode == 0, child.stderr
        told = json.loads(child.stdout) if child.stdout else {}
        return told, array("h", [sample for sample in array("h", heard.read_bytes()) if sample]), child.stderr

    return run


PLAY = """
with Playing("alsa:fake") as playing:
    playing.write(counter(12000))
    position = playing.drain()
print(json.dumps({"played": position.played, "xruns": position.xruns, "quality": position.quality,
                  "bound": position.bound, "cpu_s": time.process_time()}))
"""


@pytest.mark.parametrize(
    "fault",
    ["none", "no-threshold", "no-delay", "suspend", "suspend-for-good", "standstill", "backwards", "always-ready"],
)
def test_all_is_heard_once_and_in_order(run, fault):
    told, heard, stderr = run(fault, PLAY)
    assert heard == counter(12000)
    assert (told["played"], told["xruns"], told["bound"]) == (12000, 0, 0)
    # At an underrun no device tells of the way to the ear.
    assert told["quality"] in ({"estimated"} if fault == "no-delay" else {"measured", "estimated"})
    assert stderr == ""


@pytest.mark.parametrize("fault", ["none", "no-threshold", "no-delay"])
def test_a_short_utterance_is_heard_without_finish(run, fault):
    scenario = """
with Playing("alsa:fake") as playing:
    playing.write(counter(960))
    playing.wait_played(960)
"""
    _, heard, _ = run(fault, scenario)
    assert heard == counter(960)


@pytest.mark.parametrize("fault", ["none", "no-xrun", "no-delay"])
def test_starvation_loses_nothing_and_is_counted(run, fault):
    scenario = """
with Playing("alsa:fake") as playing:
    for part in range(3):
        playing.write(counter(2400, 2400 * part))
        playing.wait_played(2400 * (part + 1))
        time.sleep(0.2)
    playing.write(counter(2400, 7200))
    position = playing.drain()
    time.sleep(0.2)
    playing.write(counter(2400, 9600))
    after = playing.drain()
print(json.dumps({"played": after.played, "xruns": position.xruns, "after": after.xruns}))
"""
    told, heard, _ = run(fault, scenario)
    assert heard == counter(12000)
    # A gap behind a finish is none of the device's doing.
    assert told == {"played": 12000, "xruns": 3, "after": 3}


@pytest.mark.parametrize("fault", ["none", "backwards"])
def test_a_position_never_falls(run, fault):
    scenario = """
with Playing("alsa:fake") as playing:
    seen, over = [], threading.Event()
    def poll():
        while not over.is_set():
            position = playing.sink.position()
            seen.append((position.played, position.written, position.at_ns))
    poller = threading.Thread(target=poll)
    poller.start()
    playing.write(counter(12000))
    playing.drain()
    over.set()
    poller.join()
assert all(a <= b for before, after in zip(seen, seen[1:]) for a, b in zip(before, after))
assert all(played <= written for played, written, _ in seen)
print(json.dumps({"distinct": len({played for played, _, _ in seen})}))
"""
    told, _, _ = run(fault, scenario)
    assert told["distinct"] > 10


def test_a_clear_at_any_moment_counts_what_is_heard(run):
    scenario = """
chance, numbers = random.Random(7), []
with Playing("alsa:fake") as playing:
    for _ in range(30):
        playing.write(counter(chance.randrange(1, 4000)))
        time.sleep(chance.random() / 8)
        final = playing.sink.clear()
        numbers.append((final.written, final.played, final.discarded, final.bound))
print(json.dumps({"numbers": numbers}))
"""
    told, heard, _ = run("none", scenario)
    for written, played, discarded, _ in told["numbers"]:
        assert played + discarded == written
    assert_told([(played, bound) for _, played, _, bound in told["numbers"] if played], split(heard))


@pytest.mark.parametrize("fault", ["none", "no-threshold"])
def test_a_pause_at_any_moment_loses_and_doubles_nothing(run, fault):
    scenario = """
chance = random.Random(8)
with Playing("alsa:fake") as playing:
    writer = threading.Thread(target=playing.write, args=(counter(24000),))
    writer.start()
    for _ in range(8):
        time.sleep(chance.random() / 10)
        playing.sink.pause()
        time.sleep(0.05)
        held = playing.sink.position().played
        time.sleep(0.1)
        assert playing.sink.position().played == held
        playing.sink.resume()
    writer.join()
    position = playing.drain()
print(json.dumps({"played": position.played, "xruns": position.xruns}))
"""
    told, heard, _ = run(fault, scenario)
    assert heard == counter(24000)
    assert told == {"played": 24000, "xruns": 0}


@pytest.mark.parametrize(("fault", "errno"), [("unplugged", 19), ("unreadable", 5), ("always-xrun", 32)])
def test_a_lost_device_is_told(run, fault, errno):
    scenario = """
with Playing("alsa:fake") as playing:
    started = time.monotonic()
    told = lost(playing)
    told["took_s"] = time.monotonic() - started
    used_s = time.process_time()
    time.sleep(0.5)
    told["idle_cpu_s"] = time.process_time() - used_s
    final = playing.sink.clear()
    assert final.played + final.discarded == final.written
print(json.dumps(told))
"""
    told, _, stderr = run(fault, scenario)
    assert told["errno"] == errno
    assert told["message"].startswith("sink 'alsa:fake' was lost: ")
    assert told["took_s"] < 5
    assert told["idle_cpu_s"] < 0.2
    assert stderr == ""


@pytest.mark.parametrize("fault", ["none", "always-ready", "no-xrun"])
def test_it_sleeps_where_there_is_nothing_to_do(run, fault):
    scenario = """
with Playing("alsa:fake") as playing:
    playing.write(counter(2400))
    playing.drain()
    playing.write(counter(2400))
    playing.wait_played(4800)
    used_s = time.process_time()
    time.sleep(1)
    idle_s = time.process_time() - used_s
    playing.write(counter(11000))
    used_s = time.process_time()
    time.sleep(0.4)
    busy_s = time.process_time() - used_s
print(json.dumps({"idle_s": idle_s, "busy_s": busy_s}))
"""
    told, _, _ = run(fault, scenario)
    assert told["idle_s"] < 0.1
    assert told["busy_s"] < 0.2


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("busy", "SinkBusy", ["another program uses it"]),
        ("denied", "SinkError", ["no permission", "group audio"]),
        ("unknown", "SinkError", ["there is no such device", "Unknown PCM fake, number 42"]),
        ("another-rate", "FormatRefused", ["pcm_s16le at 24000 Hz", "plughw"]),
    ],
)
def test_a_device_that_does_not_open_says_why(run, fault, kind, words):
    told, _, stderr = run(fault, "print(json.dumps(opening_error()))")
    assert told["kind"] == kind
    assert told["message"].startswith("sink 'alsa:fake' ")
    assert "\n" not in told["message"]
    for word in words:
        assert word in told["message"]
    # What the library would print is logged instead.
    assert stderr == ""


def test_what_the_library_says_is_logged(run):
    scenario = """
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
opening_error()
"""
    _, _, stderr = run("unknown", scenario)
    assert stderr.splitlines() == ["voxwire_alsa.sink INFO fake_open: Unknown PCM fake, number 42"]


def test_an_opening_that_hangs_is_given_up(run):
    scenario = """
from voxwire_alsa import AlsaSink, sink
sink.OPEN_TIMEOUT_S = sink.PROBE_TIMEOUT_S = 0.3
started = time.monotonic()
told = opening_error()
probe = AlsaSink.probe()
print(json.dumps(told | {"took_s": time.monotonic() - started, "usable": probe.usable, "reason": probe.reason}))
"""
    told, _, _ = run("hang", scenario)
    assert told["message"] == "sink 'alsa:fake' did not open within 0.3 s"
    assert (told["usable"], told["reason"]) == (False, "the device does not open within 0.3 s")
    assert told["took_s"] < 5


def test_a_close_ends_an_opening(run):
    scenario = """
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake
sink, wake, told = open_sink("alsa:fake").sink, RecordingWake(), []
def opening():
    try:
        sink.open([AudioFormat()], wake)
    except SinkError as error:
        told.append(type(error).__name__)
opener = threading.Thread(target=opening)
opener.start()
time.sleep(0.2)
started = time.monotonic()
sink.close()
opener.join()
print(json.dumps({"kind": told, "took_s": time.monotonic() - started}))
"""
    told, _, _ = run("hang", scenario)
    assert told["kind"] == ["SinkClosed"]
    assert told["took_s"] < 5


def test_a_device_that_does_not_stop_is_given_up(run):
    scenario = """
with Playing("alsa:fake") as playing:
    playing.write(counter(6000))
    time.sleep(0.1)
    started = time.monotonic()
    final = playing.sink.clear()
    told = lost(playing)
    playing.sink.close()
    took_s = time.monotonic() - started
assert final.played + final.discarded == final.written
print(json.dumps(told | {"took_s": took_s, "bound": final.bound}))
"""
    told, _, stderr = run("stuck", scenario)
    assert told["errno"] == 110
    assert told["bound"] > 0
    assert told["took_s"] < 5
    assert "left behind" in stderr


@pytest.mark.parametrize("options", ["preroll_ms=100", "keep_running=1", "keep_running=1&preroll_ms=30"])
def test_silence_that_is_put_in_is_not_counted(run, options):
    scenario = f"""
chance, numbers = random.Random(9), []
with Playing("alsa:fake?{options}") as playing:
    for _ in range(6):
        playing.write(counter(3000))
        playing.drain()
        time.sleep(chance.random() / 10)
    position = playing.sink.position()
    for _ in range(10):
        playing.write(counter(3000))
        time.sleep(chance.random() / 5)
        final = playing.sink.clear()
        numbers.append((final.played, final.bound))
print(json.dumps({{"played": position.played, "xruns": position.xruns, "numbers": numbers}}))
"""
    told, heard, _ = run("none", scenario)
    assert (told["played"], told["xruns"]) == (18000, 0)
    utterances = split(heard)
    assert utterances[:6] == [counter(3000)] * 6
    (first, bound), *others = told["numbers"]
    numbers = [(first - 18000, bound), *others]
    assert_told([(played, bound) for played, bound in numbers if played], utterances[6:])
