"""What the server does with contexts, seen from a socket (protocol.md 3 to 8)."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from raw_client import RawClient, audio_of, kinds_of, request, words_of

from voxwire import server

SENTENCE = "Hello, world! I'm generating audio, number 42."


@pytest.fixture
async def url():
    async with server.serve(engine="tone", context_expiry_s=30) as running:
        yield running.url


@pytest.fixture
async def client(url):
    async with await RawClient.open(url) as connected:
        yield connected


def times(messages: list[dict[str, Any]], kind: str = "word") -> list[tuple[float, float]]:
    return [(start, end) for _, start, end in words_of(messages, kind)]


class TestOneRequest:
    async def test_chunks_then_one_done(self, client):
        messages = await client.say("c1", SENTENCE)
        assert kinds_of(messages) == ["chunk", "done"]
        assert messages[-1] == {"type": "done", "context_id": "c1", "done": True, "status_code": 206}
        for chunk in messages[:-1]:
            assert set(chunk) == {"type", "context_id", "data", "done", "status_code", "step_time", "flush_id"}
            assert (chunk["done"], chunk["status_code"], chunk["flush_id"]) == (False, 206, 1)
            assert isinstance(chunk["step_time"], float)
            assert chunk["step_time"] >= 0
        sizes = [len(audio_of([chunk])) for chunk in messages[:-1]]
        assert sizes[0] <= 4096
        assert max(sizes) <= 16384
        assert all(size % 2 == 0 for size in sizes)
        await client.silence()

    async def test_word_times_come_before_their_chunk_and_fit_the_audio(self, client):
        messages = await client.say("c1", SENTENCE, add_timestamps=True)
        assert [word for word, _, _ in words_of(messages)] == SENTENCE.split()
        sent_s = 0.0
        for index, message in enumerate(messages):
            if message["type"] == "timestamps":
                following = messages[index + 1]
                assert following["type"] == "chunk"
                end_s = sent_s + len(audio_of([following])) / 48000
                assert all(sent_s <= start < end_s for start in message["word_timestamps"]["start"])
            elif message["type"] == "chunk":
                sent_s += len(audio_of([message])) / 48000
        spans = times(messages)
        assert spans[0][0] == 0
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        assert spans[-1][1] == pytest.approx(sent_s, abs=1e-6)

    async def test_phoneme_times_are_messages_of_their_own(self, client):
        messages = await client.say("c1", "Hi you", add_timestamps=True, add_phoneme_timestamps=True)
        assert "".join(symbol for symbol, _, _ in words_of(messages, "phoneme")) == "hiyou"
        for message in messages:
            if message["type"] == "phoneme_timestamps":
                assert "word_timestamps" not in message
        spans = times(messages, "phoneme")
        assert spans == sorted(spans)

    async def test_pretty_printed_with_unknown_and_null_fields(self, client):
        whole = request("c1", "Hi \u00e9", language=None, surprise={"deep": [1, {}]}, add_timestamps=None)
        whole["output_format"]["sample_rate"] = 24000.0
        client.send(json.dumps(dict(reversed(whole.items())), indent=4))
        assert kinds_of(await client.context("c1")) == ["chunk", "done"]

    async def test_a_long_transcript_in_a_binary_frame(self, client):
        text = "word " * 3000
        client.send(json.dumps(request("c1", text)).encode())
        messages = await client.context("c1")
        assert len(audio_of(messages)) == 2 * 24 * (3000 * 240 + 2999 * 20)

    async def test_speed_and_volume(self, client):
        plain = audio_of(await client.say("c1", "Hello"))
        fast = audio_of(await client.say("c2", "Hello", generation_config={"speed": 1.5}))
        slow = audio_of(await client.say("c3", "Hello", speed="slow"))
        loud = audio_of(await client.say("c4", "Hello", generation_config={"volume": 2.0}))
        early = audio_of(await client.say("c5", "Hello", generation_config={"speed": 1.5}, model_id="sonic-2"))
        assert len(fast) == round(len(plain) / 1.5)
        assert len(slow) == round(len(plain) / 0.8)
        assert max(memoryview(loud).cast("h")) == 2 * max(memoryview(plain).cast("h"))
        assert early == plain

    async def test_tags_are_done_and_never_spoken(self, client):
        text = 'One <break time="250ms"/>two <speed ratio="1.5"/>three <spell>AB</spell>. [laughter]'
        messages = await client.say("c1", text, add_timestamps=True)
        words = words_of(messages)
        assert [word for word, _, _ in words] == ["One", "two", "three", "<spell>AB</spell>."]
        assert words[1][1] - words[0][2] == pytest.approx(0.250 + 0.020)
        assert words[2][2] - words[2][1] == pytest.approx(0.060 * 5 / 1.5)

    async def test_chinese_is_timed_by_character(self, client):
        messages = await client.say("c1", "你好。", language="zh", add_timestamps=True)
        assert [word for word, _, _ in words_of(messages)] == ["你", "好", "。"]


class TestContinuation:
    @pytest.mark.parametrize("last", ["", " ", "Three."])
    async def test_three_inputs_are_one_stream(self, client, last):
        client.send(request("c1", "One. ", continue_=True, add_timestamps=True))
        client.send(request("c1", "Two. ", continue_=True))
        client.send(request("c1", last, continue_=False, voice="other", model_id="other", output_format={}))
        messages = await client.context("c1")
        assert [word for word, _, _ in words_of(messages)] == f"One. Two. {last}".split()
        assert audio_of(messages) == audio_of(await client.say("c2", f"One. Two. {last}"))

    async def test_text_is_joined_verbatim(self, client):
        client.send(request("c1", "Hello", continue_=True, add_timestamps=True))
        client.send(request("c1", "world", continue_=False))
        assert [word for word, _, _ in words_of(await client.context("c1"))] == ["Helloworld"]

    async def test_a_sentence_before_a_pause_is_spoken(self, client):
        client.send(request("c1", "Hello there.", continue_=True))
        assert (await client.receive(2.0))["type"] == "chunk"

    async def test_text_without_an_end_waits_for_the_delay(self, client):
        client.send(request("c1", "Hello there", continue_=True, add_timestamps=True, max_buffer_delay_ms=200))
        first = await client.receive(2.0)
        assert first["word_timestamps"]["words"] == ["Hello"]

    async def test_generation_config_applies_to_its_own_text(self, client):
        client.send(request("c1", "Hello ", continue_=True, add_timestamps=True))
        client.send(request("c1", "there ", continue_=True, generation_config={"speed": 1.5}))
        client.send(request("c1", "", continue_=False))
        (_, first, second), (_, third, fourth) = words_of(await client.context("c1"))
        assert second - first == pytest.approx(0.3)
        assert fourth - third == pytest.approx(0.2)

    async def test_two_contexts_do_not_mix(self, client):
        texts = {"a": "One two three. Four five six. ", "b": "Seven eight. Nine ten eleven. "}
        for _ in range(3):
            for name, text in texts.items():
                client.send(request(name, text, continue_=True))
        for name in texts:
            client.send(request(name, "", continue_=False))
        received: dict[str, list[dict[str, Any]]] = {name: [] for name in texts}
        while not all(messages and messages[-1]["type"] == "done" for messages in received.values()):
            message = await client.receive()
            received[message["context_id"]].append(message)
        for name, text in texts.items():
            assert audio_of(received[name]) == audio_of(await client.say(f"{name} alone", text * 3))

    async def test_one_id_on_two_sockets_is_two_contexts(self, client, url):
        async with await RawClient.open(url) as other:
            client.send(request("same", "One two. ", continue_=True))
            other.send(request("same", "Three. ", continue_=False))
            assert kinds_of(await other.context("same")) == ["chunk", "done"]
            client.send(request("same", "", continue_=False))
            assert kinds_of(await client.context("same")) == ["chunk", "done"]

    async def test_a_new_context_under_an_old_id_starts_anew(self, client):
        first = await client.say("c1", "Hello", add_timestamps=True, flush=True)
        again = await client.say("c1", "Hello", add_timestamps=True, flush=True)
        for message in first + again:
            message.pop("step_time", None)
        assert first == again


class TestFlush:
    async def test_flush_ends_a_segment_and_the_context_goes_on(self, client):
        client.send(request("c1", "One two.", continue_=True, add_timestamps=True))
        client.send(request("c1", "", continue_=True, flush=True))
        client.send(request("c1", " Three.", continue_=False))
        messages = await client.context("c1")
        marks = [index for index, message in enumerate(messages) if message["type"] == "flush_done"]
        assert len(marks) == 1
        assert messages[marks[0]] == {
            "type": "flush_done",
            "context_id": "c1",
            "done": False,
            "status_code": 206,
            "flush_id": 1,
            "flush_done": True,
        }
        assert {message["flush_id"] for message in messages[: marks[0]]} == {1}
        assert {message["flush_id"] for message in messages[marks[0] + 1 : -1]} == {2}
        spans = times(messages)
        assert spans == sorted(spans)
        assert [word for word, _, _ in words_of(messages)] == ["One", "two.", "Three."]

    async def test_flush_without_text_counts_and_with_close_comes_before_done(self, client):
        client.send(request("c1", "One.", continue_=True, flush=True))
        client.send(request("c1", "", continue_=True, flush=True))
        client.send(request("c1", "Two.", continue_=False, flush=True))
        messages = await client.context("c1")
        assert kinds_of(messages) == ["chunk", "flush_done", "chunk", "flush_done", "done"]
        assert [message["flush_id"] for message in messages if message["type"] == "flush_done"] == [1, 2, 3]

    async def test_the_audio_goes_on_through_a_flush_at_another_rate(self, client):
        narrow = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000}
        client.send(request("c1", "One", continue_=True, flush=True, output_format=narrow))
        client.send(request("c1", " two", continue_=False))
        frames = 24 * (180 + 20 + 180)
        assert len(audio_of(await client.context("c1"))) == 2 * frames // 3

    async def test_custom_mode_flushes_after_each_input(self, client):
        client.send(request("c1", "One.", continue_=True, max_buffer_delay_ms=0, add_timestamps=True))
        client.send(request("c1", "...", continue_=True, max_buffer_delay_ms=0))
        client.send(request("c1", "Two", continue_=True, max_buffer_delay_ms=0))
        client.send(request("c1", "Three.", continue_=False, max_buffer_delay_ms=0))
        messages = await client.context("c1")
        assert [word for word, _, _ in words_of(messages)] == ["One.", "...", "Two", "Three."]
        assert [message["flush_id"] for message in messages if message["type"] == "flush_done"] == [1, 2, 3]
        assert [message["type"] for message in messages[-2:]] == ["flush_done", "done"]

    async def test_text_with_flush_in_custom_mode_is_flushed_once(self, client):
        client.send(request("c1", "One.", continue_=True, max_buffer_delay_ms=0, flush=True))
        client.send(request("c1", " ", continue_=False, max_buffer_delay_ms=0))
        assert kinds_of(await client.context("c1")) == ["chunk", "flush_done", "done"]

    async def test_old_versions_get_no_labels(self, url):
        async with await RawClient.open(url, path="/tts/websocket?cartesia_version=2024-11-13") as client:
            messages = await client.say("c1", "One.", add_timestamps=True, flush=True)
            assert kinds_of(messages) == ["timestamps", "chunk", "flush_done", "done"]
            labelled = [message["type"] for message in messages if "flush_id" in message]
            assert labelled == ["flush_done"]


class TestCancel:
    async def test_silence_after_a_cancel(self):
        options = {"delay_ms_per_word": "20"}
        async with (
            server.serve(engine="tone", engine_options=options) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "word " * 500, continue_=True))
            client.send(request("c2", "One two three.", continue_=False))
            while (await client.receive())["context_id"] != "c1":
                pass
            client.send({"context_id": "c1", "cancel": True})
            client.send(request("c1", "", continue_=False))
            client.send({"cancel": True, "context_id": "c1"})
            client.send(request("after", "One.", continue_=False))
            received: list[tuple[str, str]] = []
            while not {("after", "done"), ("c2", "done")} <= set(received):
                message = await client.receive()
                received.append((message["context_id"], message["type"]))
            await client.silence()
            # Chunks that were on their way when the cancel was sent may come, and nothing else of it.
            assert {kind for name, kind in received if name == "c1"} <= {"chunk"}
            assert ("c1", "chunk") not in received[received.index(("after", "chunk")) :]

    @pytest.mark.parametrize("context_id", ["unknown", "c1"])
    async def test_cancel_of_nothing_is_ignored(self, client, context_id):
        await client.say("c1", "Hi")
        client.send({"context_id": context_id, "cancel": True, "transcript": 5, "voice": []})
        await client.silence()

    async def test_cancel_done(self):
        async with (
            server.serve(engine="tone", cancel_done=True) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello", continue_=True))
            client.send({"context_id": "c1", "cancel": True})
            assert kinds_of(await client.context("c1")) == ["done"]
            await client.silence()


class TestStates:
    """Cells of protocol.md 6.2 that other tests do not meet."""

    @pytest.mark.parametrize("close", ["", " ", "..."])
    async def test_ended_ignores_what_cannot_be_spoken(self, client, close):
        await client.say("c1", "Hi")
        client.send(request("c1", close, continue_=False))
        client.send(request("c1", close, continue_=True, flush=True))
        await client.silence()

    async def test_input_while_draining_is_refused_after_done(self, client):
        client.send(request("c1", "Hi there", continue_=False))
        client.send(request("c1", "More", continue_=True))
        client.send(request("c1", "More", continue_=True))
        client.send(request("c1", "", continue_=False))
        assert kinds_of(await client.context("c1")) == ["chunk", "done"]
        (error,) = await client.context("c1")
        assert (error["status_code"], error["title"]) == (400, "Context closed")
        await client.silence()

    async def test_invalid_input_while_draining_is_refused_with_its_own_error(self, client):
        client.send(request("c1", "Hi there", continue_=False))
        client.send(request("c1", "More", continue_=True, max_buffer_delay_ms=5001))
        assert (await client.context("c1"))[-1]["type"] == "done"
        (error,) = await client.context("c1")
        assert "max_buffer_delay_ms" in error["message"]

    @pytest.mark.parametrize("transcript", ["", " ", "...", "?!"])
    async def test_first_transcript_must_be_speakable(self, client, transcript):
        client.send(request("c1", transcript, continue_=True, flush=True))
        (error,) = await client.context("c1")
        assert error["error"] == (
            "transcript empty or contains only punctuation: "
            "first transcript for WS is empty or contains only punctuation"
        )
        assert (error["status_code"], error["error_code"]) == (400, None)

    async def test_one_error_for_all_inputs_under_way(self, client):
        client.send(request("c1", "One", continue_=True, model_id="no-such-model"))
        client.send(request("c1", "Two", continue_=True, model_id="no-such-model"))
        client.send(request("c1", "", continue_=False, model_id="no-such-model"))
        (error,) = await client.context("c1")
        assert error["error_code"] == "model_not_found"
        await client.silence()

    async def test_whitespace_close_on_a_failed_context_repeats_the_error(self, client):
        client.send(request("c1", "One", continue_=True, voice="nobody"))
        (error,) = await client.context("c1")
        client.send(request("c1", " ", continue_=False))
        assert await client.context("c1") == [error]
        await client.silence()

    async def test_invalid_input_ends_an_open_context(self, client):
        client.send(request("c1", "One. ", continue_=True))
        client.send(request("c1", "Two. ", continue_=True, generation_config={"speed": 1.6}))
        client.send(request("c1", "", continue_=False))
        messages = await client.context("c1")
        assert messages[-1]["title"] == "Invalid generation_config.speed"
        await client.silence()

    async def test_context_id_may_be_absent_in_old_versions_only(self, client, url):
        client.send(request(..., "Hi"))
        error = await client.receive()
        assert error["type"] == "error"
        assert "context_id" not in error
        async with await RawClient.open(url, path="/x/tts/websocket?cartesia_version=2025-04-16") as old:
            old.send(request(..., "Hi"))
            first = await old.receive()
            assert kinds_of([first, *await old.context(first["context_id"])]) == ["chunk", "done"]

    @pytest.mark.parametrize("context_id", ["", "x" * 257, "a\0b", 7])
    async def test_bad_context_id(self, client, context_id):
        client.send(request(context_id, "Hi"))
        error = await client.receive()
        assert (error["type"], error["status_code"]) == ("error", 400)
        assert error.get("context_id") == (context_id if isinstance(context_id, str) else None)
        assert "context_id" in error["message"]
        await client.silence()

    async def test_too_much_unspoken_text(self):
        async with (
            server.serve(engine="tone", context_text_bytes=100) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "word " * 15, continue_=True))
            client.send(request("c1", "word " * 15, continue_=True))
            messages = await client.context("c1")
            assert messages[-1]["title"] == "Too much text"
