"""Voices by all their names, and what volume, speed and emotion do to what a client hears (protocol.md 3.2, 3.7)."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import Any

import httpx
import pytest
from raw_client import FORMAT, RawClient, audio_of, kinds_of, words_of

from voxwire import server
from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, AudioFormat, transcode
from voxwire.engines import PRIMARY_EMOTIONS, primary_emotion
from voxwire.server import ConfigurationError

VENDOR_IDS = ("a0e99841-438c-4a64-b679-ae501e7d6091", "6ccbfb76-1fc6-48f7-b71d-91ac6298247b")
#: Those of `espeak/en/`, `espeak/en/f1` and `espeak/fr/f1`.
ENGLISH = "5127c61f-eec1-5692-8f54-90b46494dad5"
ENGLISH_WOMAN = "0c975f46-c7ff-56c2-a524-07a4b7521080"
FRENCH_WOMAN = "aa46affd-3140-5e34-88c7-76ae8acbb66a"
SENTENCE = "The river rose in the night, and by morning the lower fields were under water."
AUDIBLE = 10 ** (-50 / 20)
#: The vendor's, as its description of the socket lists them.
_NAMES = """
    Happy Excited Enthusiastic Elated Euphoric Triumphant Amazed Surprised Flirtatious Joking/Comedic Curious Content
    Peaceful Serene Calm Grateful Affectionate Trust Sympathetic Anticipation Mysterious Angry Mad Outraged Frustrated
    Agitated Threatened Disgusted Contempt Envious Sarcastic Ironic Sad Dejected Melancholic Disappointed Hurt Guilty
    Bored Tired Rejected Nostalgic Wistful Apologetic Hesitant Insecure Confused Resigned Anxious Panicked Alarmed
    Scared Neutral Proud Confident Distant Skeptical Contemplative Determined
"""
EMOTIONS = _NAMES.split()


@pytest.fixture
async def espeak():
    settings = {"engine": "espeak", "engine_options": {"workers": "1"}, "context_expiry_s": 30}
    async with server.serve(**settings) as running, await RawClient.open(running.url) as client:
        yield client


def floats(messages: list[dict[str, Any]], output_format: dict[str, Any] = FORMAT) -> tuple[float, ...]:
    source = AudioFormat(output_format["encoding"], output_format["sample_rate"])
    data = transcode(audio_of(messages), source, AudioFormat("pcm_f32le", source.sample_rate))
    return struct.unpack(f"<{len(data) // 4}f", data)


def level_db(samples: tuple[float, ...]) -> float:
    return 20 * math.log10(math.sqrt(sum(sample * sample for sample in samples) / len(samples)))


# --- volume, speed, emotion


@pytest.mark.parametrize("voice", ["espeak/en/", "espeak/en/f1", "espeak/en/m3"])
@pytest.mark.parametrize(("encoding", "rate"), [("pcm_s16le", 22050), ("pcm_f32le", 48000), ("pcm_mulaw", 8000)])
async def test_volume_is_exact_in_decibels_and_never_clips(espeak, voice, encoding, rate):
    output_format = {**FORMAT, "encoding": encoding, "sample_rate": rate}
    fields = {"voice": voice, "output_format": output_format, "language": "en"}
    normal = floats(await espeak.say("normal", SENTENCE, **fields), output_format)
    for volume in (0.5, 0.8, 1.5, 2.0):
        name = f"at {volume}"
        spoken = await espeak.say(name, SENTENCE, generation_config={"volume": volume}, **fields)
        tagged = await espeak.say(f"tag {name}", f'<volume ratio="{volume}"/>{SENTENCE}', **fields)
        for messages in (spoken, tagged):
            samples = floats(messages, output_format)
            assert level_db(samples) - level_db(normal) == pytest.approx(20 * math.log10(volume), abs=0.1)
            # The filter may overshoot the full scale where a sample of the source touches it.
            assert sum(abs(sample) >= 0.9999 for sample in samples) < 5


async def test_a_later_input_has_its_own_volume(espeak):
    espeak.send({**fields_of("c", SENTENCE + " "), "continue": True, "flush": True})
    espeak.send({**fields_of("c", SENTENCE), "generation_config": {"volume": 0.5}})
    messages = await espeak.context("c")
    at = next(index for index, message in enumerate(messages) if message["type"] == "flush_done")
    first, second = floats(messages[:at]), floats(messages[at:])
    # Only the first has the pause after a sentence.
    power = [sum(sample * sample for sample in samples) for samples in (first, second)]
    assert 10 * math.log10(power[0] / power[1]) == pytest.approx(6.02, abs=0.2)


def fields_of(context_id: str, transcript: str) -> dict[str, Any]:
    return {
        "model_id": "sonic-3",
        "transcript": transcript,
        "voice": ENGLISH,
        "output_format": FORMAT,
        "context_id": context_id,
    }


async def test_speed_by_any_of_its_three_ways(espeak):
    text = f"{SENTENCE} Nobody had seen it so high since the old bridge fell. It was long ago."
    normal = len(audio_of(await espeak.say("normal", text, voice=ENGLISH)))
    for number, (transcript, fields, speed) in enumerate(
        [
            (text, {"generation_config": {"speed": 0.6}}, 0.6),
            (text, {"generation_config": {"speed": 1.5}}, 1.5),
            (f'<speed ratio="1.3"/>{text}', {}, 1.3),
            (text, {"speed": "slow"}, 0.8),
            (text, {"speed": "fast"}, 1.2),
            (text, {"speed": "fast", "generation_config": {"speed": 0.9}}, 0.9),
        ]
    ):
        spoken = await espeak.say(str(number), transcript, voice=ENGLISH, **fields)
        assert len(audio_of(spoken)) * speed == pytest.approx(normal, rel=0.03), fields


async def test_emotion_by_field_and_by_tag(espeak):
    async def length(name: str, transcript: str = SENTENCE, **fields: Any) -> int:
        return len(audio_of(await espeak.say(name, transcript, voice=ENGLISH, **fields)))

    normal = await length("normal")
    for emotion in ("Sad", "sad", "MELANCHOLIC"):
        assert await length(emotion, generation_config={"emotion": emotion}) > 1.1 * normal
        assert await length(f"tag {emotion}", f'<emotion value="{emotion}"/>{SENTENCE}') > 1.1 * normal
    assert await length("joke", generation_config={"emotion": "joking/comedic"}) < 0.97 * normal
    for emotion in ("neutral", "no such feeling", ""):
        assert await length(f"none {emotion}", generation_config={"emotion": emotion}) == pytest.approx(
            normal, rel=0.01
        )
    # Models of before sonic-3 accept it and ignore it.
    early = {"model_id": "sonic-2", "generation_config": {"emotion": "sad"}}
    assert await length("early", **early) == pytest.approx(normal, rel=0.01)


async def test_experimental_controls_are_accepted_and_ignored():
    controls = {"speed": "slowest", "emotion": ["anger:high"]}
    async with (
        server.serve(engine="tone") as running,
        await RawClient.open(running.url, headers={"Cartesia-Version": "2024-06-10"}) as client,
    ):
        plain = audio_of(await client.say("plain", "Hello there."))
        for name, voice in (
            ("id", {"mode": "id", "id": "tone-1", "__experimental_controls": controls}),
            ("embedding", {"mode": "embedding", "embedding": [0.1] * 192, "__experimental_controls": controls}),
        ):
            assert audio_of(await client.say(name, "Hello there.", voice=voice)) == plain


def test_each_of_the_59_names_has_a_primary_emotion():
    assert len(EMOTIONS) == 59
    for name in EMOTIONS:
        assert primary_emotion(name) == primary_emotion(name.lower()) == primary_emotion(name.upper())
        assert primary_emotion(name) in PRIMARY_EMOTIONS
    assert [primary_emotion(name) for name in PRIMARY_EMOTIONS] == list(PRIMARY_EMOTIONS)
    assert primary_emotion("Panicked") == "scared"
    assert primary_emotion("no such feeling") is None
    assert primary_emotion(None) is None


# --- where words end


@pytest.mark.parametrize("rate", SAMPLE_RATES)
async def test_the_last_word_ends_with_the_last_audible_sample(espeak, rate):
    for encoding in SAMPLE_WIDTHS:
        output_format = {**FORMAT, "encoding": encoding, "sample_rate": rate}
        fields = {"voice": ENGLISH, "output_format": output_format, "add_timestamps": True}
        for text, language in (
            ("Hello there", "en"),
            ("It is late. Are you ready?", "en"),
            ("Room 42.", "en"),
            ("Guten Tag", "de"),
            ("你好。", "zh"),
        ):
            messages = await espeak.say(f"{encoding} {text}", text, language=language, **fields)
            samples = floats(messages, output_format)
            last = max(index for index, sample in enumerate(samples) if abs(sample) > AUDIBLE)
            assert words_of(messages)[-1][2] == pytest.approx(last / rate, abs=0.02), (encoding, text)
            assert words_of(messages)[-1][2] <= len(samples) / rate


async def test_words_begin_where_the_sound_begins_after_a_pause(espeak):
    text = "Wait, they came at ten. Go now, please! What? Both of them; nobody else."
    messages = await espeak.say("c", text, voice=ENGLISH, add_timestamps=True)
    samples, rate = floats(messages), FORMAT["sample_rate"]
    audible = [index for index, sample in enumerate(samples) if abs(sample) > AUDIBLE]
    onsets = [audible[0]] + [later for sooner, later in pairwise(audible) if later - sooner > 0.12 * rate]
    starts = [start for _, start, _ in words_of(messages)]
    assert len(onsets) >= 6
    for onset in onsets:
        assert min(abs(start - onset / rate) for start in starts) < 0.03


# --- which voice, which language


async def test_ids_of_voices_are_for_ever(espeak):
    for number, (voice, other) in enumerate(
        [
            (ENGLISH, "espeak/en/"),
            (ENGLISH_WOMAN, "espeak/en/f1"),
            (FRENCH_WOMAN, "espeak/fr/f1"),
            *((vendor_id, ENGLISH) for vendor_id in VENDOR_IDS),
        ]
    ):
        one = audio_of(await espeak.say(f"a{number}", "Bonjour.", voice=voice))
        same = audio_of(await espeak.say(f"b{number}", "Bonjour.", voice={"mode": "id", "id": other}))
        # Its noise differs a little from one utterance to the next.
        assert len(one) == pytest.approx(len(same), abs=200), voice


async def test_a_voice_named_by_its_path_has_its_language(espeak):
    messages = await espeak.say("c", "こんにちは。", voice="espeak/ja/", add_timestamps=True)
    assert [word for word, _, _ in words_of(messages)] == list("こんにちは。")


@pytest.mark.parametrize("language", ["en", "EN", "en-US", "EN-us", "fr", "pt-BR", "es-MX", "no", "ur"])
async def test_a_voice_speaks_another_language(espeak, language):
    assert kinds_of(await espeak.say("c", "1 2 3", voice=FRENCH_WOMAN, language=language)) == ["chunk", "done"]
    assert kinds_of(await espeak.say("d", "1 2 3", voice=FRENCH_WOMAN, locale=language)) == ["chunk", "done"]


@pytest.mark.parametrize("language", ["en_us", "xx1", "e", "eng", "en-USA", "en-", "", " en"])
async def test_another_form_of_language_is_refused(espeak, language):
    for name in ("language", "locale"):
        (error,) = await espeak.say("c", "Hello.", voice=ENGLISH, **{name: language})
        assert error["status_code"] == 400
        assert name in error["message"]


async def test_a_language_that_is_not_spoken(espeak):
    for language in ("tl", "xx", "xx-YY"):
        (error,) = await espeak.say("c", "Hello.", voice=ENGLISH, language=language)
        assert (error["status_code"], error["error_code"]) == (400, "language_not_supported")


@pytest.mark.parametrize(("version", "status"), [("2024-11-13", 400), ("2025-11-04", 400), ("2026-03-01", 404)])
@pytest.mark.parametrize("voice", ["nobody", "espeak/en/nobody", "espeak/xx/", "tone-1", "../en"])
async def test_an_unknown_voice_is_an_error(espeak_url, voice, version, status):
    async with await RawClient.open(espeak_url, headers={"Cartesia-Version": version}) as client:
        (error,) = await client.say("c", "Hello.", voice={"mode": "id", "id": voice})
        assert (error["status_code"], error["error_code"], error["done"]) == (status, "voice_not_found", True)


@pytest.fixture
async def espeak_url():
    async with server.serve(engine="espeak", engine_options={"workers": "1"}) as running:
        yield running.url


async def test_aliases_and_the_voice_of_unknown_ids():
    settings = {"voices": {"anna": "tone-3", VENDOR_IDS[0]: "tone-4"}, "default_voice": "anna"}
    texts: dict[str, bytes] = {}
    for unknown_voice in ("error", "default"):
        async with (
            server.serve(engine="tone", unknown_voice=unknown_voice, **settings) as running,
            await RawClient.open(running.url) as client,
        ):
            for voice in ("tone-3", "tone-4", "anna", *VENDOR_IDS):
                texts[voice] = audio_of(await client.say(voice, "Hello.", voice=voice))
            assert texts["anna"] == texts[VENDOR_IDS[1]] == texts["tone-3"] != texts["tone-4"] == texts[VENDOR_IDS[0]]
            answer = await client.say("x", "Hello.", voice="nobody")
            if unknown_voice == "default":
                assert audio_of(answer) == texts["anna"]
            else:
                assert kinds_of(answer) == ["error"]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"default_voice": "espeak/en/nobody"}, "default_voice"),
        ({"voices": {"anna": "espeak/xx/"}}, "voices.anna"),
        ({"voices": {"anna": "bob", "bob": "espeak/en/"}}, "voices.anna"),
    ],
)
async def test_a_name_of_no_voice_is_found_at_the_start(settings, key):
    with pytest.raises(ConfigurationError, match=key):
        await server.serve(engine="espeak", engine_options={"workers": "1"}, **settings).start()


async def test_the_list_is_whole_and_each_voice_of_it_is_found():
    async with (
        server.serve(
            engine="espeak", engine_options={"workers": "1"}, voices={"anna": "espeak/fr/f1"}, default_voice="anna"
        ) as running,
        httpx.AsyncClient(base_url=running.http_url, trust_env=False) as http,
    ):
        voices: list[dict[str, Any]] = []
        after = {}
        while True:
            page = (await http.get("/voices", params=after)).json()
            voices += page["data"]
            if not page["has_more"]:
                break
            after = {"starting_after": page["next_page"]}
        assert len(voices) == len({voice["id"] for voice in voices}) == len({voice["name"] for voice in voices}) == 688
        for voice in voices:
            assert voice["locales"][0] == {"locale": voice["language"], "is_native": True}
            assert voice["gender"] in {"masculine", "feminine", "gender_neutral"}
        assert {ENGLISH, ENGLISH_WOMAN, FRENCH_WOMAN} <= {voice["id"] for voice in voices}
        french = {"language": "fr_CA", "gender": "feminine", "q": "FEMALE 1"}
        assert [voice["id"] for voice in (await http.get("/voices", params=french)).json()["data"]] == [FRENCH_WOMAN]
        for name in ("anna", "espeak/fr/f1", *VENDOR_IDS, FRENCH_WOMAN):
            assert (await http.get(f"/voices/{name}")).json()["id"] == FRENCH_WOMAN, name
