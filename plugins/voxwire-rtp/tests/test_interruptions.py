"""The whole way, from a client to the peer: what the ledger says was sent is what arrives, sample by sample."""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from rtp_wire import Receiver, counter, samples, utterances

import voxwire
from voxwire import plugins
from voxwire.audio import AudioFormat, transcode
from voxwire.engines import Info, Piece, Voice

TRIALS = int(os.environ.get("VOXWIRE_TRIALS", "10"))
#: Silence between two utterances, longer than any that an underrun of the audio brings about.
QUIET_S = 0.06


class CounterEngine:
    """Speaks the counter, from its beginning in each context."""

    api_version = 1
    encoding: str
    info: Info

    async def start(self, config):
        pass

    async def stop(self):
        pass

    def voices(self):
        return [Voice(id="counter", name="Counter", default=True)]

    async def open(self, settings):
        return CounterSession(self.encoding, self.info.sample_rate)

    def healthy(self):
        return True


class CounterSession:
    def __init__(self, encoding, rate):
        self.encoding, self.rate, self.spoken = encoding, rate, 0

    async def speak(self, segment):
        for number, word in enumerate(segment.text.split()):
            frames = self.rate // 10
            coded = counter(self.encoding, frames, self.spoken)
            linear = transcode(coded, AudioFormat(self.encoding, self.rate), AudioFormat("pcm_s16le", self.rate))
            self.spoken += frames
            yield Piece(linear, ((word, number / 10, (number + 1) / 10),))

    async def close(self):
        pass


class LinearCounterEngine(CounterEngine):
    encoding = "pcm_s16le"
    info = Info(name="counter", sample_rate=24000, words=True, volume=True, max_parallel=64)


class MulawCounterEngine(CounterEngine):
    encoding = "pcm_mulaw"
    info = Info(name="counter", sample_rate=8000, words=True, volume=True, max_parallel=64)


@pytest.fixture(params=[LinearCounterEngine, MulawCounterEngine], ids=["l16", "pcmu"])
def engine(request):
    plugins.register(plugins.ENGINES, "counter", request.param)
    yield request.param
    plugins.unregister(plugins.ENGINES, "counter")


def format_of(engine):
    return AudioFormat(engine.encoding, engine.info.sample_rate)


def heard_by(receiver, engine):
    """The audio of each utterance that arrived."""
    packets = list(receiver.packets)
    audio_format = format_of(engine)
    data = samples(packets, audio_format, packets[0].payload_type)
    return utterances(data, engine.encoding, round(0.02 * audio_format.sample_rate))


async def test_what_a_client_says_arrives(engine):
    with Receiver() as receiver:
        async with voxwire.Client("embedded:counter") as client:
            sink = f"rtp://{receiver.address}?encoding={engine.encoding}"
            record = await client.say("one two three four five", sink=sink)
        receiver.wait_goodbye()
        assert record.heard.played_s == 0.5
        assert record.heard.certainty == voxwire.Certainty("sent", 0.0)
        frames = round(0.5 * engine.info.sample_rate)
        assert b"".join(heard_by(receiver, engine)) == counter(engine.encoding, frames)


@pytest.mark.timeout(60 + 3 * TRIALS)
async def test_an_interruption_at_a_random_moment_tells_what_arrives(engine):
    chance = random.Random()
    text = " ".join(f"word{number}" for number in range(20))
    told = []
    with Receiver() as receiver:
        async with (
            voxwire.Client("embedded:counter") as client,
            voxwire.open_sink(f"rtp://{receiver.address}?encoding={engine.encoding}") as line,
        ):
            for _ in range(TRIALS):
                async with client.context(text) as context:
                    playback = await context.play(line)
                    await asyncio.sleep(chance.uniform(0.01, 0.4))
                    told.append(await playback.interrupt())
                # Packets of silence tell one from the next.
                await asyncio.sleep(QUIET_S)
        await asyncio.to_thread(receiver.wait_goodbye)
        arrived = heard_by(receiver, engine)
    assert all(heard.certainty == voxwire.Certainty("sent", 0.0) for heard in told)
    frames = [round(heard.played_s * engine.info.sample_rate) for heard in told if heard.played_s]
    assert [len(one) // format_of(engine).frame_bytes for one in arrived] == frames
    for one in arrived:
        assert one == counter(engine.encoding, len(one) // format_of(engine).frame_bytes)
    assert sum(heard.text == "" for heard in told) < TRIALS


async def test_turns_on_one_line_follow_one_another(engine):
    texts = ("one two", "three four five", "six")
    with Receiver() as receiver:
        async with (
            voxwire.Client("embedded:counter") as client,
            voxwire.open_sink(f"rtp://{receiver.address}?encoding={engine.encoding}&idle=gap") as line,
        ):
            for text in texts:
                async with client.context(text) as context:
                    playback = await context.play(line)
                    heard = await playback.wait()
                    assert heard.text == text
            statistics = line.sink.statistics()
        receiver.wait_goodbye()
        packets = list(receiver.packets)
    rate = engine.info.sample_rate
    expected = [counter(engine.encoding, len(text.split()) * rate // 10) for text in texts]
    assert samples(packets, format_of(engine), packets[0].payload_type) == b"".join(expected)
    assert statistics.packets == 30
    assert {packet.ssrc for packet in packets} == {statistics.ssrc}
