"""What a generation request may say, and how a refusal names the field (protocol.md 3.2)."""

from __future__ import annotations

from typing import Any

import pytest
from raw_client import request

from voxwire.audio import AudioFormat
from voxwire.server.refusal import Refusal
from voxwire.server.requests import Models, check_first, check_later, is_speakable
from voxwire.server.versions import NEWEST, resolve

PRESENT = "2026-03-01"


def first(version: str = PRESENT, **fields: Any) -> Any:
    return check_first(request("c1", "Hello", **fields), version)


def refused(version: str = PRESENT, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        first(version, **fields)
    return caught.value


def output(**fields: Any) -> dict[str, Any]:
    return {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000, **fields}


class TestFirstInput:
    def test_defaults(self):
        given = first()
        assert given.output_format.format == AudioFormat("pcm_s16le", 24000)
        assert (given.continues, given.flush, given.max_buffer_delay_ms) == (False, False, 3000)
        assert (given.add_timestamps, given.asked_language, given.base_speed) == (False, None, 1.0)

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"model_id": ...}, "model_id"),
            ({"model_id": None}, "model_id"),
            ({"model_id": 5}, "model_id"),
            ({"voice": ...}, "voice"),
            ({"voice": ""}, "voice"),
            ({"voice": []}, "voice"),
            ({"voice": {"mode": "id", "id": ""}}, "voice"),
            ({"voice": {"mode": "id"}}, "voice"),
            ({"voice": {"mode": "clone", "id": "v"}}, "voice"),
            ({"voice": {"mode": "embedding", "embedding": [0.1]}}, "voice"),
            ({"output_format": ...}, "output_format"),
            ({"output_format": "raw"}, "output_format"),
            ({"output_format": output(container="wav")}, "output_format.container"),
            ({"output_format": output(encoding="pcm_s24le")}, "output_format.encoding"),
            ({"output_format": output(sample_rate=40)}, "output_format.sample_rate"),
            ({"output_format": output(sample_rate="8000")}, "output_format.sample_rate"),
            ({"output_format": output(sample_rate=8000.5)}, "output_format.sample_rate"),
            ({"output_format": output(sample_rate=True)}, "output_format.sample_rate"),
            ({"continue": "true"}, "continue"),
            ({"continue": 1}, "continue"),
            ({"flush": 0}, "flush"),
            ({"max_buffer_delay_ms": 5001}, "max_buffer_delay_ms"),
            ({"max_buffer_delay_ms": -100}, "max_buffer_delay_ms"),
            ({"max_buffer_delay_ms": "1"}, "max_buffer_delay_ms"),
            ({"max_buffer_delay_ms": 0.5}, "max_buffer_delay_ms"),
            ({"generation_config": 1}, "generation_config"),
            ({"generation_config": {"speed": 1.6}}, "generation_config.speed"),
            ({"generation_config": {"speed": 0.59}}, "generation_config.speed"),
            ({"generation_config": {"speed": "1"}}, "generation_config.speed"),
            ({"generation_config": {"volume": 2.1}}, "generation_config.volume"),
            ({"generation_config": {"volume": 0.4}}, "generation_config.volume"),
            ({"generation_config": {"emotion": 3}}, "generation_config.emotion"),
            ({"language": "xx1"}, "language"),
            ({"language": "eng"}, "language"),
            ({"locale": "en_US"}, "locale"),
            ({"normalization": "always"}, "normalization"),
            ({"add_timestamps": "yes"}, "add_timestamps"),
            ({"use_normalized_timestamps": 1}, "use_normalized_timestamps"),
            ({"speed": "faster"}, "speed"),
            ({"speed": 1.0}, "speed"),
            ({"pronunciation_dict_id": 7}, "pronunciation_dict_id"),
        ],
    )
    def test_a_refusal_names_the_field(self, fields, name):
        refusal = refused(**fields)
        assert refusal.status == 400
        assert name in refusal.title
        assert name.rsplit(".", maxsplit=1)[-1] in refusal.message
        assert "\n" not in refusal.message

    def test_language_and_locale_exclude_each_other(self):
        refusal = refused(language="en", locale="en-US")
        assert "language" in refusal.message
        assert "locale" in refusal.message

    @pytest.mark.parametrize("voice", ["v", {"id": "v"}, {"mode": "id", "id": "v", "weight": [1]}])
    def test_forms_of_a_voice(self, voice):
        assert first(voice=voice).voice.id == "v"

    def test_embedding_voice_in_old_versions(self):
        embedding = {"mode": "embedding", "embedding": [0.1], "__experimental_controls": {}}
        assert first("2024-11-13", voice=embedding).voice.id is None
        assert refused("2025-04-16", voice=embedding).status == 400

    def test_null_is_absent_in_optional_fields(self):
        names = ["language", "locale", "normalization", "add_timestamps", "flush", "max_buffer_delay_ms", "speed"]
        names += ["generation_config", "pronunciation_dict_id", "continue"]
        assert first(**dict.fromkeys(names)) == first()
        assert first(generation_config={"speed": None}) == first()
        assert first(output_format=output(container=None)) == first()

    def test_integral_floats_are_integers(self):
        given = first(max_buffer_delay_ms=100.0, output_format=output(sample_rate=8000.0))
        assert (given.max_buffer_delay_ms, given.output_format.sample_rate) == (100, 8000)

    @pytest.mark.parametrize(("asked", "meant"), [("EN", "en"), ("en-us", "en-US"), ("pt-BR", "pt-BR")])
    def test_languages_in_any_case(self, asked, meant):
        assert first(language=asked).asked_language == meant
        assert first(locale=asked).asked_language == meant

    @pytest.mark.parametrize(("word", "speed"), [("slow", 0.8), ("normal", 1.0), ("fast", 1.2)])
    def test_deprecated_speed(self, word, speed):
        assert first(speed=word).base_speed == speed

    @pytest.mark.parametrize("name", ["Joking/Comedic", "ANGRY", "no such emotion"])
    def test_any_emotion_is_accepted(self, name):
        assert first(generation_config={"emotion": name}).generation_config.emotion == name

    @pytest.mark.parametrize(
        ("model", "takes"), [("sonic-3", True), ("sonic-3.5", True), ("sonic-2-2025-03-07", False), ("sonic", False)]
    )
    def test_generation_config_by_model(self, model, takes):
        assert first(model_id=model).takes_generation_config is takes

    def test_unknown_dictionary_by_version(self):
        assert refused(pronunciation_dict_id="d").status == 404
        assert refused("2025-11-04", pronunciation_dict_id="d").status == 400

    def test_a_refusal_quotes_nothing(self):
        refusal = refused(voice={"mode": "my secret", "id": "x"})
        assert "secret" not in refusal.title + refusal.message


class TestLaterInput:
    def test_only_its_own_fields_count(self):
        given = check_later({"transcript": "", "voice": 5, "output_format": None, "model_id": "", "speed": "warp"})
        assert given.transcript == ""

    @pytest.mark.parametrize("name", ["continue", "flush", "max_buffer_delay_ms", "generation_config", "transcript"])
    def test_but_those_do(self, name):
        with pytest.raises(Refusal) as caught:
            check_later({"transcript": "", name: "wrong" if name != "transcript" else 5})
        assert name in caught.value.message


class TestModels:
    def test_usual_names(self):
        for name in ["sonic-latest", "sonic-3.6-2026-08-27", "sonic-2-2025-05-08", "sonic-turbo", "sonic"]:
            Models(None).check(name)
        for name in ["", "sonic-4", "sonic-3-2020-01-01"]:
            with pytest.raises(Refusal) as caught:
                Models(None).check(name)
            assert caught.value.code == "model_not_found"

    def test_configured_names(self):
        models = Models(("mine", "family-*"))
        models.check("family-7")
        with pytest.raises(Refusal):
            models.check("sonic-3")


class TestVersions:
    @pytest.mark.parametrize(
        ("query", "header", "version"),
        [
            (None, None, NEWEST),
            ("2024-11-13", "nonsense", "2024-11-13"),
            (None, "2025-04-16", "2025-04-16"),
            ("2025-05-01", None, "2025-04-16"),
            ("2020-01-01", None, "2024-06-10"),
            ("2999-12-31", None, NEWEST),
        ],
    )
    def test_resolved(self, query, header, version):
        assert resolve(query, header) == version

    @pytest.mark.parametrize("asked", ["", "latest", "2025-4-16", "2025-02-30", "20250416", "2025-W01-1"])
    def test_malformed(self, asked):
        with pytest.raises(ValueError, match=r".+"):
            resolve(asked, None)


@pytest.mark.parametrize(
    ("text", "speakable"), [("a", True), ("7", True), ("\u0301", True), ("你", True), ("?! …", False)]
)
def test_speakable(text, speakable):
    assert is_speakable(text) is speakable
