"""Where playbacks meet: several in one sink, held ones, fades, underruns, words at the edge of a frame."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import struct
import time

import pytest
from test_playback import FRAMES_PER_WORD, RATE, TEXT, WORDS, Device, FakeContext, samples, turn, wait
from virtual_loop import VirtualLoop

import voxwire
from voxwire.audio import AudioFormat
from voxwire.client.events import Word, Words
from voxwire.exceptions import FormatRefused, SinkLost
from voxwire.playback import open_sink, play
from voxwire.sinks import FormatPattern

LOUD = struct.pack("<4000h", *[8000] * 4000)


# --- several in one sink ---


async def test_a_waiting_play_that_is_paused_keeps_neither_the_sounding_one_nor_its_end():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 500))
        first.done()
        second.audio(samples(500, 500))
        two.pause()
        assert not device.paused, "the first one sounds"
        second.audio(samples(1000, 100))
        device.advance(500)
        assert (await wait(one)).played_s == 500 / RATE
        assert device.paused, "now it is the turn of the one that is held"
        two.resume()
        second.done()
        device.advance(600)
        await wait(two)
    assert device.heard == samples(0, 1100)


async def test_a_pause_at_the_very_end_does_not_hold_the_next_play():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        first.audio(samples(0, 100))
        first.done()
        device.advance(100)
        one.pause()
        await wait(one)
        assert not device.paused
        two = await second.play(line)
        second.audio(samples(100, 100))
        second.done()
        device.advance(100)
        await wait(two)
    assert device.heard == samples(0, 200)


async def test_a_play_into_a_sink_that_was_lost_meanwhile_is_refused():
    device, first, second = Device(), FakeContext(), FakeContext()
    for context in (first, second):
        context.queued = [voxwire.Audio(samples(0, 10), AudioFormat(), 0.0, None)]
    device.failure = SinkLost("device gone")
    async with open_sink(device) as line:
        # Both wait for the same opening; what the first one hands over is the loss.
        outcomes = await asyncio.gather(play(first, line), play(second, line), return_exceptions=True)
        assert first.outcome == "failed"
        assert isinstance(outcomes[1], SinkLost)


async def test_leaving_the_output_while_cancelled_closes_the_sink():
    device, context = Device(), FakeContext()

    async def run():
        async with open_sink(device) as line:
            await context.play(line)
            context.audio(samples(0, 1000))
            context.done()

    running = asyncio.ensure_future(run())
    await turn(lambda: device.finishes == 1)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await turn(lambda: device.closed == 1)


# --- fades ---


async def test_a_waiting_play_fades_without_a_sound():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 1000))
        first.done()
        second.audio(samples(5000, 600))
        device.advance(300)
        assert (await asyncio.wait_for(two.interrupt(fade_ms=10), 5)).played_s == 0.0
        device.advance(10_000)
        assert (await wait(one)).played_s == 1000 / RATE
    assert device.heard == samples(0, 1000)


@pytest.mark.parametrize("held", [False, True], ids=["not begun", "paused"])
async def test_silence_does_not_fade(held):
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(LOUD)
        if held:
            device.advance(1000)
            playback.pause()
        await asyncio.wait_for(playback.interrupt(fade_ms=10), 5)
        assert device.queue == b""
        assert not device.paused


async def test_a_fade_is_as_long_as_asked_where_the_sink_holds_less():
    device, context = Device(buffer=100), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(LOUD)
        device.advance(100)
        await turn(lambda: device.written == 200)
        interruption = asyncio.ensure_future(playback.interrupt(fade_ms=20))
        await asyncio.sleep(0)
        device.heard = b""
        while not interruption.done():
            device.advance(50)
            await asyncio.sleep(0)
        assert interruption.result().played_s == 100 / RATE
        fade = struct.unpack("<480h", device.heard)
    assert fade[0] > 7900
    assert 3900 < fade[240] < 4100
    assert fade[-1] == 0


async def test_an_output_that_is_being_left_waits_for_the_fade():
    device, context = Device(), FakeContext()
    line = open_sink(device)

    async def run():
        async with line:
            await context.play(line)
            context.audio(LOUD)
            context.done()

    running = asyncio.ensure_future(run())
    await turn(lambda: device.finishes == 1)
    await asyncio.sleep(0)
    device.advance(1000)
    interruption = asyncio.ensure_future(context.playback.interrupt(fade_ms=10))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not line._host.closing
    device.advance(1000)
    await asyncio.wait_for(running, 5)
    assert (await interruption).played_s == 1000 / RATE
    assert len(device.heard) == 2 * 1240
    assert device.heard[-2:] == b"\0\0"


# --- what the record is told ---


async def test_an_underrun_belongs_to_the_play_that_ran_dry():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 100))
        device.advance(100)
        device.xruns = 1
        first.audio(samples(100, 100))
        first.done()
        second.audio(samples(200, 100))
        device.advance(200)
        device.xruns = 3
        second.audio(samples(300, 100))
        second.done()
        device.advance(100)
        await wait(one)
        await wait(two)
    assert (first.underruns, second.underruns) == (1, 2)


async def test_without_a_sound_there_is_no_first_sound():
    device, context = Device(), FakeContext()
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 100))
        await playback.interrupt()
    assert context.heard.played_s == 0.0
    assert context.first_sound_at_s is None


async def test_the_first_sound_of_a_play_that_waited_is_not_its_first_write():
    device, first, second = Device(), FakeContext(), FakeContext()
    async with open_sink(device) as line:
        one = await first.play(line)
        two = await second.play(line)
        first.audio(samples(0, 100))
        first.done()
        second.audio(samples(100, 100))
        second.done()
        written_at = time.monotonic()
        # Far more than the 200 frames last: the clock of this device is the test.
        await asyncio.sleep(0.1)
        device.advance(200)
        await wait(one)
        await wait(two)
    assert first.first_sound_at_s <= written_at
    assert second.first_sound_at_s >= written_at + 0.05


# --- words ---


@pytest.mark.parametrize("missing_frames", [0.3, 0.5])
async def test_a_word_is_heard_when_less_than_a_frame_of_it_is_missing(missing_frames):
    end = FRAMES_PER_WORD + missing_frames
    words = [Word("One", 0.0, end / RATE, (0, 3)), Word("two.", end / RATE, 2 * end / RATE, (4, 8))]
    device, context = Device(), FakeContext(text="One two.", words=words)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        device.advance(FRAMES_PER_WORD)
        heard = await playback.interrupt()
    parts = (heard.heard, heard.half_heard, heard.unheard)
    assert [[word.text for word in part] for part in parts] == [["One"], [], ["two."]]
    # The rule holds to the letter: what is missing is taken off the word.
    assert heard.heard[0].end_s == heard.played_s
    assert heard.unheard[0] == words[1]
    assert heard.text == "One"


async def test_a_word_that_began_with_less_than_a_frame_is_unheard():
    words = [Word("One", 0.0, 0.01, (0, 3)), Word("two.", (FRAMES_PER_WORD - 0.4) / RATE, 0.02, (4, 8))]
    device, context = Device(), FakeContext(text="One two.", words=words)
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 1000))
        device.advance(FRAMES_PER_WORD)
        heard = await playback.interrupt()
    assert heard.half_heard == ()
    assert heard.unheard == (dataclasses.replace(words[1], start_s=heard.played_s),)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100])
async def test_all_words_are_heard_where_all_was_played(rate):
    text = "Some words of various lengths, at a speed that gives no whole frames."
    async with voxwire.Client("embedded:tone") as client:
        for speed in (0.83, 1.0, 1.17):
            record = await client.say(
                text,
                sink="null:",
                output_format=AudioFormat("pcm_s16le", rate),
                generation_config={"speed": speed},
            )
            assert record.heard.text == text
            assert len(record.heard.heard) == len(record.words) == len(text.split())


async def test_the_sentence_that_sounded_is_ended_though_its_words_come_late():
    device, context = Device(), FakeContext(text=TEXT, words=WORDS[:1])
    async with open_sink(device) as line:
        playback = await context.play(line)
        context.audio(samples(0, 4 * FRAMES_PER_WORD))
        device.advance(FRAMES_PER_WORD + 50)
        interruption = asyncio.ensure_future(playback.interrupt(at="sentence"))
        await asyncio.sleep(0)
        device.advance(FRAMES_PER_WORD + 50)
        context.words += WORDS[1:]
        context.consumer.handle_events([Words(tuple(WORDS[1:]))])
        assert device.queue == b"", "by then the next one has begun, and it goes no further"
        heard = await asyncio.wait_for(interruption, 5)
    assert heard.played_s == (2 * FRAMES_PER_WORD + 100) / RATE
    assert context.outcome == "cancelled"


def test_an_interruption_waits_two_seconds_from_when_the_audio_ran_dry():
    async def scenario():
        loop = asyncio.get_running_loop()
        device, context = Device(), FakeContext(text=TEXT, words=WORDS)
        async with open_sink(device) as line:
            playback = await context.play(line)
            context.audio(samples(0, FRAMES_PER_WORD + 50))
            device.advance(FRAMES_PER_WORD + 10)
            interruption = asyncio.ensure_future(playback.interrupt(at="word"))
            await asyncio.sleep(0.5)
            device.advance(40)
            dry_at = loop.time()
            await interruption
            return loop.time() - dry_at

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert 1.5 <= runner.run(scenario()) <= 2.5


# --- formats ---


async def test_a_rate_that_nothing_can_be_converted_to_is_refused_by_play():
    device, context = Device(formats=(FormatPattern("pcm_s16le", 700_001),)), FakeContext()
    async with open_sink(device) as line:
        with pytest.raises(FormatRefused, match="700001"):
            await context.play(line)
        assert context.calls[-1] == "release_input"
        with contextlib.suppress(AttributeError):
            assert context.outcome is None
