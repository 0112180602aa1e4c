"""Segments as a client gets them: custom mode, flushes, and audio that depends on the text alone (protocol.md 7)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from raw_client import RawClient, audio_of, kinds_of, request, words_of

from voxwire import server

LONG_DELAY_MS = 5000


@pytest.fixture
async def client():
    async with (
        server.serve(engine="tone", context_expiry_s=30) as running,
        await RawClient.open(running.url) as connected,
    ):
        yield connected


def flushes(messages: list[dict[str, Any]]) -> list[int]:
    return [message["flush_id"] for message in messages if message["type"] == "flush_done"]


def segments(messages: list[dict[str, Any]]) -> list[str]:
    """The words of each segment."""
    found = [""]
    for message in messages:
        if message["type"] == "flush_done":
            found.append("")
        found[-1] = " ".join([found[-1], *(word for word, _, _ in words_of([message]))]).strip()
    return found


class TestCustomMode:
    async def test_inputs_are_not_glued_together(self, client):
        for text, more in [("there.", True), ("How", True), ("are", False)]:
            client.send(request("c", text, continue_=more, max_buffer_delay_ms=0, add_timestamps=True))
        messages = await client.context("c")
        assert segments(messages) == ["there.", "How", "are", ""]
        assert kinds_of(messages)[-2:] == ["flush_done", "done"]

    async def test_an_input_joins_the_text_that_is_buffered(self, client):
        client.send(request("c", "One two", continue_=True, max_buffer_delay_ms=LONG_DELAY_MS, add_timestamps=True))
        client.send(request("c", "three", continue_=True, max_buffer_delay_ms=0))
        client.send(request("c", "four", continue_=True, max_buffer_delay_ms=LONG_DELAY_MS))
        client.send(request("c", ""))
        messages = await client.context("c")
        assert segments(messages) == ["One two three", "four"]
        assert flushes(messages) == [1]

    @pytest.mark.parametrize("text", ["", " ", "...", "?!"])
    async def test_what_cannot_be_spoken_makes_no_segment(self, client, text):
        client.send(request("c", "One.", continue_=True, max_buffer_delay_ms=0, add_timestamps=True))
        client.send(request("c", text, continue_=True, max_buffer_delay_ms=0))
        client.send(request("c", text, max_buffer_delay_ms=0))
        messages = await client.context("c")
        assert segments(messages) == ["One.", ""]
        assert flushes(messages) == [1]

    async def test_it_is_kept_for_the_next_segment(self, client):
        for text, more in [("One.", True), ("(", True), ("two)", False)]:
            client.send(request("c", text, continue_=more, max_buffer_delay_ms=0, add_timestamps=True))
        assert segments(await client.context("c")) == ["One.", "( two)", ""]

    async def test_a_tag_that_is_split_is_text(self, client):
        for text, more in [("One <bre", True), ('ak time="1s"/> two', False)]:
            client.send(request("c", text, continue_=more, max_buffer_delay_ms=0, add_timestamps=True))
        assert segments(await client.context("c")) == ["One <bre", 'ak time="1s"/> two', ""]

    async def test_several_sentences_are_one_segment(self, client):
        messages = await client.say("c", "One. Two! Three", max_buffer_delay_ms=0, add_timestamps=True)
        assert segments(messages) == ["One. Two! Three", ""]


class TestManagedMode:
    @pytest.mark.parametrize("fields", [{"continue_": False}, {"continue_": True, "flush": True}])
    async def test_close_and_flush_release_at_once(self, client, fields):
        client.send(request("c", "One two", max_buffer_delay_ms=LONG_DELAY_MS, **fields))
        # Sooner than the delay would.
        message = await client.receive(LONG_DELAY_MS / 2000)
        assert message["type"] == "chunk"

    async def test_no_flush_is_done_by_itself(self, client):
        for text, more in [("One. ", True), ("Two. ", True), ("Three.", False)]:
            client.send(request("c", text, continue_=more))
        assert kinds_of(await client.context("c")) == ["chunk", "done"]

    async def test_a_delay_is_that_of_its_own_input(self, client):
        client.send(request("c", "One ", continue_=True, max_buffer_delay_ms=1, add_timestamps=True))
        assert words_of([await client.receive()])[0][0] == "One"
        client.send(request("c", "two ", continue_=True, max_buffer_delay_ms=LONG_DELAY_MS))
        client.send(request("c", "three ", continue_=True, max_buffer_delay_ms=1))
        messages = [await client.receive(LONG_DELAY_MS / 2000)]
        while len(words_of(messages)) < 2:
            messages.append(await client.receive(LONG_DELAY_MS / 2000))
        assert [word for word, _, _ in words_of(messages)] == ["two", "three"]

    @pytest.mark.parametrize("inputs", [("3.", "14 is it"), ("Dr", ". Who"), ("a <spell>x.", " Y</spell> b")])
    async def test_no_cut_within_what_belongs_together(self, client, inputs):
        client.send(request("c", inputs[0], continue_=True, add_timestamps=True))
        client.send(request("c", inputs[1]))
        messages = await client.context("c")
        whole = await client.say("p", "".join(inputs), add_timestamps=True)
        assert (words_of(messages), audio_of(messages)) == (words_of(whole), audio_of(whole))


class TestFlush:
    async def test_text_before_and_after_and_none(self, client):
        client.send(request("c", "One", continue_=True, flush=True, add_timestamps=True))
        client.send(request("c", "", continue_=True, flush=True))
        client.send(request("c", " ", continue_=True, flush=True))
        client.send(request("c", "two", continue_=True))
        client.send(request("c", "", continue_=False, flush=True))
        messages = await client.context("c")
        assert segments(messages) == ["One", "", "", "two", ""]
        assert flushes(messages) == [1, 2, 3, 4]
        labels = [message["flush_id"] for message in messages if message["type"] in {"chunk", "timestamps"}]
        assert labels == sorted(labels)
        assert set(labels) == {1, 4}

    async def test_what_cannot_be_spoken_is_not_voiced_alone(self, client):
        client.send(request("c", "One", continue_=True, flush=True, add_timestamps=True))
        client.send(request("c", "...", continue_=True, flush=True))
        client.send(request("c", "two"))
        messages = await client.context("c")
        assert segments(messages) == ["One", "", "two"]

    async def test_of_an_empty_buffer_waits_for_earlier_audio(self):
        options = {"delay_ms_per_word": "20"}
        async with (
            server.serve(engine="tone", engine_options=options) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c", "One two three. ", continue_=True, add_timestamps=True, max_buffer_delay_ms=1))
            client.send(request("c", "", continue_=True, flush=True))
            client.send(request("c", ""))
            assert segments(await client.context("c")) == ["One two three.", ""]

    async def test_words_go_on_in_the_same_context(self, client):
        whole = await client.say("p", "One two three", add_timestamps=True)
        for text, fields in [("One", {"flush": True}), (" two", {"flush": True}), (" three", {"continue_": False})]:
            client.send(request("c", text, **({"continue_": True, "add_timestamps": True} | fields)))
        messages = await client.context("c")
        assert (audio_of(messages), words_of(messages)) == (audio_of(whole), words_of(whole))


WORDS = ["One ", "two, ", "three. ", 'Four <break time="30ms"/> ', "five! ", '<speed ratio="1.5"/>six ', "(seven) "]


class TestDeterminism:
    """The same inputs give the same bits, whatever pauses lie between them and however releases were cut."""

    @pytest.mark.parametrize("rate", [24_000, 8_000])
    @pytest.mark.parametrize("seed", range(6))
    async def test_pauses_and_cuts_leave_no_trace(self, client, seed, rate):
        chance = random.Random(seed)
        inputs = ["".join(chance.choices(WORDS, k=chance.randint(1, 4))) + "word " for _ in range(6)]
        fields = {
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate},
            "add_timestamps": True,
            "generation_config": {"volume": 0.7},
        }
        whole = await client.say("p", "".join(inputs), **fields)
        # Every input at once; each after some audio of the one before it; some of both.
        for name, waits in [("a", [False] * 6), ("b", [True] * 6), ("c", chance.choices([True, False], k=6))]:
            messages: list[dict[str, Any]] = []
            for count, (text, wait) in enumerate(zip(inputs, waits, strict=True), start=1):
                delay_ms = 1 if wait else LONG_DELAY_MS
                client.send(request(name, text, continue_=True, max_buffer_delay_ms=delay_ms, **fields))
                while wait and [word for word, _, _ in words_of(messages)].count("word") < count:
                    messages.append(await client.receive())
            client.send(request(name, ""))
            messages += await client.context(name)
            assert audio_of(messages) == audio_of(whole)
            assert words_of(messages) == words_of(whole)

    async def test_both_modes_say_the_same(self, client):
        whole = await client.say("p", "One two. Three. Four", add_timestamps=True)
        for text, more in [("One two.", True), ("Three.", True), ("Four", False)]:
            client.send(request("c", text, continue_=more, max_buffer_delay_ms=0, add_timestamps=True))
        messages = await client.context("c")
        assert (audio_of(messages), words_of(messages)) == (audio_of(whole), words_of(whole))
