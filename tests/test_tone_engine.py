"""The tone engine: the same bytes everywhere, whatever the cuts; the contract of every engine."""

from __future__ import annotations

import asyncio
import hashlib
import time
from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies

from voxwire.engines import Engine, EngineError, Segment, Settings
from voxwire.engines.tone import ToneEngine
from voxwire.testing.engines import EngineConformance

TEXT = "Hello, world! Numbers: 42; and - done? Yes."


class TestConformance(EngineConformance):
    def make(self) -> Engine:
        return ToneEngine()


async def speak(parts, *, config=None, voice=None, **fields):
    engine = ToneEngine()
    await engine.start(config or {})
    session = await engine.open(Settings(voice=voice, phonemes=True))
    pcm, words, phonemes = bytearray(), [], []
    for part in parts:
        offset_s = len(pcm) / 48_000
        async for piece in session.speak(Segment(text=part, **fields)):
            pcm += piece.pcm
            words += [(text, start_s + offset_s, end_s + offset_s) for text, start_s, end_s in piece.words]
            phonemes += piece.phonemes
    await session.close()
    await engine.stop()
    return bytes(pcm), words, phonemes


async def test_samples_are_the_same_on_every_machine():
    pcm, _, _ = await speak([TEXT])
    assert hashlib.sha256(pcm).hexdigest() == "c93272d7d13392ee5829dedcf04db0aed7b9c63b1537745ae7b0617435d48f66"


async def test_words_and_pauses_last_as_documented():
    pcm, words, phonemes = await speak(["Hi, you. - 42 ok"])
    at = 0
    expected = []
    for word, characters, pause_ms in (("Hi,", 2, 150), ("you.", 3, 300), ("-", 1, 20), ("42", 2, 20), ("ok", 2, 0)):
        expected.append((word, at / 24_000, (at + 1440 * characters) / 24_000))
        at += 1440 * characters + 24 * pause_ms
    assert words == expected
    assert len(pcm) == 2 * at
    assert phonemes[:3] == [("h", 0.0, 0.06), ("i", 0.06, 0.12), ("y", 0.27, 0.33)]


async def test_a_word_is_a_triangle_wave_with_ramps():
    pcm, _, _ = await speak(["sound"])
    samples = array("h", pcm)
    # The samples need not hit the very tip of the triangle.
    assert 7990 <= max(samples) <= 8000
    assert -8000 <= min(samples) <= -7990
    assert samples[0] == samples[-1] == 0
    assert max(map(abs, samples[:12])) <= 800
    steps = {abs(later - sooner) for sooner, later in pairwise(samples)}
    assert max(steps) <= 8000 * 4 * 440 // 24_000 + 1


async def test_pauses_are_silent():
    pcm, words, _ = await speak(["one. two"])
    end, start = round(words[0][2] * 24_000), round(words[1][1] * 24_000)
    assert start - end == 7200
    assert not any(pcm[2 * end : 2 * start])


@given(cuts=strategies.sets(strategies.integers(1, 6)))
@settings(max_examples=20, deadline=None)
def test_audio_does_not_depend_on_the_cuts(cuts):
    words = TEXT.split(" ")
    parts, start = [], 0
    for cut in [*sorted(cuts), len(words)]:
        parts.append(" ".join(words[start:cut]) + " ")
        start = cut
    whole = asyncio.run(speak([TEXT]))
    pieces = asyncio.run(speak(parts))
    assert pieces[0] == whole[0]
    assert [word for word, _, _ in pieces[1]] == [word for word, _, _ in whole[1]]
    assert [round(start_s * 24_000) for _, start_s, _ in pieces[1]] == [
        round(start_s * 24_000) for _, start_s, _ in whole[1]
    ]


async def test_a_cached_word_and_a_new_one_sound_alike():
    pcm, words, _ = await speak(["again again"])
    length = round(words[0][2] * 24_000) * 2
    assert pcm[:length] == pcm[-length:]


async def test_voices_differ_and_case_does_not():
    first, _, _ = await speak(["word"], voice="tone-1")
    assert first == (await speak(["WORD"], voice="tone-1"))[0]
    assert first != (await speak(["word"], voice="tone-2"))[0]


async def test_volume_is_held_at_its_limit():
    pcm, _, _ = await speak(["loud"], volume=100.0)
    assert 31_900 < max(array("h", pcm)) <= 32_000


async def test_a_long_word_comes_in_stretches_without_a_seam():
    engine = ToneEngine()
    await engine.start({})
    session = await engine.open(Settings())
    pieces = [piece async for piece in session.speak(Segment(text="a" * 100))]
    assert [len(piece.pcm) for piece in pieces] == [48_000] * 6
    samples = array("h", b"".join(piece.pcm for piece in pieces))
    steps = [abs(later - sooner) for sooner, later in pairwise(samples)]
    assert max(steps[23_900:24_100]) <= max(steps[1000:2000]) + 1
    assert [word for piece in pieces for word, _, _ in piece.words] == ["a" * 100]


async def test_fails_on_the_text_it_was_told_to():
    engine = ToneEngine()
    await engine.start({"fail_on": "boom now"})
    session = await engine.open(Settings())
    words = []
    with pytest.raises(EngineError) as caught:
        async for piece in session.speak(Segment(text="one boom now two")):
            words += [word for word, _, _ in piece.words]
    assert words == ["one"]
    assert caught.value.code == "engine_failed"
    assert "boom" not in str(caught.value)
    assert [piece async for piece in session.speak(Segment(text="all is well"))]


async def test_waits_before_each_word_and_can_be_cancelled_meanwhile():
    began_s = time.perf_counter()
    await speak(["a b c"], config={"delay_ms_per_word": "20"})
    assert time.perf_counter() - began_s >= 0.06
    engine = ToneEngine()
    await engine.start({"delay_ms_per_word": 60_000})
    session = await engine.open(Settings())
    waiting = asyncio.ensure_future(anext(session.speak(Segment(text="never"))))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("value", ["soon", "-1", "60001", None, "nan"])
async def test_refuses_a_wrong_delay(value):
    with pytest.raises(ValueError, match="delay_ms_per_word must be a number from 0 to 60000"):
        await ToneEngine().start({"delay_ms_per_word": value})
