"""The service's own Python client, unchanged, against this server: its asynchronous side."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from cartesia import AsyncCartesia
from interop import FORMAT, KEY, SENTENCE, audio, kinds, serving, speak, times
from websockets.exceptions import ConnectionClosedOK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OPTIONS: dict[str, Any] = {
    "model_id": "sonic-3",
    "voice": {"mode": "id", "id": "tone-1"},
    "output_format": FORMAT,
    "timeout": 10,
}
LONG = "word " * 400
SETTINGS: dict[str, Any] = {"engine_options": {"fail_on": "boom"}, "context_expiry_s": 30}


@contextlib.asynccontextmanager
async def connected(**settings: Any) -> AsyncIterator[Any]:
    """A connection to a server of its own."""
    async with serving(**{**SETTINGS, **settings}) as running, connection_to(running.url) as connection:
        yield connection


@contextlib.asynccontextmanager
async def connection_to(url: str) -> AsyncIterator[Any]:
    async with (
        AsyncCartesia(api_key=KEY, websocket_base_url=url) as client,
        client.tts.websocket_connect() as connection,
    ):
        yield connection


@pytest.fixture
async def connection() -> AsyncIterator[Any]:
    async with connected() as found:
        yield found


async def received(context: Any) -> list[Any]:
    return [event async for event in context.receive()]


async def say(connection: Any, text: str, **options: Any) -> list[Any]:
    context = connection.context(**{**OPTIONS, **options})
    await context.push(text)
    await context.no_more_inputs()
    return await received(context)


class TestSpeech:
    async def test_a_sentence_with_all_times(self, connection):
        events = await say(connection, SENTENCE, add_timestamps=True, add_phoneme_timestamps=True)
        expected = await speak(SENTENCE)
        assert audio(events) == expected.pcm
        assert times(events) == expected.words
        assert times(events, "phoneme") == expected.phonemes
        assert [event.type for event in events].count("done") == 1

    async def test_continuation_in_the_default_format(self, connection):
        context = connection.context(timeout=10)
        for word in SENTENCE.split():
            await context.send(transcript=f"{word} ", voice="tone-2")
        await context.no_more_inputs()
        events = await received(context)
        assert kinds(events) == ["chunk", "done"]
        assert len(audio(events)) == pytest.approx(len((await speak(SENTENCE)).pcm) * 2 * 44_100 / 24_000, abs=8)

    async def test_a_generation_config_for_each_push(self, connection):
        context = connection.context(**OPTIONS)
        await context.push("One two three. ")
        await context.push("Four five six.", generation_config={"speed": 0.75})
        await context.no_more_inputs()
        expected = await speak([("One two three. ", 1.0), ("Four five six.", 0.75)])
        assert audio(await received(context)) == expected.pcm

    async def test_many_contexts_at_once(self, connection):
        async def run(number: int) -> None:
            text = f"This is context {'abcdefgh'[number % 8] * (1 + number // 8)} of all."
            context = connection.context(f"manual {number}", **OPTIONS, add_timestamps=True)
            for word in text.split():
                await context.push(f"{word} ")
            await context.no_more_inputs()
            events = await received(context)
            expected = await speak(text)
            assert audio(events) == expected.pcm
            assert times(events) == expected.words

        await asyncio.gather(*(run(number) for number in range(64)))

    async def test_the_way_of_version_two(self):
        async with serving() as running, AsyncCartesia(api_key=KEY, websocket_base_url=running.url) as client:
            socket = await client.tts.websocket()
            options = {name: value for name, value in OPTIONS.items() if name != "timeout"}
            whole = await socket.send(**options, transcript=SENTENCE, stream=False, add_timestamps=True)
            assert whole.audio == (await speak(SENTENCE)).pcm
            assert whole.word_timestamps["words"] == SENTENCE.split()
            await socket.close()


class TestFlush:
    async def test_segments_of_one_context(self, connection):
        context = connection.context(**OPTIONS, add_timestamps=True)
        await context.push("One two. ")
        await context.push("", flush=True)
        await context.push("Three.", flush=True)
        await context.no_more_inputs()
        events = await received(context)
        marks = [(index, event.flush_id) for index, event in enumerate(events) if event.type == "flush_done"]
        assert [flush_id for _, flush_id in marks] == [1, 2]
        assert audio(events[: marks[0][0]]) == (await speak("One two.")).pcm
        assert audio(events) == (await speak("One two. Three.")).pcm
        assert times(events) == (await speak("One two. Three.")).words
        assert marks[1][0] == len(events) - 2

    async def test_custom_buffering_flushes_by_itself(self, connection):
        context = connection.context(**OPTIONS, max_buffer_delay_ms=0)
        await context.push("One two.")
        await context.push("Three.")
        await context.no_more_inputs()
        events = await received(context)
        assert kinds(events) == ["chunk", "flush_done", "chunk", "flush_done", "done"]
        assert audio(events) == (await speak("One two. Three.")).pcm


class TestCancel:
    async def test_the_others_go_on_and_its_place_is_free(self):
        async with connected(concurrency=2, queue_wait_s=5) as connection:
            first, second = connection.context(**OPTIONS), connection.context(**OPTIONS)
            await first.push(LONG)
            await second.push("Hello ")
            assert (await anext(first.receive())).type == "chunk"
            await first.cancel()
            assert kinds(await say(connection, "In its place.")) == ["chunk", "done"]
            await second.push("there.")
            await second.no_more_inputs()
            assert audio(await received(second)) == (await speak("Hello there.")).pcm

    async def test_nothing_comes_after_it(self, connection):
        first = connection.context("first", **OPTIONS)
        await first.push(LONG)
        assert (await anext(first.receive())).type == "chunk"
        await first.cancel()
        # The SDK drops what it does not know; so the same id is listened to again, after a round trip.
        assert kinds(await say(connection, "Hello.")) == ["chunk", "done"]
        again = connection.context("first", **OPTIONS)
        await again.push("Hello there.")
        await again.no_more_inputs()
        assert audio(await received(again)) == (await speak("Hello there.")).pcm


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "text", "code", "status"),
        [
            ({"model_id": "no-such-model"}, "Hello.", "model_not_found", 400),
            ({"voice": {"id": "nobody"}}, "Hello.", "voice_not_found", 404),
            ({"output_format": {**FORMAT, "sample_rate": 40}}, "Hello.", None, 400),
            ({"generation_config": {"volume": 2.1}}, "Hello.", None, 400),
            ({"max_buffer_delay_ms": 5001}, "Hello.", None, 400),
            ({"pronunciation_dict_id": "none"}, "Hello.", None, 404),
            ({}, "!", None, 400),
        ],
    )
    async def test_one_error_and_nothing_after_it(self, connection, options, text, code, status):
        events = await say(connection, text, **options)
        assert kinds(events) == ["error"]
        assert events[0].status_code == status
        if code is not None:
            assert events[0].error_code == code
        assert kinds(await say(connection, "Hello.")) == ["chunk", "done"]

    async def test_a_failure_of_the_engine(self, connection):
        events = await say(connection, "One boom two.")
        assert kinds(events) == ["chunk", "error"]
        assert (events[-1].error_code, events[-1].status_code) == ("engine_failed", 500)
        assert audio(events) == (await speak("One")).pcm


class TestEnds:
    async def test_expiry_is_a_normal_end(self):
        async with connected(context_expiry_s=0.05) as connection:
            context = connection.context(**OPTIONS)
            await context.push("Hello.")
            events = await received(context)
            assert kinds(events) == ["chunk", "done"]
            assert audio(events) == (await speak("Hello.")).pcm
            await context.no_more_inputs()
            assert kinds(await say(connection, "Hello.")) == ["chunk", "done"]

    async def test_closing_the_socket_ends_its_contexts(self):
        async with serving(concurrency=1, queue_wait_s=10) as running:
            async with connection_to(running.url) as connection:
                context = connection.context(**OPTIONS)
                await context.push(LONG)
                assert (await anext(context.receive())).type == "chunk"
            async with connection_to(running.url) as connection:
                assert kinds(await say(connection, "Hello.")) == ["chunk", "done"]

    async def test_an_idle_socket_is_closed_in_order(self):
        async with connected(idle_timeout_s=0.1) as connection:
            with pytest.raises(ConnectionClosedOK) as caught:
                await connection.recv()
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "connection idle timeout")

    async def test_a_server_that_ends_tells_each_context(self):
        async with (
            serving(engine_options={"delay_ms_per_word": "20"}) as running,
            connection_to(running.url) as connection,
        ):
            contexts = [connection.context(**OPTIONS) for _ in range(3)]
            for context in contexts:
                await context.push(LONG)
            assert (await anext(contexts[0].receive())).type == "chunk"
            await running.close()
            for context in contexts:
                events = await received(context)
                assert (events[-1].type, events[-1].status_code) == ("error", 503)
