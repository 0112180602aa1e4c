"""What every sink must do, as tests that its author inherits.

    from my_package import MySink
    from voxwire.sinks import Address
    from voxwire.testing import SinkConformance

    class TestMySink(SinkConformance):
        def make(self):
            return MySink(Address("mine", "somewhere"))

pytest runs them, with or without plugins. Each test runs on a thread of its own, so that a method that never returns
fails its test instead of stopping the run.
"""

# ruff: noqa: S101 - asserting is what this module is for

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused, SinkClosed, SinkError, SinkLost, Unsupported
from voxwire.sinks import Clock, FormatPattern, Opened, Option, Position, Probe, Quality, accepts
from voxwire.testing.wake import RecordingWake
from voxwire.testing.watched import Aside, Calls, Watched, bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voxwire.sinks import Sink

__all__ = ["RecordingWake", "SinkConformance"]

#: Ten times the 5 ms of the contract, so that a busy machine fails no sink.
_CLEAR_S = 0.05
_STARVED_S = 0.4
_NONSENSE = AudioFormat("pcm_f32le", 767_999, 7)


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

    _calls: Calls

    @abstractmethod
    def make(self) -> Sink:
        """Returns a fresh sink that was never opened; called many times, also while another one is open."""

    def lose(self, sink: Sink) -> bool:
        """Makes the open sink lose its device, file or peer; False where that cannot be brought about."""
        del sink
        return False

    # --- before the open ---

    @bounded
    def test_describes_itself(self) -> None:
        """Version, options, probe and capabilities have the types of the contract."""
        sink = self.make()
        assert sink.api_version == 1
        assert isinstance(sink.options, Mapping)
        for name, option in sink.options.items():
            assert isinstance(name, str)
            assert isinstance(option, Option), f"option {name!r} is {type(option).__name__}, must be Option"
            assert option.help, f"option {name!r} has no help"
            assert callable(option.parse)
        probe = self._calls.make("probe", sink.probe)
        assert isinstance(probe, Probe)
        assert probe.usable or probe.reason, "it is not usable and does not say why"
        watched = Watched(sink, self._calls)
        capabilities = watched.capabilities()
        assert capabilities == watched.capabilities(), "capabilities change"
        patterns = capabilities.formats
        assert patterns is None or all(isinstance(pattern, AudioFormat | FormatPattern) for pattern in patterns)
        assert patterns is None or (patterns and isinstance(patterns, tuple))
        assert capabilities.clock in get_args(Clock)
        assert capabilities.position in get_args(Quality)
        assert (type(capabilities.can_clear), type(capabilities.can_pause)) == (bool, bool)
        assert type(capabilities.max_lead_ms) is int
        assert capabilities.max_lead_ms >= 0

    @bounded
    def test_refuses_a_format_that_it_cannot_do(self) -> None:
        """``open`` never changes a format: one that it can do exactly, or FormatRefused; then it may be asked again."""
        with self._opening() as (sink, wake):
            with pytest.raises(FormatRefused):
                sink.open([], wake)
            sink.open(self.formats, wake)
        patterns = self.make().capabilities().formats
        known = patterns is not None and any(accepts(pattern, _NONSENSE) for pattern in patterns)
        with self._opening() as (sink, wake):
            try:
                sink.open([_NONSENSE], wake)
            except FormatRefused:
                assert not known, "a format that the capabilities name was refused"
        with self._opening() as (sink, wake):
            sink.open([_NONSENSE, *self.formats], wake)

    @bounded
    def test_takes_the_first_format_that_it_can_do(self) -> None:
        """What is offered first is wanted most."""
        with self._open() as (_, opened, _):
            chosen = self.formats.index(opened.format)
        for better in self.formats[:chosen]:
            with self._opening() as (sink, wake), pytest.raises(FormatRefused):
                sink.open([better], wake)

    # --- writing and playing ---

    @bounded
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
                written += taken
                if taken < offered:
                    buffer_s = opened.buffer / opened.format.sample_rate
                    assert wake.wait(buffer_s + self.timeout_s), "no wake after a short write"
            assert sink.position().written == total
            self._drain(sink, opened, wake)
            assert sink.position().played == total

    @bounded
    def test_never_blocks(self) -> None:
        """``write`` takes what there is room for and returns, and so does every other method."""
        with self._open() as (sink, opened, _):
            frames = min(opened.buffer, 2 * opened.format.sample_rate) + opened.format.sample_rate
            written = sink.write(_audio(opened, frames))
            written += sink.write(_audio(opened, frames))
            sink.finish()
            assert sink.position().written == written
            assert sink.clear().written == written

    @bounded
    def test_an_empty_write_takes_nothing(self) -> None:
        """The host asks with it whether the sink is lost."""
        with self._open() as (sink, _, _):
            assert sink.write(b"") == 0
            assert sink.position().written == 0

    @bounded
    def test_refuses_part_of_a_frame(self) -> None:
        """A buffer that ends inside a frame is an error, and nothing of it is taken."""
        with self._open() as (sink, opened, _):
            if opened.format.frame_bytes == 1:
                pytest.skip("a frame is one byte")
            with pytest.raises((ValueError, SinkError)):
                sink.write(b"\0" * (opened.format.frame_bytes + 1))
            assert sink.position().written == 0

    @bounded
    def test_takes_any_buffer_and_keeps_none(self) -> None:
        """Of bytes or of larger items, read-only or not: the buffer is the caller's again once ``write`` returned."""
        with self._open() as (sink, opened, wake):
            # An even number, as the items of one of the buffers have two bytes.
            frames = 2 * max(1, min(_frames(opened, 0.01), opened.buffer // 10))
            data = bytearray(_audio(opened, frames))
            view = memoryview(data)
            items = array("H", bytes(data))
            kinds = (data, view, view.toreadonly(), bytes(data), items)
            for kind in kinds:
                taken = sink.write(kind)
                self._write_all(sink, opened, wake, bytes(data)[taken * opened.format.frame_bytes :])
            view.release()
            del kinds, kind
            # A kept export of a buffer would make these a BufferError.
            data.clear()
            del items[:]
            self._drain(sink, opened, wake)
            assert sink.position().played == 5 * frames

    @bounded
    def test_position_never_falls(self) -> None:
        """``played`` is monotonic within a segment and never beyond ``written``, polled from another thread."""
        with self._open() as (sink, opened, wake):
            stop = threading.Event()
            seen: list[Position] = []

            def poll() -> None:
                while not stop.is_set():
                    seen.append(sink.position())

            poller = Aside(poll)
            try:
                for _ in range(5):
                    self._write_all(sink, opened, wake, _audio(opened, _frames(opened, 0.05)))
                self._drain(sink, opened, wake)
            finally:
                stop.set()
            poller.done()
            seen.append(sink.position())
            for before, after in itertools.pairwise(seen):
                assert after.segment == before.segment
                assert after.played >= before.played, f"played fell from {before.played} to {after.played}"
                assert after.written >= before.written
                assert after.xruns >= before.xruns
                assert after.at_ns >= before.at_ns
            assert seen[-1].played == seen[-1].written

    @bounded
    def test_one_frame_is_played_after_finish(self) -> None:
        """A short last quantum is padded; the padding is not counted."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, 1))
            self._drain(sink, opened, wake)
            assert sink.position().written == 1
            assert sink.position().played == 1

    @bounded
    def test_finish_does_not_end_the_segment(self) -> None:
        """What is written behind a finish is counted on."""
        with self._open() as (sink, opened, wake):
            segment = sink.position().segment
            for count in (1, 2):
                self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
                self._drain(sink, opened, wake)
                assert sink.position().segment == segment
                assert sink.position().played == count * opened.quantum

    @bounded
    def test_a_short_utterance_is_heard_without_finish(self) -> None:
        """40 ms (and whole quanta) play although nothing follows them."""
        with self._open() as (sink, opened, wake):
            quanta = max(1, -(-_frames(opened, 0.04) // opened.quantum))
            self._write_all(sink, opened, wake, _audio(opened, quanta * opened.quantum))
            self._wait_played(sink, opened, quanta * opened.quantum)

    @bounded
    def test_starvation_loses_nothing(self) -> None:
        """After 0.4 s without audio the sink goes on, and silence that it inserted is not counted."""
        with self._open() as (sink, opened, wake):
            frames = max(1, _frames(opened, 0.1) // opened.quantum) * opened.quantum
            self._write_all(sink, opened, wake, _audio(opened, frames))
            self._wait_played(sink, opened, frames)
            assert not threading.Event().wait(_STARVED_S)
            assert sink.position().played == frames
            self._write_all(sink, opened, wake, _audio(opened, frames))
            self._drain(sink, opened, wake)
            position = sink.position()
            assert (position.written, position.played, position.discarded) == (2 * frames, 2 * frames, 0)

    # --- clearing ---

    @bounded
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
            after = sink.position()
            assert (after.segment, after.written, after.played) == (before.segment + 1, 0, 0)
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            self._drain(sink, opened, wake)
            assert sink.position().played == opened.quantum

    @bounded
    def test_clear_is_idempotent(self) -> None:
        """Clearing an empty segment keeps its number."""
        with self._open() as (sink, opened, wake):
            first = sink.clear()
            assert (first.written, first.played, first.discarded) == (0, 0, 0)
            assert sink.position().segment == first.segment
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            sink.clear()
            segment = sink.position().segment
            assert segment == first.segment + 1
            again = sink.clear()
            assert (again.segment, again.written) == (segment, 0)
            assert sink.position().segment == segment

    @bounded
    def test_clear_ends_a_finish(self) -> None:
        """What follows the clear is a segment of its own, with a finish of its own."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, min(_frames(opened, 0.2), opened.buffer)))
            sink.finish()
            sink.clear()
            wake.forget()
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            self._drain(sink, opened, wake)
            assert sink.position().played == opened.quantum

    @bounded
    def test_clear_from_another_thread(self) -> None:
        """``clear`` may come from any thread, also in the middle of writes."""
        with self._open() as (sink, opened, wake):
            finals: list[Position] = []

            def clear() -> None:
                finals.extend(sink.clear() for _ in range(20))

            clearer = Aside(clear)
            total = 0
            while clearer.is_alive():
                total += sink.write(_audio(opened, opened.quantum))
            clearer.done()
            finals.append(sink.clear())
            wake.forget()
            ended = {final.segment: final for final in finals if final.written}
            assert sum(final.written for final in ended.values()) == total

    # --- pausing ---

    @bounded
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
            if sink.position().played == frames:
                pytest.skip("it plays faster than it can be paused")
            assert not threading.Event().wait(_STARVED_S)
            assert sink.position().played < frames, "it plays on while it is paused"
            sink.resume()
            self._drain(sink, opened, wake)
            assert sink.position().played == frames

    # --- the end ---

    @bounded
    def test_close_twice(self) -> None:
        """``close`` is idempotent, with audio still waiting."""
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            sink.close()
            sink.close()

    @bounded
    def test_write_after_close(self) -> None:
        """A closed sink says so."""
        with self._open() as (sink, opened, _):
            sink.close()
            with pytest.raises(SinkClosed):
                sink.write(_audio(opened, opened.quantum))
            with pytest.raises(SinkClosed):
                sink.finish()

    @bounded
    def test_loss_is_told(self) -> None:
        """A lost sink wakes its host, raises SinkLost from ``write``, keeps its numbers, and can be closed."""
        with self._open() as (sink, opened, wake):
            wake.forget()
            if not self.lose(sink.sink):
                pytest.skip("a loss of this sink cannot be brought about")
            assert self._write_until_lost(sink, opened, wake).message
            with pytest.raises(SinkLost):
                sink.write(b"")
            sink.position()
            sink.clear()
            sink.close()
            sink.close()

    @bounded
    def test_leaves_nothing_behind(self) -> None:
        """No descriptor and no thread outlives the close."""
        self._use_once()
        before = _resources()
        for _ in range(5):
            self._use_once()
        assert _settled(before), f"left behind: {before} became {_resources()}"

    @bounded
    def test_many_opens_and_closes(self) -> None:
        """Opening and closing again and again leaks nothing."""
        self._use_once()
        before = _resources()
        wake = RecordingWake()
        try:
            for _ in range(self.open_close_cycles):
                sink = self._make()
                sink.open(self.formats, wake)
                sink.close()
                wake.forget()
        finally:
            wake.close()
        assert _settled(before), f"left behind: {before} became {_resources()}"

    # --- helpers ---

    def _make(self) -> Watched:
        return Watched(self._calls.make("make", self.make), self._calls)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[tuple[Watched, RecordingWake]]:
        sink, wake = self._make(), RecordingWake()
        try:
            yield sink, wake
        finally:
            try:
                sink.close()
            finally:
                wake.close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[Watched, Opened, RecordingWake]]:
        with self._opening() as (sink, wake):
            yield sink, sink.open(self.formats, wake), wake

    def _use_once(self) -> None:
        with self._open() as (sink, opened, wake):
            self._write_all(sink, opened, wake, _audio(opened, opened.quantum))
            self._drain(sink, opened, wake)

    def _write_until_lost(self, sink: Watched, opened: Opened, wake: RecordingWake) -> SinkLost:
        """Writes until the loss shows, and makes sure that the sink has woken its host for it."""
        woken = False
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            try:
                sink.write(_audio(opened, opened.quantum))
            except SinkLost as lost:
                assert woken or wake.wait(self.timeout_s), "no wake for the loss"
                return lost
            woken = wake.wait(0.02) or woken
        pytest.fail("write does not tell of the loss")

    def _write_all(self, sink: Watched, opened: Opened, wake: RecordingWake, data: Any) -> None:
        view = memoryview(data)
        deadline = time.monotonic() + self.timeout_s + opened.format.duration_s(view.nbytes)
        while view:
            taken = sink.write(view)
            view = view[taken * opened.format.frame_bytes :]
            if view:
                assert time.monotonic() < deadline, "takes no more"
                wake.wait(1)

    def _drain(self, sink: Watched, opened: Opened, wake: RecordingWake) -> None:
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

    def _wait_played(self, sink: Watched, opened: Opened, frames: int) -> None:
        deadline = time.monotonic() + self.timeout_s + frames / opened.format.sample_rate
        while sink.position().played < frames:
            assert time.monotonic() < deadline, f"not played: {sink.position()}"
            # Nothing tells when a frame has played that no finish follows.
            threading.Event().wait(0.005)


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
