# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: RUF001 - other scripts look like Latin
"""Speed, pauses, emotion, and where the last word ends, by the samples of the engine."""

from __future__ import annotations

import math
import statistics
from array import array

import pytest

from voxwire.engines import PRIMARY_EMOTIONS, Segment, Settings
from voxwire_espeak import EspeakEngine
from voxwire_espeak.pace import find_rate, sample_of

RATE = 22_050
#: -50 dBFS, once the host has applied the engine's gain.
AUDIBLE = 32_768 * 10 ** (-50 / 20) / EspeakEngine.info.gain
TEXTS = {
    "en": "The river rose in the night, and by morning the lower fields were under water. Nobody had seen it so high "
    "since the old bridge fell, which was before my father was born.",
    "de": "Der Fluss stieg in der Nacht, und am Morgen standen die unteren Felder unter Wasser. Niemand hatte ihn so "
    "hoch gesehen, seit die alte Brücke eingestürzt war.",
    "es": "El río subió durante la noche, y por la mañana los campos bajos estaban bajo el agua. Nadie lo había visto "
    "tan alto desde que cayó el viejo puente.",
    "ru": "Ночью река поднялась, и к утру нижние поля стояли под водой. Никто не видел её такой высокой.",
    "zh": "夜里河水上涨了，到早晨下面的田地都被淹没了。自从旧桥倒塌以来，没有人见过这么高的水。那是在我父亲出生之前。",
}


@pytest.fixture
async def engine():
    engine = EspeakEngine()
    await engine.start({"workers": "1"})
    yield engine
    await engine.stop()


async def speak(engine, text, *, voice=None, language=None, **fields):
    session = await engine.open(Settings(voice=voice, language=language))
    pieces = [piece async for piece in session.speak(Segment(text=text, **fields))]
    return array("h", b"".join(piece.pcm for piece in pieces)), [word for piece in pieces for word in piece.words]


def last_audible_s(samples):
    return max((index for index, sample in enumerate(samples) if abs(sample) > AUDIBLE), default=0) / RATE


def median_pitch_hz(samples):
    """By autocorrelation over windows of 40 ms, 70 to 400 Hz, where one is clear; every fourth sample will do."""
    found = []
    thin = [sum(samples[at : at + 4]) for at in range(0, len(samples) - 4, 4)]
    rate, window = RATE / 4, round(RATE / 4 * 0.04)
    for start in range(0, len(thin) - 2 * window, 2 * window):
        frame = thin[start : start + 2 * window]
        energy = sum(sample * sample for sample in frame[:window])
        if energy < window * 4_000_000:
            continue
        best, lag_of_best = 0.0, 0
        for lag in range(round(rate / 400), round(rate / 70)):
            shifted = sum(sample * sample for sample in frame[lag : lag + window])
            product = sum(a * b for a, b in zip(frame[:window], frame[lag : lag + window], strict=True))
            likeness = product / math.sqrt(energy * shifted) if shifted else 0.0
            # A multiple of the period fits as well: only a clearly better one wins.
            if likeness > best * 1.02:
                best, lag_of_best = likeness, lag
        if best > 0.6:
            found.append(rate / lag_of_best)
    return statistics.median(found)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("variant", ["", "f1", "m3", "whisper"])
async def test_speed_is_what_was_asked_within_3_percent(engine, language, variant):
    voice = f"espeak/{language}/{variant}"
    for last in (True, False):
        normal, _ = await speak(engine, TEXTS[language], voice=voice, last=last)
        for speed in (0.6, 0.8, 1.2, 1.5):
            spoken, _ = await speak(engine, TEXTS[language], voice=voice, last=last, speed=speed)
            assert len(spoken) * speed == pytest.approx(len(normal), rel=0.03), speed


async def test_the_pause_after_a_sentence_has_the_speed_of_the_speech(engine):
    for speed in (0.6, 1.0, 1.5):
        samples, words = await speak(engine, "It was late.", speed=speed)
        assert len(samples) / RATE - words[-1][2] == pytest.approx(0.3 / speed, abs=0.03)
        assert not any(samples[-round(0.05 * RATE) :])


def test_a_rate_is_found_though_length_is_no_smooth_function_of_it():
    for power in (0.75, 1.0, 1.25):
        for step in (1, 1300):
            rate = find_rate(lambda rate: round(9e7 / rate**power) // step * step, 1.4)  # noqa: B023
            assert (rate / 175) ** power == pytest.approx(1.4, rel=0.02), (power, step)
    assert find_rate(lambda _: 0, 1.4) == 245
    assert find_rate(lambda _: pytest.fail("normal speed needs no measure"), 1.0) == 175


def test_a_long_text_is_measured_by_its_beginning():
    assert sample_of("short text") == "short text"
    long = "word " * 100
    assert long.startswith(sample_of(long))
    assert 200 < len(sample_of(long)) <= 240
    assert len(sample_of("字" * 500)) == 240


@pytest.mark.parametrize("variant", ["", "f1", "m3", "whisper"])
async def test_every_primary_emotion_is_heard(engine, variant):
    voice = f"espeak/en/{variant}"
    plain, _ = await speak(engine, TEXTS["en"], voice=voice, last=True)
    heard = {}
    for emotion in PRIMARY_EMOTIONS:
        samples, words = await speak(engine, TEXTS["en"], voice=voice, last=True, emotion=emotion)
        assert [word for word, _, _ in words] == TEXTS["en"].split()
        heard[emotion] = len(samples) / len(plain)
        if emotion == "neutral":
            assert heard[emotion] == pytest.approx(1, rel=0.005)
        else:
            assert abs(heard[emotion] - 1) > 0.03, emotion
    assert heard["scared"] < heard["angry"] < heard["content"] < heard["calm"] < heard["sad"]


async def test_emotions_change_the_pitch(engine):
    text = "The river rose in the night, and by morning the lower fields were under water."
    pitch_hz = {}
    for emotion in PRIMARY_EMOTIONS:
        samples, _ = await speak(engine, text, last=True, emotion=emotion)
        pitch_hz[emotion] = median_pitch_hz(samples)
    assert pitch_hz["scared"] > 1.15 * pitch_hz["neutral"]
    assert pitch_hz["content"] > 1.03 * pitch_hz["neutral"]
    assert pitch_hz["calm"] < 0.98 * pitch_hz["neutral"]
    assert pitch_hz["sad"] < 0.92 * pitch_hz["neutral"]


async def test_an_emotion_is_taken_in_any_case_and_an_unknown_one_is_none(engine):
    text = "It was a quiet evening on the river."
    lengths = {}
    for emotion in (None, "Neutral", "grumpy", "SAD", "melancholic", "Joking/Comedic"):
        lengths[emotion] = len((await speak(engine, text, last=True, emotion=emotion))[0])
    assert lengths["grumpy"] == pytest.approx(lengths[None], rel=0.005)
    assert lengths["Neutral"] == pytest.approx(lengths[None], rel=0.005)
    assert lengths["SAD"] == pytest.approx(lengths["melancholic"], rel=0.005)
    assert lengths["SAD"] > 1.1 * lengths[None] > 1.1 * lengths["Joking/Comedic"]


@pytest.mark.parametrize("voice", ["espeak/en/", "espeak/en/f1", "espeak/en/f5", "espeak/en/klatt", "espeak/en/m3"])
async def test_the_last_word_ends_with_the_last_audible_sample(engine, voice):
    for text in (
        "Yes!",
        "Is it?",
        "42.",
        "1,234.5",
        "50%",
        "stop",
        "fifth",
        "buzz",
        "the cliff",
        'He said "no"',
        "One. Two",
    ):
        for fields in ({"last": True}, {}, {"ends_sentence": False}, {"speed": 0.6}, {"speed": 1.5}):
            samples, words = await speak(engine, text, voice=voice, **fields)
            assert words[-1][2] == pytest.approx(last_audible_s(samples), abs=0.005), (text, fields)
            assert words[-1][0] == text.split()[-1]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Wie geht es dir?"),
        ("fr", "Comment ça va ?"),
        ("pl", "Cześć"),
        ("ru", "Как дела?"),
        ("zh", "你好。"),
        ("ja", "こんにちは。"),
        ("ko", "안녕하세요"),
        ("ar", "مرحبا"),
        ("hi", "नमस्ते।"),
    ],
)
async def test_the_last_word_ends_with_the_sound_in_every_language(engine, language, text):
    for last in (True, False):
        samples, words = await speak(engine, text, language=language, last=last)
        assert words[-1][2] == pytest.approx(last_audible_s(samples), abs=0.005)
