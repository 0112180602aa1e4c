"""What the server does with contexts, seen from a socket (protocol.md 3 to 8)."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from raw_client import FORMAT, ConnectionClosed, RawClient, audio_of, kinds_of, request, words_of

from voxwire import plugins, server
from voxwire.engines import Info, Piece, Voice
from voxwire.engines.tone import ToneEngine

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

    @pytest.mark.parametrize("encoding", ["pcm_f32le", "pcm_s16le", "pcm_mulaw", "pcm_alaw"])
    @pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
    async def test_length_in_every_format(self, client, encoding, rate):
        width = {"pcm_f32le": 4, "pcm_s16le": 2}.get(encoding, 1)
        # Tone: 60 ms a character, 20 ms after the first word.
        frames_at_24k = 24 * (60 * 5 + 20 + 60 * 3)
        messages = await client.say(
            "c1", "Hello you", output_format={"container": "raw", "encoding": encoding, "sample_rate": rate}
        )
        assert len(audio_of(messages)) == width * round(frames_at_24k * rate / 24000)

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


class TestErrors:
    async def test_superset_shape(self, client):
        (error,) = await client.say("c1", "Hi", model_id="")
        assert error == {
            "type": "error",
            "done": True,
            "context_id": "c1",
            "status_code": 400,
            "error_code": "model_not_found",
            "title": "Invalid model",
            "message": "The model is not valid, make sure it is a valid model ID.",
            "error": "Invalid model: The model is not valid, make sure it is a valid model ID.",
            "request_id": client.headers["x-request-id"],
        }

    async def test_unknown_voice_by_version(self, client, url):
        (error,) = await client.say("c1", "Hi", voice={"id": "nobody"})
        assert (error["status_code"], error["error_code"]) == (404, "voice_not_found")
        async with await RawClient.open(url, headers={"Cartesia-Version": "2025-11-04"}) as old:
            (error,) = await old.say("c1", "Hi", voice={"id": "nobody"})
            assert (error["status_code"], error["error_code"]) == (400, "voice_not_found")

    async def test_engine_failure_fails_one_context_only(self):
        async with (
            server.serve(engine="tone", engine_options={"fail_on": "boom"}) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("bad", "One boom two. ", continue_=True))
            client.send(request("bad", "", continue_=False))
            bad = await client.context("bad")
            assert (bad[-1]["status_code"], bad[-1]["error_code"]) == (500, "engine_failed")
            assert kinds_of(await client.say("good", "One two.")) == ["chunk", "done"]

    async def test_unexpected_exception_becomes_a_500(self, caplog):
        plugins.register(plugins.ENGINES, "surprising", _SurprisingEngine)
        try:
            async with server.serve(engine="surprising") as running, await RawClient.open(running.url) as client:
                (error,) = await client.say("c1", "secret words", voice="v")
                assert (error["status_code"], error["title"]) == (500, "Internal error")
                assert "secret" not in json.dumps(error)
                (error,) = await client.say("c2", "secret words", voice="v")
                assert error["status_code"] == 500
        finally:
            plugins.unregister(plugins.ENGINES, "surprising")
        assert "ZeroDivisionError" in caplog.text
        assert "secret" not in caplog.text

    async def test_words_are_estimated_where_the_engine_has_none(self):
        plugins.register(plugins.ENGINES, "plain", _PlainEngine)
        try:
            async with server.serve(engine="plain") as running, await RawClient.open(running.url) as client:
                messages = await client.say(
                    "c1",
                    "one three",
                    voice="v",
                    add_timestamps=True,
                    generation_config={"volume": 2.0},
                    output_format={**FORMAT, "sample_rate": 8000},
                )
        finally:
            plugins.unregister(plugins.ENGINES, "plain")
        assert words_of(messages) == [("one", 0.0, 0.375), ("three", 0.375, 1.0)]
        assert set(memoryview(audio_of(messages)).cast("h")) == {2000}

    async def test_invalid_json_keeps_the_socket(self, client):
        for broken in ["", "{", "[]", "5", '{"context_id":"c1","context_id":"c1","transcript":"x"}', '{"cancel":true}']:
            client.send(broken)
            error = await client.receive()
            assert (error["status_code"], error["title"]) == (400, "Invalid message")
        await client.silence()

    async def test_unusable_message_with_an_id_ends_that_context(self, client):
        client.send(request("c1", "Hello there", continue_=True))
        client.send({"context_id": "c1"})
        messages = await client.context("c1")
        assert messages[-1]["title"] == "Invalid message"

    async def test_ten_in_a_row_close(self, client):
        client.send(request("live", "Hello there", continue_=True))
        for _ in range(9):
            client.send("nonsense")
        client.send(request("live", "again", continue_=True))
        for _ in range(10):
            client.send("nonsense")
        errors = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                errors.append(await client.receive())
        assert closed.value.code == 1008
        assert len([error for error in errors if error["title"] == "Invalid message"]) == 19
        (live,) = [error for error in errors if error.get("context_id") == "live"]
        assert live["status_code"] == 500

    async def test_too_long_a_message_closes(self, client):
        client.send(json.dumps(request("c1", "x" * 1024 * 1024)))
        assert (await client.closed()).code == 1009


class TestTimers:
    async def test_expiry_gives_done(self):
        async with (
            server.serve(engine="tone", context_expiry_s=0.05) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello.", continue_=True, max_buffer_delay_ms=0))
            assert kinds_of(await client.context("c1")) == ["chunk", "flush_done", "done"]
            client.send(request("c1", " ", continue_=False))
            assert kinds_of(await client.context("c1")) == ["done"]
            client.send(request("c1", " ", continue_=False))
            await client.silence()

    async def test_no_expiry_before_the_first_audio_or_while_text_waits(self):
        options = {"delay_ms_per_word": "200"}
        async with (
            server.serve(engine="tone", context_expiry_s=0.05, engine_options=options) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello", continue_=True, max_buffer_delay_ms=300))
            assert kinds_of(await client.context("c1")) == ["chunk", "done"]

    async def test_expiry_without_any_audio(self):
        async with (
            server.serve(engine="tone", context_expiry_s=0.05) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "[laughter]", continue_=True, flush=True))
            assert kinds_of(await client.context("c1")) == ["flush_done", "done"]

    async def test_idle_socket(self):
        async with (
            server.serve(engine="tone", idle_timeout_s=0.2) as running,
            await RawClient.open(running.url) as client,
        ):
            closed = await client.closed()
            assert (closed.code, closed.reason) == (1000, "connection idle timeout")

    async def test_a_live_context_keeps_the_socket(self):
        async with (
            server.serve(engine="tone", idle_timeout_s=0.1, context_expiry_s=0.4) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("c1", "Hello", continue_=True, flush=True))
            assert kinds_of(await client.context("c1")) == ["chunk", "flush_done", "done"]
            assert (await client.closed()).reason == "connection idle timeout"

    async def test_slow_reader_is_closed_and_others_go_on(self):
        async with (
            server.serve(engine="tone", slow_reader_s=0.3, send_queue_bytes=65536) as running,
            await RawClient.open(running.url) as slow,
            await RawClient.open(running.url) as other,
        ):
            slow.send(request("c1", "word " * 100_000, continue_=False))
            (session,) = [one for one in running.service.sessions if one.request_id == slow.headers["x-request-id"]]
            async with asyncio.timeout(10):
                while session in running.service.sessions:
                    await other.silence()
            await other.silence()

    async def test_a_ping_is_answered_while_busy(self, client):
        client.send(request("c1", "word " * 20_000, continue_=False))
        client.connection.send_ping(b"are you there")
        client._flush()
        while not client._reader._buffer:
            await client.receive()
        # The pong is not reported by the core; its bytes are.
        seen = bytearray()
        take = client._take
        client._take = lambda data: (seen.extend(data), take(data))
        client.connection.send_ping(b"still there")
        client._flush()
        for _ in range(200):
            await client.receive()
            if b"\x8a\x0bstill there" in seen:
                break
        assert b"\x8a\x0bstill there" in seen


class TestLimits:
    async def test_one_too_many_waits_then_fails(self):
        options = {"delay_ms_per_word": "200"}
        settings = {"concurrency": 1, "queue_wait_s": 0.1, "engine_options": options}
        async with server.serve(engine="tone", **settings) as running, await RawClient.open(running.url) as client:
            client.send(request("first", "One two three.", continue_=False))
            client.send(request("second", "One.", continue_=True))
            (error,) = [await client.receive()]
            assert (error["context_id"], error["status_code"]) == ("second", 429)
            assert error["error_code"] == "concurrency_limited"
            assert kinds_of(await client.context("first")) == ["chunk", "done"]
            assert kinds_of(await client.say("third", "One.")) == ["chunk", "done"]

    async def test_a_waiting_context_keeps_its_inputs(self):
        async with (
            server.serve(engine="tone", concurrency=1, queue_wait_s=10, context_expiry_s=30) as running,
            await RawClient.open(running.url) as client,
        ):
            client.send(request("first", "One.", continue_=True))
            client.send(request("second", "Two ", continue_=True, add_timestamps=True))
            client.send(request("second", "three.", continue_=False))
            client.send({"context_id": "first", "cancel": True})
            messages = []
            while not messages or messages[-1]["type"] != "done":
                messages.append(await client.receive())
            assert [word for word, _, _ in words_of(messages)] == ["Two", "three."]


class TestEnd:
    async def test_close_tells_every_live_context(self):
        running = server.serve(engine="tone")
        await running.start()
        async with await RawClient.open(running.url) as client:
            client.send(request("c1", "Hello there", continue_=True))
            client.send(request("c2", "Hello there", continue_=True))
            await client.silence()
            closing = asyncio.ensure_future(running.close())
            errors = [await client.receive() for _ in range(2)]
            assert {(error["context_id"], error["status_code"]) for error in errors} == {("c1", 503), ("c2", 503)}
            assert (await client.closed()).code == 1001
            await closing

    async def test_drain_lets_contexts_finish_and_refuses_new_ones(self):
        running = server.serve(engine="tone", engine_options={"delay_ms_per_word": "50"})
        await running.start()
        async with await RawClient.open(running.url) as client:
            client.send(request("c1", "One two three. ", continue_=True))
            assert (await client.receive())["type"] == "chunk"
            draining = asyncio.ensure_future(running.drain())
            await asyncio.sleep(0)
            client.send(request("c2", "Hello", continue_=False))
            client.send(request("c1", "four.", continue_=False))
            received = []
            while not received or received[-1]["type"] != "done":
                received.append(await client.receive())
            refused = [message for message in received if message["context_id"] == "c2"]
            assert [message["status_code"] for message in refused] == [503]
            await asyncio.wait_for(draining, 5)
        await running.close()

    @pytest.mark.parametrize(
        ("violation", "code"),
        [
            (b"\x81\xff" + (1 << 20 | 1).to_bytes(8, "big") + bytes(4), 1009),
            (b"\xc1\x80" + bytes(4), 1002),
            (b"\x81\x82" + bytes(4) + b"a\xff", 1007),
        ],
    )
    async def test_live_contexts_are_told_before_a_broken_rule_closes(self, client, violation, code):
        client.send(request("c1", "One two three. ", continue_=True))
        client.send(request("c2", "Four.", continue_=True))
        seen: set[str] = set()
        while len(seen) < 2:
            seen.add((await client.receive())["context_id"])
        client._writer.write(violation)
        told = {}
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                message = await client.receive()
                assert message["context_id"] not in told
                if message["type"] == "error":
                    told[message["context_id"]] = message["status_code"]
        assert told == {"c1": 500, "c2": 500}
        assert caught.value.code == code

    async def test_text_that_makes_no_sound_holds_nobody_up(self, client):
        client.send(request("c1", '<break time="0s"/>' * 40_000 + "Hi"))
        client.send(request("c2", "Hi."))
        ended = []
        while len(ended) < 2:
            message = await client.receive()
            if message["type"] == "done":
                ended.append(message["context_id"])
        assert ended == ["c2", "c1"]

    async def test_a_lost_client_leaves_nothing(self):
        async with server.serve(engine="tone", engine_options={"delay_ms_per_word": "100"}) as running:
            async with await RawClient.open(running.url) as client:
                client.send(request("c1", "word " * 1000, continue_=True))
                assert (await client.receive())["type"] == "chunk"
            async with asyncio.timeout(5):
                await running.service.drain(5)
                while len(running.service.scope):
                    await asyncio.sleep(0.01)
            assert not running.service.sessions


class _PlainEngine:
    """A second of constant level for every segment; no times, no volume."""

    api_version = 1
    info = Info(name="plain", sample_rate=8000)

    async def start(self, config):
        pass

    async def stop(self):
        pass

    def voices(self):
        return [Voice(id="v", name="V", default=True)]

    async def open(self, settings):
        return self

    async def speak(self, segment):
        yield Piece(b"\xe8\x03" * 8000)

    async def close(self):
        pass

    def healthy(self):
        return True


class _SurprisingEngine(_PlainEngine):
    info = ToneEngine.info

    async def speak(self, segment):
        raise ZeroDivisionError(segment.text)
        yield
