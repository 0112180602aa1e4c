# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker program by itself: frames, limits, what it does with bad requests."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-E", "-P", "-m", "voxwire_espeak.worker", "voxwire-espeak-worker", "en-us"]


class Worker:
    def __init__(self, command=COMMAND):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def frame(self):
        kind, number, size = struct.unpack("<cII", self.process.stdout.read(9))
        return kind, number, self.process.stdout.read(size)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, **request):
        self.ask(**request)
        frames = [self.frame()]
        while frames[-1][0] not in {b"D", b"X"}:
            frames.append(self.frame())
        return frames


@pytest.fixture
def worker():
    worker = Worker()
    assert worker.frame() == (b"R", 0, b'{"rate":22050}')
    yield worker
    worker.process.kill()
    worker.process.wait(timeout=5)
    worker.process.stdout.close()
    if not worker.process.stdin.closed:
        worker.process.stdin.close()


def audio(frames):
    return b"".join(body for kind, _, body in frames if kind == b"A")


def words(frames):
    return [tuple(item) for kind, _, body in frames if kind == b"E" for item in json.loads(body)["w"]]


def test_the_check_value(worker):
    text = "Hello, world! I'm generating audio on Cartesia, number 42."
    frames = worker.answer(id=7, text=text, voice="en-us", end_pause=True)
    assert {number for _, number, _ in frames} == {7}
    assert len(audio(frames)) / 44_100 == pytest.approx(4.588, abs=0.015)
    times = words(frames)
    expected = {"Hello,": (0.012, 0.440), "world!": (0.590, 1.030), "I'm": (1.369, 1.577), "42.": (3.629, 4.287)}
    assert [word for word, _, _ in times] == text.split()
    for word, start_s, end_s in times:
        if word in expected:
            assert (start_s, end_s) == pytest.approx(expected[word], abs=0.015), word


def test_times_come_before_their_audio(worker):
    heard_s = 0.0
    for kind, _, body in worker.answer(id=1, text="One two three four five six seven.", voice="en-us"):
        if kind == b"E":
            for _, start_s, _ in json.loads(body)["w"]:
                assert start_s >= heard_s - 0.9, "a word is told at most one word late"
        elif kind == b"A":
            heard_s += len(body) / 44_100


def test_an_unfinished_sentence_ends_high_and_without_a_pause(worker):
    text = "Here comes the first half"
    frames = worker.answer(id=1, text=text, voice="en-us", ends_sentence=False)
    assert [word for word, _, _ in words(frames)] == text.split(), "no comma shows in the words"
    whole = worker.answer(id=2, text=text + ".", voice="en-us", end_pause=True)
    assert len(audio(frames)) < len(audio(whole)) - 0.2 * 44_100


def test_bad_requests_fail_and_the_worker_lives_on(worker):
    for request in (
        b"no json\n",
        b"[]\n",
        b'{"id":3}\n',
        b'{"id":4,"text":"secret words","voice":"xx"}\n',
        b'{"id":5,"text":"secret words","voice":"en-us","speed":"fast"}\n',
    ):
        worker.process.stdin.write(request)
        worker.process.stdin.flush()
        kind, _, body = worker.frame()
        assert kind == b"X"
        assert b"secret" not in body
    assert audio(worker.answer(id=6, text="Fine.", voice="en-us"))


def test_commands_in_the_text_are_not_obeyed(worker):
    plain = audio(worker.answer(id=1, text="slow  5 words here", voice="en-us"))
    fast = audio(worker.answer(id=2, text="slow \x01450S words here", voice="en-us"))
    assert len(fast) > 0.9 * len(plain)


def test_it_is_confined(worker):
    limits = Path(f"/proc/{worker.process.pid}/limits").read_text().splitlines()
    soft = {line[:25].strip(): line[26:].split()[0] for line in limits[1:]}
    assert soft["Max address space"] == str(512 * 1024 * 1024)
    assert int(soft["Max open files"]) <= 64
    assert soft["Max core file size"] == "0"


def test_an_interrupt_at_the_terminal_is_the_hosts_business(worker):
    os.kill(worker.process.pid, signal.SIGINT)
    assert audio(worker.answer(id=1, text="Still here.", voice="en-us"))


def test_it_ends_with_its_input(worker):
    worker.process.stdin.close()
    assert worker.process.wait(timeout=5) == 0


def test_it_ends_with_the_process_that_started_it():
    # The end of its input is held open here, so that only the death of its parent can end it.
    reading, writing = os.pipe()
    script = (
        "import subprocess, os, signal\n"
        f"child = subprocess.Popen({COMMAND!r}, stdin={reading}, stdout=subprocess.PIPE)\n"
        "child.stdout.read(9 + 14)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[reading], stdout=subprocess.PIPE, timeout=30, check=False
    )
    os.close(reading)
    assert parent.returncode == -signal.SIGKILL
    assert int(parent.stdout) > 0
    nobody_reads = select.poll()
    nobody_reads.register(writing, select.POLLERR)
    assert nobody_reads.poll(5000)
    os.close(writing)


def test_it_needs_nothing_of_the_host():
    code = "import voxwire_espeak.worker, sys; print([name for name in sys.modules if name.split('.')[0] == 'voxwire'])"
    loaded = subprocess.run([sys.executable, "-E", "-c", code], capture_output=True, check=True, timeout=30)
    assert loaded.stdout.strip() == b"[]"


def test_the_console_script_is_the_same_program():
    script = Path(sys.executable).with_name("voxwire-espeak-worker")
    answer = subprocess.run([script], input=b"", capture_output=True, check=True, timeout=30)
    assert answer.stdout == struct.pack("<cII", b"R", 0, 14) + b'{"rate":22050}'
