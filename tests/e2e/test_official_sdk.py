"""The service's own Python client, unchanged, against this server: blocking and asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from cartesia import AsyncCartesia, Cartesia

from voxwire import server

KEY = "sk_car_of_a_test"
SENTENCE = "Hello, world! I'm generating audio, number 42."
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
OPTIONS: dict[str, Any] = {
    "model_id": "sonic-3",
    "voice": {"mode": "id", "id": "tone-1"},
    "output_format": FORMAT,
    "timeout": 10,
}


@contextlib.asynccontextmanager
async def serving(**settings: Any):
    async with server.serve(engine="tone", api_keys=(KEY,), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def url():
    """The URL of a server in a thread of its own: the blocking client must not block it."""
    started: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with serving(engine_options={"fail_on": "boom"}, context_expiry_s=30) as running:
            started.append(running.url)
            ready.set()
            await asyncio.to_thread(over.wait, 120)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield started[0]
    finally:
        over.set()
        thread.join(20)


@pytest.fixture
def blocking(url):
    with Cartesia(api_key=KEY, websocket_base_url=url) as client, client.tts.websocket_connect() as connection:
        yield connection


@pytest.fixture
async def asynchronous(url):
    async with (
        AsyncCartesia(api_key=KEY, websocket_base_url=url) as client,
        client.tts.websocket_connect() as connection,
    ):
        yield connection


def words(events: list[Any]) -> list[str]:
    return [word for event in events if event.type == "timestamps" for word in event.word_timestamps.words]


def audio(events: list[Any]) -> bytes:
    return b"".join(event.audio for event in events if event.type == "chunk")


def kinds(events: list[Any]) -> list[str]:
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event.type:
            found.append(event.type)
    return found


class TestBlocking:
    def test_a_sentence_with_timestamps(self, blocking):
        context = blocking.context(**OPTIONS, add_timestamps=True)
        context.push(SENTENCE)
        context.no_more_inputs()
        events = list(context.receive())
        assert words(events) == SENTENCE.split()
        assert events[-1].type == "done"
        ends = [end for event in events if event.type == "timestamps" for end in event.word_timestamps.end]
        assert ends[-1] == pytest.approx(len(audio(events)) / 48000)

    def test_continuation_in_the_default_format(self, blocking):
        context = blocking.context(voice="tone-2", timeout=10)
        for word in SENTENCE.split():
            context.push(f"{word} ")
        context.no_more_inputs()
        events = list(context.receive())
        assert kinds(events) == ["chunk", "done"]
        assert len(audio(events)) % 4 == 0

    def test_flush(self, blocking):
        context = blocking.context(**OPTIONS)
        context.push("One two. ")
        context.push("", flush=True)
        context.push("Three.")
        context.no_more_inputs()
        events = list(context.receive())
        assert kinds(events) == ["chunk", "flush_done", "chunk", "done"]
        assert [event.flush_id for event in events if event.type != "done"] == sorted(
            event.flush_id for event in events if event.type != "done"
        )

    def test_cancel_leaves_the_next_context_alone(self, blocking):
        first = blocking.context(**OPTIONS)
        first.push("word " * 400)
        first.cancel()
        second = blocking.context(**OPTIONS, add_timestamps=True)
        second.push("Hello there.")
        second.no_more_inputs()
        events = list(second.receive())
        own = [event for event in events if event.context_id != first._context_id]
        assert words(own) == ["Hello", "there."]
        assert own[-1].type == "done"
        assert {event.type for event in events if event.context_id == first._context_id} <= {"chunk"}

    def test_error(self, blocking):
        context = blocking.context(**{**OPTIONS, "model_id": "no-such-model"})
        context.push("Hello.")
        context.no_more_inputs()
        events = list(context.receive())
        assert kinds(events) == ["error"]
        assert (events[0].error_code, events[0].status_code) == ("model_not_found", 400)
        later = blocking.context(**OPTIONS)
        later.push("Hello.")
        later.no_more_inputs()
        assert kinds(list(later.receive())) == ["chunk", "done"]

    def test_wrong_key(self, url):
        from websockets.exceptions import InvalidStatus

        with Cartesia(api_key="wrong", websocket_base_url=url) as client, pytest.raises(InvalidStatus) as caught:
            client.tts.websocket_connect().enter()
        assert caught.value.response.status_code == 401


class TestAsynchronous:
    async def test_a_sentence_with_timestamps(self, asynchronous):
        context = asynchronous.context(**OPTIONS, add_timestamps=True, add_phoneme_timestamps=True)
        await context.push(SENTENCE)
        await context.no_more_inputs()
        events = [event async for event in context.receive()]
        assert words(events) == SENTENCE.split()
        assert events[-1].type == "done"
        assert "phoneme_timestamps" in kinds(events)

    async def test_many_contexts_at_once(self, asynchronous):
        async def speak(number: int) -> bytes:
            context = asynchronous.context(**OPTIONS)
            for word in f"This is context {number} of all.".split():
                await context.push(f"{word} ")
            await context.no_more_inputs()
            events = [event async for event in context.receive()]
            assert kinds(events) == ["chunk", "done"]
            return audio(events)

        together = await asyncio.gather(*(speak(number) for number in range(20)))
        assert together[7] == await speak(7)
        assert len(set(together)) == 20

    async def test_flush_and_custom_buffering(self, asynchronous):
        context = asynchronous.context(**OPTIONS, max_buffer_delay_ms=0)
        await context.push("One two.")
        await context.push("Three.")
        await context.no_more_inputs()
        events = [event async for event in context.receive()]
        assert kinds(events) == ["chunk", "flush_done", "chunk", "flush_done", "done"]
        assert [event.flush_id for event in events if event.type == "flush_done"] == [1, 2]

    async def test_cancel(self, asynchronous):
        first = asynchronous.context(**OPTIONS)
        await first.push("word " * 400)
        await first.cancel()
        second = asynchronous.context(**OPTIONS)
        await second.push("Hello there.")
        await second.no_more_inputs()
        assert kinds([event async for event in second.receive()]) == ["chunk", "done"]

    async def test_engine_failure_is_an_error_event(self, asynchronous):
        context = asynchronous.context(**OPTIONS)
        await context.push("One boom two.")
        await context.no_more_inputs()
        events = [event async for event in context.receive()]
        assert kinds(events) == ["chunk", "error"]
        assert (events[-1].error_code, events[-1].status_code) == ("engine_failed", 500)

    async def test_expiry_is_a_normal_end(self):
        async with (
            serving(context_expiry_s=0.05) as running,
            AsyncCartesia(api_key=KEY, websocket_base_url=running.url) as client,
            client.tts.websocket_connect() as connection,
        ):
            context = connection.context(**OPTIONS)
            await context.push("Hello.")
            assert kinds([event async for event in context.receive()]) == ["chunk", "done"]
