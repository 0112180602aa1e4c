from __future__ import annotations

import asyncio
import itertools
import struct
import threading
import time
from typing import ClassVar

import pytest

from voxwire import plugins
from voxwire.audio import AudioFormat
from voxwire.client.events import Audio, FlushDone, Word, Words
from voxwire.exceptions import (
    ConnectionLost,
    DrainTimeout,
    FormatRefused,
    SinkClosed,
    SinkError,
    SinkLost,
    Unsupported,
)
from voxwire.playback import Output, open_sink, play
from voxwire.playback import output as output_module
from voxwire.sinks import Capabilities, FormatPattern, Opened, Position, Probe, choose_format

MONO = AudioFormat()
RATE = MONO.sample_rate
HALF_SECOND = RATE // 2
ANY = (FormatPattern(),)


def samples(start, count):
    return struct.pack(f"<{count}h", *[(start + index) % 32000 + 1 for index in range(count)])


class Device:
    """A device whose clock is the test: nothing plays until ``advance``."""

    api_version = 1
    options: ClassVar[dict] = {}
    inline = True

    def __init__(self, *, formats=ANY, buffer=1 << 30, can_clear=True, can_pause=True, lead_ms=0):
        self._capabilities = Capabilities(formats, "device", "measured", can_clear, can_pause, lead_ms)
        self.buffer = buffer
        self.format = None
        self.wake = None
        self.offered = []
        self.queue = b""
        self.heard = b""
        self.segment = self.written = self.played = 0
        self.xruns = 0
        self.paused = False
        self.short = self.finishing = False
        self.finishes = 0
        self.closed = 0
        self.failure = None
        self.opening = threading.Event()
        self.opening.set()
        self.threads = {}

    @classmethod
    def probe(cls):
        return Probe(usable=True)

    def capabilities(self):
        return self._capabilities

    def open(self, formats, wake):
        self.threads["open"] = threading.get_ident()
        self.offered = list(formats)
        assert self.opening.wait(10)
        self.format = choose_format(formats, self._capabilities.formats or ANY, "device")
        self.wake = wake
        return Opened(self.format, 1, self.buffer, 0)

    def write(self, data):
        self.threads["write"] = threading.get_ident()
        if self.failure is not None:
            raise self.failure
        view = memoryview(data)
        frames = view.nbytes // self.format.frame_bytes
        taken = min(frames, self.buffer - len(self.queue) // self.format.frame_bytes)
        self.short = self.short or taken < frames
        self.queue += bytes(view[: taken * self.format.frame_bytes])
        self.written += taken
        return taken

    def finish(self):
        self.finishes += 1
        self.finishing = True

    def clear(self):
        discarded = len(self.queue) // self.format.frame_bytes
        if not self._capabilities.can_clear:
            self.heard += self.queue
            self.played += discarded
            discarded = 0
        self.queue = b""
        final = self._read(discarded)
        if self.written:
            self.segment += 1
            self.written = self.played = 0
        self.finishing = self.short = False
        return final

    def position(self):
        return self._read(0)

    def _read(self, discarded):
        return Position(
            self.segment, self.written, self.played, discarded, self.xruns, time.monotonic_ns(), 24, "measured"
        )

    def pause(self):
        if not self._capabilities.can_pause:
            raise Unsupported("no pause")
        self.paused = True

    def resume(self):
        self.paused = False

    def close(self):
        self.threads["close"] = threading.get_ident()
        self.closed += 1

    def advance(self, frames):
        """Plays, and wakes the host where the contract owes it."""
        if self.paused:
            return
        size = frames * self.format.frame_bytes
        piece, self.queue = self.queue[:size], self.queue[size:]
        self.heard += piece
        self.played += len(piece) // self.format.frame_bytes
        owed = self.short and 2 * len(self.queue) // self.format.frame_bytes <= self.buffer
        owed = owed or (self.finishing and not self.queue)
        if owed:
            self.short = self.finishing = False
            self.wake()

    def fail(self, error):
        self.failure = error
        self.wake()


class FakeContext:
    """What a playback needs of a context."""

    def __init__(self, *, requested=None, audio_format=None, text="", words=()):
        self.playback = None
        self.outcome = None
        self.format = audio_format
        self.requested_format = requested
        self.pushed_text = text
        self.words = list(words)
        self.complete = False
        self.calls = []
        self.consumer = None
        self.error = None
        self.heard = None
        self.queued = []

    def __getattr__(self, name):
        if name in {"request_timestamps", "hold_input", "release_input", "refuse_input", "note_raised"}:
            return lambda: self.calls.append(name)
        raise AttributeError(name)

    def fix_format(self, audio_format):
        assert self.format is None
        self.format = audio_format

    def attach(self, consumer):
        if self.consumer is not None:
            raise RuntimeError("second consumer")
        self.consumer = consumer
        consumer.handle_events(self.queued)

    def set_heard(self, heard, *, first_sound_at_s=None, underruns=0):
        self.heard = heard
        self.first_sound_at_s, self.underruns = first_sound_at_s, underruns

    def end_played(self):
        self.outcome = self.outcome or "finished"

    def end_interrupted(self):
        self.outcome = self.outcome or "cancelled"

    def end_failed(self, error):
        self.outcome, self.error = self.outcome or "failed", error

    # What a test does.

    async def play(self, sink):
        self.playback = await play(self, sink)
        return self.playback

    def audio(self, data):
        self.consumer.handle_events([Audio(data, self.format, 0.0, None, self)])

    def done(self, error=None):
        self.consumer.handle_end(error)


async def turn(predicate, timeout_s=5):
    """Lets the loop run until something is so."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.001)


async def wait(playback, timeout_s=5):
    return await asyncio.wait_for(playback.wait(), timeout_s)


# --- the plain way ---


async def test_audio_reaches_the_sink_in_the_call_that_delivers_it():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        assert line.format is None
        playback = await context.play(line)
        assert (line.format, context.format, line.sink) == (MONO, MONO, device)
        context.audio(samples(0, 1000))
        assert device.queue == samples(0, 1000)
        context.audio(samples(1000, 500))
        context.done()
        device.advance(1499)
        assert playback.played_s == 1499 / RATE
        assert not playback.over
        device.advance(1)
        heard = await wait(playback)
    assert device.heard == samples(0, 1500)
    assert heard.played_s == 1500 / RATE
    assert (heard.certainty.quality, heard.certainty.bound_s) == ("measured", 24 / RATE)
    assert context.outcome == "finished"
    assert context.heard is heard
    assert device.closed == 1
    main = threading.get_ident()
    assert device.threads["write"] == main
    assert main not in {device.threads["open"], device.threads["close"]}


async def test_play_asks_for_times_and_holds_the_text_while_the_sink_opens():
    context = FakeContext()
    async with open_sink(Device()) as line:
        await context.play(line)
        context.done()
    assert context.calls == ["request_timestamps", "hold_input", "release_input"]


async def test_an_address_is_opened_and_closed_by_its_playback():
    context = FakeContext()
    playback = await context.play("null:")
    context.audio(samples(0, 10))
    context.done()
    assert (await wait(playback)).played_s == 10 / RATE
    assert context.outcome == "finished"
    assert playback.over


async def test_plays_follow_gaplessly_and_end_one_by_one():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        second.audio(samples(500, 500))
        first.audio(samples(0, 500))
        assert device.queue == samples(0, 500)
        first.done()
        assert device.queue == samples(0, 1000)
        assert device.finishes == 0, "a finish in between would pad"
        second.done()
        assert device.finishes == 1
        device.advance(600)
        assert (await wait(one)).played_s == 500 / RATE
        assert two.played_s == 100 / RATE
        assert not two.over
        device.advance(400)
        await wait(two)
    assert device.heard == samples(0, 1000)
    assert (first.outcome, second.outcome) == ("finished", "finished")


async def test_a_late_second_play_gets_a_finish_before_it():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 100))
        first.done()
        assert device.finishes == 1
        device.advance(100)
        await wait(one)
        second.audio(samples(100, 100))
        second.done()
        device.advance(100)
        await wait(two)
    assert device.heard == samples(0, 200)


async def test_a_context_without_audio_is_over_at_once():
    context = FakeContext()
    async with open_sink(Device()) as line:
        playback = await context.play(line)
        context.done()
        assert (await wait(playback)).played_s == 0.0
    assert context.outcome == "finished"


async def test_what_came_before_play_is_played():
    device, context = Device(), FakeContext(audio_format=MONO)
    context.queued = [Audio(samples(0, 10), MONO, 0.0, None), FlushDone(1), Audio(samples(10, 10), MONO, 0.0, None)]
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.done()
        device.advance(20)
        await wait(playback)
    assert device.heard == samples(0, 20)
    assert context.calls == ["hold_input", "release_input"]


# --- formats ---


async def test_the_wanted_format_is_offered_first_and_unchanged():
    wanted = AudioFormat("pcm_alaw", 16000)
    device, context = Device(), FakeContext(requested=wanted)
    async with open_sink(device) as line:
        await context.play(line)
        context.done()
    assert device.offered[0] == wanted
    assert device.format == context.format == wanted


async def test_the_server_is_asked_for_what_the_sink_prefers():
    device = Device(formats=(AudioFormat("pcm_mulaw", 8000), FormatPattern("pcm_s16le")))
    context = FakeContext()
    async with open_sink(device) as line:
        await context.play(line)
        context.done()
    assert device.format == context.format == AudioFormat("pcm_mulaw", 8000)


async def test_a_format_outside_the_protocol_is_reached_by_transcoding():
    device, context = Device(formats=(FormatPattern("pcm_s16le", 12000),)), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        assert device.format == AudioFormat("pcm_s16le", 12000)
        assert context.format == AudioFormat("pcm_s16le", 16000)
        for _ in range(10):
            context.audio(struct.pack("<1600h", *[1000] * 1600))
        context.done()
        device.advance(100_000)
        heard = await wait(playback)
    assert heard.played_s == 1.0
    middle = struct.unpack("<100h", device.heard[12000:12200])
    assert all(abs(value - 1000) < 20 for value in middle)


async def test_a_fixed_format_is_transcoded_sample_for_sample():
    device, context = Device(formats=(AudioFormat("pcm_f32le", RATE),)), FakeContext(audio_format=MONO)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(struct.pack("<3h", 0, 16384, -32768))
        context.done()
        device.advance(3)
        await wait(playback)
    assert struct.unpack("<3f", device.heard) == (0.0, 0.5, -1.0)


async def test_a_wanted_format_that_the_sink_refuses_is_transcoded():
    wanted = AudioFormat("pcm_s16le", RATE)
    device, context = Device(formats=(AudioFormat("pcm_mulaw", RATE),)), FakeContext(requested=wanted)
    async with open_sink(device) as line:
        playback = await context.play(line)
        assert device.offered[0] == context.format == wanted
        context.audio(bytes(200))
        context.done()
        device.advance(100)
        await wait(playback)
    assert device.heard == b"\xff" * 100


async def test_a_sink_that_learns_its_formats_at_open_is_offered_the_protocols():
    device, context = Device(formats=None), FakeContext()
    async with open_sink(device) as line:
        await context.play(line)
        context.done()
    assert device.offered[0] == MONO
    assert len(device.offered) == 4 * 6
    assert len(set(device.offered)) == 4 * 6


async def test_the_second_play_uses_the_open_format():
    device, first, second = Device(), FakeContext(requested=AudioFormat("pcm_mulaw", 8000)), FakeContext()
    async with open_sink(device) as line:
        await first.play(line)
        first.done()
        await second.play(line)
        second.done()
    assert second.format == AudioFormat("pcm_mulaw", 8000)


async def test_a_refused_format_is_raised_by_play_and_the_line_can_be_used_again():
    device, context = Device(formats=(FormatPattern("pcm_s16le", channels=2),)), FakeContext()
    async with open_sink(device) as line:
        with pytest.raises(FormatRefused):
            await context.play(line)
        assert context.calls[-1] == "release_input"
        device._capabilities = Device(formats=(MONO,)).capabilities()
        line._host._capabilities = None
        await context.play(line)
        context.done()


# --- back-pressure ---


async def test_a_full_sink_is_filled_again_when_it_wakes():
    device, context = Device(buffer=1000), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 5000))
        assert len(device.queue) == 2000
        assert playback.buffered_bytes == 8000
        context.done()
        while not playback.over:
            device.advance(250)
            await asyncio.sleep(0)
        assert device.heard == samples(0, 5000)
        assert playback.buffered_bytes == 0
        assert device.finishes == 1


async def test_no_more_than_max_lead_is_handed_over():
    device, context = Device(lead_ms=20), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 2000))
        context.done()
        assert len(device.queue) == 2 * 480
        while not playback.over:
            assert len(device.queue) <= 2 * 480
            device.advance(100)
            await asyncio.sleep(0.001)
    assert device.heard == samples(0, 2000)


async def test_prebuffer_gathers_before_it_begins():
    device, context = Device(), FakeContext()
    async with open_sink(device, prebuffer_ms=100) as line:
        playback = await context.play(line)
        context.audio(samples(0, 2399))
        assert device.queue == b""
        context.audio(samples(2399, 1))
        assert device.queue == samples(0, 2400)
        context.audio(samples(2400, 1))
        assert device.queue == samples(0, 2401)
        context.done()
        device.advance(2401)
        await wait(playback)


async def test_prebuffer_gives_way_to_the_end():
    device, context = Device(), FakeContext()
    async with open_sink(device, prebuffer_ms=100) as line:
        playback = await context.play(line)
        context.audio(samples(0, 10))
        context.done()
        device.advance(10)
        await wait(playback)
    assert device.heard == samples(0, 10)


async def test_a_sink_that_stands_still_is_given_up(monkeypatch):
    monkeypatch.setattr(output_module, "STALL_TIMEOUT_S", 0.05)
    monkeypatch.setattr(output_module, "_LONGEST_TIMER_S", 0.01)
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 100))
        context.done()
        device.advance(40)
        with pytest.raises(DrainTimeout, match="played nothing for"):
            await wait(playback)
        assert playback.heard.played_s == 40 / RATE
    assert context.outcome == "failed"
    assert isinstance(context.error, DrainTimeout)


# --- interruption ---

TEXT = "One two. Three four."
WORDS = [
    Word("One", 0.0, 0.01, (0, 3)),
    Word("two.", 0.01, 0.02, (4, 8)),
    Word("Three", 0.02, 0.03, (9, 14)),
    Word("four.", 0.03, 0.04, (15, 20)),
]
FRAMES_PER_WORD = RATE // 100


async def test_interrupt_clears_and_tells_what_was_heard():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 4 * FRAMES_PER_WORD))
        device.advance(FRAMES_PER_WORD + 50)
        interruption = asyncio.ensure_future(playback.interrupt())
        await asyncio.sleep(0)
        # Before its first suspension: the context is told and the sink is empty.
        assert context.outcome == "cancelled"
        assert device.queue == b""
        heard = await interruption
        assert heard.played_s == (FRAMES_PER_WORD + 50) / RATE
        assert (heard.text, heard.rest) == ("One", " two. Three four.")
        assert heard.heard == tuple(WORDS[:1])
        assert heard.half_heard == tuple(WORDS[1:2])
        assert heard.unheard == tuple(WORDS[2:])
        assert await playback.interrupt() is heard
        assert await wait(playback) is heard
        assert playback.heard is heard
        context.audio(samples(0, 100))
        context.done()
        assert device.queue == b""
    assert context.outcome == "cancelled"


async def test_interrupt_after_done_is_an_interruption_too():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 100))
        context.done()
        assert context.outcome is None
        device.advance(10)
        assert (await playback.interrupt()).played_s == 10 / RATE
    assert context.outcome == "cancelled"


async def test_interrupt_after_the_end_returns_the_same():
    context = FakeContext()
    async with open_sink("null:") as line:
        playback = await context.play(line)
        context.audio(samples(0, 100))
        context.done()
        heard = await wait(playback)
        assert await playback.interrupt() is heard
    assert context.outcome == "finished"


async def test_a_failed_context_stays_failed():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 100))
        context.outcome = "failed"
        error = ConnectionLost("gone")
        context.done(error)
        heard = await playback.interrupt()
        assert heard.played_s == 0.0
        with pytest.raises(ConnectionLost) as caught:
            await wait(playback)
        assert caught.value is error
    assert context.outcome == "failed"


async def test_what_follows_an_interrupted_play_is_not_lost():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 1000))
        first.done()
        second.audio(samples(5000, 600))
        second.done()
        assert len(device.queue) == 2 * 1600
        device.advance(300)
        assert (await one.interrupt()).played_s == 300 / RATE
        assert two.played_s == 0.0
        device.advance(10_000)
        assert (await wait(two)).played_s == 600 / RATE
    assert device.heard == samples(0, 300) + samples(5000, 600)


async def test_interrupting_a_waiting_play_leaves_the_sounding_one_alone():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 1000))
        first.done()
        second.audio(samples(5000, 600))
        device.advance(300)
        assert (await two.interrupt()).played_s == 0.0
        device.advance(10_000)
        assert (await wait(one)).played_s == 1000 / RATE
    assert device.heard == samples(0, 1000)


async def test_fade_sounds_and_does_not_count():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(struct.pack("<2000h", *[8000] * 2000))
        device.advance(1000)
        interruption = asyncio.ensure_future(playback.interrupt(fade_ms=10))
        await turn(lambda: device.segment == 1 and device.queue)
        fade = struct.unpack("<240h", device.queue)
        assert fade[0] > 7900
        assert fade[-1] == 0
        assert all(before >= after for before, after in itertools.pairwise(fade))
        assert not interruption.done()
        device.advance(1000)
        assert (await interruption).played_s == 1000 / RATE
    assert len(device.heard) == 2 * 1240


async def test_interrupt_at_the_end_of_the_word():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 4 * FRAMES_PER_WORD))
        device.advance(FRAMES_PER_WORD + 50)
        interruption = asyncio.ensure_future(playback.interrupt(at="word"))
        await asyncio.sleep(0)
        assert context.outcome == "cancelled"
        assert not interruption.done()
        device.advance(FRAMES_PER_WORD - 50)
        heard = await asyncio.wait_for(interruption, 5)
    assert heard.played_s == 0.02
    assert heard.text == "One two."
    assert heard.half_heard == ()
    assert device.heard == samples(0, 2 * FRAMES_PER_WORD)


async def test_interrupt_at_a_word_whose_audio_is_still_to_come():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, FRAMES_PER_WORD + 100))
        device.advance(FRAMES_PER_WORD + 50)
        interruption = asyncio.ensure_future(playback.interrupt(at="word"))
        await asyncio.sleep(0)
        assert context.outcome is None
        assert context.calls[-1] == "refuse_input"
        context.audio(samples(FRAMES_PER_WORD + 100, 3 * FRAMES_PER_WORD))
        assert context.outcome == "cancelled"
        assert device.written == 2 * FRAMES_PER_WORD
        device.advance(FRAMES_PER_WORD)
        assert (await asyncio.wait_for(interruption, 5)).played_s == 0.02
    assert device.heard == samples(0, 2 * FRAMES_PER_WORD)


async def test_interrupt_at_the_end_of_the_sentence():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS[:1])
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, FRAMES_PER_WORD))
        device.advance(50)
        interruption = asyncio.ensure_future(playback.interrupt(at="sentence"))
        await asyncio.sleep(0)
        context.audio(samples(FRAMES_PER_WORD, 2 * FRAMES_PER_WORD))
        context.words += WORDS[1:]
        context.consumer.handle_events([Words(tuple(WORDS[1:]))])
        assert context.outcome == "cancelled"
        device.advance(FRAMES_PER_WORD)
        await asyncio.sleep(0)
        assert not interruption.done()
        device.advance(FRAMES_PER_WORD - 50)
        heard = await asyncio.wait_for(interruption, 5)
    assert heard.played_s == 0.02
    assert device.heard == samples(0, 2 * FRAMES_PER_WORD)


async def test_interrupt_between_words_is_now():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 4 * FRAMES_PER_WORD))
        device.advance(2 * FRAMES_PER_WORD)
        assert (await playback.interrupt(at="sentence")).played_s == 0.02


async def test_interrupt_at_a_word_that_never_comes_is_bounded(monkeypatch):
    monkeypatch.setattr("voxwire.playback.playback._INTERRUPT_TIMEOUT_S", 0.05)
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, FRAMES_PER_WORD + 100))
        device.advance(FRAMES_PER_WORD + 100)
        heard = await asyncio.wait_for(playback.interrupt(at="word"), 5)
    assert heard.played_s == (FRAMES_PER_WORD + 100) / RATE
    assert context.outcome == "cancelled"


async def test_interrupt_at_a_word_whose_context_ends_before_it():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, FRAMES_PER_WORD + 100))
        device.advance(FRAMES_PER_WORD + 50)
        interruption = asyncio.ensure_future(playback.interrupt(at="word"))
        await asyncio.sleep(0)
        context.done()
        device.advance(1000)
        await asyncio.wait_for(interruption, 5)
    assert context.outcome == "cancelled"


async def test_wrong_arguments_of_interrupt():
    context = FakeContext()
    async with open_sink("null:") as line:
        playback = await context.play(line)
        with pytest.raises(ValueError, match="at is 'later'"):
            await playback.interrupt(at="later")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="fade_ms is -1"):
            await playback.interrupt(fade_ms=-1)
        context.done()


async def test_a_sink_that_cannot_clear_has_played_what_it_took():
    device, context = Device(can_clear=False), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        device.advance(10)
        assert (await playback.interrupt(fade_ms=10)).played_s == 1000 / RATE


# --- pause ---


async def test_pause_holds_the_device():
    device, context = Device(buffer=500), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        playback.pause()
        assert device.paused
        context.audio(samples(1000, 100))
        device.advance(400)
        assert playback.played_s == 0.0
        playback.resume()
        assert not device.paused
        context.done()
        while not playback.over:
            device.advance(100)
            await asyncio.sleep(0)
    assert device.heard == samples(0, 1100)


async def test_pause_without_a_pausing_device_holds_the_rest():
    device, context = Device(buffer=500, can_pause=False), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        playback.pause()
        device.advance(500)
        await asyncio.sleep(0.01)
        assert device.heard == samples(0, 500)
        assert device.queue == b""
        playback.resume()
        context.done()
        device.advance(500)
        await wait(playback)
    assert device.heard == samples(0, 1000)


async def test_interrupting_a_paused_play_lets_the_next_one_sound():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 1000))
        one.pause()
        await one.interrupt()
        assert not device.paused
        second.audio(samples(0, 100))
        second.done()
        device.advance(100)
        await wait(two)


# --- cancellation, leaving, wrong moments ---


async def test_cancelled_wait_lets_it_play():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 2 * FRAMES_PER_WORD))
        context.done()
        device.advance(FRAMES_PER_WORD)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(playback.wait(), 0.01)
        assert playback.heard.text == "One"
        device.advance(FRAMES_PER_WORD)
        assert (await wait(playback)).text == "One two."


async def test_cancelled_play_closes_the_sink_that_was_opening():
    device, context = Device(), FakeContext()
    device.opening.clear()
    plugins.register(plugins.SINKS, "slowdevice", type("Slow", (Device,), {"__new__": lambda cls, _: device}))
    try:
        device.__init__ = lambda address: None  # type: ignore[method-assign]
        playing = asyncio.ensure_future(play(context, "slowdevice:"))
        await turn(lambda: device.offered)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        assert context.calls[-1] == "release_input"
        device.opening.set()
        await turn(lambda: device.closed)
    finally:
        plugins.unregister(plugins.SINKS, "slowdevice")
    assert device.written == 0


async def test_leaving_the_output_by_an_exception_stops_at_once():
    device, context = Device(), FakeContext()
    with pytest.raises(KeyError):
        async with open_sink(device) as line:
            playback = await context.play(line)
            context.audio(samples(0, 1000))
            raise KeyError
    assert device.closed == 1
    assert playback.over
    assert isinstance(context.error, SinkClosed)


async def test_leaving_the_output_waits_for_what_is_being_played():
    device, context = Device(), FakeContext()

    async def run():
        async with open_sink(device) as line:
            await context.play(line)
            context.audio(samples(0, 1000))
            context.done()

    running = asyncio.ensure_future(run())
    await turn(lambda: device.written == 1000)
    await asyncio.sleep(0.02)
    assert not running.done()
    device.advance(1000)
    await asyncio.wait_for(running, 5)
    assert context.outcome == "finished"


async def test_leaving_the_output_fails_a_context_that_still_talks():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
    with pytest.raises(SinkClosed):
        await wait(playback)
    assert context.outcome == "failed"


async def test_abandon_stops_without_telling_the_context():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        playback.abandon()
        assert device.queue == b""
        await playback.settle()
        assert playback.over
        assert context.outcome is None


async def test_a_cancelled_context_stops_its_sound():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        context.outcome = "cancelled"
        failure = LookupError("the iterator's own")
        context.done(failure)
        assert device.queue == b""
        with pytest.raises(LookupError):
            await wait(playback)


async def test_outputs_are_used_inside_their_block():
    context = FakeContext()
    line = open_sink("null:")
    with pytest.raises(RuntimeError, match="outside its block"):
        await context.play(line)
    async with line:
        pass
    with pytest.raises(SinkClosed):
        await context.play(line)
    with pytest.raises(RuntimeError, match="entered before"):
        async with line:
            pass
    assert isinstance(line, Output)


async def test_a_second_consumer_is_refused_and_leaves_the_line_free():
    device, context, other = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        context.consumer = object()
        with pytest.raises(RuntimeError, match="second consumer"):
            await play(context, line)
        playback = await other.play(line)
        with pytest.raises(RuntimeError, match="played already"):
            await play(other, line)
        other.audio(samples(0, 10))
        other.done()
        device.advance(10)
        await wait(playback)


def test_playback_belongs_to_its_loop():
    async def start():
        context = FakeContext()
        async with open_sink("null:") as line:
            playback = await context.play(line)
            context.done()
            await wait(playback)
        return playback

    playback = asyncio.run(start())
    with pytest.raises(RuntimeError, match="outside the event loop"):
        playback.pause()
    with pytest.raises(RuntimeError, match="outside the event loop"):
        asyncio.run(playback.wait())


# --- faults of sinks ---


async def test_a_lost_sink_fails_its_contexts_and_later_plays():
    device, first, second, third = Device(), FakeContext(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 1000))
        device.advance(100)
        device.fail(SinkLost("device gone", errno=19))
        for playback in (one, two):
            with pytest.raises(SinkLost, match="device gone"):
                await wait(playback)
        assert one.heard.played_s == 100 / RATE
        assert first.outcome == second.outcome == "failed"
        with pytest.raises(SinkLost):
            await third.play(line)
    assert device.closed == 1


async def test_a_loss_while_draining_is_noticed_by_the_wake():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        context.done()
        device.fail(SinkLost("device gone"))
        with pytest.raises(SinkLost):
            await wait(playback)


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("write", 3.5, "returned 3.5 from write, must be 0 to 10 frames"),
        ("write", 11, "returned 11 from write"),
        ("write", None, "returned None from write"),
        ("position", 7, "returned int from position, must be Position"),
    ],
)
async def test_a_sink_that_returns_nonsense_is_named(method, value, message):
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        setattr(device, method, lambda *_: value)
        context.audio(samples(0, 10))
        context.done()
        with pytest.raises(SinkError, match=message) as caught:
            await wait(playback)
        assert "Device" in str(caught.value)
    assert context.outcome == "failed"


@pytest.mark.parametrize("method", ["write", "finish", "position", "clear"])
async def test_what_a_sink_raises_is_contained_and_named(method):
    device, context, other = Device(), FakeContext(), FakeContext()
    cause = ZeroDivisionError("oops")

    def broken(*_):
        raise cause

    async with open_sink(device) as line:
        playback = await context.play(line)
        if method == "clear":
            context.audio(samples(0, 10))
        setattr(device, method, broken)
        if method == "clear":
            await playback.interrupt()
        else:
            context.audio(samples(0, 10))
            context.done()
        with pytest.raises(SinkError, match=f"failed in {method}: ZeroDivisionError: oops") as caught:
            await wait(playback)
        assert caught.value.__cause__ is cause
    playback = await other.play("null:")
    other.audio(samples(0, 10))
    other.done()
    await wait(playback)
    assert other.outcome == "finished"


async def test_what_open_raises_is_raised_by_play():
    device, context = Device(), FakeContext()

    def broken(*_):
        raise StopIteration

    device.open = broken
    async with open_sink(device) as line:
        with pytest.raises(SinkError, match="failed in open: StopIteration"):
            await context.play(line)


async def test_an_open_that_never_returns_is_bounded(monkeypatch):
    monkeypatch.setattr("voxwire.playback.host.OPEN_TIMEOUT_S", 0.05)
    monkeypatch.setattr(output_module, "CLOSE_TIMEOUT_S", 0.05)
    device, context = Device(), FakeContext()
    device.opening.clear()
    with pytest.raises(SinkError, match="did not open within"):
        async with open_sink(device) as line:
            await context.play(line)
    device.opening.set()
    await turn(lambda: device.closed)


async def test_a_failing_close_fails_the_context():
    context = FakeContext()

    class Torn(Device):
        def __init__(self, address):
            super().__init__()

        def close(self):
            raise SinkLost("cannot store the rest", errno=5)

    plugins.register(plugins.SINKS, "torn", Torn)
    try:
        playback = await context.play("torn:")
        context.done()
        with pytest.raises(SinkLost, match="cannot store"):
            await wait(playback)
    finally:
        plugins.unregister(plugins.SINKS, "torn")
    assert context.outcome == "failed"


async def test_the_record_gets_its_figures():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        before = asyncio.get_running_loop().time()
        device.xruns = 3
        context.audio(samples(0, 100))
        device.advance(100)
        device.xruns = 5
        context.done()
        await wait(playback)
    assert context.underruns == 2
    assert before <= context.first_sound_at_s <= asyncio.get_running_loop().time()


async def test_half_a_second_after_the_other_for_an_hour_keeps_little():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        piece = bytes(2 * HALF_SECOND)
        for _ in range(7200):
            context.audio(piece)
            device.advance(HALF_SECOND)
            device.heard = b""
        assert len(playback._track._kept) <= 3
        context.done()
        await wait(playback)
        assert playback.played_s == 3600.0
