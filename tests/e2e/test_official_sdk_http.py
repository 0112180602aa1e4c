"""The service's own Python client, unchanged, over HTTP: bytes, events, voices, access tokens."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import cartesia
import pytest
from cartesia import AsyncCartesia, Cartesia

from voxwire import server

KEY = "sk_car_of_a_test"
SENTENCE = "Hello, world! This is a sentence."
RAW: Any = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
OPTIONS: dict[str, Any] = {"model_id": "sonic-3", "transcript": SENTENCE, "voice": {"mode": "id", "id": "tone-1"}}


@pytest.fixture(scope="module")
def running():
    """A server in a thread of its own: the blocking client must not block it."""
    started: list[server.Server] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with server.serve(engine="tone", api_keys=(KEY,), engine_options={"fail_on": "boom"}) as one:
            started.append(one)
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
def client(running):
    with Cartesia(api_key=KEY, base_url=running.http_url, max_retries=0, timeout=10) as one:
        yield one


@pytest.fixture
async def asynchronous(running):
    async with AsyncCartesia(api_key=KEY, base_url=running.http_url, max_retries=0, timeout=10) as one:
        yield one


class TestBytes:
    @pytest.mark.parametrize(
        ("output_format", "begins_with"),
        [
            (RAW | {"container": "wav"}, b"RIFF"),
            ({"container": "mp3", "sample_rate": 44100, "bit_rate": 128000}, b"\xff"),
        ],
    )
    def test_containers(self, client, output_format, begins_with):
        answer = client.tts.generate(**OPTIONS, output_format=output_format)
        assert answer.read().startswith(begins_with)

    def test_streamed(self, client):
        whole = client.tts.generate(**OPTIONS, output_format=RAW).read()
        with client.tts.with_streaming_response.generate(**OPTIONS, output_format=RAW) as answer:
            assert answer.headers["content-type"] == "audio/pcm"
            assert b"".join(answer.iter_bytes()) == whole
        assert len(whole) > 24_000

    async def test_asynchronous(self, client, asynchronous):
        answer = await asynchronous.tts.generate(**OPTIONS, output_format=RAW)
        assert await answer.read() == client.tts.generate(**OPTIONS, output_format=RAW).read()

    def test_bare_voice_and_further_fields(self, client):
        options = OPTIONS | {"voice": "tone-1", "generation_config": {"speed": 1.2, "emotion": "calm"}, "save": True}
        assert client.tts.generate(**options, output_format=RAW).read()


class TestEvents:
    def test_times(self, client):
        with contextlib.closing(
            client.tts.generate_sse(
                **OPTIONS, output_format=RAW, add_timestamps=True, add_phoneme_timestamps=True, context_id="mine"
            )
        ) as events:
            got = list(events)
        assert {event.type for event in got} == {"chunk", "timestamps", "phoneme_timestamps", "done"}
        assert got[-1].type == "done"
        assert {event.context_id for event in got} == {"mine"}
        words = [word for event in got if event.type == "timestamps" for word in event.word_timestamps.words]
        assert words == SENTENCE.split()
        audio = b"".join(event.audio for event in got if event.type == "chunk")
        assert audio == client.tts.generate(**OPTIONS, output_format=RAW).read()

    async def test_asynchronous(self, asynchronous):
        events = await asynchronous.tts.generate_sse(**OPTIONS, output_format=RAW)
        kinds = [event.type async for event in events]
        assert set(kinds) == {"chunk", "done"}
        assert kinds[-1] == "done"

    def test_an_error_within_the_stream(self, client):
        options = OPTIONS | {"transcript": "First some words, then boom."}
        with contextlib.closing(client.tts.generate_sse(**options, output_format=RAW)) as events:
            *_, error = list(events)
        assert (error.type, error.status_code, error.error_code) == ("error", 500, "engine_failed")
        assert "boom" not in error.message


class TestErrors:
    def test_status(self, running, client):
        with pytest.raises(cartesia.NotFoundError) as caught:
            client.tts.generate(**(OPTIONS | {"voice": "nobody"}), output_format=RAW)
        assert caught.value.body["error_code"] == "voice_not_found"
        with pytest.raises(cartesia.BadRequestError):
            client.tts.generate_sse(**(OPTIONS | {"transcript": ""}), output_format=RAW)
        with (
            Cartesia(api_key="wrong", base_url=running.http_url, max_retries=0) as stranger,
            pytest.raises(cartesia.AuthenticationError),
        ):
            stranger.tts.generate(**OPTIONS, output_format=RAW)


class TestVoices:
    def test_every_page(self, client):
        found = [voice.id for voice in client.voices.list(limit=3)]
        assert found == [voice.id for voice in client.voices.list()]
        assert len(found) == len(set(found)) > 3

    def test_filters(self, client):
        assert [voice.id for voice in client.voices.list(q="tone-3", expand=["preview_file_url"])] == ["tone-3"]
        assert list(client.voices.list(is_owner=True)) == []

    async def test_asynchronous(self, asynchronous):
        assert [voice.id async for voice in asynchronous.voices.list(limit=2)]

    def test_one(self, client):
        voice = client.voices.get("tone-3")
        assert (voice.id, voice.is_owner) == ("tone-3", False)


class TestAccessToken:
    def test_opens_what_it_grants(self, running, client):
        token = client.access_token.create(grants={"tts": True}, expires_in=60).token
        with Cartesia(token=token, base_url=running.http_url, websocket_base_url=running.url, max_retries=0) as guest:
            assert guest.tts.generate(**OPTIONS, output_format=RAW).read()
            with guest.tts.websocket_connect() as connection:
                context = connection.context(model_id="sonic-3", voice=OPTIONS["voice"], output_format=RAW, timeout=10)
                context.push(SENTENCE)
                context.no_more_inputs()
                assert [event.type for event in context.receive()][-1] == "done"
            with pytest.raises(cartesia.PermissionDeniedError):
                guest.access_token.create(grants={"tts": True})

    def test_opens_nothing_else(self, running, client):
        token = client.access_token.create(grants={"stt": True}).token
        with (
            Cartesia(token=token, base_url=running.http_url, max_retries=0) as guest,
            pytest.raises(cartesia.PermissionDeniedError),
        ):
            guest.tts.generate(**OPTIONS, output_format=RAW)
