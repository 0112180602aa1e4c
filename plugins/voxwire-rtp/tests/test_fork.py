"""Forks: a child has the memory of its parent, but not its threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: What every script begins with: a parent that sends, and is answered.
COMMON = """
import os
import traceback
from pathlib import Path
from rtp_wire import Goodbye, Receiver, Sending, await_true, free_range
from voxwire.exceptions import SinkBusy, SinkLost
from voxwire_rtp import pacer_statistics

def child(act):
    '''Acts in a child, and returns what that ends with.'''
    process = os.fork()
    if process == 0:
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def hears(sending, receiver, jitter):
    '''The parent is heard, and hears.'''
    receiver.wait_packets(len(receiver.packets) + 2)
    _, _, port = sending.sink.local
    receiver.report(("127.0.0.1", port), receiver.block(receiver.packets[0].ssrc, jitter=jitter))
    expected = jitter / 8
    await_true(lambda: (r := sending.sink.statistics().report) and r.jitter_ms == expected, "no report is read")

def rousers():
    '''Descriptors by which threads are roused, with what has not been read of them.'''
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink() and os.readlink(entry) == "anon_inode:[eventfd]":
            text = Path(f"/proc/self/fdinfo/{entry.name}").read_text()
            found[int(entry.name)] = int(text.partition("eventfd-count:")[2].split()[0], 16)
    return found

def speak(receiver):
    '''Opens a sink, sends, and closes it.'''
    with Sending(f"rtp://{receiver.address}?idle=gap") as sending:
        assert pacer_statistics().streams == 1
        sending.count(320)
        sending.drain()
        assert sending.sink.statistics().packets == 2
    assert pacer_statistics().streams == 0
"""

SCRIPTS = {
    "a child sends by threads of its own": """
with Receiver() as receiver, Receiver() as other, Sending(f"rtp://{receiver.address}") as sending:
    sending.count(160)
    hears(sending, receiver, 8)
    assert child(lambda: speak(other)) == 0
    other.wait_packets(2)
    other.wait_goodbye()
    hears(sending, receiver, 16)
""",
    "a grandchild does too": """
with Receiver() as receiver, Receiver() as other:
    def act():
        with Sending(f"rtp://{receiver.address}") as sending:
            sending.count(160)
            sending.wait_played(160)
            assert child(lambda: speak(other)) == 0

    with Sending(f"rtp://{receiver.address}") as sending:
        sending.count(160)
        receiver.wait_packets(1)
        assert child(act) == 0
        other.wait_packets(2)
""",
    "a child loses the sinks of its parent": """
with Receiver() as receiver, Sending(f"rtp://{receiver.address}") as sending:
    sink = sending.sink
    def act():
        for call in (lambda: sink.write(b""), sink.finish, sink.clear, sink.position, sink.pause, sink.statistics):
            try:
                call()
            except SinkLost as lost:
                assert str(lost) == f"sink 'rtp:{receiver.address}' was lost: it was opened in another process", lost
                assert lost.errno is None
            else:
                raise AssertionError(call)
        sink.close()
        sink.close()
        del sending.sink

    sending.count(160)
    hears(sending, receiver, 8)
    assert child(act) == 0
    assert set(rousers().values()) == {0}
    hears(sending, receiver, 16)
    assert sending.sink.position().played == 160
    sending.sink.close()
    receiver.wait_goodbye()
    assert len(receiver.of(Goodbye)) == 1
""",
    "a child that ends as programs do ends nothing else": """
receiver = Receiver()
sending = Sending(f"rtp://{receiver.address}")
sending.count(160)
hears(sending, receiver, 8)
process = os.fork()
if process == 0:
    # Drops all it has, the sink too.
    raise SystemExit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
assert set(rousers().values()) == {0}
hears(sending, receiver, 16)
sending.sink.close()
receiver.wait_goodbye()
receiver.close()
""",
    "a child that closes one goes on with another": """
with Receiver() as receiver, Receiver() as other, Sending(f"rtp://{receiver.address}") as sending:
    def act():
        speak(other)
        sending.sink.close()
        speak(other)

    sending.count(160)
    assert child(act) == 0
    other.wait_packets(4)
    hears(sending, receiver, 8)
""",
    "a child does not share the port of its parent": """
port = free_range()
with Receiver() as receiver:
    address = f"rtp://{receiver.address}?local_port={port}&bind=127.0.0.1"
    def act():
        try:
            Sending(address)
        except SinkBusy:
            return
        raise AssertionError("shared")

    with Sending(address) as sending:
        sending.count(160)
        assert child(act) == 0
        hears(sending, receiver, 8)
""",
    "locks may be held at the fork": """
import threading

over = threading.Event()
with Receiver() as receiver, Receiver() as other:
    def open_and_close():
        while not over.is_set():
            with Sending(f"rtp://{receiver.address}?latch=1"):
                pacer_statistics()

    def act():
        with Sending(f"rtp://{other.address}?latch=1&rtcp=off") as sending:
            sending.count(160)
            sending.wait_played(160)
        assert pacer_statistics().streams == 0

    # What is imported on the way is, before there are threads: locks of imports are Python's own matter.
    act()
    threads = [threading.Thread(target=open_and_close) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(30):
            assert child(act) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
""",
    "a thread that is roused for nothing sleeps again": """
with Receiver() as receiver, Sending(f"rtp://{receiver.address}") as sending:
    sending.count(160)
    hears(sending, receiver, 8)
    for rouser in rousers():
        os.write(rouser, (1).to_bytes(8, "little"))
    await_true(lambda: set(rousers().values()) == {0}, "what roused it is not read")
    hears(sending, receiver, 16)
""",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_fork(script):
    # In a program of its own, so that none of this process is copied.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", COMMON + SCRIPTS[script]]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
