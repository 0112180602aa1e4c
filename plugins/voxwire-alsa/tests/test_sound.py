"""What is really heard: a sound server whose monitor is recorded, and a counter whose every sample tells."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time

import pytest
from alsa_sound import PATIENCE_S, RATE, Playing, assert_told, await_true, counter

import voxwire
from voxwire import plugins
from voxwire.audio import AudioFormat
from voxwire.engines import Info, Piece, Voice
from voxwire.exceptions import FormatRefused, SinkError, SinkLost
from voxwire.sinks import default_address
from voxwire_alsa import AlsaSink, devices

TRIALS = int(os.environ.get("VOXWIRE_TRIALS", "10"))


# --- devices that pretend


def test_a_file_gets_every_byte(pretending):
    audio = counter(5 * RATE)
    with Playing("alsa:fileout") as playing:
        playing.write(audio)
        playing.drain()
    assert (pretending / "out.raw").read_bytes() == audio.tobytes()


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_encoding_goes_through_as_it_is(pretending, encoding, channels):
    audio_format = AudioFormat(encoding, 16000, channels)
    audio = bytes(range(256)) * 100
    with Playing("alsa:fileout", audio_format) as playing:
        assert playing.opened.format == audio_format
        playing.write(audio)
        playing.drain()
    stored = (pretending / "out.raw").read_bytes()
    assert stored[: len(audio)] == audio
    # The padding is silence: one value, whatever the encoding.
    assert len(set(stored[len(audio) :])) <= 1


def test_a_device_without_a_clock_is_no_busy_loop(pretending):
    with Playing("alsa:nullout") as playing:
        started = time.monotonic()
        playing.write(counter(5 * RATE))
        position = playing.drain()
        assert time.monotonic() - started < 2.5
        assert (position.written, position.played, position.discarded) == (5 * RATE, 5 * RATE, 0)
        used_s = time.process_time()
        assert not threading.Event().wait(0.5)
        assert time.process_time() - used_s < 0.2


def test_a_device_that_is_not_there_says_so(pretending, capfd):
    with pytest.raises(
        SinkError, match=r"^sink 'alsa:nowhere' cannot be opened: there is no such device \(.*nowhere.*\)$"
    ):
        Playing("alsa:nowhere")
    assert capfd.readouterr() == ("", "")


def test_no_server_is_told_in_one_line(pretending, capfd):
    with pytest.raises(SinkError, match=r"^sink 'alsa:pulse' cannot be opened: .*") as caught:
        Playing("alsa:pulse")
    assert "\n" not in str(caught.value)
    probe = AlsaSink.probe()
    assert (probe.usable, probe.address) == (False, "alsa:default")
    assert probe.reason
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("alsa:?latency_ms=5", "20 to 2000"),
        ("alsa:?period_ms=0", "1 to 1000"),
        ("alsa:?period_ms=ten", "whole number"),
        ("alsa:?latency_ms=40&period_ms=30", "at least twice"),
        ("alsa:?keep_running=maybe", "1 or 0"),
        ("alsa:?volume=3", "known are: keep_running, latency_ms, period_ms, preroll_ms"),
    ],
)
def test_a_wrong_option_says_what_is_right(address, words):
    with pytest.raises(ValueError, match=words):
        voxwire.open_sink(address)


# --- a server in real time


def test_the_server_is_found(server):
    probe = AlsaSink.probe()
    assert (probe.usable, probe.reason, probe.address) == (True, "", "alsa:default")
    found = {device.name: device for device in devices()}
    assert found["listed"].description == "Sound server of the tests"
    assert found["listed"].address == "alsa:listed"
    others = {info.name for info in plugins.sinks()} - {"alsa"}
    assert default_address() == "alsa:default", others


def test_nonsense_is_refused(server):
    with pytest.raises(FormatRefused, match=r"^sink 'alsa:pulse' does none of the formats: "):
        Playing("alsa:pulse", AudioFormat("pcm_f32le", 767_999, 7))


def test_everything_is_heard_in_real_time(server):
    with server.recording() as recording, Playing("alsa:pulse") as playing:
        started = time.monotonic()
        playing.write(counter(72000))
        position = playing.drain()
        assert 2.5 < time.monotonic() - started < 2 * PATIENCE_S
        assert (position.played, position.bound, position.quality) == (72000, 0, "measured")
        assert recording.heard() == counter(72000)


def test_everything_is_heard_before_a_close(server):
    with server.recording() as recording:
        with Playing("alsa:pulse") as playing:
            playing.write(counter(7001))
            playing.drain()
        assert recording.heard() == counter(7001)


def test_a_short_utterance_is_heard_without_finish(server):
    with server.recording() as recording, Playing("alsa:pulse") as playing:
        playing.write(counter(960))
        playing.wait_played(960)
        assert recording.heard() == counter(960)


def test_starvation_loses_nothing(server):
    with server.recording() as recording, Playing("alsa:pulse") as playing:
        playing.write(counter(9600))
        playing.wait_played(9600)
        assert not threading.Event().wait(0.4)
        playing.write(counter(14400, 9600))
        position = playing.drain()
        assert position.played == 24000
        assert position.xruns >= 1
        assert recording.heard() == counter(24000)


def test_a_clear_counts_what_is_heard(server):
    with server.recording() as recording, Playing("alsa:pulse") as playing:
        playing.write(counter(24000))
        final = playing.sink.clear()
        assert (final.written, final.played + final.discarded) == (24000, 24000)
        heard = recording.heard()
        assert heard == counter(len(heard))
        assert abs(len(heard) - final.played) <= final.bound


@pytest.mark.parametrize("options", ["", "?period_ms=20", "?preroll_ms=60&keep_running=1"])
def test_clears_at_random_moments_count_what_is_heard(server, options):
    chance = random.Random(20261129)
    finals = []
    with server.recording() as recording, Playing(f"alsa:pulse{options}") as playing:
        for _ in range(max(5, TRIALS // 2)):
            playing.write(counter(chance.randrange(1000, 12000)))
            threading.Event().wait(chance.uniform(0.0, 0.4))
            finals.append(playing.sink.clear())
            # Silence tells one from the next.
            threading.Event().wait(0.15)
        utterances = recording.utterances()
    assert_told([(final.played, final.bound) for final in finals if final.played], utterances)


def test_pauses_lose_nothing_and_double_only_what_is_uncertain(server):
    chance = random.Random(5)
    with server.recording() as recording, Playing("alsa:pulse") as playing:
        writer = threading.Thread(target=playing.write, args=(counter(48000),))
        writer.start()
        for _ in range(5):
            threading.Event().wait(chance.uniform(0.05, 0.3))
            playing.sink.pause()
            threading.Event().wait(0.1)
            held = playing.sink.position()
            threading.Event().wait(0.1)
            assert playing.sink.position().played == held.played
            playing.sink.resume()
        writer.join()
        assert playing.drain().played == 48000
        heard = recording.heard()
    # Where the machine was too busy for an exact stop, what the device may have passed on is played again.
    stops = [index for index in range(1, len(heard)) if heard[index] != heard[index - 1] % 32000 + 1]
    doubled = [(heard[index - 1] + 1 - heard[index]) % 32000 for index in stops]
    assert len(stops) <= 2
    assert all(frames <= 0.08 * RATE for frames in doubled)
    assert len(heard) == 48000 + sum(doubled)
    assert heard[-1] == counter(48000)[-1]


def test_a_killed_server_is_a_loss_within_a_second(own_server):
    with Playing("alsa:pulse") as playing:
        writer = threading.Thread(target=lambda: playing.write(counter(12000)))
        writer.start()
        playing.wait_played(4800)
        writer.join()
        playing.wake.forget()
        used_s, killed = time.process_time(), time.monotonic()
        own_server.kill()
        assert playing.wake.wait(PATIENCE_S)
        with pytest.raises(SinkLost) as caught:
            await_true(lambda: playing.sink.write(bytes(2)) < 0, "not lost")
        assert time.monotonic() - killed < 1.5
        assert caught.value.errno
        assert not threading.Event().wait(0.5)
        assert time.process_time() - used_s < 0.3
        final = playing.sink.clear()
        assert final.played + final.discarded == final.written


def test_a_server_that_does_not_answer_holds_nobody_up(own_server):
    with Playing("alsa:pulse") as playing:
        playing.write(counter(12000))
        playing.wait_played(2400)
        own_server.stop()
        started = time.monotonic()
        final = playing.sink.clear()
        assert final.played + final.discarded == final.written
        assert final.bound > 0
        with pytest.raises(SinkLost):
            playing.sink.write(bytes(2))
        playing.sink.close()
        assert time.monotonic() - started < 5
        # Its thread waits inside the library; it ends with the server.
        own_server.kill()


# --- the whole way, from a client to the ear


class CounterEngine:
    """Speaks the counter, from its beginning in each context."""

    api_version = 1
    info = Info(name="counter", sample_rate=RATE, words=True, volume=True, max_parallel=64)

    async def start(self, config):
        pass

    async def stop(self):
        pass

    def voices(self):
        return [Voice(id="counter", name="Counter", default=True)]

    async def open(self, settings):
        return CounterSession()

    def healthy(self):
        return True


class CounterSession:
    def __init__(self):
        self.spoken = 0

    async def speak(self, segment):
        words = segment.text.split()
        for number, word in enumerate(words):
            frames = RATE // 10
            samples = counter(frames, self.spoken)
            self.spoken += frames
            yield Piece(samples.tobytes(), ((word, number / 10, (number + 1) / 10),))

    async def close(self):
        pass


@pytest.fixture
def counting():
    plugins.register(plugins.ENGINES, "counter", CounterEngine)
    yield "embedded:counter"
    plugins.unregister(plugins.ENGINES, "counter")


async def test_what_a_client_says_is_heard(server, counting):
    with server.recording() as recording:
        async with voxwire.Client(counting) as client:
            record = await client.say("one two three four five six seven eight", sink="alsa:pulse")
        assert record.heard.played_s == 0.8
        assert record.heard.certainty == voxwire.Certainty("measured", 0.0)
        assert recording.heard() == counter(round(0.8 * RATE))


async def test_turns_on_one_line_follow_one_another(server, counting):
    with server.recording() as recording:
        async with voxwire.Client(counting) as client, voxwire.open_sink("alsa:pulse") as line:
            for text in ("one two", "three four five", "six"):
                async with client.context(text) as context:
                    playback = await context.play(line)
                    heard = await playback.wait()
                    assert heard.text == text
        assert recording.heard() == counter(4800) + counter(7200) + counter(2400)


@pytest.mark.timeout(60 + 5 * TRIALS)
async def test_an_interruption_at_a_random_moment_tells_what_was_heard(server, counting):
    chance = random.Random()
    text = " ".join(f"word{number}" for number in range(25))
    told = []
    with server.recording() as recording:
        async with voxwire.Client(counting) as client, voxwire.open_sink("alsa:pulse") as line:
            for _ in range(TRIALS):
                async with client.context(text) as context:
                    playback = await context.play(line)
                    await asyncio.sleep(chance.uniform(0.05, 1.2))
                    told.append(await playback.interrupt())
                # Silence tells one from the next; longer than what is on its way.
                await asyncio.sleep(0.25)
        utterances = await asyncio.to_thread(recording.utterances)
    frames = [(round(heard.played_s * RATE), round(heard.certainty.bound_s * RATE)) for heard in told if heard.played_s]
    assert_told(frames, utterances)
