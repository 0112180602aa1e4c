"""The service's own Python client, unchanged, against this server: its blocking side."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from cartesia import Cartesia
from interop import FORMAT, KEY, SENTENCE, ServerThread, audio, kinds, spoken, times
from websockets.exceptions import ConnectionClosedOK

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: dict[str, Any] = {
    "model_id": "sonic-3",
    "voice": {"mode": "id", "id": "tone-1"},
    "output_format": FORMAT,
    "timeout": 10,
}
LONG = "word " * 400


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ServerThread(engine_options={"fail_on": "boom"}, context_expiry_s=30) as running:
        yield running.url


@contextlib.contextmanager
def connected(url: str) -> Iterator[Any]:
    with Cartesia(api_key=KEY, websocket_base_url=url) as client, client.tts.websocket_connect() as connection:
        yield connection


@pytest.fixture
def connection(url: str) -> Iterator[Any]:
    with connected(url) as found:
        yield found


def say(connection: Any, text: str, **options: Any) -> list[Any]:
    """Speaks one text on a context of its own; every event must be of that context."""
    context = connection.context(**{**OPTIONS, **options})
    context.push(text)
    context.no_more_inputs()
    events = list(context.receive())
    assert {event.context_id for event in events} == {context._context_id}
    return events


class TestSpeech:
    def test_a_sentence_with_all_times(self, connection):
        events = say(connection, SENTENCE, add_timestamps=True, add_phoneme_timestamps=True)
        expected = spoken(SENTENCE)
        assert audio(events) == expected.pcm
        assert times(events) == expected.words
        assert times(events, "phoneme") == expected.phonemes
        assert [event.type for event in events].count("done") == 1
        assert events[-1].type == "done"
        assert all(event.flush_id == 1 for event in events if event.type == "chunk")

    def test_continuation_word_by_word(self, connection):
        context = connection.context(**OPTIONS, add_timestamps=True)
        for word in SENTENCE.split():
            context.push(f"{word} ")
        context.no_more_inputs()
        events = list(context.receive())
        assert audio(events) == spoken(SENTENCE).pcm
        assert times(events) == spoken(SENTENCE).words

    def test_the_last_text_may_close_by_itself(self, connection):
        context = connection.context(**OPTIONS)
        context.push("Hello, ")
        context.push("world.", continue_=False)
        events = list(context.receive())
        assert kinds(events) == ["chunk", "done"]
        assert audio(events) == spoken("Hello, world.").pcm

    def test_the_default_format_model_and_closing_voice(self, connection):
        context = connection.context(timeout=10)
        for word in SENTENCE.split():
            context.send(transcript=f"{word} ", voice="tone-2")
        context.no_more_inputs()  # with the SDK's own voice, which differs from the context's
        events = list(context.receive())
        assert kinds(events) == ["chunk", "done"]
        # 4 bytes a sample, 44.1 kHz; the engine has 2 bytes and 24 kHz.
        assert len(audio(events)) == pytest.approx(len(spoken(SENTENCE).pcm) * 2 * 44_100 / 24_000, abs=8)

    @pytest.mark.parametrize("voice", ["tone-3", {"id": "tone-3"}, {"mode": "id", "id": "tone-3"}])
    def test_each_form_of_a_voice(self, connection, voice):
        assert audio(say(connection, "Hello there.", voice=voice)) == spoken("Hello there.", "tone-3").pcm

    def test_a_generation_config_for_each_push(self, connection):
        context = connection.context(**OPTIONS)
        context.push("One two three. ")
        context.push("Four five six.", generation_config={"speed": 1.5, "volume": 1.0, "emotion": "angry"})
        context.no_more_inputs()
        expected = spoken([("One two three. ", 1.0), ("Four five six.", 1.5)]).pcm
        assert audio(list(context.receive())) == expected

    def test_many_contexts_at_once(self, connection):
        texts = [f"This is context {'abcdefgh'[number % 8] * (1 + number // 8)} of all." for number in range(56)]
        contexts = [connection.context(f"manual {number} é", **OPTIONS) for number in range(56)]
        for word in range(6):
            for context, text in zip(contexts, texts, strict=True):
                context.push(f"{text.split()[word]} ")
        for context in contexts:
            context.no_more_inputs()
        for context, text in zip(reversed(contexts), reversed(texts), strict=True):
            events = list(context.receive())
            assert kinds(events) == ["chunk", "done"]
            assert audio(events) == spoken(text).pcm

    def test_one_id_on_two_sockets(self, url, connection):
        with connected(url) as other:
            first, second = (one.context("same", **OPTIONS) for one in (connection, other))
            first.push("This is the first. ")
            second.push("This is the second. ")
            second.no_more_inputs()
            first.no_more_inputs()
            assert audio(list(first.receive())) == spoken("This is the first.").pcm
            assert audio(list(second.receive())) == spoken("This is the second.").pcm

    def test_the_way_of_version_two(self, url):
        with Cartesia(api_key=KEY, websocket_base_url=url) as client:
            socket = client.tts.websocket()
            options = {name: value for name, value in OPTIONS.items() if name != "timeout"}
            whole = socket.send(**options, transcript=SENTENCE, stream=False, add_timestamps=True)
            assert whole.audio == spoken(SENTENCE).pcm
            assert whole.word_timestamps["words"] == SENTENCE.split()
            with pytest.raises(RuntimeError, match="not valid"):
                socket.send(**{**options, "model_id": "no-such-model"}, transcript="Hello.", stream=False)
            socket.close()


class TestFlush:
    @pytest.mark.parametrize("together", [False, True])
    def test_segments_of_one_context(self, connection, together):
        context = connection.context(**OPTIONS, add_timestamps=True)
        if together:
            context.push("One two. ", flush=True)
        else:
            context.push("One two. ")
            context.push("", flush=True)
        context.push("Three.")
        context.no_more_inputs()
        events = list(context.receive())
        # Times come before the audio they speak of.
        assert kinds([event for event in events if event.type != "timestamps"]) == [
            "chunk",
            "flush_done",
            "chunk",
            "done",
        ]
        at = [event.type for event in events].index("flush_done")
        assert {event.flush_id for event in events[: at + 1]} == {1}
        assert {event.flush_id for event in events[at + 1 : -1]} == {2}
        assert audio(events[:at]) == spoken("One two.").pcm
        assert audio(events) == spoken("One two. Three.").pcm
        assert times(events) == spoken("One two. Three.").words

    def test_custom_buffering_flushes_by_itself(self, connection):
        context = connection.context(**OPTIONS, max_buffer_delay_ms=0)
        context.push("One two.")
        context.push("Three.")
        context.no_more_inputs()
        events = list(context.receive())
        assert kinds(events) == ["chunk", "flush_done", "chunk", "flush_done", "done"]
        assert [event.flush_id for event in events if event.type == "flush_done"] == [1, 2]
        assert audio(events) == spoken("One two. Three.").pcm


class TestCancel:
    @pytest.mark.parametrize("after_audio", [False, True])
    def test_the_next_context_hears_nothing_of_it(self, connection, after_audio):
        first = connection.context(**OPTIONS)
        first.push(LONG)
        if after_audio:
            assert next(first.receive()).type == "chunk"
        first.cancel()
        first.no_more_inputs()  # the SDK still sends it; the server stays silent
        second = connection.context(**OPTIONS, add_timestamps=True)
        second.push("Hello there.")
        second.no_more_inputs()
        events = list(second.receive())
        # What was under way before the cancel arrived is yielded by the SDK into whatever is received.
        assert {event.type for event in events if event.context_id == first._context_id} <= {"chunk"}
        own = [event for event in events if event.context_id == second._context_id]
        assert audio(own) == spoken("Hello there.").pcm
        assert own[-1].type == "done"
        assert say(connection, "And again.")[-1].type == "done"

    def test_a_cancel_after_the_end_is_nothing(self, connection):
        first = connection.context(**OPTIONS)
        first.push("Hello.", continue_=False)
        assert kinds(list(first.receive())) == ["chunk", "done"]
        first.cancel()
        connection.context("never used", **OPTIONS).cancel()
        assert audio(say(connection, "Hello there.")) == spoken("Hello there.").pcm


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "text", "code", "status"),
        [
            ({"model_id": "no-such-model"}, "Hello.", "model_not_found", 400),
            ({"model_id": ""}, "Hello.", None, 400),
            ({"voice": {"id": "nobody"}}, "Hello.", "voice_not_found", 404),
            ({"voice": ""}, "Hello.", None, 400),
            ({"output_format": {**FORMAT, "sample_rate": 40}}, "Hello.", None, 400),
            ({"output_format": {**FORMAT, "container": "wav"}}, "Hello.", None, 400),
            ({"generation_config": {"speed": 1.6}}, "Hello.", None, 400),
            ({"max_buffer_delay_ms": -100}, "Hello.", None, 400),
            ({"language": "xx1"}, "Hello.", None, 400),
            ({}, "...", None, 400),
        ],
    )
    def test_one_error_and_nothing_after_it(self, connection, options, text, code, status):
        events = say(connection, text, **options)
        assert kinds(events) == ["error"]
        error = events[0]
        assert error.status_code == status
        if code is not None:
            assert error.error_code == code
        assert error.title
        assert error.message
        assert error.error == f"{error.title}: {error.message}"
        assert audio(say(connection, "Hello there.")) == spoken("Hello there.").pcm

    def test_a_failure_of_the_engine(self, connection):
        events = say(connection, "One boom two.")
        assert kinds(events) == ["chunk", "error"]
        assert (events[-1].error_code, events[-1].status_code) == ("engine_failed", 500)
        assert audio(events) == spoken("One").pcm

    def test_too_many_contexts(self):
        with ServerThread(concurrency=1, queue_wait_s=0.05) as running, connected(running.url) as connection:
            first = connection.context(**OPTIONS)
            first.push("Hello, ")
            events = say(connection, "Hello.")
            assert kinds(events) == ["error"]
            assert (events[0].error_code, events[0].status_code) == ("concurrency_limited", 429)
            first.no_more_inputs()
            assert audio(list(first.receive())) == spoken("Hello,").pcm
            assert kinds(say(connection, "Hello.")) == ["chunk", "done"]


class TestEnds:
    def test_expiry_is_a_normal_end_and_later_text_a_new_context(self):
        with ServerThread(context_expiry_s=0.05) as running, connected(running.url) as connection:
            context = connection.context(**OPTIONS, add_timestamps=True)
            for _ in range(2):
                context.push("Hello.")
                events = list(context.receive())
                assert events[-1].type == "done"
                assert audio(events) == spoken("Hello.").pcm
                assert times(events) == spoken("Hello.").words
            context.no_more_inputs()
            assert kinds(say(connection, "Hello.")) == ["chunk", "done"]

    def test_closing_the_socket_ends_its_contexts(self):
        with ServerThread(concurrency=1, queue_wait_s=10, engine_options={"delay_ms_per_word": "20"}) as running:
            with connected(running.url) as connection:
                context = connection.context(**OPTIONS)
                context.push(LONG)
                assert next(context.receive()).type == "chunk"
            with connected(running.url) as connection:
                assert kinds(say(connection, "Hello.")) == ["chunk", "done"]

    def test_an_idle_socket_is_closed_in_order(self):
        with ServerThread(idle_timeout_s=0.1) as running, connected(running.url) as connection:
            assert list(connection) == []
            with pytest.raises(ConnectionClosedOK) as caught:
                connection.recv()
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "connection idle timeout")

    def test_a_server_that_ends_tells_each_context(self):
        with (
            ServerThread(engine_options={"delay_ms_per_word": "20"}) as running,
            connected(running.url) as connection,
        ):
            contexts = [connection.context(**OPTIONS) for _ in range(3)]
            for context in contexts:
                context.push(LONG)
            assert next(contexts[0].receive()).type == "chunk"
            running.shut_down()
            for context in contexts:
                events = list(context.receive())
                assert events[-1].type == "error"
                assert events[-1].status_code == 503
            with pytest.raises(ConnectionClosedOK) as caught:
                connection.recv()
            assert caught.value.rcvd.code == 1001

    def test_a_draining_server_finishes_what_it_has(self):
        with (
            ServerThread(engine_options={"delay_ms_per_word": "20"}) as running,
            connected(running.url) as connection,
        ):
            context = connection.context(**OPTIONS)
            context.push(SENTENCE)
            receiving = context.receive()
            events = [next(receiving)]
            draining = running.drain()
            context.no_more_inputs()
            events += receiving
            assert audio(events) == spoken(SENTENCE).pcm
            draining.result(10)
