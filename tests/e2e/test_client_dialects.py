"""What the clients of others send, word for word (protocol.md 12), and what each of them needs to get."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from interop import FORMAT, KEY, SENTENCE, serving, speak
from raw_client import RawClient, audio_of, kinds_of, words_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from voxwire.server import Server

VOICE = {"mode": "id", "id": "tone-1"}
LONG = "word " * 400

#: The fields that LiveKit's plugin for Node demands of each message, whatever else it holds.
STRICT: dict[str, dict[str, tuple[type, ...]]] = {
    "chunk": {"data": (str,), "done": (bool,), "status_code": (int,), "step_time": (float,), "context_id": (str,)},
    "timestamps": {"done": (bool,), "status_code": (int,), "context_id": (str,), "word_timestamps": (dict,)},
    "done": {"done": (bool,), "status_code": (int,), "context_id": (str,)},
    "flush_done": {
        "done": (bool,),
        "flush_done": (bool,),
        "flush_id": (int,),
        "status_code": (int,),
        "context_id": (str,),
    },
    "error": {"done": (bool,), "error": (str,), "status_code": (int,), "context_id": (str,)},
}


async def pipecat_socket(running: Server) -> RawClient:
    return await RawClient.open(running.url, headers={"X-API-Key": KEY, "Cartesia-Version": "2026-03-01"})


def pipecat(context_id: str, transcript: str, *, ends: bool = False, **fields: Any) -> dict[str, Any]:
    whole = {
        "transcript": transcript,
        "continue": not ends,
        "context_id": context_id,
        "model_id": "sonic-3.6",
        "voice": VOICE,
        "output_format": FORMAT,
        "add_timestamps": True,
        "use_normalized_timestamps": False,
        "max_buffer_delay_ms": 0,
        "language": "en",
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


async def livekit_socket(running: Server) -> RawClient:
    headers = {"X-API-Key": KEY, "User-Agent": "LiveKit Agents Cartesia Plugin/1.8.9"}
    return await RawClient.open(running.url, path="/tts/websocket?cartesia_version=2025-04-16", headers=headers)


def livekit(context_id: str, transcript: str, **fields: Any) -> dict[str, Any]:
    return {
        "model_id": "sonic-3",
        "voice": VOICE,
        "output_format": FORMAT,
        "language": None,
        "add_timestamps": True,
        "max_buffer_delay_ms": 0,
        "context_id": context_id,
        "transcript": transcript,
        "continue": True,
        **fields,
    }


def livekit_end(context_id: str, **fields: Any) -> dict[str, Any]:
    return livekit(context_id, " ", **{"continue": False, **fields})


def javascript(context_id: str, transcript: str, **fields: Any) -> dict[str, Any]:
    return {
        "model_id": "sonic-3",
        "output_format": FORMAT,
        "voice": "tone-1",
        "transcript": transcript,
        "context_id": context_id,
        "continue": True,
        **fields,
    }


def assert_strict(messages: Sequence[dict[str, Any]]) -> None:
    """Every message has what the strictest client demands (protocol.md 12.8)."""
    for message in messages:
        for name, types in STRICT.get(message["type"], {}).items():
            assert type(message[name]) in types, (message["type"], name)
        assert message["done"] is (message["type"] in {"done", "error"})
        if message["type"] == "chunk":
            assert message["data"]
        elif message["type"] == "timestamps":
            times = message["word_timestamps"]
            assert len(times["words"]) == len(times["start"]) == len(times["end"])
        elif message["type"] == "flush_done":
            assert message["flush_done"] is True
            assert message["flush_id"] >= 1
        elif message["type"] == "error":
            assert message["error"] == f"{message['title']}: {message['message']}"


@pytest.fixture
async def running():
    async with serving(engine_options={"fail_on": "boom"}, context_expiry_s=30) as started:
        yield started


class TestPipecat:
    async def test_sentences(self, running):
        async with await pipecat_socket(running) as client:
            sentences = ["Hello there.", "How are you?", "Fine!"]
            for sentence in sentences:
                client.send(pipecat("turn", sentence))
            client.send(pipecat("turn", "", ends=True))
            messages = await client.context("turn")
            assert_strict(messages)
            # No blank ends a sentence; still no two words are glued.
            expected = await speak(" ".join(sentences))
            assert audio_of(messages) == expected.pcm
            assert words_of(messages) == expected.words
            assert [message["flush_id"] for message in messages if message["type"] == "flush_done"] == [1, 2, 3]
            assert messages[-1]["type"] == "done"
            await client.silence()

    async def test_tokens(self, running):
        async with await pipecat_socket(running) as client:
            for word in SENTENCE.split():
                client.send(pipecat("turn", f"{word} ", max_buffer_delay_ms=None))
            client.send(pipecat("turn", "", ends=True, max_buffer_delay_ms=None))
            messages = await client.context("turn")
            assert_strict(messages)
            assert (audio_of(messages), words_of(messages)) == (await speak(SENTENCE))[:2]
            assert set(kinds_of(messages)) == {"timestamps", "chunk", "done"}

    async def test_options_as_it_writes_them(self, running):
        async with await pipecat_socket(running) as client:
            fields = {
                "language": "en-US",
                "generation_config": {"volume": 1.0, "speed": 1.5, "emotion": "joking/comedic"},
            }
            client.send(pipecat("turn", "Hello there.", **fields))
            client.send(pipecat("turn", "", ends=True, **fields))
            assert audio_of(await client.context("turn")) == (await speak([("Hello there.", 1.5)])).pcm

    async def test_an_interruption_and_the_next_turn(self, running):
        async with await pipecat_socket(running) as client:
            client.send(pipecat("first", LONG))
            while (await client.receive())["type"] != "chunk":
                pass
            client.send({"context_id": "first", "cancel": True})
            client.send(pipecat("second", "Hello there."))
            client.send(pipecat("second", "", ends=True))
            messages = []
            while not messages or (messages[-1]["context_id"], messages[-1]["type"]) != ("second", "done"):
                messages.append(await client.receive())
            assert all("context_id" in message for message in messages)
            own = [message for message in messages if message["context_id"] == "second"]
            assert messages[-len(own) :] == own
            assert audio_of(own) == (await speak("Hello there.")).pcm
            for context_id in ("first", "second", "never"):
                client.send({"context_id": context_id, "cancel": True})
            await client.silence()

    async def test_one_error_for_all_sentences_under_way(self, running):
        async with await pipecat_socket(running) as client:
            for sentence in ("Hello there.", "How are you?", "Fine."):
                client.send(pipecat("turn", sentence, voice={"mode": "id", "id": None}))
            client.send(pipecat("turn", "", ends=True, voice={"mode": "id", "id": None}))
            messages = await client.context("turn")
            assert_strict(messages)
            assert kinds_of(messages) == ["error"]
            await client.silence()


class TestLiveKit:
    async def test_sentences(self, running):
        async with await livekit_socket(running) as client:
            assert client.headers["x-request-id"]
            for sentence in ("Hello there. ", "How are you? "):
                client.send(livekit("296ebf60ba63", sentence))
            client.send(livekit_end("296ebf60ba63"))
            messages = await client.context("296ebf60ba63")
            assert_strict(messages)
            expected = await speak("Hello there. How are you?")
            assert (audio_of(messages), words_of(messages)) == (expected.pcm, expected.words)
            assert not any(message.get("data") for message in messages if message["type"] != "chunk")
            await client.silence()

    async def test_a_pause_longer_than_the_expiry(self):
        async with serving(context_expiry_s=0.05) as running, await livekit_socket(running) as client:
            audio = b""
            for sentence in ("Hello there. ", "How are you? "):
                client.send(livekit("turn", sentence))
                messages = await client.context("turn")
                assert messages[-1]["type"] == "done"
                audio += audio_of(messages)
            # It ignored the `done`s, as its input was open; the close with a blank brings the one that it waits for.
            client.send(livekit_end("turn"))
            assert kinds_of(await client.context("turn")) == ["done"]
            assert audio == (await speak("Hello there. ")).pcm + (await speak("How are you? ")).pcm
            client.send(livekit_end("turn"))
            await client.silence()

    @pytest.mark.parametrize("fields", [{"model_id": "no-such-model"}, {"generation_config": {"speed": 1.8}}])
    async def test_an_error_while_its_input_is_open(self, running, fields):
        async with await livekit_socket(running) as client:
            client.send(livekit("turn", "Hello there. ", **fields))
            first = await client.context("turn")
            assert_strict(first)
            assert kinds_of(first) == ["error"]
            client.send(livekit("turn", "How are you? ", **fields))
            client.send(livekit_end("turn", **fields))
            assert await client.context("turn") == first
            await client.silence()

    async def test_an_interruption_leaves_the_socket_to_the_next(self):
        async with serving(context_expiry_s=0.05) as running, await livekit_socket(running) as client:
            client.send(livekit("first", LONG))
            while (await client.receive())["type"] != "chunk":
                pass
            client.send(livekit("second", "Hello there. "))
            client.send(livekit_end("second"))
            own: list[dict[str, Any]] = []
            ended: list[str] = []
            while len(ended) < 2:
                message = await client.receive()
                if message["context_id"] == "second":
                    own.append(message)
                if message["type"] == "done":
                    ended.append(message["context_id"])
            assert ended == ["second", "first"]
            assert audio_of(own) == (await speak("Hello there. ")).pcm

    async def test_its_embedding_voice_at_the_version_that_has_them(self, running):
        async with await RawClient.open(
            running.url, path="/tts/websocket?cartesia_version=2024-11-13", headers={"X-API-Key": KEY}
        ) as client:
            voice = {
                "mode": "embedding",
                "embedding": [0.1] * 192,
                "__experimental_controls": {"speed": "fast", "emotion": ["positivity:high"]},
            }
            client.send(livekit("turn", "Hello there. ", voice=voice))
            client.send(livekit_end("turn", voice=voice))
            assert audio_of(await client.context("turn")) == (await speak("Hello there.")).pcm


class TestStrictSchemas:
    @pytest.mark.parametrize("version", ["2024-11-13", "2025-04-16", "2026-03-01", "2026-08-14"])
    async def test_every_type_of_message(self, running, version):
        headers = {"X-API-Key": KEY, "Cartesia-Version": version}
        async with await RawClient.open(running.url, headers=headers) as client:
            # LiveKit's plugin for Node leaves the buffering to the server.
            fields = {"max_buffer_delay_ms": None, "add_phoneme_timestamps": True, "language": "en"}
            client.send(livekit("speech", f"{SENTENCE} ", **fields))
            client.send(livekit("speech", "", flush=True, **fields))
            client.send(livekit("speech", "And more. ", **fields))
            client.send(livekit_end("speech", **fields))
            messages = await client.context("speech")
            assert {message["type"] for message in messages} == {
                "chunk",
                "timestamps",
                "phoneme_timestamps",
                "flush_done",
                "done",
            }
            for failing in (
                {"voice": {"mode": "id", "id": "nobody"}},
                {"language": "xx1"},
                {"transcript": "One boom."},
            ):
                client.send(livekit("failing", **{"transcript": "Hello. ", **failing, "continue": False}))
                messages += await client.context("failing")
            assert_strict(messages)
            assert [message["type"] for message in messages].count("error") == 3


class TestJavaScript:
    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/tts/websocket", {"authorization": f"Bearer {KEY}", "cartesia-version": "2026-08-14"}),
            (f"/tts/websocket?cartesia_version=2026-08-14&api_key={KEY}&cartesia_client=cartesia-js%2F4.2.0", {}),
            (f"/v1/tts/websocket?cartesia_version=2026-08-14&access_token={KEY}", {}),
        ],
    )
    async def test_a_push_with_flush_is_two_messages(self, running, path, headers):
        async with await RawClient.open(running.url, path=path, headers=headers) as client:
            client.send(javascript("c", "One two. "))
            client.send(javascript("c", "", flush=True))
            client.send(javascript("c", "Three. "))
            client.send(javascript("c", "", **{"continue": False}))
            messages = await client.context("c")
            assert_strict(messages)
            assert kinds_of(messages) == ["chunk", "flush_done", "chunk", "done"]
            assert audio_of(messages) == (await speak("One two. Three.")).pcm

    async def test_a_send_without_continue_closes(self, running):
        async with await RawClient.open(running.url, headers={"authorization": f"Bearer {KEY}"}) as client:
            whole = {name: value for name, value in javascript("c", "Hello.").items() if name != "continue"}
            client.send(whole)
            assert kinds_of(await client.context("c")) == ["chunk", "done"]
            client.send({"cancel": True, "context_id": "c"})
            await client.silence()


class TestPython:
    async def test_a_cancel_of_several_lines(self, running):
        async with await RawClient.open(running.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
            client.send(javascript("first", LONG))
            while (await client.receive())["type"] != "chunk":
                pass
            client.send(json.dumps({"cancel": True, "context_id": "first"}, indent=2))
            # Sent all the same by `no_more_inputs`, which knows nothing of the cancel.
            client.send(javascript("first", "", **{"continue": False}))
            client.send(javascript("second", "Hello there.", **{"continue": False}))
            messages = []
            while not messages or messages[-1]["context_id"] != "second":
                messages.append(await client.receive())
            assert {message["type"] for message in messages[:-1]} <= {"chunk"}
            messages = [messages[-1], *await client.context("second")]
            assert audio_of(messages) == (await speak("Hello there.")).pcm
            await client.silence()

    @pytest.mark.parametrize(
        "closing",
        [
            {
                "model_id": "sonic-latest",
                "voice": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b",
                "output_format": {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100},
            },
            {"model_id": "sonic-2", "voice": {"mode": "embedding", "embedding": [0.5] * 192}, "output_format": {}},
        ],
    )
    async def test_a_close_with_another_voice_model_and_format(self, running, closing):
        async with await RawClient.open(running.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
            client.send(javascript("c", "Hello there."))
            client.send({"context_id": "c", "transcript": "", "continue": False, **closing})
            messages = await client.context("c")
            assert audio_of(messages) == (await speak("Hello there.")).pcm
            assert messages[-1]["type"] == "done"
            await client.silence()


class TestOverHttp:
    async def test_livekit_for_node_names_no_type_of_its_body(self, running):
        body = {
            "model_id": "sonic-3",
            "voice": VOICE,
            "output_format": FORMAT,
            "language": "en",
            "max_buffer_delay_ms": 0,
            "generation_config": {"speed": 1.5, "emotion": "Happy"},
            "transcript": "Hello there.",
        }

        async def pieces() -> AsyncIterator[bytes]:
            yield json.dumps(body).encode()

        headers = {"X-API-Key": KEY, "Cartesia-Version": "2025-04-16"}
        async with httpx.AsyncClient(base_url=running.http_url, headers=headers, trust_env=False) as http:
            answer = await http.post("/tts/bytes", content=pieces())
            assert answer.request.headers["transfer-encoding"] == "chunked"
            assert "content-type" not in answer.request.headers
            assert (answer.status_code, answer.content) == (200, (await speak([("Hello there.", 1.5)])).pcm)

    @pytest.mark.parametrize("prefix", ["", "/v1"])
    async def test_the_second_python_sdk_lists_voices_with_a_slash_behind(self, running, prefix):
        headers = {"X-API-Key": KEY, "Cartesia-Version": "2024-11-13"}
        async with httpx.AsyncClient(base_url=running.http_url, headers=headers, trust_env=False) as http:
            answer = await http.get(f"{prefix}/voices/", params={"limit": 2})
            assert (answer.status_code, answer.json()) == (200, (await http.get("/voices", params={"limit": 2})).json())
            assert answer.json()["next_page"] == "tone-2"
            assert (await http.post(f"{prefix}/voices/", json={})).status_code == 404
            assert (await http.get(f"{prefix}/voices/", headers={"X-API-Key": "wrong"})).status_code == 401
