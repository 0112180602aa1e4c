"""The HTTP routes as such: paths, methods, versions, bodies, errors, voices (protocol.md 9.3, 11.3, 11.4)."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest
from raw_client import request
from raw_head import raw

from voxwire import server
from voxwire.server.http import bodies
from voxwire.server.http.bodies import parse_object
from voxwire.server.refusal import Refusal
from voxwire.transport import Endpoint

KEY = "sk_car_of_the_tests"
SPEECH = {name: value for name, value in request("c", "Hello.").items() if name != "context_id"}
OPEN_ROUTES = ("/", "/healthz", "/readyz")
POSTS = ("/tts/bytes", "/tts/sse", "/access-token")
MIB = 1024 * 1024


@pytest.fixture
async def running():
    async with server.serve(
        engine="tone", api_keys=(KEY,), allow_origin=("https://app.example",), voices={"anna": "tone-3"}
    ) as started:
        yield started


@pytest.fixture
async def http(running):
    async with httpx.AsyncClient(
        base_url=running.http_url, headers={"X-API-Key": KEY}, timeout=10, trust_env=False
    ) as client:
        yield client


class TestRoutes:
    @pytest.mark.parametrize("prefix", ["", "/a", "/a/b/c"])
    async def test_any_prefix(self, http, prefix):
        for path in (*OPEN_ROUTES, "/voices", "/voices/tone-1"):
            assert (await http.get(prefix + path)).status_code == 200
        for path in POSTS:
            assert (await http.post(prefix + path, json=SPEECH)).status_code == 200

    async def test_root(self, http):
        answer = await http.get("/")
        assert answer.json() == {"ok": True, "version": "2026-08-14"}

    async def test_which_need_a_credential(self, running):
        async with httpx.AsyncClient(base_url=running.http_url, trust_env=False) as http:
            for path in OPEN_ROUTES:
                assert (await http.get(path, headers={"Origin": "null"})).status_code == 200
            for path in ("/voices", "/voices/tone-1"):
                assert (await http.get(path)).status_code == 401
            for path in POSTS:
                assert (await http.post(path, json=SPEECH)).status_code == 401

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            *(("GET", path, "POST") for path in POSTS),
            *(("PUT", path, "POST") for path in POSTS),
            *(("POST", path, "GET, HEAD") for path in OPEN_ROUTES),
            *(("DELETE", path, "GET, HEAD") for path in OPEN_ROUTES),
            ("GET", "/a/prefix/tts/bytes", "POST"),
        ],
    )
    async def test_another_method(self, http, method, path, allowed):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["title"]) == (405, "Method not allowed")
        assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")

    @pytest.mark.parametrize("path", ["/nothing", "/tts", "/tts/infill/bytes", "/access-token/x"])
    async def test_no_such_path(self, http, path):
        for method in ("GET", "POST"):
            answer = await http.request(method, path)
            assert answer.status_code == 404
            assert answer.json()["request_id"] == answer.headers["x-request-id"]

    async def test_an_id_on_every_answer(self, http):
        answers = [await http.get(path) for path in (*OPEN_ROUTES, "/voices", "/voices/tone-1", "/nothing")]
        answers += [await http.post(path, json=SPEECH) for path in POSTS]
        answers += [await http.post("/tts/bytes", content=b"{"), await http.put("/tts/bytes")]
        ids = {str(uuid.UUID(answer.headers["x-request-id"])) for answer in answers}
        assert len(ids) == len(answers)
        assert all(len(answer.headers.get_list("x-request-id")) == 1 for answer in answers)

    async def test_one_connection_serves_all(self, running, http):
        content = json.dumps(SPEECH).encode()
        head = f"POST /tts/bytes HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(content)}\r\n"
        last = f"GET /voices/tone-1 HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n"
        one = head.encode() + b"\r\n" + content
        answer = await raw(running.url, one * 3 + last.encode())
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4
        assert answer.count(b"\r\n0\r\n\r\n") == 3

    async def test_a_fault_of_ours_quotes_nothing(self, running, http, monkeypatch, caplog):
        def fail(*_: object) -> None:
            raise RuntimeError(SPEECH["transcript"])

        monkeypatch.setattr(type(running.service), "check", fail)
        answer = await http.post("/tts/bytes", json=SPEECH)
        assert (answer.status_code, answer.json()["title"]) == (500, "Internal error")
        assert "Hello." not in answer.text + caplog.text
        assert answer.headers["x-request-id"] in caplog.text


class TestOrigin:
    @pytest.mark.parametrize(
        ("origin", "status"), [("https://app.example", 200), ("https://evil.example", 403), ("null", 403)]
    )
    async def test_as_on_the_websocket(self, http, origin, status):
        assert (await http.get("/voices", headers={"Origin": origin})).status_code == status
        assert (await http.post("/tts/bytes", json=SPEECH, headers={"Origin": origin})).status_code == status


class TestVersions:
    async def test_the_order_of_the_checks(self, http):
        every = {"Cartesia-Version": "yesterday", "Origin": "null", "X-API-Key": "wrong"}
        for name, status in (("Cartesia-Version", 400), ("Origin", 403), ("X-API-Key", 401)):
            assert (await http.post("/tts/bytes", content=b"{", headers=every)).status_code == status
            del every[name]
        assert (await http.post("/tts/bytes", content=b"{")).status_code == 400

    @pytest.mark.parametrize("path", ["/tts/bytes", "/tts/sse", "/access-token", "/voices", "/voices/tone-1"])
    async def test_malformed(self, http, path):
        method, body = ("GET", None) if "voices" in path else ("POST", SPEECH)
        for version in ("yesterday", "2026-02-30", "20260301", ""):
            answer = await http.request(method, path, json=body, headers={"Cartesia-Version": version})
            assert (answer.status_code, answer.json()["title"]) == (400, "Invalid version")
        answer = await http.request(
            method, f"{path}?cartesia_version=2024-06-10", json=body, headers={"Cartesia-Version": "yesterday"}
        )
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/tts/bytes"), ("GET", "/voices/nobody"), ("GET", "/nix"), ("PUT", "/tts/sse")]
    )
    async def test_bodies_of_errors(self, http, method, path):
        for version in ("2026-03-01", "2026-08-14", "2030-01-01"):
            answer = await http.request(method, path, headers={"Cartesia-Version": version})
            told = answer.json()
            assert answer.headers["content-type"] == "application/json"
            assert told.keys() == {"error_code", "title", "message", "error", "request_id"}
            assert told["error"] == f"{told['title']}: {told['message']}"
            assert str(uuid.UUID(told["request_id"])) == answer.headers["x-request-id"]
        for version in ("2024-06-10", "2025-11-04", "2026-02-28"):
            old = await http.request(method, path, headers={"Cartesia-Version": version})
            assert old.headers["content-type"].startswith("text/plain")
            assert (old.status_code, old.text) == (answer.status_code, told["error"])


class TestNoHttp:
    HEAD = b"POST /tts/bytes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    @pytest.mark.parametrize(
        ("sent", "before"),
        [
            (HEAD + b"X-API-Key: " + KEY.encode() + b"\r\n\r\nzzz\r\n", 0),
            (HEAD + b"\r\nzzz\r\n", 0),
            (HEAD + b"\r\n1\r\n{\r\nzzz\r\n", 0),
            (GET + b"GARBAGE\r\n\r\n", 1),
            (GET + GET + b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 2),
        ],
    )
    async def test_is_refused_in_our_form(self, running, caplog, sent, before):
        received = await raw(running.http_url, sent)
        *answers, last = received.split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"200"] * before
        head, _, body = last.partition(b"\r\n\r\n")
        told = json.loads(body)
        assert head.startswith(b"400 ")
        assert told.keys() == {"error_code", "title", "message", "error", "request_id"}
        assert told["request_id"].encode() in head
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    async def test_behind_an_answer_ends_the_connection(self, running, caplog):
        endpoint = Endpoint.parse(running.http_url)
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(self.HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"zzz\r\n")
        async with asyncio.timeout(5):
            assert b"HTTP/1.1" not in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


class TestBodies:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b" ",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{}{}",
            b'{"transcript":"Hello.",}',
            b"\xef\xbb\xbf{}",
            b'{"transcript":"\xff"}',
            b'{"transcript":"\xed\xa0\x80"}',
            b'{"transcript":"\\ud800"}',
            b'{"x":["\\udc00\\ud800"]}',
            b'{"\\ud800":1}',
            b'{"transcript":"a\nb"}',
            b'{"x":NaN}',
            b'{"x":-Infinity}',
            b'{"x":01}',
            b'{"transcript":"a","transcript":"b"}',
            b'{"transcript":"a","tr\\u0061nscript":"b"}',
            b'{"voice":{"id":"a","id":"b"}}',
            b'{"output_format":{"container":"raw","container":"wav"}}',
            b'{"generation_config":{"speed":1,"speed":1}}',
            b'{"grants":{"tts":true,"tts":true}}',
            b'{"x":' + b"[" * 32 + b"]" * 32 + b"}",
            b"[" * 100_000,
            b'{"x":' * 100_000,
        ],
    )
    async def test_unusable(self, http, content):
        for path in POSTS:
            answer = await http.post(path, content=content)
            assert (answer.status_code, answer.json()["title"]) == (400, "Invalid JSON")

    @pytest.mark.parametrize(
        "extra",
        [
            b'"x":' + b"[" * 31 + b"]" * 31,
            b'"x":{"a":1,"a":2}',
            b'"x":1e400',
            b'"x":' + b"9" * 20_000,
            b'"x":"\\u0000"',
            b'"x":"\\ud83d\\ude00"',
            b'"generation_config":null',
        ],
    )
    async def test_what_is_not_read_may_be_anything(self, http, extra):
        content = json.dumps(SPEECH).encode()[:-1] + b"," + extra + b"}"
        assert (await http.post("/tts/bytes", content=content)).status_code == 200

    @pytest.mark.parametrize(
        ("path", "name"),
        [("/tts/bytes", "output_format"), ("/tts/sse", "generation_config"), ("/access-token", "grants")],
    )
    async def test_no_object(self, http, path, name):
        answer = await http.post(path, json={**SPEECH, name: []})
        assert (answer.status_code, answer.json()["title"]) == (400, f"Invalid {name}")
        assert answer.json()["message"].endswith("must be an object")

    @pytest.mark.parametrize("number", ["1e400", "9" * 20_000, str(2**64), "1e300", "-0.5"])
    async def test_numbers_that_fit_no_field(self, http, number):
        content = json.dumps(SPEECH).replace("24000", number)
        answer = await http.post("/tts/bytes", content=content)
        assert (answer.status_code, answer.json()["title"]) == (400, "Invalid output_format.sample_rate")

    async def test_an_integral_float_is_an_integer(self, http):
        content = json.dumps(SPEECH).replace("24000", "24000.0")
        assert (await http.post("/tts/bytes", content=content)).status_code == 200

    async def test_nothing_is_quoted(self):
        with pytest.raises(Refusal) as caught:
            parse_object(b'{"transcript": "a secret" "}')
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_size(self, http, streamed):
        def sized(size_bytes: int) -> Any:
            content = json.dumps(SPEECH).encode()
            content += b" " * (size_bytes - len(content))

            async def pieces():
                for start in range(0, len(content), 65_536):
                    yield content[start : start + 65_536]

            return pieces() if streamed else content

        assert (await http.post("/tts/bytes", content=sized(MIB))).status_code == 200
        answer = await http.post("/tts/bytes", content=sized(MIB + 1))
        assert (answer.status_code, answer.json()["title"]) == (413, "Body too large")
        assert (await http.post("/tts/bytes", json=SPEECH)).status_code == 200

    async def test_a_body_that_does_not_come(self, running, monkeypatch):
        monkeypatch.setattr(bodies, "_TIMEOUT_S", 0.05)
        head = f"POST /tts/bytes HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 9\r\n\r\n{{"
        answer = await raw(running.url, head.encode())
        assert answer.startswith(b"HTTP/1.1 408 ")

    async def test_a_body_that_is_cut_off(self, running, caplog):
        head = f"POST /tts/bytes HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 9\r\n\r\n{{"
        host, port = running.http_url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with httpx.AsyncClient(base_url=running.http_url, headers={"X-API-Key": KEY}, trust_env=False) as http:
            assert (await http.post("/tts/bytes", json=SPEECH)).status_code == 200
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


class TestVoices:
    async def ids(self, http: httpx.AsyncClient, **query: Any) -> list[str]:
        answer = await http.get("/voices", params={name.replace("expand", "expand[]"): query[name] for name in query})
        assert answer.status_code == 200
        return [voice["id"] for voice in answer.json()["data"]]

    async def test_shape(self, http):
        page = (await http.get("/voices")).json()
        assert page.keys() == {"data", "has_more", "next_page"}
        assert (page["has_more"], page["next_page"]) == (False, None)
        for voice in page["data"]:
            required = {"id", "is_owner", "is_public", "name", "description", "created_at", "language", "locales"}
            assert required <= voice.keys() <= required | {"gender", "country"}
            assert voice == (await http.get(f"/voices/{voice['id']}")).json()
            assert voice["locales"][0]["is_native"]

    async def test_pages(self, http):
        every = await self.ids(http)
        found: list[str] = []
        query: dict[str, Any] = {"limit": 3}
        while True:
            page = (await http.get("/voices", params=query)).json()
            found += [voice["id"] for voice in page["data"]]
            assert page["has_more"] == (page["next_page"] is not None)
            if not page["has_more"]:
                break
            query["starting_after"] = page["next_page"]
        assert found == every
        assert await self.ids(http, ending_before=every[4], limit=2) == every[2:4]
        assert await self.ids(http, ending_before=every[0]) == []

    async def test_filters(self, http):
        every = await self.ids(http)
        assert await self.ids(http, is_owner="true") == []
        assert await self.ids(http, is_owner="false") == every
        assert await self.ids(http, expand="preview_file_url") == every
        assert await self.ids(http, q="TONE-3") == ["tone-3"]
        assert await self.ids(http, language="en_GB") == await self.ids(http, language="en-gb")
        assert await self.ids(http, unknown="ignored") == every

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("limit", "0"),
            ("limit", "101"),
            ("limit", "ten"),
            ("is_owner", "perhaps"),
            ("gender", "other"),
            ("language", "english"),
            ("language", ""),
            ("expand[]", "everything"),
        ],
    )
    async def test_invalid_query(self, http, name, value):
        answer = await http.get("/voices", params={name: value})
        assert (answer.status_code, answer.json()["title"]) == (400, f"Invalid {name}")
        assert name in answer.json()["message"]

    async def test_one(self, http):
        assert (await http.get("/voices/anna")).json()["id"] == "tone-3"
        assert (await http.get("/voices/tone-3", params={"expand[]": "preview_file_url"})).status_code == 200
        assert (await http.get("/voices/tone-3", params={"expand[]": "everything"})).status_code == 400
        for version in ("2024-11-13", "2026-03-01"):
            missing = await http.get("/voices/nobody", headers={"Cartesia-Version": version})
            assert missing.status_code == 404
        assert missing.json()["error_code"] == "voice_not_found"

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/voices/clone"),
            ("POST", "/voices/localize"),
            ("POST", "/voices"),
            ("PATCH", "/voices/tone-1"),
            ("DELETE", "/voices/tone-1"),
            ("PUT", "/voices/tone-1/anything"),
        ],
    )
    async def test_read_only(self, http, method, path):
        assert (await http.request(method, path)).status_code == 404
