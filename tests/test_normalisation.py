"""Timestamps in spoken form: ``use_normalized_timestamps`` and ``normalization`` (protocol.md 3.1 and 8)."""

# ruff: noqa: RUF001 - the minus sign is meant as it stands

from __future__ import annotations

import pytest
from raw_client import RawClient, audio_of, words_of

from voxwire import server
from voxwire.server.speech.numbers import Numbers


@pytest.fixture
async def client():
    async with (
        server.serve(engine="tone", context_expiry_s=30) as running,
        await RawClient.open(running.url) as connected,
    ):
        yield connected


class TestNumbers:
    @pytest.mark.parametrize(
        ("language", "token", "words"),
        [
            ("en", "4", ["four"]),
            ("en", "0", ["zero"]),
            ("en", "42.", ["forty-two."]),
            ("en", "(42),", ["(forty-two),"]),
            ("en", "-4", ["minus", "four"]),
            ("en", "−4!", ["minus", "four!"]),
            ("en", "3.14", ["three", "point", "one", "four"]),
            ("en", "0.05", ["zero", "point", "zero", "five"]),
            ("en", "-2.5?", ["minus", "two", "point", "five?"]),
            ("en", "1,234", ["one", "thousand", "two", "hundred", "thirty-four"]),
            ("en", "1,000,000", ["one", "million"]),
            ("en", "3rd", ["third"]),
            ("en", '"21st"', ['"twenty-first"']),
            ("de", "1.234", ["eintausendzweihundertvierunddreißig"]),
            ("de", "3,5", ["drei", "Komma", "fünf"]),
            ("de", "21.", ["einundzwanzig."]),
            ("fr", "1er", ["premier"]),
            ("fr", "1re", ["première"]),
            ("es", "3.º", ["tercero"]),
            ("es", "3ª", ["tercera"]),
            ("ko", "42", ["사십이"]),
            ("th", "42", ["สี่สิบสอง"]),
            ("ru", "42", ["сорок", "два"]),
        ],
    )
    def test_spoken(self, language, token, words):
        assert Numbers(language).words(token) == words

    @pytest.mark.parametrize(
        ("language", "token"),
        [
            ("en", "word"),
            ("en", "A4"),
            ("en", "$5"),
            ("en", "50%"),
            ("en", "10:45"),
            ("en", "1.2.3"),
            ("en", "12,34"),
            ("en", "1.00"),
            ("en", "1234567890123456"),
            ("en", "2+2=4"),
            ("en", "..."),
            ("en", "٤"),
            ("de", "3.14"),
            ("ru", "4,5"),
            ("pl", "4,5"),
        ],
    )
    def test_as_it_stands(self, language, token):
        assert Numbers(language).words(token) == [token]

    @pytest.mark.parametrize("language", ["mr", "bn", "tl"])
    def test_languages_without_rules(self, language):
        assert Numbers.of(language, "auto") is None

    def test_which_language_counts(self):
        assert Numbers.of("de-AT", "auto") is Numbers.of("de", "auto") is Numbers.of("en", "de-DE")
        assert Numbers.of(None, "auto") is Numbers.of("en", "auto")
        assert Numbers.of("en", "off") is None


class TestTimestamps:
    async def test_spoken_forms_share_the_time_and_the_audio_stays(self, client):
        text = "I have 4 dogs, 21 cats."
        plain = await client.say("p", text, add_timestamps=True, language="en")
        messages = await client.say("c", text, add_timestamps=True, language="en", use_normalized_timestamps=True)
        assert audio_of(messages) == audio_of(plain)
        assert [word for word, _, _ in words_of(messages)] == ["I", "have", "four", "dogs,", "twenty-one", "cats."]
        assert [times[1:] for times in words_of(messages)] == [times[1:] for times in words_of(plain)]

    async def test_a_number_of_several_words(self, client):
        plain = await client.say("p", "Say 105 now", add_timestamps=True)
        messages = await client.say("c", "Say 105 now", add_timestamps=True, use_normalized_timestamps=True)
        words = words_of(messages)
        assert [word for word, _, _ in words] == ["Say", "one", "hundred", "five", "now"]
        (_, start, end) = words_of(plain)[1]
        assert (words[1][1], words[3][2]) == (start, end)
        assert words[1][2] == words[2][1]
        assert words[2][2] == words[3][1]
        assert start < words[1][2] < words[2][2] < end

    @pytest.mark.parametrize("fields", [{}, {"use_normalized_timestamps": False}, {"use_normalized_timestamps": None}])
    async def test_the_text_as_sent_unless_asked(self, client, fields):
        text = "I have 4 dogs"
        messages = await client.say("c", text, add_timestamps=True, **fields)
        assert [word for word, _, _ in words_of(messages)] == text.split()

    @pytest.mark.parametrize(
        ("normalization", "word"), [("off", "4"), ("auto", "four"), ("de", "vier"), ("de-CH", "vier"), (None, "four")]
    )
    async def test_normalization_says_in_which_language(self, client, normalization, word):
        fields = {"add_timestamps": True, "use_normalized_timestamps": True, "language": "en"}
        messages = await client.say("c", "4", normalization=normalization, **fields)
        assert [one for one, _, _ in words_of(messages)] == [word]

    async def test_by_character(self, client):
        fields = {"add_timestamps": True, "use_normalized_timestamps": True, "language": "zh"}
        messages = await client.say("c", "我有42只猫。", **fields)
        assert [one for one, _, _ in words_of(messages)] == list("我有四十二只猫。")

    async def test_spelling_stays_as_sent(self, client):
        text = "Code <spell>12</spell>."
        messages = await client.say("c", text, add_timestamps=True, use_normalized_timestamps=True)
        assert [one for one, _, _ in words_of(messages)] == text.split()
