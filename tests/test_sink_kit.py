"""The kit for sinks passes right ones, whatever paces and wakes them, and fails each of many that break one rule."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import pytest
from paced_sink import NativePacedSink, PacedSink

from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkError, SinkLost
from voxwire.testing import SinkConformance, watched


class _Kit(SinkConformance):
    open_close_cycles = 30
    timeout_s = 2.0
    kind = PacedSink
    settings: dict = {}  # noqa: RUF012 - never changed

    def make(self):
        return self.kind(**self.settings)

    def lose(self, sink):
        sink.lose(SinkLost("device gone", errno=19))
        return True


class TestPaced(_Kit):
    pass


class TestPeriods(_Kit):
    settings = {"quantum": 480, "buffer_ms": 80, "can_pause": False}  # noqa: RUF012


class TestNative(_Kit):
    kind = NativePacedSink


class TestUnclearable(_Kit):
    settings = {"can_clear": False}  # noqa: RUF012


class TestUnpaced(_Kit):
    """As fast as it is written, like a file."""

    settings = {"clock": "none", "quality": "written", "speed": 1e6}  # noqa: RUF012


# --- one broken rule each


class ChangesTheFormat(PacedSink):
    """Plays at another rate than it was asked for."""

    def open(self, formats, wake):
        return super().open([AudioFormat()], wake)


class TakesTheLastFormat(PacedSink):
    def open(self, formats, wake):
        return super().open(list(formats)[::-1], wake)


class RefusesWithAnotherError(PacedSink):
    formats = (AudioFormat(),)

    def open(self, formats, wake):
        if AudioFormat() not in formats:
            raise SinkError("cannot play that")
        return super().open(formats, wake)


class RefusesForEver(PacedSink):
    """Cannot be opened once it has refused."""

    tried = False

    def open(self, formats, wake):
        if self.tried:
            raise SinkError("was opened before")
        self.tried = True
        return super().open(formats, wake)


class OpensWithoutABuffer(PacedSink):
    def open(self, formats, wake):
        return replace(super().open(formats, wake), buffer=0)


class ReturnsFloats(PacedSink):
    def write(self, data):
        return float(super().write(data))


class TakesMoreThanThereIs(PacedSink):
    def write(self, data):
        taken = super().write(data)
        return taken + 1 if taken else 0


class SaysItTookAll(PacedSink):
    """Drops what there is no room for."""

    def write(self, data):
        super().write(data)
        return memoryview(data).nbytes // self.format.frame_bytes


class ForgetsTheWakeAfterAShortWrite(PacedSink):
    def write(self, data):
        taken = super().write(data)
        self.short = False
        return taken


class ForgetsTheWakeAfterFinish(PacedSink):
    def tick(self, due):
        finishing = self.finishing
        return super().tick(due) and not finishing


class WakesAtFinishAtOnce(PacedSink):
    """Before everything has played, and never again."""

    def __init__(self):
        super().__init__()
        # So slow that a busy machine finds it playing still.
        self.speed = 0.2

    def finish(self):
        super().finish()
        self.call_host()

    def tick(self, due):
        return super().tick(due) and False


class Blocks(PacedSink):
    """Returns from a write when it has played."""

    def write(self, data):
        taken = super().write(data)
        time.sleep(self.format.duration_s(memoryview(data).nbytes))
        return taken


class CannotWriteNothing(PacedSink):
    def write(self, data):
        if not memoryview(data).nbytes:
            raise ValueError("nothing to write")
        return super().write(data)


class TakesPartOfAFrame(PacedSink):
    def write(self, data):
        whole = memoryview(data).nbytes // self.format.frame_bytes * self.format.frame_bytes
        return super().write(memoryview(data).cast("B")[:whole])


class CountsItems(PacedSink):
    """Takes the length of a buffer for its size."""

    def write(self, data):
        super().write(data)
        return len(data) // self.format.frame_bytes


class KeepsTheBuffer(PacedSink):
    def write(self, data):
        self.kept = [*getattr(self, "kept", []), memoryview(data)]
        return super().write(data)

    def close(self):
        self.kept = []
        super().close()


class FallsBack(PacedSink):
    """Its position swings, as a delay that is read late does."""

    readings = 0

    def read(self, discarded):
        position = super().read(discarded)
        self.readings += 1
        return replace(position, played=max(0, position.played - 50 * (self.readings % 2)))


class CountsSilence(PacedSink):
    def tick(self, due):
        owed = super().tick(due)
        if not self.queue and self.played:
            self.played += due
        return owed


class PlaysMoreThanWasWritten(PacedSink):
    def read(self, discarded):
        position = super().read(discarded)
        return replace(position, played=position.played + 1)


class CountsThePadding(PacedSink):
    quantum = 480

    def tick(self, due):
        before = self.played
        owed = super().tick(due)
        if self.played != before and self.played % self.quantum:
            self.played += self.quantum - self.played % self.quantum
            self.written = max(self.written, self.played)
        return owed


class DoesNotPad(PacedSink):
    quantum = 480

    def tick(self, due):
        finishing, self.finishing = self.finishing, False
        owed = super().tick(due)
        self.finishing = finishing and bool(self.queue)
        return owed or (finishing and not self.finishing)


class FinishEndsTheSegment(PacedSink):
    def finish(self):
        super().finish()
        while self.queue:
            time.sleep(0.001)
        self.segment += 1


class WaitsForFinish(PacedSink):
    """Its start threshold is the whole buffer."""

    started = False

    def tick(self, due):
        self.started = self.started or self.finishing or len(self.queue) == self.buffer * self.format.frame_bytes
        return super().tick(due if self.started else 0)


class DiesOfStarvation(PacedSink):
    starved_s = 0.0

    def tick(self, due):
        idle = not self.queue and self.played and not self.finishing
        self.starved_s = self.starved_s + 0.002 if idle else self.starved_s
        return super().tick(due if self.starved_s < 0.15 else 0)


class ClearsSlowly(PacedSink):
    def clear(self):
        time.sleep(0.2)
        return super().clear()


class ClearForgetsTheRest(PacedSink):
    def clear(self):
        return replace(super().clear(), discarded=0)


class ClearKeepsTheNumbers(PacedSink):
    """Goes on counting, as if the segment had not ended."""

    def clear(self):
        written, played = self.written, self.played
        final = super().clear()
        self.written, self.played = written, played + final.discarded
        return final


class EveryClearIsASegment(PacedSink):
    def clear(self):
        empty = not self.written
        final = super().clear()
        self.segment += empty
        return final


class ClearLeavesTheFinish(PacedSink):
    """Takes no more once it was asked to finish."""

    ending = False

    def finish(self):
        self.ending = bool(self.queue)
        super().finish()

    def write(self, data):
        if self.ending and memoryview(data).nbytes:
            return 0
        return super().write(data)

    def tick(self, due):
        owed = super().tick(due)
        self.ending = self.ending and not owed
        return owed


class DiscardsAgainstItsWord(PacedSink):
    def capabilities(self):
        return replace(super().capabilities(), can_clear=False)


class ClearRunsIntoWrites(PacedSink):
    """Forgets what is written while it clears."""

    def clear(self):
        final = self.read(len(self.queue) // self.format.frame_bytes)
        time.sleep(0.005)
        self.queue.clear()
        if final.written:
            self.segment += 1
            self.written = self.played = 0
        return final


class PausesInWords(PacedSink):
    def pause(self):
        pass


class CannotPauseAndDoesNotSay(PacedSink):
    can_pause = False

    def pause(self):
        pass

    resume = pause


class ChangesItsMind(PacedSink):
    asked = 0

    def capabilities(self):
        self.asked += 1
        return replace(super().capabilities(), max_lead_ms=self.asked)


class DescribesOptionsByText(PacedSink):
    options = {"speed": "times real time"}  # noqa: RUF012


class SecondCloseRaises(PacedSink):
    def close(self):
        if self.closed:
            raise SinkError("is closed already")
        super().close()


class TakesAfterClose(PacedSink):
    def check(self):
        if not self.closed:
            super().check()


class LosesInSilence(PacedSink):
    def lose(self, error):
        self.error = error


class DoesNotTellTheLoss(PacedSink):
    def lose(self, error):
        self.call_host()
        self.error = error

    def check(self):
        pass


class LeavesAThread(PacedSink):
    def close(self):
        if not self.closed:
            threading.Thread(target=time.sleep, args=(4,), daemon=True).start()
        super().close()


class LeavesADescriptor(PacedSink):
    left: list = []  # noqa: RUF012 - until the end of the test

    def open(self, formats, wake):
        self.left.append(socket.socket())
        return super().open(formats, wake)


DEFECTS = [
    (ChangesTheFormat, "test_refuses_a_format_that_it_cannot_do"),
    (TakesTheLastFormat, "test_takes_the_first_format_that_it_can_do"),
    (RefusesWithAnotherError, "test_refuses_a_format_that_it_cannot_do"),
    (RefusesForEver, "test_refuses_a_format_that_it_cannot_do"),
    (OpensWithoutABuffer, "test_refuses_a_format_that_it_cannot_do"),
    (ReturnsFloats, "test_takes_part_of_a_write_and_wakes_for_the_rest"),
    (TakesMoreThanThereIs, "test_one_frame_is_played_after_finish"),
    (SaysItTookAll, "test_takes_part_of_a_write_and_wakes_for_the_rest"),
    (ForgetsTheWakeAfterAShortWrite, "test_takes_part_of_a_write_and_wakes_for_the_rest"),
    (ForgetsTheWakeAfterFinish, "test_finish_does_not_end_the_segment"),
    (WakesAtFinishAtOnce, "test_position_never_falls"),
    (Blocks, "test_never_blocks"),
    (CannotWriteNothing, "test_an_empty_write_takes_nothing"),
    (TakesPartOfAFrame, "test_refuses_part_of_a_frame"),
    (CountsItems, "test_takes_any_buffer_and_keeps_none"),
    (KeepsTheBuffer, "test_takes_any_buffer_and_keeps_none"),
    (FallsBack, "test_position_never_falls"),
    (CountsSilence, "test_starvation_loses_nothing"),
    (PlaysMoreThanWasWritten, "test_position_never_falls"),
    (CountsThePadding, "test_one_frame_is_played_after_finish"),
    (DoesNotPad, "test_one_frame_is_played_after_finish"),
    (FinishEndsTheSegment, "test_finish_does_not_end_the_segment"),
    (WaitsForFinish, "test_a_short_utterance_is_heard_without_finish"),
    (DiesOfStarvation, "test_starvation_loses_nothing"),
    (ClearsSlowly, "test_clear_accounts_for_every_frame"),
    (ClearForgetsTheRest, "test_clear_accounts_for_every_frame"),
    (ClearKeepsTheNumbers, "test_clear_accounts_for_every_frame"),
    (EveryClearIsASegment, "test_clear_is_idempotent"),
    (ClearLeavesTheFinish, "test_clear_ends_a_finish"),
    (DiscardsAgainstItsWord, "test_clear_accounts_for_every_frame"),
    (ClearRunsIntoWrites, "test_clear_from_another_thread"),
    (PausesInWords, "test_pause_holds_or_is_refused"),
    (CannotPauseAndDoesNotSay, "test_pause_holds_or_is_refused"),
    (ChangesItsMind, "test_describes_itself"),
    (DescribesOptionsByText, "test_describes_itself"),
    (SecondCloseRaises, "test_close_twice"),
    (TakesAfterClose, "test_write_after_close"),
    (LosesInSilence, "test_loss_is_told"),
    (DoesNotTellTheLoss, "test_loss_is_told"),
    (LeavesAThread, "test_leaves_nothing_behind"),
    (LeavesAThread, "test_many_opens_and_closes"),
    (LeavesADescriptor, "test_leaves_nothing_behind"),
    (LeavesADescriptor, "test_many_opens_and_closes"),
]


@pytest.mark.parametrize(("defect", "test"), DEFECTS, ids=[f"{kind.__name__}-{test}" for kind, test in DEFECTS])
def test_a_sink_that_breaks_a_rule_fails(defect, test):
    class Kit(_Kit):
        timeout_s = 0.7
        kind = defect

    try:
        with pytest.raises(BaseException) as caught:
            getattr(Kit(), test)()
        assert not isinstance(caught.value, pytest.skip.Exception)
    finally:
        while LeavesADescriptor.left:
            LeavesADescriptor.left.pop().close()


@pytest.mark.parametrize("method", ["capabilities", "open", "write", "finish", "clear", "position", "close"])
def test_a_method_that_never_returns_fails_its_test_by_name(monkeypatch, method):
    monkeypatch.setattr(watched, "_NEVER_S", {})
    monkeypatch.setattr(watched, "_ELSE_NEVER_S", 0.3)
    release = threading.Event()

    class Kit(_Kit):
        def make(self):
            sink = PacedSink()
            setattr(sink, method, lambda *_: release.wait())
            return sink

    try:
        with pytest.raises(pytest.fail.Exception, match=f"^{method} did not return within 0.3 s$"):
            Kit().test_clear_ends_a_finish()
    finally:
        release.set()


def test_every_test_of_the_kit_has_caught_something():
    assert {name for name in dir(SinkConformance) if name.startswith("test_")} == {test for _, test in DEFECTS}
