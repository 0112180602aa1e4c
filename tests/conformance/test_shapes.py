"""What the server's messages look like, in which order they come, and odd texts (protocol.md 4 and 5, faults.md E)."""

from __future__ import annotations

import pytest
from conformance.exchange import FLUSH, VERSIONS, after, at, until
from raw_client import FORMAT, RawClient, audio_of, kinds_of, request, words_of

from voxwire.audio import decode_base64

COMMON = {"type", "context_id", "done", "status_code"}
LABELLED = {"chunk", "timestamps", "phoneme_timestamps"}
OWN_KEYS = {
    "chunk": {"data", "step_time"},
    "timestamps": {"word_timestamps"},
    "phoneme_timestamps": {"phoneme_timestamps"},
    "flush_done": {"flush_id", "flush_done"},
    "done": set(),
}
DEFAULT_VOICE = "a0e99841-438c-4a64-b679-ae501e7d6091"
BOTH_TIMES = {"add_timestamps": True, "add_phoneme_timestamps": True}


@pytest.mark.parametrize("version", VERSIONS)
async def test_keys_and_types_of_every_message(plain, version):
    labelled = version >= "2025-04-16"
    async with await RawClient.open(plain.url, **at(version)) as client:
        client.send(request("c", "One two. ", continue_=True, flush=True, **BOTH_TIMES))
        client.send({"context_id": "c", "transcript": "Three."})
        messages = await client.context("c")
    assert {message["type"] for message in messages} == OWN_KEYS.keys()
    for message in messages:
        kind = message["type"]
        label = {"flush_id"} if labelled and kind in LABELLED else set()
        assert set(message) == COMMON | OWN_KEYS[kind] | label
        assert message["context_id"] == "c"
        assert message["done"] is (kind == "done")
        assert type(message["status_code"]) is int
        assert message["status_code"] == 206
        if "flush_id" in message:
            assert type(message["flush_id"]) is int
            assert message["flush_id"] >= 1
        if kind == "chunk":
            assert type(message["step_time"]) is float
            assert message["step_time"] >= 0
            assert decode_base64(message["data"])
        for times, column in (("word_timestamps", "words"), ("phoneme_timestamps", "phonemes")):
            if times in message and kind != "chunk":
                columns = message[times]
                assert set(columns) == {column, "start", "end"}
                assert len(columns[column]) == len(columns["start"]) == len(columns["end"]) > 0
                assert all(isinstance(time, int | float) for time in columns["start"] + columns["end"])


class TestOrder:
    @pytest.mark.parametrize(("engine", "voice"), [("plain", "tone-1"), ("speaking", DEFAULT_VOICE)])
    async def test_times_stand_right_before_the_chunk_in_which_they_start(
        self, engine, voice, request: pytest.FixtureRequest
    ):
        program = request.getfixturevalue(engine)
        async with await RawClient.open(program.url) as client:
            messages = await client.say("c", "One two three. Four five six.", voice=voice, **BOTH_TIMES)
        begin_s = 0.0
        before: list[dict] = []
        for message in messages[:-1]:
            if message["type"] != "chunk":
                before.append(message)
                continue
            end_s = begin_s + len(decode_base64(message["data"])) / 2 / FORMAT["sample_rate"]
            kinds = [one["type"] for one in before]
            assert len(kinds) == len(set(kinds)), "one message of a kind for each chunk"
            for one in before:
                times = one.get("word_timestamps") or one["phoneme_timestamps"]
                assert all(start < end_s for start in times["start"])
                if engine == "plain":
                    # This engine knows its times at once; another may learn them later, never too early. Half a
                    # microsecond is lost to the six decimals.
                    assert all(start >= begin_s - 1e-6 for start in times["start"])
            before.clear()
            begin_s = end_s
        assert before == []
        assert messages[-1]["type"] == "done"

    async def test_flush_done_parts_what_is_before_it_from_what_is_after(self, plain):
        async with await RawClient.open(plain.url) as client:
            for text in ("One.", "Two.", "Three."):
                client.send(request("c", text, continue_=True, add_timestamps=True))
                client.send({"context_id": "c", **FLUSH})
            client.send({"context_id": "c", "transcript": ""})
            messages = await client.context("c")
        segments: list[list[str]] = [[]]
        for message in messages:
            if message["type"] == "flush_done":
                assert message["flush_id"] == len(segments)
                segments.append([])
            elif message["type"] == "timestamps":
                segments[-1] += message["word_timestamps"]["words"]
        assert segments == [["One."], ["Two."], ["Three."], []]
        assert messages[-1]["type"] == "done"

    async def test_audio_comes_in_the_order_of_the_inputs(self, slow):
        async with await RawClient.open(slow.url) as client:
            words = [f"word{number}" for number in range(20)]
            client.send(request("c", words[0] + " ", continue_=True, add_timestamps=True))
            for word in words[1:]:
                client.send({"context_id": "c", "transcript": word + " ", "continue": True})
            client.send({"context_id": "c", "transcript": ""})
            found = words_of(await client.context("c"))
            assert [word for word, _, _ in found] == words
            starts = [start for _, start, _ in found]
            assert starts == sorted(starts)


class TestFaultsE:
    async def test_e3_an_id_that_is_live_continues_its_context(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c", "One ", continue_=True))
            client.send(request("c", "two.", continue_=False))
            messages = await client.context("c")
            assert kinds_of(messages) == ["chunk", "done"]
            assert audio_of(messages) == audio_of(await client.say("d", "One two."))

    async def test_e7_what_never_ends_expires(self, slow):
        async with await RawClient.open(slow.url) as client:
            for number in range(10):
                client.send(request(f"c{number}", "One.", continue_=True))
            found = await until(client, {f"c{number}": 1 for number in range(10)})
            assert {messages[-1]["type"] for messages in found.values()} == {"done"}

    async def test_e8_a_thousand_cancels_disturb_nobody(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("other", "One two three.", continue_=False))
            for number in range(1000):
                client.send({"context_id": f"c{number % 10}", "cancel": True})
            assert kinds_of(await client.context("other")) == ["chunk", "done"]
            assert await after(client, "none", 0) == []

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("👩‍👩‍👧‍👦 family 👍🏽", ["👩‍👩‍👧‍👦", "family", "👍🏽"]),
            ("שלום עולם", ["שלום", "עולם"]),
            ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
            ("e\u0301 composed", ["e\u0301", "composed"]),
            ("\u202eturned\u202c text", ["\u202eturned\u202c", "text"]),
        ],
    )
    async def test_e10_odd_texts(self, plain, text, words):
        async with await RawClient.open(plain.url) as client:
            messages = await client.say("c", text, add_timestamps=True)
            assert messages[-1]["type"] == "done"
            assert [word for word, _, _ in words_of(messages)] == words

    @pytest.mark.parametrize("text", ["nul\0 here", "bell\x07 here", "a\u0000b c"])
    async def test_e10_control_characters_end_in_speech(self, plain, text):
        async with await RawClient.open(plain.url) as client:
            assert kinds_of(await client.say("c", text)) == ["chunk", "done"]

    async def test_e10_more_than_1_mib_unspoken(self, slow):
        text = "word " * 100_000
        async with await RawClient.open(slow.url) as client:
            client.send(request("c", text, continue_=True))
            client.send({"context_id": "c", "transcript": text, "continue": True})
            client.send({"context_id": "c", "transcript": text, "continue": True})
            messages = await after(client, "c", 1)
            errors = [message for message in messages if message["type"] == "error"]
            assert [error["status_code"] for error in errors] == [400]
            assert messages[-1] == errors[0]

    async def test_e11_is_refused_on_every_input(self, plain):
        async with await RawClient.open(plain.url) as client:
            for number, delay in enumerate([-1, 5001, 1e9, 0.5]):
                client.send(request(f"c{number}", "This may go on", continue_=True))
                client.send({"context_id": f"c{number}", "transcript": "x", "max_buffer_delay_ms": delay})
                (error,) = await after(client, f"c{number}", 1)
                assert error["title"] == "Invalid max_buffer_delay_ms"
