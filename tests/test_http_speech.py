"""``POST /tts/bytes`` and ``POST /tts/sse`` (protocol.md 11.1, 11.2): every container, failures, slots, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import uuid
from typing import Any

import httpx
import pytest
from raw_client import RawClient, audio_of, request, words_of

from voxwire import server
from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, decode_base64
from voxwire.transport import Endpoint

TEXT = "Hello, world! This is the second sentence."
RAW = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
PATIENCE_S = 10.0
TAGS = {"pcm_s16le": 1, "pcm_f32le": 3, "pcm_alaw": 6, "pcm_mulaw": 7}


def body(transcript: Any = TEXT, **fields: Any) -> dict[str, Any]:
    """A whole body; ``...`` removes a field."""
    whole = {"model_id": "sonic-3", "transcript": transcript, "voice": {"mode": "id", "id": "tone-1"}}
    return {name: value for name, value in (whole | {"output_format": RAW} | fields).items() if value is not ...}


@contextlib.asynccontextmanager
async def serving(**settings: Any):
    async with (
        server.serve(engine="tone", **settings) as running,
        httpx.AsyncClient(base_url=running.http_url, timeout=PATIENCE_S, trust_env=False) as http,
    ):
        yield running, http


@pytest.fixture
async def served():
    async with serving(engine_options={"fail_on": "boom"}) as both:
        yield both


@pytest.fixture
async def http(served):
    return served[1]


async def spoken_over_the_websocket(running: server.Server, **fields: Any) -> list[dict[str, Any]]:
    async with await RawClient.open(running.url) as client:
        return await client.say("c", TEXT, **fields)


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of each event; an ``error`` and only that has a name."""
    assert text.endswith("\n\n")
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        *name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == (["event: error"] if events[-1]["type"] == "error" else [])
    return events


def wave_chunks(content: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """The chunks before the audio, and that; neither the file nor the audio tells a length."""
    assert struct.unpack_from("<4sI4s", content) == (b"RIFF", 0xFFFFFFFF, b"WAVE")
    position, chunks = 12, {}
    while True:
        name, length = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"data":
            assert length == 0xFFFFFFFF
            return chunks, content[position:]
        chunks[name] = content[position : position + length]
        position += length


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


class TestBytes:
    @pytest.mark.parametrize("encoding", SAMPLE_WIDTHS)
    async def test_raw_is_what_the_websocket_says(self, served, encoding):
        running, http = served
        for sample_rate in SAMPLE_RATES:
            output = {"container": "raw", "encoding": encoding, "sample_rate": sample_rate}
            answer = await http.post("/tts/bytes", json=body(output_format=output))
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "audio/pcm"
            assert answer.headers["transfer-encoding"] == "chunked"
            assert uuid.UUID(answer.headers["x-request-id"])
            assert answer.content == audio_of(await spoken_over_the_websocket(running, output_format=output))

    @pytest.mark.parametrize("encoding", SAMPLE_WIDTHS)
    async def test_wav(self, http, encoding):
        width = SAMPLE_WIDTHS[encoding]
        for sample_rate in SAMPLE_RATES:
            output = {"container": "wav", "encoding": encoding, "sample_rate": sample_rate}
            answer = await http.post("/tts/bytes", json=body(output_format=output))
            raw = await http.post("/tts/bytes", json=body(output_format=output | {"container": "raw"}))
            assert answer.headers["content-type"] == "audio/wav"
            chunks, audio = wave_chunks(answer.content)
            layout = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
            assert layout == (TAGS[encoding], 1, sample_rate, sample_rate * width, width, 8 * width)
            assert (len(chunks[b"fmt "]), b"fact" in chunks) == ((16, False) if encoding == "pcm_s16le" else (18, True))
            assert audio == raw.content

    @pytest.mark.parametrize(("sample_rate", "bit_rate"), [(44100, 128000), (24000, 64000), (8000, 32000)])
    async def test_mp3(self, http, sample_rate, bit_rate):
        output = {"container": "mp3", "sample_rate": sample_rate, "bit_rate": bit_rate}
        answer = await http.post("/tts/bytes", json=body(output_format=output))
        raw = await http.post("/tts/bytes", json=body(output_format=RAW))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
        assert answer.content[0] == 0xFF
        assert answer.content[1] & 0xE0 == 0xE0
        duration_s = len(raw.content) / 2 / 24000
        assert len(answer.content) == pytest.approx(duration_s * bit_rate / 8, rel=0.2, abs=1000)

    async def test_mp3_without_its_encoder(self, http, monkeypatch):
        monkeypatch.setitem(sys.modules, "lameenc", None)
        output = {"container": "mp3", "sample_rate": 44100, "bit_rate": 128000}
        answer = await http.post("/tts/bytes", json=body(output_format=output))
        assert answer.status_code == 400
        assert "voxwire[mp3]" in answer.json()["message"]

    async def test_what_only_the_websocket_has_is_not_looked_at(self, http):
        plain = await http.post("/tts/bytes", json=body())
        more = {
            "save": True,
            "context_id": 5,
            "continue": "yes",
            "flush": [],
            "max_buffer_delay_ms": -1,
            "add_timestamps": "no",
            "add_phoneme_timestamps": 3,
            "use_normalized_timestamps": {},
            "cancel": True,
        }
        answer = await http.post("/tts/bytes", json=body(**more))
        assert (answer.status_code, answer.content) == (200, plain.content)

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"transcript": ...}, "transcript"),
            ({"transcript": 5}, "transcript"),
            ({"transcript": ""}, "transcript"),
            ({"transcript": "..."}, "transcript"),
            ({"model_id": ...}, "model_id"),
            ({"model_id": "gpt"}, "model"),
            ({"voice": ""}, "voice"),
            ({"voice": {"mode": "embedding", "embedding": []}}, "voice"),
            ({"output_format": ...}, "output_format"),
            ({"output_format": "wav"}, "output_format"),
            ({"output_format": RAW | {"container": "ogg"}}, "output_format.container"),
            ({"output_format": RAW | {"container": []}}, "output_format.container"),
            ({"output_format": RAW | {"encoding": "pcm"}}, "output_format.encoding"),
            ({"generation_config": {"speed": 1.6}}, "generation_config.speed"),
            ({"language": "en", "locale": "en"}, "language"),
        ],
    )
    @pytest.mark.parametrize("path", ["/tts/bytes", "/tts/sse"])
    async def test_invalid(self, http, path, fields, name):
        answer = await http.post(path, json=body(**fields))
        assert answer.status_code == 400
        assert name in answer.json()["message"]

    @pytest.mark.parametrize(
        ("output", "name"),
        [
            (RAW | {"container": "wav", "sample_rate": 40}, "sample_rate"),
            (RAW | {"container": "wav", "encoding": "pcm"}, "encoding"),
            ({"container": "mp3", "sample_rate": 44100}, "bit_rate"),
            ({"container": "mp3", "sample_rate": 44100, "bit_rate": 1}, "bit_rate"),
            ({"container": "mp3", "sample_rate": 44101, "bit_rate": 32000}, "sample_rate"),
        ],
    )
    async def test_invalid_containers(self, http, output, name):
        answer = await http.post("/tts/bytes", json=body(output_format=output))
        assert (answer.status_code, answer.json()["title"]) == (400, f"Invalid output_format.{name}")

    @pytest.mark.parametrize(("version", "status"), [("2026-03-01", 404), ("2025-11-04", 400)])
    async def test_unknown_voice(self, http, version, status):
        answer = await http.post("/tts/bytes", json=body(voice="nobody"), headers={"Cartesia-Version": version})
        assert answer.status_code == status

    async def test_embedding_of_an_old_version(self, http):
        embedding = {"mode": "embedding", "embedding": [0.1, 0.2]}
        answer = await http.post("/tts/bytes", json=body(voice=embedding), headers={"Cartesia-Version": "2024-11-13"})
        assert (answer.status_code, answer.content) == (200, (await http.post("/tts/bytes", json=body())).content)

    async def test_too_much_text(self):
        async with serving(context_text_bytes=10) as (_, http):
            assert (await http.post("/tts/bytes", json=body("Ten bytes!"))).status_code == 200
            assert (await http.post("/tts/bytes", json=body("Ten bytes!!"))).status_code == 400

    async def test_a_failure_before_the_first_byte_is_the_status(self, http):
        answer = await http.post("/tts/bytes", json=body("boom"))
        assert (answer.status_code, answer.json()["error_code"]) == (500, "engine_failed")
        assert (await http.post("/tts/bytes", json=body())).status_code == 200

    async def test_a_failure_after_it_cuts_the_answer(self, http, caplog):
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/tts/bytes", json=body("A long beginning of this sentence, and then boom."))
        assert not [record for record in caplog.records if record.name.startswith("uvicorn")]
        assert (await http.post("/tts/bytes", json=body())).status_code == 200


class TestEvents:
    async def test_sequence(self, served):
        running, http = served
        times = {"add_timestamps": True, "add_phoneme_timestamps": True}
        answer = await http.post("/tts/sse", json=body(context_id="mine", **times))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        events = events_of(answer.text)
        assert [event["type"] for event in events].count("done") == 1
        assert events[-1] == {"type": "done", "done": True, "status_code": 206, "context_id": "mine"}
        assert not any(event["done"] for event in events[:-1])
        common = {"type", "context_id", "done", "status_code"}
        members = {
            "chunk": {"data", "step_time"},
            "timestamps": {"word_timestamps"},
            "phoneme_timestamps": {"phoneme_timestamps"},
            "done": set(),
        }
        assert {event["type"] for event in events} == set(members)
        for event in events:
            assert event.keys() == common | members[event["type"]]
            assert event["context_id"] == "mine"
        over_the_websocket = await spoken_over_the_websocket(running, **times)
        assert audio_of(events) == audio_of(over_the_websocket)
        assert words_of(events) == words_of(over_the_websocket)
        assert words_of(events, "phoneme") == words_of(over_the_websocket, "phoneme")

    async def test_normalised_times(self, http):
        fields = {"add_timestamps": True, "use_normalized_timestamps": True, "language": "en"}
        answer = await http.post("/tts/sse", json=body("I have 4 cats.", **fields))
        assert "four" in [word for word, _, _ in words_of(events_of(answer.text))]

    @pytest.mark.parametrize("fields", [{}, {"context_id": None}])
    async def test_without_an_id_and_times(self, http, fields):
        events = events_of((await http.post("/tts/sse", json=body(**fields))).text)
        assert {event["type"] for event in events} == {"chunk", "done"}
        assert {event["context_id"] for event in events} == {None}

    async def test_buffering_makes_no_flush(self, http):
        answer = await http.post("/tts/sse", json=body(max_buffer_delay_ms=0, flush=True))
        assert {event["type"] for event in events_of(answer.text)} == {"chunk", "done"}

    @pytest.mark.parametrize("context_id", ["", "x" * 257, 5, "a\0b"])
    async def test_invalid_id(self, http, context_id):
        answer = await http.post("/tts/sse", json=body(context_id=context_id))
        assert (answer.status_code, answer.json()["title"]) == (400, "Invalid context_id")

    @pytest.mark.parametrize("container", ["wav", "mp3"])
    async def test_raw_alone(self, http, container):
        answer = await http.post("/tts/sse", json=body(output_format=RAW | {"container": container}))
        assert (answer.status_code, answer.json()["title"]) == (400, "Invalid output_format.container")

    @pytest.mark.parametrize("text", ["boom", "A long beginning of this sentence, and then boom."])
    async def test_a_failure_is_the_last_event(self, http, text):
        answer = await http.post("/tts/sse", json=body(text, context_id="mine"))
        assert answer.status_code == 200
        *before, error = events_of(answer.text)
        assert {event["type"] for event in before} <= {"chunk"}
        assert error == {
            "type": "error",
            "done": True,
            "context_id": "mine",
            "status_code": 500,
            "error_code": "engine_failed",
            "title": "Speech engine failed",
            "message": error["message"],
            "error": f"Speech engine failed: {error['message']}",
            "request_id": answer.headers["x-request-id"],
        }
        assert "boom" not in error["message"]


SLOW = {"engine_options": {"delay_ms_per_word": "60000"}}


@contextlib.asynccontextmanager
async def speaking(running: server.Server, http: httpx.AsyncClient, path: str = "/tts/bytes"):
    """An answer that is under way, as a task."""
    task = asyncio.ensure_future(http.post(path, json=body()))
    try:
        await until(lambda: running.service.sessions)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("path", ["/tts/bytes", "/tts/sse"])
class TestContext:
    async def test_takes_a_place_of_its_credential(self, path):
        async with serving(concurrency=1, queue_wait_s=0.05, **SLOW) as (running, http):
            async with speaking(running, http, path):
                answer = await http.post(path, json=body())
                assert (answer.status_code, answer.json()["error_code"]) == (429, "concurrency_limited")
                async with await RawClient.open(running.url) as client:
                    client.send(request("c", TEXT))
                    assert (await client.receive())["status_code"] == 429
            await until(lambda: not running.service.sessions)

    async def test_waits_for_a_place(self, path):
        async with serving(concurrency=1, queue_wait_s=10) as (_, http):
            answers = await asyncio.gather(*(http.post(path, json=body()) for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
        if path == "/tts/bytes":
            assert len({answer.content for answer in answers}) == 1

    async def test_a_dropped_connection_frees_the_place(self, path):
        async with serving(concurrency=1, **SLOW) as (running, http):
            async with speaking(running, http, path):
                pass
            await until(lambda: not running.service.sessions)
            await asyncio.wait_for(running.service.drain(PATIENCE_S), PATIENCE_S / 2)

    async def test_connections_are_limited(self, path):
        async with serving(max_connections=1, **SLOW) as (running, http), speaking(running, http, path):
            answer = await http.post(path, json=body())
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")

    async def test_drain(self, path):
        async with serving(engine_options={"delay_ms_per_word": "50"}) as (running, http):
            async with speaking(running, http, path) as task:
                await running.drain()
                assert (await task).status_code == 200
            answer = await http.post(path, json=body())
            assert (answer.status_code, answer.json()["title"]) == (503, "Shutting down")

    async def test_the_end_of_the_server(self, path, caplog):
        running = server.serve(engine="tone", **SLOW)
        await running.start()
        async with (
            httpx.AsyncClient(base_url=running.http_url, timeout=PATIENCE_S, trust_env=False) as http,
            speaking(running, http, path) as task,
        ):
            await asyncio.wait_for(running.close(), PATIENCE_S)
            answer = await task
        if path == "/tts/bytes":
            assert (answer.status_code, answer.json()["title"]) == (503, "Shutting down")
        else:
            (error,) = events_of(answer.text)
            assert (error["type"], error["status_code"]) == ("error", 503)
        assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


class TestReader:
    """What is not read holds back synthesis, and is given up at last (protocol.md 2.6)."""

    @staticmethod
    @contextlib.asynccontextmanager
    async def unread(running: server.Server):
        """A request for much audio whose answer nobody reads; yields its socket."""
        endpoint = Endpoint.parse(running.url)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        content = json.dumps(
            body("word " * 20_000, output_format=RAW | {"encoding": "pcm_f32le", "sample_rate": 48000})
        ).encode()
        try:
            await loop.sock_connect(sock, (endpoint.host, endpoint.port))
            head = f"POST /tts/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
            await loop.sock_sendall(sock, head.encode() + content)
            await until(lambda: running.service.sessions)
            yield sock
        finally:
            sock.close()

    async def test_one_that_takes_nothing_is_cut_off(self):
        async with serving(slow_reader_s=0.3, send_queue_bytes=65_536) as (running, http), self.unread(running):
            assert (await http.post("/tts/bytes", json=body())).status_code == 200
            await until(lambda: not running.service.sessions)

    async def test_one_that_is_slow_holds_back_the_making(self):
        async with serving(send_queue_bytes=65_536) as (running, _):
            async with self.unread(running) as sock:
                (generation,) = running.service.sessions
                await until(lambda: not generation._room.is_set())
                held_bytes = generation._queued_bytes
                assert held_bytes < 65_536 + 16_384 + 1
                loop = asyncio.get_running_loop()
                received = 0
                while received < 4 * 1024 * 1024:
                    received += len(await asyncio.wait_for(loop.sock_recv(sock, 65_536), PATIENCE_S))
                    assert generation._queued_bytes < 65_536 + 16_384 + 1
            await until(lambda: not running.service.sessions)


async def test_audio_comes_before_all_is_made():
    async with serving(engine_options={"delay_ms_per_word": "100"}) as (running, http):
        async with http.stream("POST", "/tts/bytes", json=body("one two three four five six seven eight.")) as answer:
            first = await anext(answer.aiter_raw())
            assert 0 < len(first) <= 4096
            assert running.service.sessions
        await until(lambda: not running.service.sessions)


async def test_events_hold_whole_samples(http):
    output = {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100}
    answer = await http.post("/tts/sse", json=body(output_format=output))
    sizes = [len(decode_base64(event["data"])) for event in events_of(answer.text) if event["type"] == "chunk"]
    assert sizes[0] <= 4096
    assert max(sizes) <= 16_384
    assert not any(size % 4 for size in sizes)
