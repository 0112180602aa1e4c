"""What every sink must do, as tests that its author inherits.

    from my_package import MySink
    from voxwire.sinks import Address
    from voxwire.testing import SinkConformance

    class TestMySink(SinkConformance):
        def make(self):
            return MySink(Address("mine", "somewhere"))

pytest runs them, with or without plugins.
"""

# ruff: noqa: S101 - asserting is what this module is for

from __future__ import annotations

import contextlib
import gc
import itertools
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused, SinkClosed, SinkError, SinkLost, Unsupported
from voxwire.sinks import Capabilities, Opened, Position, Probe, accepts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voxwire.sinks import Sink

__all__ = ["RecordingWake", "SinkConformance"]

#: Ten times the 5 ms of the contract, so that a busy machine fails no sink.
_CLEAR_S = 0.05
_STARVED_S = 0.4
_NONSENSE = AudioFormat("pcm_f32le", 767_999, 7)


class RecordingWake:
    """A host's wake that a test can wait for; native code may write to its descriptor."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def __call__(self) -> None:
        """Wakes."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def fileno(self) -> int:
        """The descriptor."""
        return self._writer.fileno()

    def wait(self, timeout_s: float) -> bool:
        """Waits for a wake; False if none came in time."""
        if not select.select([self._reader], [], [], timeout_s)[0]:
            return False
        self._reader.recv(4096)
        return True

    def forget(self) -> None:
        """Forgets the wakes so far."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Closes the descriptors."""
        self._reader.close()
        self._writer.close()


class SinkConformance(ABC):
    """What every sink must do; each test is one sentence of the contract.

    Attributes:
        formats: What is offered to ``open``, best first.
        timeout_s: How long the sink may take beyond the length of the audio.
        open_close_cycles: How often it is opened and closed to find leaks.
    """

    formats: tuple[AudioFormat, ...] = (
        AudioFormat(),
        AudioFormat("pcm_s16le", 16000),
        AudioFormat("pcm_s16le", 48000),
        AudioFormat("pcm_mulaw", 8000),
        AudioFormat("pcm_alaw", 8000),
        AudioFormat("pcm_f32le", 48000),
    )
    timeout_s: float = 5.0
    open_close_cycles: int = 10_000

    @abstractmethod
    def make(self) -> Sink:
        """Returns a fresh sink that was never opened; called many times, also while another one is open."""

    def lose(self, sink: Sink) -> bool:
        """Makes the open sink lose its device, file or peer; False where that cannot be brought about."""
        del sink
        return False

    # --- before the open ---

    def test_describes_itself(self) -> None:
        """Version, options, probe and capabilities have the types of the contract."""
        sink = self.make()
        assert sink.api_version == 1
        assert all(isinstance(name, str) for name in sink.options)
        assert isinstance(sink.probe(), Probe)
        capabilities = sink.capabilities()
        assert isinstance(capabilities, Capabilities)
        assert capabilities == sink.capabilities(), "capabilities change"
        assert capabilities.clock in {"device", "timer", "remote", "none"}
        assert capabilities.position in {"measured", "estimated", "sent", "written"}

    def test_refuses_a_format_that_it_cannot_do(self) -> None:
        """``open`` never changes a format: the first it can do exactly, or FormatRefused."""
        with _opening(self.make()) as (sink, wake), pytest.raises(FormatRefused):
            sink.open([], wake)
        patterns = self.make().capabilities().formats
        known = patterns is not None and any(accepts(pattern, _NONSENSE) for pattern in patterns)
        with _opening(self.make()) as (sink, wake):
            try:
                opened = sink.open([_NONSENSE], wake)
            except FormatRefused:
                assert not known, "a format that the capabilities name was refused"
            else:
                assert opened.format == _NONSENSE
        with _opening(self.make()) as (sink, wake):
            opened = sink.open([_NONSENSE, *self.formats], wake)
            assert isinstance(opened, Opened)
            assert opened.format in {_NONSENSE, *self.formats}
            assert opened.quantum >= 1
            assert opened.buffer >= 1
            assert opened.latency >= 0

    # --- writing and playing ---

    def test_takes_part_of_a_write_and_wakes_for_the_rest(self) -> None:
        """A short write is followed by one wake, after which more is taken; nothing is lost or doubled."""
        with self._open() as (sink, opened, wake):
            if opened.buffer > 100 * opened.format.sample_rate:
                pytest.skip("takes more at once than a test should write")
            total = opened.buffer + opened.buffer // 2 + 1
            data = memoryview(_audio(opened, total))
            written = 0
            while written < total:
                wake.forget()
                offered = total - written
                taken = sink.write(data[written * opened.format.frame_bytes :])
                assert type(taken) is int
                assert 0 <= taken <= offered, f"took {taken} of {offered} frames"
                written += taken
                if taken < offered:
                    buffer_s = opened.buffer / opened.format.sample_rate
                    assert wake.wait(buffer_s + self.timeout_s), "no wake after a short write"
            assert sink.position().written == total
            self._drain(sink, opened, wake)
            assert sink.position().played == total

    def test_refuses_part_of_a_frame(self) -> None:
        """A buffer that ends inside a frame is an error, and nothing of it is taken."""
        with self._open() as (sink, opened, _):
            if opened.format.frame_bytes == 1:
                pytest.skip("a frame is one byte")
            with pytest.raises((ValueError, SinkError)):
                sink.write(b"\0" * (opened.format.frame_bytes + 1))
            assert sink.position().written == 0

    def test_takes_any_buffer_and_keeps_none(self) -> None:
        """Read-only or not, the buffer is the caller's again once ``write`` has returned."""
        with self._open() as (sink, opened, wake):
            frames = min(_frames(opened, 0.02), opened.buffer // 4 + 1)
            data = bytearray(_audio(opened, frames))
            view = memoryview(data)
            for kind in (data, view, view.toreadonly(), bytes(data)):
                self._write_all(sink, opened, wake, kind)
            view.release()
            # A kept export of the buffer would make this a BufferError.
            data.clear()
            self._drain(sink, opened, wake)
            assert sink.position().played == 4 * frames

    def test_position_never_falls(self) -> None:
        """``played`` is monotonic within a segment and never beyond ``written``, polled from another thread."""
        with self._open() as (sink, opened, wake):
            stop = threading.Event()
            seen: list[Position] = []

            def poll() -> None:
                while not stop.is_set():
                    seen.append(sink.position())

            poller = threading.Thread(target=poll)
            poller.start()
            try:
                for _ in range(5):
                    self._write_all(sink, opened, wake, _audio(opened, _frames(opened, 0.05)))
                self._drain(sink, opened, wake)
            finally:
                stop.set()
                poller.join()
            seen.append(sink.position())
            for position in seen:
                assert 0 <= position.played <= position.written - position.discarded, position
                assert position.bound >= 0
                assert position.quality in {"measured", "estimated", "sent", "written"}
            for before, after in itertools.pairwise(seen):
                assert after.segment == before.segment
                assert after.played >= before.played
                assert after.written >= before.written
                assert after.at_ns >= before.at_ns
            assert seen[-1].played == seen[-1].written

    def test_one_frame_is_played_after_finish(self) -> None:
        """A short last quantum is padded; the padding is not counted."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, 1))
            self._drain(sink, opened, wake)
            assert sink.position().written == 1
            assert sink.position().played == 1

    def test_finish_does_not_end_the_segment(self) -> None:
        """What is written behind a finish is counted on."""
        with self._open() as (sink, opened, wake):
            segment = sink.position().segment
            for count in (1, 2):
                self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
                self._drain(sink, opened, wake)
                assert sink.position().segment == segment
                assert sink.position().played == count * opened.quantum

    def test_a_short_utterance_is_heard_without_finish(self) -> None:
        """40 ms (and whole quanta) play although nothing follows them."""
        with self._open() as (sink, opened, wake):
            quanta = max(1, -(-_frames(opened, 0.04) // opened.quantum))
            self._write_all(sink, opened, wake, _audio(opened, quanta * opened.quantum))
            self._wait_played(sink, opened, quanta * opened.quantum)

    def test_starvation_loses_nothing(self) -> None:
        """After 0.4 s without audio the sink goes on, and silence that it inserted is not counted."""
        with self._open() as (sink, opened, wake):
            frames = max(1, _frames(opened, 0.1) // opened.quantum) * opened.quantum
            self._write_all(sink, opened, wake, _audio(opened, frames))
            self._wait_played(sink, opened, frames)
            assert not threading.Event().wait(_STARVED_S)
            self._write_all(sink, opened, wake, _audio(opened, frames))
            self._drain(sink, opened, wake)
            position = sink.position()
            assert (position.written, position.played, position.discarded) == (2 * frames, 2 * frames, 0)

    # --- clearing ---

    def test_clear_accounts_for_every_frame(self) -> None:
        """``played + discarded == written``, at once, and the next segment begins at zero."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, min(_frames(opened, 0.2), opened.buffer)))
            before = sink.position()
            started = time.monotonic()
            final = sink.clear()
            took_s = time.monotonic() - started
            period_s = opened.quantum / opened.format.sample_rate
            assert took_s <= max(_CLEAR_S, 10 * period_s), f"clear took {took_s * 1000:.1f} ms"
            assert final.segment == before.segment
            assert final.written == before.written
            assert final.played >= before.played
            assert final.played + final.discarded == final.written
            if not sink.capabilities().can_clear:
                assert final.discarded == 0
            after = sink.position()
            assert (after.segment, after.written, after.played) == (before.segment + 1, 0, 0)
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            self._drain(sink, opened, wake)
            assert sink.position().played == opened.quantum

    def test_clear_is_idempotent(self) -> None:
        """Clearing an empty segment keeps its number."""
        with self._open() as (sink, opened, wake):
            first = sink.clear()
            assert (first.written, first.played, first.discarded) == (0, 0, 0)
            assert sink.position().segment == first.segment
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            sink.clear()
            segment = sink.position().segment
            again = sink.clear()
            assert (again.segment, again.written) == (segment, 0)
            assert sink.position().segment == segment

    def test_clear_ends_a_finish(self) -> None:
        """What follows the clear is a segment of its own, with a finish of its own."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, min(_frames(opened, 0.2), opened.buffer)))
            sink.finish()
            final = sink.clear()
            assert final.played + final.discarded == final.written
            wake.forget()
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            self._drain(sink, opened, wake)
            assert sink.position().played == opened.quantum

    def test_clear_from_another_thread(self) -> None:
        """``clear`` may come from any thread, also in the middle of writes."""
        with self._open() as (sink, opened, wake):
            finals: list[Position] = []

            def clear() -> None:
                finals.extend(sink.clear() for _ in range(20))

            clearer = threading.Thread(target=clear)
            clearer.start()
            total = 0
            while clearer.is_alive():
                total += sink.write(_audio(opened, opened.quantum))
            clearer.join()
            finals.append(sink.clear())
            wake.forget()
            ended = {final.segment: final for final in finals if final.written}
            assert sum(final.written for final in ended.values()) == total
            assert all(final.played + final.discarded == final.written for final in ended.values())

    # --- pausing ---

    def test_pause_holds_or_is_refused(self) -> None:
        """``pause`` and ``resume`` work exactly where ``can_pause`` says so."""
        with self._open() as (sink, opened, wake):
            if not sink.capabilities().can_pause:
                with pytest.raises(Unsupported):
                    sink.pause()
                with pytest.raises(Unsupported):
                    sink.resume()
                return
            frames = min(_frames(opened, 0.2), opened.buffer)
            self._write_all(sink, opened, wake, _audio(opened, frames))
            sink.pause()
            sink.resume()
            self._drain(sink, opened, wake)
            assert sink.position().played == frames

    # --- the end ---

    def test_close_twice(self) -> None:
        """``close`` is idempotent, with audio still waiting."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            sink.close()
            sink.close()

    def test_write_after_close(self) -> None:
        """A closed sink says so."""
        with self._open() as (sink, opened, _):
            sink.close()
            with pytest.raises(SinkClosed):
                sink.write(_audio(opened, opened.quantum))
            with pytest.raises(SinkClosed):
                sink.finish()

    def test_loss_is_told(self) -> None:
        """A lost sink wakes its host, raises SinkLost from ``write``, keeps its numbers, and can be closed."""
        with self._open() as (sink, opened, wake):
            wake.forget()
            if not self.lose(sink):
                pytest.skip("a loss of this sink cannot be brought about")
            with pytest.raises(SinkLost) as caught:
                self._write_until_lost(sink, opened, wake)
            assert caught.value.message
            with pytest.raises(SinkLost):
                sink.write(b"")
            position = sink.position()
            assert position.played <= position.written - position.discarded
            final = sink.clear()
            assert final.played + final.discarded == final.written
            sink.close()
            sink.close()

    def test_leaves_nothing_behind(self) -> None:
        """No descriptor and no thread outlives the close."""
        self._use_once()
        before = _resources()
        for _ in range(5):
            self._use_once()
        assert _settled(before), f"left behind: {before} became {_resources()}"

    def test_many_opens_and_closes(self) -> None:
        """Opening and closing again and again leaks nothing."""
        self._use_once()
        before = _resources()
        wake = RecordingWake()
        try:
            for _ in range(self.open_close_cycles):
                sink = self.make()
                sink.open(self.formats, wake)
                sink.close()
                wake.forget()
        finally:
            wake.close()
        assert _settled(before), f"left behind: {before} became {_resources()}"

    # --- helpers ---

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[Sink, Opened, RecordingWake]]:
        with _opening(self.make()) as (sink, wake):
            yield sink, sink.open(self.formats, wake), wake

    def _use_once(self) -> None:
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            self._drain(sink, opened, wake)

    def _write_until_lost(self, sink: Sink, opened: Opened, wake: RecordingWake) -> None:
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            sink.write(_audio(opened, opened.quantum))
            wake.wait(0.02)

    def _write_all(self, sink: Sink, opened: Opened, wake: RecordingWake, data: Any) -> None:
        view = memoryview(data)
        deadline = time.monotonic() + self.timeout_s + view.nbytes / opened.format.frame_bytes
        while view:
            taken = sink.write(view)
            view = view[taken * opened.format.frame_bytes :]
            if view:
                assert time.monotonic() < deadline, "takes no more"
                wake.wait(1)

    def _drain(self, sink: Sink, opened: Opened, wake: RecordingWake) -> None:
        """Calls ``finish`` and waits for the wake that it owes, others disregarded."""
        unplayed = sink.position().written - sink.position().played
        deadline = time.monotonic() + self.timeout_s + unplayed / opened.format.sample_rate
        sink.finish()
        while (left_s := deadline - time.monotonic()) > 0:
            assert wake.wait(left_s), "no wake after finish"
            position = sink.position()
            if position.played == position.written:
                return
        pytest.fail(f"finish did not play everything: {sink.position()}")

    def _wait_played(self, sink: Sink, opened: Opened, frames: int) -> None:
        deadline = time.monotonic() + self.timeout_s + frames / opened.format.sample_rate
        while sink.position().played < frames:
            assert time.monotonic() < deadline, f"not played: {sink.position()}"
            # Nothing tells when a frame has played that no finish follows.
            threading.Event().wait(0.005)


@contextlib.contextmanager
def _opening(sink: Sink) -> Iterator[tuple[Sink, RecordingWake]]:
    wake = RecordingWake()
    try:
        yield sink, wake
    finally:
        try:
            sink.close()
        finally:
            wake.close()


def _frames(opened: Opened, seconds: float) -> int:
    return round(opened.format.sample_rate * seconds)


def _audio(opened: Opened, frames: int) -> bytes:
    """A quiet counter: whole frames of harmless bytes."""
    size = frames * opened.format.frame_bytes
    return (bytes(range(1, 9)) * (size // 8 + 1))[:size]


def _resources() -> tuple[int, int]:
    gc.collect()
    descriptors = Path("/proc/self/fd")
    threads = Path("/proc/self/task")
    return (
        len(list(descriptors.iterdir())) if descriptors.is_dir() else 0,
        len(list(threads.iterdir())) if threads.is_dir() else threading.active_count(),
    )


def _settled(before: tuple[int, int]) -> bool:
    """True once there is no more than before; a thread that has ended takes a moment to vanish."""
    deadline = time.monotonic() + 2
    while any(now > then for now, then in zip(_resources(), before, strict=True)):
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True
