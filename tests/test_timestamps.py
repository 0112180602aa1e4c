"""Times of words and phonemes map onto the byte stream (protocol.md 5.3 and 8)."""

# ruff: noqa: RUF001 - Chinese punctuation is meant as it stands

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Any

import pytest
from raw_client import RawClient, audio_of, request, words_of

from voxwire import plugins, server
from voxwire.audio import SAMPLE_RATES
from voxwire.engines import Info, Piece, Voice
from voxwire.engines.tone import ToneEngine

TEXT = 'Hello, world! <break time="70ms"/>I said - well, 42 <spell>ab</spell>. '


@pytest.fixture
async def client():
    async with (
        server.serve(engine="tone", context_expiry_s=30) as running,
        await RawClient.open(running.url) as connected,
    ):
        yield connected


def output(rate: int) -> dict[str, Any]:
    return {"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate}


def assert_before_their_chunk(messages: list[dict[str, Any]], rate: int) -> None:
    """Every word or phoneme goes out before the chunk in which it begins, and none before an earlier chunk.

    A spelled word is known only with its last letter.
    """
    sent_s = 0.0
    for index, message in enumerate(messages):
        if message["type"] in {"timestamps", "phoneme_timestamps"}:
            chunk = next(later for later in messages[index:] if later["type"] == "chunk")
            end_s = sent_s + len(audio_of([chunk])) / 2 / rate
            for kind in ("word", "phoneme"):
                times = words_of([message], kind)
                assert all(start < end_s for _, start, _ in times)
                assert all(sent_s <= start for word, start, _ in times if "<spell>" not in word)
        sent_s += len(audio_of([message])) / 2 / rate


class TestTone:
    @pytest.mark.parametrize("rate", SAMPLE_RATES)
    async def test_they_map_onto_the_samples_over_inputs_flushes_and_breaks(self, client, rate):
        fields = {"output_format": output(rate), "add_timestamps": True, "add_phoneme_timestamps": True}
        client.send(request("c", TEXT, continue_=True, flush=True, **fields))
        client.send(request("c", "", continue_=True, flush=True))
        client.send(request("c", TEXT, continue_=True, max_buffer_delay_ms=0, generation_config={"speed": 0.7}))
        client.send(request("c", TEXT))
        messages = await client.context("c")
        words = words_of(messages)
        spoken = ["Hello,", "world!", "I", "said", "-", "well,", "42", "<spell>ab</spell>."]
        assert [word for word, _, _ in words] == 3 * spoken
        assert words[0][1] == 0
        spans = [span[1:] for span in words]
        assert all(start <= end for start, end in spans)
        assert all(first[1] <= second[0] for first, second in pairwise(spans))
        assert_before_their_chunk(messages, rate)
        samples = array("h", audio_of(messages))
        # The tone of a word lies within its times, and between two words there is nothing but what the filter adds.
        for (_, start, end), (_, following, _) in pairwise(words):
            first, last, after = (round(time * rate) for time in (start, end, following))
            assert max(map(abs, samples[first:last])) > 4000
            gap = samples[last + rate // 500 : after - rate // 500]
            assert not gap or max(map(abs, gap)) < 200
        assert abs(words[-1][2] * rate - len(samples)) <= 0.5 + 1e-6 * rate
        phonemes = words_of(messages, "phoneme")
        assert all(first[2] <= second[1] + 1e-6 for first, second in pairwise(phonemes))
        assert phonemes[-1][2] == words[-1][2]

    async def test_all_of_a_segment_come_before_its_flush(self, client):
        fields = {"output_format": output(8000), "add_timestamps": True}
        client.send(request("c", "One two", continue_=True, flush=True, **fields))
        client.send(request("c", "three"))
        messages = await client.context("c")
        mark = [message["type"] for message in messages].index("flush_done")
        assert [word for word, _, _ in words_of(messages[:mark])] == ["One", "two"]
        assert [word for word, _, _ in words_of(messages[mark:])] == ["three"]

    async def test_six_decimals(self, client):
        messages = await client.say("c", "One two three", add_timestamps=True, generation_config={"speed": 1.1})
        assert all(time == round(time, 6) for _, *times in words_of(messages) for time in times)

    @pytest.mark.parametrize("language", ["zh", "ja", "zh-CN", None])
    async def test_chinese_and_japanese_come_by_character(self, client, language):
        text = "你好，世界！ 「こんにちは」。"
        messages = await client.say("c", text, add_timestamps=True, language=language)
        words = words_of(messages)
        assert [word for word, _, _ in words] == list(text.replace(" ", ""))
        assert all(first[2] <= second[1] for first, second in pairwise(words))
        plain = await client.say("p", text, add_timestamps=True, language="en")
        (first, second) = words_of(plain)
        assert (words[0][1], words[5][2], words[6][1], words[-1][2]) == (first[1], first[2], second[1], second[2])

    async def test_a_tag_among_characters_is_one_entry(self, client):
        messages = await client.say("c", "码<spell>A1</spell>。", add_timestamps=True, language="zh")
        assert [word for word, _, _ in words_of(messages)] == ["码", "<spell>A1</spell>", "。"]

    async def test_each_word_is_a_substring_of_the_text_in_order(self, client):
        text = 'Well — "yes" (no),\tcost\n$5.50 or 3/4 <b>now</b> <speed ratio="1.2"/>ok <spell>X 1</spell>!'
        place = 0
        for word, _, _ in words_of(await client.say("c", text, add_timestamps=True)):
            place = text.index(word, place) + len(word)

    async def test_a_long_word_is_cut_for_the_engine_and_told_once(self, client):
        word = "a" * 700
        words = words_of(await client.say("c", f"One {word} two", add_timestamps=True, max_buffer_delay_ms=0))
        assert "".join(told for told, _, _ in words) == f"One{word}two"


class TestOtherEngines:
    @pytest.mark.parametrize(
        ("spoken", "expected"),
        [
            ((), [("One", 0, 0), ("-", 0, 0), ("two", 0, 0)]),
            ((("One", 0.0, 0.4), ("two", 0.5, 1.0)), [("One", 0, 0.4), ("-", 0.4, 0.4), ("two", 0.5, 1)]),
            (
                (("one", 0.0, 0.4), ("-", 0.4, 0.5), ("2", 0.5, 1.0)),
                [("One", 0, 0.4), ("-", 0.4, 0.5), ("two", 0.5, 1)],
            ),
            ((("O", 0.0, 0.1), ("ne", 0.1, 0.3)), [("One", 0, 0.3), ("-", 0.3, 0.3), ("two", 0.3, 0.3)]),
            ((("One", 0.0, 0.6), ("two", 0.5, 0.4)), [("One", 0, 0.6), ("-", 0.6, 0.6), ("two", 0.6, 0.6)]),
            ((("One - two", 0.0, 0.7),), [("One", 0, 0.3), ("-", 0.3, 0.4), ("two", 0.4, 0.7)]),
        ],
    )
    async def test_each_word_once_whatever_the_engine_tells(self, monkeypatch, spoken, expected):
        class Engine(_Engine):
            words = spoken

        monkeypatch.setattr(plugins, "load", lambda group, name: Engine)
        async with server.serve(engine="other") as running, await RawClient.open(running.url) as client:
            messages = await client.say("c", "One - two", add_timestamps=True, voice="v")
        assert words_of(messages) == [(word, pytest.approx(start), pytest.approx(end)) for word, start, end in expected]


class _Engine(ToneEngine):
    """Makes a second of silence and says that it has these words in it."""

    info = Info(name="other", sample_rate=24_000, words=True)
    words: tuple[tuple[str, float, float], ...] = ()

    def voices(self):
        return [Voice(id="v", name="V", default=True)]

    async def open(self, settings):
        return self

    async def speak(self, segment):
        yield Piece(bytes(48_000), self.words)

    async def close(self):
        pass
