from __future__ import annotations

import asyncio
import errno
import threading

import pytest

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused, SinkClosed, SinkError, SinkLost
from voxwire.sinks import Address, AsyncSink, FormatPattern, ThreadSink
from voxwire.testing.sinks import RecordingWake, SinkConformance

MONO = AudioFormat()
HERE = Address("test", "here")


class Gate:
    """Lets sends through one by one, and says when one has come to it."""

    def __init__(self):
        self.arrived = threading.Semaphore(0)
        self.permits = threading.Semaphore(0)
        self.broken = None

    def pass_through(self):
        self.arrived.release()
        assert self.permits.acquire(timeout=10)
        if self.broken is not None:
            raise self.broken


class Recorder(ThreadSink):
    formats = (AudioFormat("pcm_s16le", 24000), AudioFormat("pcm_mulaw", 8000))

    def __init__(self, address=HERE, gate=None):
        super().__init__(address)
        self.gate = gate
        self.data = b""
        self.calls = []
        self.threads = set()

    def start(self, audio_format):
        self.calls.append(("start", audio_format))

    def send(self, data):
        if self.gate is not None:
            self.gate.pass_through()
        self.threads.add(threading.get_ident())
        self.data += data

    def drained(self):
        self.calls.append(("drained", len(self.data)))

    def stop(self):
        self.calls.append(("stop", len(self.data)))


class Collector(AsyncSink):
    formats = (AudioFormat("pcm_s16le", 24000),)

    def __init__(self, address=HERE):
        super().__init__(address)
        self.data = b""
        self.stopped = 0
        self.failure = None
        self.loops = set()

    async def send(self, data):
        if self.failure is not None:
            raise self.failure
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        self.data += data

    async def stop(self):
        self.stopped += 1


@pytest.fixture
def wake():
    wake = RecordingWake()
    yield wake
    wake.close()


class TestThreadSinkConformance(SinkConformance):
    open_close_cycles = 10_000

    def make(self):
        return Recorder()

    def lose(self, sink):
        sink.gate = Gate()
        sink.gate.broken = OSError(errno.EIO, "Input/output error")
        for _ in range(100):
            sink.gate.permits.release()
        return True


class TestUnclearableThreadSinkConformance(TestThreadSinkConformance):
    def make(self):
        sink = Recorder()
        sink.can_clear = False
        return sink


class TestAsyncSinkConformance(SinkConformance):
    # Each opening is a thread and an event loop here.
    open_close_cycles = 500

    def make(self):
        return Collector()

    def lose(self, sink):
        sink.failure = OSError(errno.ECONNRESET, "Connection reset by peer")
        return True


def test_thread_sink_sends_in_order_on_its_own_thread(wake):
    sink = Recorder()
    assert sink.open([AudioFormat("pcm_f32le", 48000), MONO], wake).format == MONO
    pieces = [bytes([number, 0]) * 100 for number in range(1, 40)]
    for piece in pieces:
        assert sink.write(piece) == 100
    sink.finish()
    assert wake.wait(5)
    assert sink.data == b"".join(pieces)
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads
    sink.close()
    assert sink.calls == [("start", MONO), ("drained", 7800), ("stop", 7800)]


def test_thread_sink_refuses_other_formats_by_name(wake):
    with pytest.raises(FormatRefused, match=r"pcm_s16le at 24000 Hz .* offered was pcm_f32le at 48000 Hz"):
        Recorder().open([AudioFormat("pcm_f32le", 48000)], wake)


def test_a_pattern_of_no_format_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="unknown encoding 'wav'"):
        FormatPattern("wav")
    with pytest.raises(ValueError, match="0 channels"):
        FormatPattern(channels=0)
    with pytest.raises(TypeError, match="sample_rate must be of type int"):
        FormatPattern(sample_rate="24000")  # type: ignore[arg-type]


def test_write_never_blocks_and_wakes_once_when_half_is_free(wake):
    gate = Gate()
    sink = Recorder(gate=gate)
    opened = sink.open([MONO], wake)
    assert opened.buffer == 4800
    assert sink.write(bytes(2 * 10_000)) == 4800
    assert sink.write(bytes(2)) == 0
    for _ in range(4):
        gate.permits.release()
    for _ in range(5):
        assert gate.arrived.acquire(timeout=5)
    # Four pieces of 20 ms are out, a fifth is at the gate: less than half of 200 ms is free.
    assert not wake.wait(0)
    gate.permits.release()
    assert wake.wait(5)
    assert gate.arrived.acquire(timeout=5)
    gate.permits.release()
    assert gate.arrived.acquire(timeout=5)
    assert not wake.wait(0)
    for _ in range(20):
        gate.permits.release()
    sink.close()


def test_clear_keeps_what_is_being_sent_and_drops_the_rest(wake):
    gate = Gate()
    sink = Recorder(gate=gate)
    sink.open([MONO], wake)
    sink.write(bytes(2 * 4800))
    gate.permits.release()
    assert gate.arrived.acquire(timeout=5)
    assert gate.arrived.acquire(timeout=5)
    final = sink.clear()
    assert (final.written, final.played, final.discarded) == (4800, 960, 3840)
    sink.write(b"\7\0" * 10)
    for _ in range(2):
        gate.permits.release()
    sink.finish()
    assert wake.wait(5)
    position = sink.position()
    assert (position.segment, position.written, position.played) == (final.segment + 1, 10, 10)
    assert sink.data == bytes(2 * 960) + b"\7\0" * 10
    sink.close()


def test_a_sink_that_cannot_clear_sends_everything(wake):
    gate = Gate()
    sink = Recorder(gate=gate)
    sink.can_clear = False
    sink.open([MONO], wake)
    sink.write(bytes(2 * 2000))
    assert gate.arrived.acquire(timeout=5)
    final = sink.clear()
    assert (final.played, final.discarded) == (2000, 0)
    sink.write(bytes(2 * 5))
    for _ in range(10):
        gate.permits.release()
    sink.close()
    assert len(sink.data) == 2 * 2005
    assert sink.position().played == 5


def test_loss_carries_the_errno_and_counts_only_what_was_sent(wake):
    gate = Gate()
    sink = Recorder(gate=gate)
    sink.open([MONO], wake)
    sink.write(bytes(2 * 1440))
    gate.permits.release()
    assert gate.arrived.acquire(timeout=5)
    assert gate.arrived.acquire(timeout=5)
    gate.broken = OSError(errno.ENOSPC, "No space left on device")
    gate.permits.release()
    assert wake.wait(5)
    with pytest.raises(SinkLost, match="No space left") as caught:
        sink.write(bytes(2))
    assert caught.value.errno == errno.ENOSPC
    assert sink.position().played == 480
    final = sink.clear()
    assert (final.played, final.discarded) == (480, 960)
    sink.close()
    assert sink.calls[-1] == ("stop", 960)


def test_what_is_held_counts_once_it_is_heard(wake):
    sink = Recorder()
    held = 0
    sink.held = lambda: held
    sink.open([MONO], wake)
    held = 300
    sink.write(bytes(2 * 1000))
    sink.finish()
    assert wake.wait(5)
    assert sink.position().played == 700
    held = 100
    assert sink.position().played == 900
    # A reading that comes late takes nothing back.
    held = 200
    assert sink.position().played == 900
    final = sink.clear()
    assert (final.played, final.discarded) == (1000, 0)
    # What is held now belongs to the segment before.
    sink.write(bytes(2 * 50))
    sink.finish()
    assert wake.wait(5)
    assert sink.position().played == 0
    held = 20
    assert sink.position().played == 30
    sink.close()


def test_what_was_held_at_a_loss_is_not_played(wake):
    sink = Recorder()
    sink.held = lambda: 300
    sink.open([MONO], wake)
    sink.write(bytes(2 * 1000))
    sink.finish()
    assert wake.wait(5)
    sink.gate = Gate()
    sink.gate.broken = OSError(errno.EPIPE, "Broken pipe")
    sink.gate.permits.release()
    sink.write(bytes(2 * 10))
    assert wake.wait(5)
    final = sink.clear()
    assert (final.written, final.played, final.discarded) == (1010, 700, 310)
    sink.close()


def test_the_author_states_a_bound_and_counts_underruns(wake):
    class Encoder(Recorder):
        def send(self, data):
            super().send(data)
            self.bound = 400
            self.xruns += 1

    sink = Encoder()
    sink.open([MONO], wake)
    assert (sink.position().bound, sink.position().xruns) == (0, 0)
    sink.write(bytes(2 * 300))
    sink.finish()
    assert wake.wait(5)
    # No more can be wrong than what is said to be played.
    position = sink.position()
    assert (position.played, position.bound, position.xruns) == (300, 300, 1)
    sink.write(bytes(2 * 300))
    sink.finish()
    assert wake.wait(5)
    assert (sink.position().played, sink.position().bound) == (600, 400)
    final = sink.clear()
    assert (final.played, final.bound, final.xruns) == (600, 400, 2)
    assert (sink.position().bound, sink.position().xruns) == (0, 2)
    sink.close()


def test_idle_is_called_while_nothing_comes(wake):
    idle = threading.Semaphore(0)

    class Idler(Recorder):
        idle_ms = 5

        def idle(self):
            self.calls.append(("idle", len(self.data)))
            idle.release()

    sink = Idler()
    sink.open([MONO], wake)
    sink.write(bytes(2 * 10))
    for _ in range(3):
        assert idle.acquire(timeout=5)
    sink.write(bytes(2 * 10))
    sink.finish()
    assert wake.wait(5)
    assert idle.acquire(timeout=5)
    sink.close()
    assert len(sink.data) == 40
    assert [call for call in sink.calls if call[0] != "idle"] == [("start", MONO), ("drained", 40), ("stop", 40)]
    assert ("idle", 20) in sink.calls


def test_pending_is_what_waits(wake):
    gate = Gate()
    sink = Recorder(gate=gate)
    assert sink.pending == 0
    sink.open([MONO], wake)
    sink.write(bytes(2 * 1000))
    assert gate.arrived.acquire(timeout=5)
    assert sink.pending == 520
    gate.permits.release()
    assert gate.arrived.acquire(timeout=5)
    assert sink.pending == 40
    gate.permits.release()
    assert gate.arrived.acquire(timeout=5)
    assert sink.pending == 0
    gate.permits.release()
    sink.close()


def test_failing_start_leaves_the_sink_closed(wake):
    class Broken(Recorder):
        def start(self, audio_format):
            raise SinkError("cannot open it")

    sink = Broken()
    with pytest.raises(SinkError, match="cannot open it"):
        sink.open([MONO], wake)
    with pytest.raises(SinkClosed):
        sink.write(bytes(2))
    sink.close()


def test_failing_stop_is_raised_by_close(wake):
    class Broken(Recorder):
        def stop(self):
            raise OSError(errno.EIO, "Input/output error")

    sink = Broken()
    sink.open([MONO], wake)
    sink.write(bytes(20))
    with pytest.raises(SinkLost) as caught:
        sink.close()
    assert caught.value.errno == errno.EIO
    sink.close()


def test_close_gives_up_on_a_send_that_never_returns(wake):
    gate = Gate()
    sink = Recorder(gate=gate)
    sink.close_timeout_s = 0.05
    sink.open([MONO], wake)
    sink.write(bytes(20))
    assert gate.arrived.acquire(timeout=5)
    with pytest.raises(SinkLost, match="thread is left behind"):
        sink.close()
    gate.permits.release()


async def test_async_sink_sends_on_the_loop_that_made_it(wake):
    sink = Collector()
    opened = await asyncio.to_thread(sink.open, [MONO], wake)
    assert opened.format == MONO
    assert sink.write(b"\1\0" * 1000) == 1000
    sink.finish()
    assert await asyncio.to_thread(wake.wait, 5)
    assert sink.data == b"\1\0" * 1000
    assert sink.loops == {asyncio.get_running_loop()}
    assert sink.position().played == 1000
    await asyncio.to_thread(sink.close)
    assert sink.stopped == 1


async def test_async_sink_refuses_to_wait_for_its_own_loop(wake):
    sink = Collector()
    with pytest.raises(RuntimeError, match="own loop"):
        sink.open([MONO], wake)


def test_async_sink_without_a_loop_brings_its_own(wake):
    sink = Collector()
    sink.open([MONO], wake)
    sink.write(b"\1\0" * 10)
    sink.finish()
    assert wake.wait(5)
    sink.close()
    assert sink.data == b"\1\0" * 10
    assert sink.stopped == 1


def test_async_start_that_fails_is_raised_by_open(wake):
    class Broken(Collector):
        async def start(self, audio_format):
            raise SinkError("cannot reach it")

    with pytest.raises(SinkError, match="cannot reach it"):
        Broken().open([MONO], wake)


async def test_async_send_that_never_returns_is_cancelled_by_close(wake):
    entered = asyncio.Event()

    class Stuck(Collector):
        close_timeout_s = 0.05

        async def send(self, data):
            entered.set()
            await asyncio.Event().wait()

    sink = Stuck()
    await asyncio.to_thread(sink.open, [MONO], wake)
    sink.write(bytes(20))
    await asyncio.wait_for(entered.wait(), 5)
    await asyncio.to_thread(sink.close)
    assert sink.stopped == 1
