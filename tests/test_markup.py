"""The tags of a transcript (protocol.md 10), alone and as they are heard."""

from __future__ import annotations

import pytest
from raw_client import RawClient, audio_of, kinds_of, request, words_of

from voxwire import server
from voxwire.server.speech.markup import Break, Manner, Markup, Speech

PLAIN = Manner()
RATE = 24_000
#: What the tone engine puts between two words.
PAUSE_FRAMES = 480


@pytest.fixture
async def client():
    async with (
        server.serve(engine="tone", context_expiry_s=30) as running,
        await RawClient.open(running.url) as connected,
    ):
        yield connected


def told(part: Speech) -> list[str]:
    return [text for word in part.words for text in word.told]


def silence(frames: int) -> bytes:
    return bytes(2 * frames)


class TestParts:
    def test_breaks_speed_and_volume(self):
        parts = Markup().parts('One <break time="200ms"/> two <speed ratio="1.5"/>three<volume ratio="0.5"/>', PLAIN)
        assert [part if isinstance(part, Break) else (part.text.split(), part.manner) for part in parts] == [
            (["One"], PLAIN),
            Break(0.2),
            (["two"], PLAIN),
            (["three"], Manner(speed=1.5)),
        ]

    def test_a_tag_holds_for_later_text(self):
        markup = Markup()
        assert markup.parts('<volume ratio="2"/><emotion value="Sad"/>', PLAIN) == []
        (part,) = markup.parts("Hi", Manner(speed=0.8))
        assert part.manner == Manner(0.8, 2.0, "sad")

    @pytest.mark.parametrize(
        ("text", "spoken", "words"),
        [
            ("Code <spell>a1 B</spell>.", "Code A 1 B.", ["Code", "<spell>a1 B</spell>."]),
            ("x<spell >ab</spell >y", "x A By", ["x<spell >ab</spell >y"]),
            ("a <spell></spell> b", "a  b", ["a", "b"]),
            ("<spell>ß</spell>", "S S", ["<spell>ß</spell>"]),
        ],
    )
    def test_spelling_keeps_the_word_as_sent(self, text, spoken, words):
        (part,) = Markup().parts(text, PLAIN)
        assert (part.text, told(part)) == (spoken, words)

    @pytest.mark.parametrize(
        "tag",
        [
            "[laughter]",
            "[LAUGHTER]",
            "<pause>",
            "<pause/>",
            '<pause time="1s"/>',
            "<<h|ə|l|oʊ>>",
            "<spell></spell>",
            "</spell>",
            "</break>",
            "<break/>",
            '<break time="soon"/>',
            '<break time="1"/>',
            '<break time="-1s"/>',
            "<speed>",
            '<speed ratio="9"/>',
            '<speed ratio="fast"/>',
            '<speed ratio="1.2.3"/>',
            '<speed ratio=""/>',
            '<speed ratio="NaN"/>',
            '<volume ratio="0.49"/>',
            '<volume ratio="-1"/>',
            '<emotion value=""/>',
        ],
    )
    def test_what_cannot_be_honoured_is_dropped(self, tag):
        parts = Markup().parts(f"One{tag}two", PLAIN)
        assert " ".join(part.text for part in parts).split() in (["One", "two"], ["Onetwo"])
        assert all(part.manner == PLAIN for part in parts)

    @pytest.mark.parametrize("text", ["1 < 2 > 0 [sic] <b>", "<b>bold</b>", "<speedy/>", "< speed>", "<bre"])
    def test_other_brackets_are_text(self, text):
        (part,) = Markup().parts(text, PLAIN)
        assert part.text == text
        assert told(part) == text.split()

    def test_control_characters_never_reach_an_engine(self):
        (part,) = Markup().parts("a\x01b\x00c\nd\u200de", PLAIN)
        assert part.text == "a b c\nd\u200de"

    def test_a_break_is_bounded(self):
        assert Markup().parts('<break time="99999s"/>', PLAIN) == [Break(60.0)]


class TestHeard:
    @pytest.mark.parametrize(
        ("text", "frames"),
        [
            ('One <break time="1s"/> two', 24_000),
            ("One <break time='200ms'/> two", 4_800),
            ('One<break time="1ms"/>two', 24),
            ('One <break time="0.5s"/><break time="0.25s"/> two', 18_000),
            ('One <BREAK TIME="100MS"></break> two', 2_400),
        ],
    )
    async def test_a_break_is_exact_and_comes_on_top_of_the_pause(self, client, text, frames):
        plain = await client.say("p", "One two", add_timestamps=True)
        messages = await client.say("c", text, add_timestamps=True)
        (_, _, end), (_, start, _) = words_of(plain)
        cut = round(end * RATE) * 2
        assert audio_of(messages) == audio_of(plain)[:cut] + silence(frames) + audio_of(plain)[cut:]
        assert [word for word, _, _ in words_of(messages)] == ["One", "two"]
        assert words_of(messages)[1][1] == pytest.approx(start + frames / RATE, abs=1e-6)

    async def test_a_break_first_last_and_between_sentences(self, client):
        tag = '<break time="100ms"/>'
        plain = await client.say("p", "One. Two.", add_timestamps=True)
        messages = await client.say("c", f"{tag}One.{tag} Two.{tag}", add_timestamps=True)
        (_, _, end), _ = words_of(plain)
        audio, gap, cut = audio_of(plain), silence(2_400), round(end * RATE) * 2
        assert audio_of(messages) == gap + audio[:cut] + gap + audio[cut:] + gap
        assert words_of(messages)[0][1] == pytest.approx(0.1, abs=1e-6)
        assert words_of(messages)[1][2] == pytest.approx(len(audio) / 48_000 + 0.2, abs=1e-6)

    async def test_a_break_between_inputs_and_in_custom_mode(self, client):
        for text, more in [("One", True), ('<break time="1s"/>', True), ("two", False)]:
            client.send(request("c", text, continue_=more, max_buffer_delay_ms=0, add_timestamps=True))
        messages = await client.context("c")
        kinds = "timestamps chunk flush_done chunk flush_done timestamps chunk flush_done done"
        assert " ".join(kinds_of(messages)) == kinds
        (_, _, end), (_, start, _) = words_of(messages)
        assert start - end == pytest.approx(1 + PAUSE_FRAMES / RATE, abs=2e-6)

    async def test_nothing_but_a_break_is_silence(self, client):
        messages = await client.say("c", '<break time="300ms"/>', add_timestamps=True)
        assert audio_of(messages) == silence(7_200)
        assert words_of(messages) == []

    @pytest.mark.parametrize("tag", ["[laughter]", '<emotion value="angry"/>', "<<h|ə>>", '<speed ratio="1.2"/>'])
    async def test_nothing_but_a_tag_is_no_error(self, client, tag):
        assert kinds_of(await client.say("c", tag, add_timestamps=True)) == ["done"]

    @pytest.mark.parametrize(
        "tag", ["[laughter]", '<emotion value="angry"/>', "<<h|ə>>", '<speed ratio="9"/>', "<pause>", "</spell>"]
    )
    async def test_no_tag_is_read_aloud_or_timed(self, client, tag):
        plain = await client.say("p", "One two", add_timestamps=True)
        messages = await client.say("c", f"{tag} One {tag} two{tag}", add_timestamps=True)
        assert audio_of(messages) == audio_of(plain)
        assert words_of(messages) == words_of(plain)

    async def test_speed_and_volume_equal_the_config_and_hold_on(self, client):
        config = {"speed": 1.5, "volume": 0.5}
        asked = await client.say("p", "One two three", generation_config=config)
        client.send(request("c", '<speed ratio="1.5"/><volume ratio="0.5"/>One two ', continue_=True))
        client.send(request("c", "three", generation_config={"speed": 0.8}))
        assert audio_of(await client.context("c")) == audio_of(asked)

    async def test_spelling_is_spoken_letter_by_letter_in_one_entry(self, client):
        spelled = await client.say("c", "Code <spell>a1</spell>. Bye", add_timestamps=True)
        plain = await client.say("p", "Code A 1. Bye", add_timestamps=True)
        assert audio_of(spelled) == audio_of(plain)
        times = words_of(plain)
        assert words_of(spelled) == [
            times[0],
            ("<spell>a1</spell>.", times[1][1], times[2][2]),
            times[3],
        ]

    async def test_a_tag_may_come_in_two_inputs_in_managed_mode(self, client):
        whole = await client.say("p", 'One <break time="1s"/> two')
        for text, more in [("One <bre", True), ('ak time="1', True), ('s"/> two', False)]:
            client.send(request("c", text, continue_=more))
        assert audio_of(await client.context("c")) == audio_of(whole)

    async def test_punctuation_between_tags_is_told_but_not_voiced(self, client):
        plain = await client.say("p", 'One<break time="100ms"/> two', add_timestamps=True)
        messages = await client.say("c", 'One<break time="40ms"/>,<break time="60ms"/> two', add_timestamps=True)
        assert audio_of(messages) == audio_of(plain)
        assert [word for word, _, _ in words_of(messages)] == ["One", ",", "two"]
