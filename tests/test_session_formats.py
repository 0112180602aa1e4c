"""The decoded length of every encoding at every rate, right to the sample (protocol.md 2.5 and 15, item 16)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from raw_client import RawClient, audio_of, request, words_of
from strict_messages import check_message

from voxwire import server
from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS

_RATE_HZ = 24_000
_PAUSES_MS = {".": 300, "!": 300, "?": 300, ",": 150, ";": 200, ":": 200}


def tone_samples(words: str, speed: float = 1.0) -> int:
    """Samples at 24 kHz of a text by the formula of the tone engine, without the pause after its last word."""
    total = pause = 0
    for word in words.split():
        total += pause + int(Fraction(1440 * sum(map(str.isalnum, word))) / Fraction(str(speed)))
        pause = int(Fraction(24 * _PAUSES_MS.get(word[-1], 20)) / Fraction(str(speed)))
    return total


def frames_at(samples: int, rate_hz: int) -> int:
    """Exact rational conversion, to the nearest frame."""
    return int(Fraction(samples * rate_hz, _RATE_HZ) + Fraction(1, 2))


@pytest.fixture
async def client():
    async with server.serve(engine="tone") as running, await RawClient.open(running.url) as connected:
        yield connected


@pytest.mark.parametrize("encoding", sorted(SAMPLE_WIDTHS))
@pytest.mark.parametrize("rate_hz", sorted(SAMPLE_RATES))
async def test_length(client, encoding, rate_hz):
    width = SAMPLE_WIDTHS[encoding]
    output = {"container": "raw", "encoding": encoding, "sample_rate": rate_hz}
    options = {"output_format": output, "add_timestamps": True}
    spoken = [
        ("Hello you", 1.0, tone_samples("Hello you")),
        ("A.", 1.1, tone_samples("A.", 1.1)),
        ("Seven, eight; nine: ten! Eleven?", 0.7, tone_samples("Seven, eight; nine: ten! Eleven?", 0.7)),
        ('One <break time="333ms"/>two', 1.3, tone_samples("One two", 1.3) + 24 * 333),
    ]
    for number, (text, speed, samples) in enumerate(spoken):
        config = {"speed": speed}
        messages = await client.say(f"c{number}", text, generation_config=config, **options)
        for message in messages:
            check_message(message, frame_bytes=width)
        assert len(audio_of(messages)) == width * frames_at(samples, rate_hz), text
        assert words_of(messages)[-1][2] == pytest.approx(samples / _RATE_HZ, abs=0.5 / rate_hz + 1e-6)


@pytest.mark.parametrize("encoding", sorted(SAMPLE_WIDTHS))
@pytest.mark.parametrize("rate_hz", sorted(SAMPLE_RATES))
async def test_length_of_what_came_in_parts(client, encoding, rate_hz):
    width = SAMPLE_WIDTHS[encoding]
    fields = {"output_format": {"container": "raw", "encoding": encoding, "sample_rate": rate_hz}}
    client.send(request("c1", "One two, ", continue_=True, **fields))
    client.send(request("c1", "three. ", continue_=True, flush=True))
    client.send(request("c1", "Four ", continue_=True, max_buffer_delay_ms=0))
    client.send(request("c1", "five", continue_=False))
    messages = await client.context("c1")
    kinds = [message["type"] for message in messages]
    flushed = kinds.index("flush_done")
    assert len(audio_of(messages[:flushed])) == width * frames_at(tone_samples("One two, three."), rate_hz)
    assert len(audio_of(messages)) == width * frames_at(tone_samples("One two, three. Four five"), rate_hz)
