"""The HTTP siblings (protocol.md 15, server item 17; 9.3, 11)."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from typing import Any

import pytest
from conformance.exchange import KEY, VERSIONS, accepted, refused
from raw_client import FORMAT, RawClient, Refused, audio_of, request

from voxwire.audio import decode_base64

AUTHORIZED = {"X-API-Key": KEY}


def body(**fields: Any) -> dict[str, Any]:
    """A generation request as the HTTP routes take it."""
    whole = request("", "One two three.") | fields
    return {name: value for name, value in whole.items() if name != "context_id"}


def events(text: str) -> list[tuple[str | None, dict[str, Any]]]:
    """The events of a stream: kind, if it says one, and data, which is always JSON."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        found.append((fields.get("event"), json.loads(fields["data"])))
    return found


async def spoken(program) -> bytes:
    """The audio of the same text over the socket."""
    async with await RawClient.open(program.url, headers=AUTHORIZED) as client:
        return audio_of(await client.say("c1", "One two three."))


class TestItem17Bytes:
    async def test_raw(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            answer = await http.post("/tts/bytes", json=body(save=True))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/pcm")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.content == await spoken(keyed)

    async def test_wav(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            answer = await http.post("/tts/bytes", json=body(output_format=FORMAT | {"container": "wav"}))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
        wav = answer.content
        assert (wav[:4], wav[8:16]) == (b"RIFF", b"WAVEfmt ")
        assert struct.unpack_from("<I", wav, 4) == (0xFFFFFFFF,)
        place = wav.index(b"data")
        assert struct.unpack_from("<I", wav, place + 4) == (0xFFFFFFFF,)
        assert struct.unpack_from("<HHI", wav, 20) == (1, 1, 24_000)
        assert wav[place + 8 :] == await spoken(keyed)

    async def test_mp3(self, keyed):
        output = {"container": "mp3", "sample_rate": 24000, "bit_rate": 64000}
        async with keyed.http(headers=AUTHORIZED) as http:
            answer = await http.post("/tts/bytes", json=body(output_format=output))
            try:
                import lameenc  # noqa: F401
            except ImportError:
                assert answer.status_code == 400
                return
            assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
            assert answer.content[:3] == b"ID3" or answer.content[0] == 0xFF
            wrong = body(output_format=output | {"bit_rate": 5})
            assert (await http.post("/tts/bytes", json=wrong)).status_code == 400

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"transcript": ""}, 400),
            ({"transcript": " ?!"}, 400),
            ({"model_id": ""}, 400),
            ({"voice": ""}, 400),
            ({"voice": "nobody"}, 404),
            ({"output_format": FORMAT | {"sample_rate": 40}}, 400),
            ({"output_format": FORMAT | {"container": "ogg"}}, 400),
            ({"generation_config": {"speed": 1.6}}, 400),
            ({"language": "xx1"}, 400),
            # Fields of the socket alone mean nothing here.
            ({"continue": "x", "flush": 5, "max_buffer_delay_ms": 9999}, 200),
        ],
        ids=str,
    )
    async def test_validation(self, keyed, fields, status):
        async with keyed.http(headers=AUTHORIZED) as http:
            for route in ("/tts/bytes", "/tts/sse"):
                if route == "/tts/sse" and fields.get("output_format"):
                    continue
                answer = await http.post(route, json=body(**fields))
                assert answer.status_code == status, answer.text

    async def test_what_is_no_request(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            for content in (b"", b"{", b"[]", b'{"transcript":"a","transcript":"b"}', b"\xff"):
                assert (await http.post("/tts/bytes", content=content)).status_code == 400
            assert (await http.get("/tts/bytes")).status_code == 405

    async def test_one_request_is_one_context_and_a_lost_one_frees_it(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            long = body(transcript="word " * 2000)
            for _ in range(4):
                async with http.stream("POST", "/tts/bytes", json=long) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_bytes():
                        break
            assert (await http.post("/tts/bytes", json=body())).status_code == 200


class TestItem17Events:
    async def test_sequence(self, keyed):
        fields = {"add_timestamps": True, "add_phoneme_timestamps": True, "context_id": "mine"}
        async with keyed.http(headers=AUTHORIZED) as http:
            answer = await http.post("/tts/sse", json=body() | fields)
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = [data for _, data in events(answer.text)]
        kinds = [data["type"] for data in found]
        assert set(kinds) == {"chunk", "timestamps", "phoneme_timestamps", "done"}
        assert kinds.index("done") == len(kinds) - 1
        assert "[DONE]" not in answer.text
        for data in found:
            assert "flush_id" not in data
            assert data["context_id"] == "mine"
            assert data["done"] is (data["type"] == "done")
        chunk = next(data for data in found if data["type"] == "chunk")
        assert {"data", "step_time", "status_code"} <= set(chunk)
        joined = b"".join(decode_base64(data["data"]) for data in found if data["type"] == "chunk")
        assert joined == await spoken(keyed)

    async def test_the_container_is_raw_alone(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            answer = await http.post("/tts/sse", json=body(output_format=FORMAT | {"container": "wav"}))
            assert answer.status_code == 400

    async def test_a_later_failure_is_an_event(self, slow):
        async with slow.http() as http:
            answer = await http.post("/tts/sse", json=body(transcript="One two FAIL."))
        kind, last = events(answer.text)[-1]
        assert (kind, last["type"], last["done"], last["status_code"]) == ("error", "error", True, 500)
        assert last["error"] == f"{last['title']}: {last['message']}"
        assert last["error_code"] == "engine_failed"


class TestItem17Voices:
    async def test_list_and_pages(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            whole = (await http.get("/voices")).json()
            assert (whole["has_more"], whole["next_page"]) == (False, None)
            ids = [voice["id"] for voice in whole["data"]]
            assert ids == [f"tone-{number}" for number in range(1, 9)]
            required = {"id", "is_owner", "is_public", "name", "description", "created_at", "language", "locales"}
            assert all(required <= set(voice) for voice in whole["data"])
            page = (await http.get("/voices", params={"limit": 3})).json()
            assert (page["has_more"], page["next_page"]) == (True, "tone-3")
            page = (await http.get("/voices", params={"limit": 3, "starting_after": page["next_page"]})).json()
            assert [voice["id"] for voice in page["data"]] == ids[3:6]
            page = (await http.get("/voices", params={"limit": 2, "ending_before": "tone-6"})).json()
            assert [voice["id"] for voice in page["data"]] == ["tone-4", "tone-5"]
            for limit in ("0", "101", "x"):
                assert (await http.get("/voices", params={"limit": limit})).status_code == 400
            assert [voice["id"] for voice in (await http.get("/voices?q=Tone%207")).json()["data"]] == ["tone-7"]

    async def test_one_and_none(self, keyed):
        async with keyed.http(headers=AUTHORIZED) as http:
            assert (await http.get("/voices/tone-2")).json()["id"] == "tone-2"
            answer = await http.get("/voices/nobody")
            assert (answer.status_code, answer.json()["error_code"]) == (404, "voice_not_found")
            for method, route in [
                ("POST", "/voices"),
                ("DELETE", "/voices/tone-1"),
                ("PATCH", "/voices/tone-1"),
                ("POST", "/voices/clone"),
                ("POST", "/voices/localize"),
            ]:
                assert (await http.request(method, route)).status_code == 404


class TestItem17Tokens:
    async def mint(self, http, credential: str = KEY, **fields: Any) -> Any:
        return await http.post("/access-token", json=fields, headers={"Authorization": f"Bearer {credential}"})

    async def test_grants(self, keyed):
        async with keyed.http() as http:
            rich = (await self.mint(http, grants={"tts": True, "stt": True, "agent": False})).json()["token"]
            poor = (await self.mint(http, grants={"stt": True})).json()["token"]
            await accepted(keyed.url, path=f"/tts/websocket?access_token={rich}")
            assert (await refused(keyed.url, path=f"/tts/websocket?access_token={poor}")).status == 403
            for credential, status in [(rich, 200), (poor, 403), (rich + "x", 401)]:
                headers = {"Authorization": f"Bearer {credential}"}
                for route in ("/tts/bytes", "/tts/sse"):
                    assert (await http.post(route, json=body(), headers=headers)).status_code == status
            assert (await self.mint(http, rich, grants={"tts": True})).status_code == 403
            assert (await self.mint(http, "nobody", grants={"tts": True})).status_code == 401

    async def test_expiry(self, keyed):
        async with keyed.http() as http:
            for seconds, status in [(1, 200), (3600, 200), (None, 200), (0, 400), (3601, 400), (-1, 400), ("60", 400)]:
                answer = await self.mint(http, grants={"tts": True}, expires_in=seconds)
                assert answer.status_code == status, (seconds, answer.text)
            brief = (await self.mint(http, grants={"tts": True}, expires_in=1)).json()["token"]
            path = f"/tts/websocket?access_token={brief}"
            async with await RawClient.open(keyed.url, path=path) as client, asyncio.timeout(10):
                while True:
                    try:
                        await accepted(keyed.url, path=path)
                        await asyncio.sleep(0.1)
                    except Refused as refusal:  # once its second is over
                        assert refusal.status == 401
                        break
                # What is open stays open.
                assert (await client.say("c1", "Hi."))[-1]["type"] == "done"


class TestItem17Errors:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_body_by_version(self, keyed, version):
        structured = version >= "2026-03-01"
        async with keyed.http(headers={"Cartesia-Version": version}) as http:
            found = [
                (await http.post("/tts/bytes", json=body()), 401),
                (await http.post("/tts/sse", json=body(voice=""), headers=AUTHORIZED), 400),
                (
                    await http.post("/tts/bytes", json=body(voice="nobody"), headers=AUTHORIZED),
                    404 if structured else 400,
                ),
                (await http.get("/voices/nobody", headers=AUTHORIZED), 404),
                (await http.get("/no/such/path"), 404),
                (await http.post("/healthz"), 405),
            ]
        for answer, status in found:
            assert answer.status_code == status, answer.text
            if not structured:
                assert answer.headers["content-type"].startswith("text/plain")
                assert ": " in answer.text
                continue
            data = answer.json()
            assert set(data) - {"doc_url"} == {"error_code", "title", "message", "error", "request_id"}
            assert str(uuid.UUID(data["request_id"])) == answer.headers["x-request-id"]

    async def test_open_routes(self, keyed):
        async with keyed.http() as http:
            assert (await http.get("/")).json() == {"ok": True, "version": "2026-08-14"}
            assert (await http.get("/any/prefix/")).status_code == 200
            assert (await http.get("/any/prefix/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/voices")).status_code == 401
