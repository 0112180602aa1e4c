# SPDX-License-Identifier: GPL-3.0-or-later
"""Word times as they reach a client of the server: exact over the whole stream, one entry a word."""

# ruff: noqa: RUF001 - Chinese punctuation is meant as it stands

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from raw_client import RawClient, audio_of, request, words_of

from voxwire import server

ENGLISH = "Hello, world! I paid $5.50 - or so - for 3 tickets at 10:45 … <spell>AB1</spell>. "


@pytest.fixture(scope="module")
def options():
    return {"engine": "espeak", "engine_options": {"workers": "1"}, "context_expiry_s": 30}


async def test_every_word_once_over_inputs_and_flushes(options):
    fields = {"voice": "en-us", "language": "en", "add_timestamps": True}
    rate = 24_000
    async with server.serve(**options, unknown_voice="default") as running, await RawClient.open(running.url) as client:
        client.send(request("c", ENGLISH, continue_=True, flush=True, **fields))
        client.send(request("c", ENGLISH + '<break time="500ms"/>', continue_=True))
        client.send(request("c", ENGLISH))
        messages = await client.context("c")
    words = words_of(messages)
    tokens = ENGLISH.split()
    assert [word for word, _, _ in words] == 3 * tokens
    assert all(start <= end for _, start, end in words)
    assert all(first[2] <= second[1] for first, second in pairwise(words))
    assert words[2 * len(tokens)][1] - words[2 * len(tokens) - 1][2] >= 0.5
    samples = array("h", audio_of(messages))
    last = max(index for index, sample in enumerate(samples) if abs(sample) > 50)
    assert words[-1][2] == pytest.approx(last / rate, abs=0.02)


@pytest.mark.parametrize(
    ("language", "text"),
    [("zh", "你好，世界！我有 4 只猫。"), ("ja", "「こんにちは」、せかい。"), ("ja", "きょう<spell>A1</spell>。")],
)
async def test_chinese_and_japanese_by_character(options, language, text):
    async with server.serve(**options, unknown_voice="default") as running, await RawClient.open(running.url) as client:
        messages = await client.say("c", text, language=language, add_timestamps=True)
    spelled = "<spell>A1</spell>"
    characters = [
        one for part in text.partition(spelled) for one in ([part] if part == spelled else part.replace(" ", ""))
    ]
    words = words_of(messages)
    assert [word for word, _, _ in words] == characters
    assert all(first[2] <= second[1] for first, second in pairwise(words))
    assert words[-1][2] <= len(audio_of(messages)) / 48_000 + 1e-6


async def test_spoken_forms_leave_the_audio_as_it_is(options):
    fields = {"language": "en", "add_timestamps": True}
    text = "I have 42 dogs, the 3rd is 1.5 years old."
    async with server.serve(**options, unknown_voice="default") as running, await RawClient.open(running.url) as client:
        plain = await client.say("p", text, **fields)
        messages = await client.say("c", text, use_normalized_timestamps=True, **fields)
    # The engine never says a thing twice in quite the same way.
    assert len(audio_of(messages)) == pytest.approx(len(audio_of(plain)), rel=0.02)
    spoken = "I have forty-two dogs, the third is one point five years old."
    assert [word for word, _, _ in words_of(messages)] == spoken.split()
    assert words_of(messages)[-1][1:] == pytest.approx(words_of(plain)[-1][1:], rel=0.02)
