"""What a request may say (protocol.md 15, server items 8, 9, 10 and 12; 3.1 to 3.7, 9.1, 9.2)."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from conformance.exchange import ERROR_KEYS, VERSIONS, after, at
from raw_client import FORMAT, RawClient, audio_of, kinds_of, request, words_of

NEWEST = "2026-08-14"
EMBEDDING = {"mode": "embedding", "embedding": [0.1, -0.2], "__experimental_controls": {"speed": "fast"}}
DEFAULT_VOICES = ("a0e99841-438c-4a64-b679-ae501e7d6091", "6ccbfb76-1fc6-48f7-b71d-91ac6298247b")
SERVED = None


def output(**fields: Any) -> dict[str, Any]:
    return FORMAT | fields


def config(**fields: Any) -> dict[str, Any]:
    return {"generation_config": fields}


#: Fields of a first input, the version that it comes in, and its answer: status, code, and what the title names.
ROWS: list[tuple[dict[str, Any], str, tuple[int, str | None, str] | None]] = [
    # Unknown fields, and null where a field is optional.
    ({"no_such_field": {"deep": [1]}, "duration": 5, "stream": True, "text_cfg": {}}, NEWEST, SERVED),
    ({"use_original_timestamps": "yes"}, NEWEST, SERVED),
    (
        dict.fromkeys(
            [
                "continue",
                "flush",
                "max_buffer_delay_ms",
                "language",
                "locale",
                "normalization",
                "add_timestamps",
                "add_phoneme_timestamps",
                "use_normalized_timestamps",
                "pronunciation_dict_id",
                "generation_config",
                "speed",
            ]
        ),
        NEWEST,
        SERVED,
    ),
    (config(volume=None, speed=None, emotion=None), NEWEST, SERVED),
    # Required ones.
    *(({name: absent}, NEWEST, (400, None, name)) for name in ("model_id", "voice") for absent in (..., None)),
    *(({"output_format": absent}, NEWEST, (400, None, "output_format")) for absent in (..., None)),
    ({"output_format": {"container": "raw", "encoding": "pcm_s16le"}}, NEWEST, (400, None, "sample_rate")),
    ({"output_format": {"container": "raw", "sample_rate": 8000}}, NEWEST, (400, None, "encoding")),
    ({"output_format": output(sample_rate=None)}, NEWEST, (400, None, "sample_rate")),
    ({"output_format": output(encoding=None)}, NEWEST, (400, None, "encoding")),
    # JSON types.
    ({"model_id": 3}, NEWEST, (400, None, "model_id")),
    ({"continue": "true"}, NEWEST, (400, None, "continue")),
    ({"flush": 1}, NEWEST, (400, None, "flush")),
    ({"add_timestamps": "false"}, NEWEST, (400, None, "add_timestamps")),
    ({"add_phoneme_timestamps": 0}, NEWEST, (400, None, "add_phoneme_timestamps")),
    ({"use_normalized_timestamps": []}, NEWEST, (400, None, "use_normalized_timestamps")),
    ({"language": 5}, NEWEST, (400, None, "language")),
    ({"normalization": True}, NEWEST, (400, None, "normalization")),
    ({"pronunciation_dict_id": 5}, NEWEST, (400, None, "pronunciation_dict_id")),
    ({"generation_config": "loud"}, NEWEST, (400, None, "generation_config")),
    (config(volume="1"), NEWEST, (400, None, "volume")),
    (config(speed=True), NEWEST, (400, None, "speed")),
    (config(emotion=["angry"]), NEWEST, (400, None, "emotion")),
    ({"output_format": output(sample_rate="8000")}, NEWEST, (400, None, "sample_rate")),
    ({"output_format": output(sample_rate=2**64)}, NEWEST, (400, None, "sample_rate")),
    ({"output_format": "raw"}, NEWEST, (400, None, "output_format")),
    ({"output_format": output(sample_rate=24000.0)}, NEWEST, SERVED),
    ({"max_buffer_delay_ms": 100.0}, NEWEST, SERVED),
    # The deprecated speed.
    *(({"speed": word}, NEWEST, SERVED) for word in ("slow", "normal", "fast")),
    *(({"speed": word}, NEWEST, (400, None, "speed")) for word in ("slowest", "Fast", "", 1.0)),
    # Voices.
    *(({"voice": voice}, version, SERVED) for voice in ("tone-2", {"id": "tone-2"}) for version in VERSIONS),
    *(({"voice": voice}, NEWEST, SERVED) for voice in DEFAULT_VOICES),
    ({"voice": {"mode": "id", "id": "tone-2", "weight": {"more": 1}}}, NEWEST, SERVED),
    *(({"voice": voice}, NEWEST, (400, None, "voice")) for voice in ("", {"id": ""}, {"mode": "id"}, [], 5, True)),
    ({"voice": {"mode": "clone", "id": "tone-1"}}, NEWEST, (400, None, "voice")),
    ({"voice": {"mode": 5, "id": "tone-1"}}, NEWEST, (400, None, "voice")),
    *(
        ({"voice": EMBEDDING}, version, SERVED if version < "2025-04-16" else (400, None, "voice"))
        for version in VERSIONS
    ),
    *(
        ({"voice": "nobody"}, version, (404 if version >= "2026-03-01" else 400, "voice_not_found", "Voice"))
        for version in VERSIONS
    ),
    # Output formats.
    ({"output_format": {"encoding": "pcm_alaw", "sample_rate": 8000}}, NEWEST, SERVED),
    *(({"output_format": output(container=name)}, NEWEST, (400, None, "container")) for name in ("wav", "mp3", "RAW")),
    *(({"output_format": output(encoding=name)}, NEWEST, (400, None, "encoding")) for name in ("pcm_s24le", "", 5)),
    *(({"output_format": output(sample_rate=rate)}, NEWEST, (400, None, "sample_rate")) for rate in (40, 0, 96000)),
    # Numbers with a range.
    *(({"max_buffer_delay_ms": delay}, NEWEST, (400, None, "max_buffer_delay_ms")) for delay in (-1, 5001, 0.5, 1e9)),
    *(({"max_buffer_delay_ms": delay}, NEWEST, SERVED) for delay in (1, 5000)),
    *((config(volume=volume), NEWEST, SERVED) for volume in (0.5, 1, 2.0)),
    *((config(volume=volume), NEWEST, (400, None, "volume")) for volume in (0.49, 2.1, -1)),
    *((config(speed=speed), NEWEST, SERVED) for speed in (0.6, 1, 1.5)),
    *((config(speed=speed), NEWEST, (400, None, "speed")) for speed in (0.59, 1.6, 2.0)),
    # Emotions in any case, and unknown ones.
    *((config(emotion=name), NEWEST, SERVED) for name in ("Angry", "angry", "SAD", "Joking/Comedic", "no such", "")),
    # Models of before sonic-3 ignore it, once it was checked.
    ({"model_id": "sonic-2", **config(speed=1.5)}, NEWEST, SERVED),
    ({"model_id": "sonic-2", **config(speed=1.6)}, NEWEST, (400, None, "speed")),
    # Languages.
    *(
        ({name: tag}, NEWEST, SERVED)
        for name in ("language", "locale")
        for tag in ("en", "EN", "en-US", "en-us", "or", "ur", "no")
    ),
    *(
        ({name: tag}, NEWEST, (400, None, name))
        for name in ("language", "locale")
        for tag in ("xx1", "eng", "en_US", "", "e", "en-USA", "en-US-x")
    ),
    ({"language": "en", "locale": "en-US"}, NEWEST, (400, None, "")),
    *(({"normalization": value}, NEWEST, SERVED) for value in ("auto", "off", "en", "de-DE")),
    ({"normalization": "never"}, NEWEST, (400, None, "normalization")),
    # Dictionaries: there are none.
    *(
        ({"pronunciation_dict_id": "d"}, version, (404 if version >= "2026-03-01" else 400, None, "ictionary"))
        for version in VERSIONS
    ),
    # Models.
    *(
        ({"model_id": name}, NEWEST, SERVED)
        for name in [
            "sonic-latest",
            "sonic-3.6",
            "sonic-3.6-2026-08-27",
            "sonic-3.5",
            "sonic-3.5-2026-05-04",
            "sonic-3",
            "sonic-3-2026-01-12",
            "sonic-3-2025-10-27",
            "sonic-2",
            "sonic-2-2025-03-07",
            "sonic-turbo",
            "sonic",
        ]
    ),
    *(({"model_id": name}, NEWEST, (400, "model_not_found", "model")) for name in ("", "sonic-4", "SONIC-3")),
]


@pytest.mark.parametrize(("fields", "version", "expected"), ROWS, ids=lambda value: json.dumps(value, default=str)[:60])
async def test_item_09_each_row_of_validation(plain, fields, version, expected):
    async with await RawClient.open(plain.url, **at(version)) as client:
        messages = await client.say("c1", "Hi.", **fields)
        if expected is SERVED:
            assert [kind for kind in kinds_of(messages) if kind != "flush_done"] == ["chunk", "done"]
            return
        (error,) = messages
        status, code, named = expected
        assert (error["status_code"], error["error_code"]) == (status, code)
        assert named in error["title"]
        assert set(error) - {"doc_url"} == ERROR_KEYS
        await client.silence()


class TestItem09Errors:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_one_superset_shape_in_every_version(self, plain, version):
        wrong = [
            {"model_id": ""},
            {"voice": ""},
            {"output_format": output(sample_rate=40)},
            {"output_format": output(container="wav")},
            {"transcript": "?!…"},
            config(speed=1.6),
            config(volume=2.1),
        ]
        async with await RawClient.open(plain.url, **at(version)) as client:
            for number, fields in enumerate(wrong):
                context_id = f"c{number}"
                client.send(request(context_id, **{"transcript": "Hi.", "continue": True} | fields))
                # Inputs that are under way produce no second error.
                client.send({"context_id": context_id, "transcript": "More.", "continue": True})
                client.send({"context_id": context_id, "transcript": "", "continue": False})
                (error,) = await after(client, context_id, 1)
                assert set(error) - {"doc_url"} == ERROR_KEYS
                assert (error["type"], error["done"], error["status_code"]) == ("error", True, 400)
                assert error["error"] == f"{error['title']}: {error['message']}"
                assert str(uuid.UUID(error["request_id"])) == client.headers["x-request-id"]

    async def test_an_unspeakable_first_transcript(self, plain):
        async with await RawClient.open(plain.url) as client:
            for transcript in ("", " ", "?!", "\n\t", "…", "\u200d"):
                (error,) = await client.say("c1", transcript)
                assert (error["status_code"], error["error_code"]) == (400, None)
                assert error["error"] == (
                    "transcript empty or contains only punctuation: "
                    "first transcript for WS is empty or contains only punctuation"
                )

    async def test_ids_of_contexts(self, plain):
        async with await RawClient.open(plain.url) as client:
            for context_id in ("x", "x" * 256, "é" * 256, "a b/ü\n"):
                assert kinds_of(await client.say(context_id, "Hi.")) == ["chunk", "done"]
            for wrong in ("", "x" * 257, "nul\0"):
                client.send(request(wrong, "Hi."))
                error = await client.receive()
                assert (error["status_code"], error["title"]) == (400, "Invalid context_id")
            for wrong in (5, None, [], True):
                client.send(request("c", "Hi.") | {"context_id": wrong})
                error = await client.receive()
                assert (error["status_code"], "context_id" in error) == (400, False)
            await client.silence()

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_an_absent_id_by_version(self, plain, version):
        async with await RawClient.open(plain.url, **at(version)) as client:
            client.send({name: value for name, value in request("c", "Hi.").items() if name != "context_id"})
            first = await client.receive()
            assert (first["type"] == "chunk") == (version <= "2025-04-16")
            if version <= "2025-04-16":
                assert uuid.UUID(first["context_id"])

    async def test_a_language_that_the_engine_cannot_speak(self, speaking):
        async with await RawClient.open(speaking.url) as client:
            (error,) = await client.say("c1", "Hi.", voice=DEFAULT_VOICES[0], language="zz")
            assert (error["status_code"], error["error_code"]) == (400, "language_not_supported")
            assert kinds_of(await client.say("c2", "Hi.", voice=DEFAULT_VOICES[0], language="en-US"))[-1] == "done"

    async def test_an_engine_that_fails(self, slow):
        async with await RawClient.open(slow.url) as client:
            messages = await client.say("c1", "This will FAIL.")
            assert (messages[-1]["status_code"], messages[-1]["error_code"]) == (500, "engine_failed")
            assert kinds_of(await client.say("c2", "Fine.")) == ["chunk", "done"]


class TestItem08Json:
    async def test_spellings_of_one_request(self, plain):
        whole = request("c", "Naïve 😀 one.", continue_=False, max_buffer_delay_ms=100)
        reordered = dict(reversed(whole.items()))
        nulls = whole | {"language": None, "generation_config": None, "speed": None}
        floats = whole | {"max_buffer_delay_ms": 100.0, "output_format": output(sample_rate=24000.0)}
        spellings = [
            json.dumps(whole, indent=4),
            json.dumps(whole, ensure_ascii=False),
            json.dumps(reordered),
            json.dumps(nulls),
            json.dumps(floats),
            json.dumps(whole | {"new": [{"a": {"b": None}}], "type": "generate", "other": 1e400}).replace(
                "Infinity", "1e400"
            ),
            " \r\n\t" + json.dumps(whole).replace('"context_id"', '"\\u0063ontext_id"') + "\n",
            json.dumps(whole).encode(),
        ]
        async with await RawClient.open(plain.url) as client:
            expected = audio_of(await client.say("c", "Naïve 😀 one."))
            for spelling in spellings:
                client.send(spelling)
                assert audio_of(await client.context("c")) == expected, spelling

    @pytest.mark.parametrize(
        "text",
        [
            '{"context_id":"c","transcript":"a","transcript":"b","continue":true}',
            '{"context_id":"c","context_id":"c","transcript":"a"}',
            '{"context_id":"c","transcript":"a","voice":{"mode":"id","id":"a","id":"b"}}',
            '{"context_id":"c","transcript":"a","output_format":{"encoding":"x","\\u0065ncoding":"y"}}',
        ],
    )
    async def test_duplicate_keys(self, plain, text):
        async with await RawClient.open(plain.url) as client:
            client.send(text)
            error = await client.receive()
            assert (error["type"], error["status_code"]) == ("error", 400)

    async def test_duplicate_keys_in_members_that_are_skipped(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(json.dumps(request("c", "Hi."))[:-1] + ',"unknown":{"a":1,"a":2}}')
            assert kinds_of(await client.context("c")) == ["chunk", "done"]

    async def test_a_transcript_of_64_kib(self, plain):
        text = "First" + " " * (65_536 - 10) + "last."
        async with await RawClient.open(plain.url) as client:
            messages = await client.say("c", text, add_timestamps=True)
            assert [word for word, _, _ in words_of(messages)] == ["First", "last."]

    async def test_a_message_of_1_mib_and_one_byte_more(self, plain):
        text = json.dumps(request("c", "Hi."))
        async with await RawClient.open(plain.url) as client:
            client.send(text.ljust(1 << 20))
            assert kinds_of(await client.context("c")) == ["chunk", "done"]
            client.send(request("live", "Wait for more", continue_=True))
            client.send(text.ljust((1 << 20) + 1))
            error = await client.receive()
            assert (error["context_id"], error["status_code"], error["error_code"]) == ("live", 500, None)
            assert (await client.closed()).code == 1009


class TestItem10Unusable:
    TEXTS = ("", " ", "{", "[]", '"text"', "5", "null", "{},", '{"context_id":"c"}', b"\xff\xfe", b"{]")

    @pytest.mark.parametrize("text", TEXTS, ids=repr)
    async def test_the_socket_stays_usable(self, plain, text):
        async with await RawClient.open(plain.url) as client:
            client.send(text)
            error = await client.receive()
            assert (error["type"], error["status_code"], error["error_code"]) == ("error", 400, None)
            assert error.get("context_id") == ("c" if "context_id" in str(text) else None)
            assert kinds_of(await client.say("d", "Hi.")) == ["chunk", "done"]

    async def test_the_tenth_in_a_row_closes(self, plain):
        async with await RawClient.open(plain.url) as client:
            for _ in range(9):
                client.send("nonsense")
                assert (await client.receive())["status_code"] == 400
            # One usable message begins the count anew.
            await client.say("c1", "Hi.")
            client.send(request("live", "Wait for more", continue_=True))
            for _ in range(10):
                client.send("nonsense")
            errors = [await client.receive() for _ in range(11)]
            assert [error.get("context_id") for error in errors].count("live") == 1
            assert {error["status_code"] for error in errors} == {400, 500}
            closed = await client.closed()
            assert closed.code == 1008

    async def test_swallowed_ones_count_too(self, plain):
        async with await RawClient.open(plain.url) as client:
            for _ in range(10):
                client.send('{"context_id":"c","transcript":5,"transcript":6,"continue":true}')
            assert (await client.receive())["context_id"] == "c"
            assert (await client.closed()).code == 1008


class TestItem12Voices:
    async def test_embeddings_speak_with_the_default_voice(self, plain):
        async with await RawClient.open(plain.url, **at("2024-11-13")) as client:
            spoken = await client.say("c1", "Hi there.", voice=EMBEDDING)
            assert audio_of(spoken) == audio_of(await client.say("c2", "Hi there.", voice="tone-1"))

    async def test_every_spelling_is_the_same_voice(self, plain):
        async with await RawClient.open(plain.url) as client:
            spellings = ("tone-2", {"id": "tone-2"}, {"mode": "id", "id": "tone-2"})
            spoken = {audio_of(await client.say("c", "Hi there.", voice=voice)) for voice in spellings}
            assert len(spoken) == 1
            assert audio_of(await client.say("c", "Hi there.", voice="tone-1")) not in spoken


class TestLaterInputs:
    async def test_what_the_first_fixed_is_neither_required_checked_nor_used(self, plain):
        other = {
            "model_id": "",
            "voice": EMBEDDING,
            "output_format": {"encoding": "none"},
            "language": "xx1",
            "locale": 5,
            "normalization": [],
            "pronunciation_dict_id": "d",
            "add_timestamps": "yes",
            "speed": "warp",
        }
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "One ", continue_=True))
            client.send({"context_id": "c1", "transcript": "two.", "continue": True} | other)
            client.send({"context_id": "c1", "transcript": ""})
            assert audio_of(await client.context("c1")) == audio_of(await client.say("c2", "One two."))

    @pytest.mark.parametrize(
        "fields",
        [{"transcript": None}, {"flush": "x"}, {"generation_config": {"volume": 3}}, {"max_buffer_delay_ms": 5001}],
        ids=str,
    )
    async def test_what_belongs_to_each_input_is_checked(self, plain, fields):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "Wait for more", continue_=True))
            client.send({"context_id": "c1", "transcript": "x", "continue": True} | fields)
            (error,) = await after(client, "c1", 1)
            assert error["status_code"] == 400
            assert next(iter(fields)) in error["title"]

    async def test_generation_config_holds_for_its_own_text(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "One. ", continue_=True, **config(volume=0.5)))
            client.send({"context_id": "c1", "transcript": "Two."})
            changed = audio_of(await client.context("c1"))
            steady = audio_of(await client.say("c2", "One. Two."))
            assert len(changed) == len(steady)
            assert changed[-2000:] == steady[-2000:]
            assert changed[:4000] != steady[:4000]
