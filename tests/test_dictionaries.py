"""Pronunciation dictionaries of the configuration (protocol.md 3.2 and 10)."""

from __future__ import annotations

import json

import pytest
from raw_client import RawClient, audio_of, request, words_of

from voxwire import server
from voxwire.server import ConfigurationError, Settings
from voxwire.server.speech.dictionaries import Dictionary, DictionaryItem

ITEMS = (
    {"text": "nginx", "alias": "engine ex"},
    {"text": "New York", "pronunciation": "Noo Yoark City"},
    {"text": "York", "alias": "Yok"},
    {"text": "Polish", "alias": "Pole ish"},
    {"text": "US", "alias": "you ess", "case_sensitive": False},
    {"text": "sql", "alias": "sequel", "case_sensitive": True},
    {"text": "c++", "alias": "see plus plus"},
    {"text": "hola", "pronunciation": "<<o|l|a>>"},
    {"text": "大阪", "alias": "おおさか"},
)


def spoken(text: str) -> str:
    result, position = "", 0
    for start, end, form in Dictionary(DictionaryItem(**item) for item in ITEMS).matches(text):
        result += text[position:start] + form
        position = end
    return result + text[position:]


@pytest.fixture
async def client():
    async with (
        server.serve(engine="tone", context_expiry_s=30, dictionaries={"d1": ITEMS, "empty": ()}) as running,
        await RawClient.open(running.url) as connected,
    ):
        yield connected


class TestMatching:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("nginx, Nginx and NGINX.", "engine ex, engine ex and engine ex."),
            ("nginx's (nginx)", "engine ex's (engine ex)"),
            ("nginxes engine-nginx2 _nginx", "nginxes engine-nginx2 _nginx"),
            ("Polish polish POLISH", "Pole ish polish POLISH"),
            ("us US Us", "you ess you ess you ess"),
            ("sql SQL", "sequel SQL"),
            ("New York York new york New\n York", "Noo Yoark City Yok new york Noo Yoark City"),
            ("C++ and c+", "see plus plus and c+"),
            ("hola", "hola"),
            ("私は大阪へ", "私はおおさかへ"),
            ("", ""),
        ],
    )
    def test_whole_words_the_longest_first(self, text, said):
        assert spoken(text) == said

    def test_no_entries(self):
        assert list(Dictionary(()).matches("any")) == []


class TestSpoken:
    @pytest.mark.parametrize("delay_ms", [0, 3000])
    async def test_the_alias_is_heard_and_the_word_as_sent_is_timed(self, client, delay_ms):
        fields = {"add_timestamps": True, "max_buffer_delay_ms": delay_ms}
        plain = await client.say("p", "In Noo Yoark City, engine ex's fine.", **fields)
        messages = await client.say("c", "In New York, Nginx's fine.", pronunciation_dict_id="d1", **fields)
        assert audio_of(messages) == audio_of(plain)
        words, said = words_of(messages), words_of(plain)
        assert [word for word, _, _ in words] == ["In", "New", "York,", "Nginx's", "fine."]
        assert (words[0], words[4]) == (said[0], said[6])
        assert (words[1][1], words[2][2]) == (said[1][1], said[3][2])
        assert words[1][2] == words[2][1]
        assert words[3][1:] == (said[4][1], said[5][2])

    async def test_it_holds_for_every_input_and_matches_no_tag(self, client):
        spelled = "<spell>nginx</spell>"
        plain = await client.say("p", f"engine ex {spelled} engine ex")
        client.send(request("c", "ngi", continue_=True, pronunciation_dict_id="d1"))
        client.send(request("c", f"nx {spelled} ", continue_=True))
        client.send(request("c", "nginx"))
        assert audio_of(await client.context("c")) == audio_of(plain)

    async def test_what_was_released_matches_no_more(self, client):
        plain = await client.say("p", "New Yok", max_buffer_delay_ms=0)
        client.send(request("c", "New", continue_=True, pronunciation_dict_id="d1", max_buffer_delay_ms=0))
        client.send(request("c", "York", max_buffer_delay_ms=0))
        assert audio_of(await client.context("c")) == audio_of(plain)

    async def test_models_before_sonic_3_ignore_it(self, client):
        fields = {"model_id": "sonic-2"}
        plain = await client.say("p", "nginx", **fields)
        assert audio_of(await client.say("c", "nginx", pronunciation_dict_id="d1", **fields)) == audio_of(plain)

    async def test_an_empty_one_changes_nothing(self, client):
        plain = await client.say("p", "nginx")
        assert audio_of(await client.say("c", "nginx", pronunciation_dict_id="empty")) == audio_of(plain)

    @pytest.mark.parametrize(("version", "status"), [("2026-03-01", 404), ("2025-11-04", 400)])
    async def test_an_unknown_id(self, version, status):
        async with (
            server.serve(engine="tone", dictionaries={"d1": ITEMS}) as running,
            await RawClient.open(running.url, headers={"Cartesia-Version": version}) as client,
        ):
            for model in ("sonic-3", "sonic-2"):
                (error,) = await client.say("c", "nginx", pronunciation_dict_id="nowhere", model_id=model)
                assert (error["status_code"], error["title"]) == (status, "Dictionary not found")
                assert "pronunciation_dict_id" in error["message"]
                assert "nowhere" not in json.dumps(error)

    async def test_a_later_input_cannot_change_it(self, client):
        plain = await client.say("p", "engine ex engine ex")
        client.send(request("c", "nginx ", continue_=True, pronunciation_dict_id="d1"))
        client.send(request("c", "nginx", pronunciation_dict_id="no such"))
        assert audio_of(await client.context("c")) == audio_of(plain)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("dictionaries", "where", "why"),
        [
            ({"d": [{"alias": "b"}]}, "dictionaries.d.0.text", "required"),
            ({"d": [{"text": "a"}]}, "dictionaries.d.0", "either an alias or a pronunciation"),
            ({"d": [{"text": "a", "alias": "b", "pronunciation": "c"}]}, "dictionaries.d.0", "either"),
            ({"d": [{"text": "a", "alias": "b"}, {"text": "?!", "alias": "b"}]}, "dictionaries.d.1.text", "letter"),
            ({"d": [{"text": "a", "alias": " "}]}, "dictionaries.d.0.alias", "letter"),
            ({"d": [{"text": "a" * 101, "alias": "b"}]}, "dictionaries.d.0.text", "100"),
            ({"d": [{"text": "a", "pronunciation": "b" * 101}]}, "dictionaries.d.0.pronunciation", "100"),
            ({"d": [{"text": "a", "alias": "b", "extra": 1}]}, "dictionaries.d.0.extra", "not permitted"),
            ({"d": [{"text": "a", "alias": "b", "case_sensitive": "x"}]}, "dictionaries.d.0.case_sensitive", "boolean"),
            ({"d": [{"text": "a", "alias": "b"}, {"text": "a", "alias": "c"}]}, "dictionaries.d", "item 1"),
            ({"d": "a"}, "dictionaries.d", "tuple"),
            ({"": []}, "dictionaries", "at least 1"),
        ],
    )
    def test_an_error_names_key_id_and_item(self, dictionaries, where, why):
        with pytest.raises(ConfigurationError) as caught:
            Settings.make(dictionaries=dictionaries)
        assert str(caught.value).startswith(where)
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_one_text_in_two_cases(self):
        items = [{"text": "Polish", "alias": "a"}, {"text": "polish", "alias": "b"}]
        Settings.make(dictionaries={"d": items})
