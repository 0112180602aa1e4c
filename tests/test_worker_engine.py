"""The host of worker programs: what one of them does wrong harms one request."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import uvloop

from voxwire.engines import EngineError, Info, Segment, Settings, Voice, WorkerEngine, WorkerVoice
from voxwire.engines.pool import Deadlines
from voxwire.engines.speech import READ_AHEAD_BYTES

# Speaks frames as documented; the first word of a text says how it behaves.
PROGRAM = """
import json, os, signal, struct, sys, time

log = open(sys.argv[2], "a") if len(sys.argv) > 2 else None

def frame(kind, number, body=b""):
    sys.stdout.buffer.write(struct.pack("<cII", kind, number, len(body)) + body)
    sys.stdout.buffer.flush()

def times(number, *words):
    frame(b"E", number, json.dumps({"w": [[word, at, at + 1] for at, word in enumerate(words)], "p": []}).encode())

frame(b"R", 0, b'{"rate": 8000}')
for line in sys.stdin.buffer:
    request = json.loads(line)
    number, text = request["id"], request["text"]
    if log:
        log.write(text + "\\n")
        log.flush()
    deed, *words = text.split()
    times(number, *words)
    frame(b"A", number, bytes(200))
    if deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "hang":
        signal.pause()
    elif deed == "chatter":
        while True:
            frame(b"A", number, bytes(20))
            time.sleep(0.005)
    elif deed == "linger":
        for _ in range(20):
            frame(b"A", number, bytes(20))
            time.sleep(0.01)
    elif deed == "fail":
        frame(b"X", number, b"not\\ntoday")
        continue
    elif deed == "garbage":
        sys.stdout.buffer.write(bytes.fromhex(words[0]))
        sys.stdout.buffer.flush()
    elif deed == "stale":
        frame(b"A", number + 7, bytes(1000))
        frame(b"D", number + 7)
    elif deed == "long":
        for index in range(int(words[0])):
            frame(b"A", number, bytes([index % 256]) * 65536)
    elif deed == "echo":
        times(number, line.decode())
    elif deed == "environment":
        times(number, json.dumps(dict(os.environ)))
    elif deed == "deaf":
        os.close(0)
    elif deed == "odd":
        frame(b"A", number, bytes(3))
    frame(b"D", number)
"""

# Of programs that never become ready.
BEGINNING = """
import struct, sys
def say(kind, body=b""):
    sys.stdout.buffer.write(struct.pack("<cII", kind.encode(), 0, len(body)) + body)
    sys.stdout.flush()
    input()
"""

DEADLINES = Deadlines(start_s=10.0, queue_s=5.0, frame_s=0.4, drain_s=0.4, stop_s=1.0)


class ScriptEngine(WorkerEngine):
    info = Info(name="script", sample_rate=8000, words=True, speed_range=(0.5, 2.0), max_segment_chars=500)
    deadlines = DEADLINES

    def __init__(self, program, log=None):
        super().__init__()
        self.program = program
        self.log = log

    def command(self):
        command = [sys.executable, "-E", "-S", self.program, "voxwire-script-worker"]
        return command if self.log is None else [*command, str(self.log)]

    def voices(self):
        return [Voice(id="only", name="Only", default=True)]

    def select(self, settings):
        return WorkerVoice(name="only", per_char=settings.language == "zh")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
async def engine(program):
    engine = ScriptEngine(program)
    await engine.start({"workers": 1})
    yield engine
    await engine.stop()


async def speak(engine, text, **fields):
    """Returns the bytes and the words."""
    session = await engine.open(Settings())
    size_bytes, words = 0, []
    async for piece in session.speak(Segment(text=text, **fields)):
        size_bytes += len(piece.pcm)
        words += [word for word, _, _ in piece.words]
    return size_bytes, words


async def failure(engine, text):
    with pytest.raises(EngineError) as caught:
        await speak(engine, text)
    return caught.value


async def eventually(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_speaks_with_times_and_audio(engine):
    assert await speak(engine, "plain one two") == (200, ["one", "two"])


async def test_a_death_fails_its_own_request_and_is_replaced(engine):
    before = engine.worker_pids
    other = await engine.open(Settings())
    speech = other.speak(Segment(text="linger on"))
    first = await anext(speech)
    error = await failure(engine, "die now")
    assert error.code == "engine_crashed"
    assert not error.retryable
    assert len(first.pcm) + sum([len(piece.pcm) async for piece in speech]) == 200 + 20 * 20
    assert (await speak(engine, "plain again"))[1] == ["again"]
    await eventually(lambda: len(engine.worker_pids) == 2)
    assert engine.crashes == 1
    assert len(set(before) - set(engine.worker_pids)) == 1
    assert engine.healthy()


async def test_audio_before_a_death_is_delivered_first(engine):
    session = await engine.open(Settings())
    pieces = []
    with pytest.raises(EngineError):
        async for piece in session.speak(Segment(text="die word")):
            pieces.append(piece)
    assert sum(len(piece.pcm) for piece in pieces) == 200
    assert [word for piece in pieces for word in piece.words] == [("word", 0.0, 1.0)]


async def test_a_text_that_killed_a_worker_is_given_to_no_other(program, tmp_path):
    engine = ScriptEngine(program, tmp_path / "log")
    await engine.start({"workers": "2"})
    await failure(engine, "die once")
    await eventually(lambda: len(engine.worker_pids) == 3)
    await speak(engine, "plain")
    await engine.stop()
    assert (tmp_path / "log").read_text().splitlines() == ["die once", "plain"]


async def test_a_killed_worker_that_was_idle_fails_nobody(engine):
    for pid in engine.worker_pids:
        os.kill(pid, signal.SIGKILL)
        # Dead, and the loop had no turn to hear of it.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert await speak(engine, "plain one") == (200, ["one"])
    await eventually(lambda: engine.crashes == 2 and len(engine.worker_pids) == 2)


async def test_a_silent_worker_is_killed_at_its_deadline(engine):
    began_s = time.monotonic()
    error = await failure(engine, "hang")
    assert error.code == "engine_timeout"
    assert 0.4 <= time.monotonic() - began_s < 5
    await eventually(lambda: len(engine.worker_pids) == 2)
    assert (engine.crashes, engine.timeouts) == (0, 1)


async def test_each_frame_moves_the_deadline(engine):
    session = await engine.open(Settings())
    speech = session.speak(Segment(text="chatter"))
    end_s = time.monotonic() + 3 * DEADLINES.frame_s
    async for _ in speech:
        if time.monotonic() > end_s:
            break
    await speech.aclose()
    assert engine.timeouts == 0


async def test_a_loop_that_was_held_up_does_not_count_against_the_worker(engine):
    session = await engine.open(Settings())
    speech = session.speak(Segment(text="linger"))
    await anext(speech)
    time.sleep(2 * DEADLINES.frame_s)  # the loop is held up on purpose
    assert [piece async for piece in speech]
    assert engine.timeouts == 0


@pytest.mark.parametrize(
    "written",
    [
        b"hello, here is some text that is no frame",
        b"A\1\0\0\0\xff\xff\xff\xff",
        b"R\0\0\0\0\x0e\0\0\0" + b'{"rate": 8000}',
        b"E\1\0\0\0\2\0\0\0[]",
        b"E\1\0\0\0\3\0\0\0{ ]",
        b"E\1\0\0\0\x15\0\0\0" + b'{"w":[["x",0]],"p":[]}'[:21],
        b"E\1\0\0\0\x18\0\0\0" + b'{"w":[["x",0,{}]],"p":[]}'[:24],
    ],
    ids=["text", "too long", "ready twice", "no object", "no json", "short span", "no number"],
)
async def test_garbage_fails_its_own_request(engine, written):
    assert (await failure(engine, f"garbage {written.hex()}")).code == "engine_crashed"
    assert await speak(engine, "plain one") == (200, ["one"])
    assert engine.crashes == 1


async def test_half_a_sample_fails_its_own_request(engine):
    assert (await failure(engine, "odd")).message == "worker program sent a broken sample"
    assert await speak(engine, "plain one") == (200, ["one"])


async def test_a_failed_request_leaves_its_worker_alive(engine):
    before = engine.worker_pids
    error = await failure(engine, "fail please")
    assert (error.code, error.message) == ("engine_failed", "not today")
    assert engine.worker_pids == before
    assert engine.crashes == 0


async def test_frames_of_other_requests_are_dropped(engine):
    assert await speak(engine, "stale one") == (200, ["one"])


async def test_a_worker_that_stops_reading_finishes_and_is_replaced(engine):
    before = engine.worker_pids
    assert await speak(engine, "deaf one") == (200, ["one"])
    await eventually(lambda: len(engine.worker_pids) == 2 and engine.worker_pids != before)
    assert await speak(engine, "plain one") == (200, ["one"])


async def test_cancel_returns_at_once_and_the_worker_is_used_again(engine):
    before = engine.worker_pids
    for _ in range(3):
        session = await engine.open(Settings())
        speech = session.speak(Segment(text="linger"))
        await anext(speech)
        began_s = time.monotonic()
        await speech.aclose()
        assert time.monotonic() - began_s < 0.05
    assert await speak(engine, "plain one") == (200, ["one"])
    assert engine.worker_pids == before


async def test_a_cancelled_request_that_goes_on_costs_its_worker(engine):
    before = engine.worker_pids
    session = await engine.open(Settings())
    speech = session.speak(Segment(text="chatter"))
    await anext(speech)
    await speech.aclose()
    await eventually(lambda: len(engine.worker_pids) == 2 and engine.worker_pids != before)
    assert await speak(engine, "plain one") == (200, ["one"])


async def test_closing_a_session_ends_a_listener_that_waits(engine):
    session = await engine.open(Settings())
    speech = session.speak(Segment(text="hang"))
    await anext(speech)
    waiting = asyncio.ensure_future(anext(speech, None))
    await asyncio.sleep(0)
    await session.close()
    assert await asyncio.wait_for(waiting, 0.2) is None


async def test_a_slow_listener_holds_no_worker(engine):
    listeners = []
    for _ in range(4):
        session = await engine.open(Settings())
        speech = session.speak(Segment(text="long 16"))
        await anext(speech)
        listeners.append(speech)
    assert await speak(engine, "plain one") == (200, ["one"])
    for speech in listeners:
        await speech.aclose()


async def test_a_slow_listener_of_a_long_text_meets_no_deadline_and_a_bounded_queue(engine):
    frames = 3 * READ_AHEAD_BYTES // 65_536
    session = await engine.open(Settings())
    speech = session.speak(Segment(text=f"long {frames}"))
    pcm = bytearray((await anext(speech)).pcm)
    await asyncio.sleep(2 * DEADLINES.frame_s)
    held_bytes = session._speech._held_bytes
    assert READ_AHEAD_BYTES < held_bytes < READ_AHEAD_BYTES + 1_048_576
    async for piece in speech:
        pcm += piece.pcm
    assert pcm[200::65_536] == bytes(index % 256 for index in range(frames))
    assert len(pcm) == 200 + frames * 65_536
    assert engine.timeouts == 0


async def test_waits_for_a_free_worker_only_so_long(program, monkeypatch):
    monkeypatch.setattr(ScriptEngine, "deadlines", Deadlines(queue_s=0.1, frame_s=5.0))
    engine = ScriptEngine(program)
    await engine.start({"workers": 1})
    speeches = [(await engine.open(Settings())).speak(Segment(text="hang")) for _ in range(2)]
    for speech in speeches:
        await anext(speech)
    error = await failure(engine, "plain")
    assert (error.code, error.retryable) == ("engine_timeout", True)
    for speech in speeches:
        await speech.aclose()
    await engine.stop()


async def test_stop_ends_speech_and_waiting_and_leaves_nothing(program):
    descriptors = open_descriptors()
    engine = ScriptEngine(program)
    await engine.start({"workers": 1})
    pids = engine.worker_pids
    speaking = [asyncio.ensure_future(failure(engine, "hang")) for _ in range(2)]
    waiting = [asyncio.ensure_future(failure(engine, "plain")) for _ in range(2)]
    await asyncio.sleep(0.05)
    await engine.stop()
    assert {error.code for error in await asyncio.gather(*speaking, *waiting)} == {"engine_failed"}
    assert all(map(gone, pids))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert open_descriptors() == descriptors
    assert not engine.healthy()
    assert (await failure_of_open(engine)).code == "engine_failed"


async def failure_of_open(engine):
    with pytest.raises(EngineError) as caught:
        await engine.open(Settings())
    return caught.value


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_works_on_both_loops(program, run):
    async def scenario():
        engine = ScriptEngine(program)
        await engine.start({})
        await engine.stop()
        descriptors = open_descriptors()
        await engine.start({"workers": 1})
        pids = engine.worker_pids
        assert await speak(engine, "plain one") == (200, ["one"])
        assert (await failure(engine, "die")).code == "engine_crashed"
        assert (await failure(engine, "hang")).code == "engine_timeout"
        await eventually(lambda: len(engine.worker_pids) == 2)
        pids += engine.worker_pids
        assert (await speak(engine, f"long {2 * READ_AHEAD_BYTES // 65_536}"))[0] == 200 + 2 * READ_AHEAD_BYTES
        await engine.stop()
        assert all(map(gone, pids))
        assert len(asyncio.all_tasks()) == 1
        assert open_descriptors() == descriptors

    run(scenario())


async def test_a_worker_ends_with_its_input(program):
    engine = ScriptEngine(program)
    await engine.start({"workers": 1})
    began_s = time.monotonic()
    await engine.stop()
    assert time.monotonic() - began_s < DEADLINES.stop_s, "idle workers end by themselves"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sys.exit('the model file is missing')", "could not start: the model file is missing"),
        ("", "could not start: it gave no reason"),
        ("say('X', b'no key')", "could not start: no key"),
        ("say('R', b'{\"rate\": 9000}')", "could not start: it speaks at 9000 Hz, its engine says 8000 Hz"),
        ("print('welcome to the engine', flush=True); input()", "could not start: it gave no reason"),
        ("say('D')", "could not start: its first frame is neither R nor X"),
        ("input()", "was not ready within 0.5 s"),
    ],
    ids=["exit", "end", "refusal", "rate", "garbage", "order", "silence"],
)
async def test_a_program_that_cannot_start_says_why(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(ScriptEngine, "deadlines", Deadlines(start_s=0.5 if "not ready" in message else 10.0))
    (tmp_path / "program.py").write_text(BEGINNING + text)
    descriptors = open_descriptors()
    engine = ScriptEngine(tmp_path / "program.py")
    with pytest.raises(EngineError, match=message):
        await engine.start({})
    assert not engine.healthy()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert open_descriptors() == descriptors


async def test_a_program_that_does_not_exist_is_an_engine_error(monkeypatch):
    monkeypatch.setattr(ScriptEngine, "command", lambda _: ["/nowhere/voxwire-script-worker"])
    with pytest.raises(EngineError, match=r"could not start: .*/nowhere/voxwire-script-worker"):
        await ScriptEngine(None).start({})


async def test_a_worker_that_cannot_be_replaced_is_tried_again(engine, program, caplog):
    program.write_text("raise SystemExit('gone for now')")
    for pid in engine.worker_pids:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: "gone for now" in caplog.text)
    assert not engine.healthy()
    program.write_text(PROGRAM)
    assert await speak(engine, "plain one") == (200, ["one"])
    await eventually(lambda: len(engine.worker_pids) == 2)


async def test_a_request_carries_what_the_program_needs(engine):
    _, words = await speak(engine, "echo\x01 \ud800x\n", ends_sentence=True, speed=9.0, volume=1.5, emotion="Happy")
    request = json.loads(words[-1])
    request.pop("id")
    assert request == {
        "text": "echo   x\n",
        "ends_sentence": True,
        "voice": "only",
        "speed": 2.0,
        "volume": 1.5,
        "emotion": "content",
        "end_pause": True,
        "per_char": False,
    }
    for fields, end_pause in (({"last": True}, False), ({"ends_sentence": False}, False), ({}, True)):
        _, words = await speak(engine, "echo", **fields)
        assert json.loads(words[-1])["end_pause"] is end_pause
        assert json.loads(words[-1])["emotion"] is None


async def test_no_credential_reaches_a_program(program, monkeypatch):
    monkeypatch.setenv("VOXWIRE_API_KEY", "secret-1")
    monkeypatch.setenv("CARTESIA_API_KEY", "secret-2")
    monkeypatch.setenv("SOME_MODEL", "kept")
    engine = ScriptEngine(program)
    await engine.start({})
    _, words = await speak(engine, "environment")
    await engine.stop()
    assert "secret" not in words[-1]
    assert json.loads(words[-1])["SOME_MODEL"] == "kept"


async def test_blank_and_overlong_segments_reach_no_program(engine):
    assert await speak(engine, " \n\x00") == (0, [])
    error = await failure(engine, "x" * 501)
    assert error.message == "segment of 501 characters, limit is 500"


@pytest.mark.parametrize("value", ["0", "-1", "many", 257, "1.5"])
async def test_a_wrong_number_of_workers_is_refused(program, value):
    with pytest.raises(ValueError, match="workers must be a whole number from 1 to 256"):
        await ScriptEngine(program).start({"workers": value})


async def test_an_unknown_option_is_refused(program):
    with pytest.raises(ValueError, match="unknown option 'speed' of engine script, known are workers"):
        await ScriptEngine(program).start({"speed": "2"})


async def test_a_worker_is_known_by_its_command_line(engine):
    for pid in engine.worker_pids:
        assert b"voxwire-script-worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_second_start_is_the_callers_mistake(engine):
    with pytest.raises(RuntimeError, match="runs already"):
        await engine.start({})
