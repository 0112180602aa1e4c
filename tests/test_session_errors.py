"""How contexts fail, and what a client is told (protocol.md 9)."""

from __future__ import annotations

import json

import pytest
from raw_client import FORMAT, ConnectionClosed, RawClient, audio_of, kinds_of, request, words_of

from voxwire import plugins, server
from voxwire.engines import Info, Piece, Voice
from voxwire.engines.tone import ToneEngine


@pytest.fixture
async def url():
    async with server.serve(engine="tone", context_expiry_s=30) as running:
        yield running.url


@pytest.fixture
async def client(url):
    async with await RawClient.open(url) as connected:
        yield connected


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
