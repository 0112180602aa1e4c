"""The server's handshakes, HTTP routes, configuration and life (protocol.md 2 and 11).

Bad handshakes are in ``test_faults_handshake.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket

import httpx
import pytest
from raw_client import RawClient, Refused, kinds_of, request
from raw_head import raw, upgrade

from voxwire import plugins, server
from voxwire.exceptions import PluginError
from voxwire.server import ConfigurationError, Settings
from voxwire.transport import Endpoint

KEY = "sk_car_test"


@pytest.fixture
async def running():
    async with server.serve(engine="tone") as started:
        yield started


@pytest.fixture
async def guarded():
    async with server.serve(engine="tone", api_keys=(KEY,), allow_origin=("https://app.example",)) as started:
        yield started


async def refused(url: str, **options) -> Refused:
    with pytest.raises(Refused) as caught:
        await RawClient.open(url, **options)
    return caught.value


class TestHandshake:
    async def test_accepted_with_an_id_and_without_compression(self, running):
        # An unmasked frame ends the connection that the upgrade opened.
        answer = await raw(
            running.url,
            upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits") + b"\x81\x00",
        )
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head
        assert b"\r\nx-request-id: " in head
        assert b"extensions" not in head

    @pytest.mark.parametrize("path", ["/tts/websocket", "/any/prefix/tts/websocket?x=1", "/tts%2Fwebsocket"])
    async def test_any_prefix(self, running, path):
        async with await RawClient.open(running.url, path=path) as client:
            assert kinds_of(await client.say("c1", "Hi")) == ["chunk", "done"]

    @pytest.mark.parametrize(
        ("headers", "path"),
        [
            ({"X-API-Key": KEY}, "/tts/websocket"),
            ({"Authorization": f"Bearer {KEY}"}, "/tts/websocket"),
            ({}, f"/tts/websocket?api_key={KEY}"),
            ({}, f"/tts/websocket?access_token={KEY}&cartesia_version=2024-11-13"),
            ({"X-API-Key": "wrong"}, f"/tts/websocket?api_key={KEY}"),
        ],
    )
    async def test_credentials(self, guarded, headers, path):
        async with await RawClient.open(guarded.url, headers=headers, path=path) as client:
            assert kinds_of(await client.say("c1", "Hi")) == ["chunk", "done"]

    @pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}])
    async def test_no_valid_credential(self, guarded, headers, caplog):
        caplog.set_level(logging.DEBUG)
        answer = await refused(guarded.url, headers=headers)
        assert answer.status == 401
        body = json.loads(answer.body)
        assert body["request_id"] == answer.headers["x-request-id"]
        assert body["error"] == f"{body['title']}: {body['message']}"
        assert "wrong" not in caplog.text + answer.body.decode()

    async def test_body_by_version(self, guarded):
        answer = await refused(guarded.url, headers={"Cartesia-Version": "2025-04-16"})
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.body.startswith(b"Invalid credential: ")

    async def test_malformed_version_goes_before_the_credential(self, guarded):
        answer = await refused(guarded.url, headers={"Cartesia-Version": "yesterday"})
        assert (answer.status, json.loads(answer.body)["title"]) == (400, "Invalid version")

    async def test_query_version_beats_the_header(self, running):
        path = "/tts/websocket?cartesia_version=2024-11-13"
        async with await RawClient.open(running.url, path=path, headers={"Cartesia-Version": "nonsense"}) as client:
            assert "flush_id" not in (await client.say("c1", "Hi"))[0]

    async def test_shutting_down(self, running):
        await running.drain()
        assert (await refused(running.url)).status == 503

    async def test_first_frames_may_come_with_the_head(self, running):
        async with asyncio.timeout(5):
            client = await RawClient.open(running.url)
            client.connection.send_text(json.dumps(request("c1", "Hi")))
            frame = client.connection.poll_transmit()
            await client.__aexit__()
            endpoint = Endpoint.parse(running.url)
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(upgrade() + frame)
            await reader.readuntil(b"\r\n\r\n")
            assert b'"type":"chunk"' in await reader.readuntil(b'"chunk"')
            writer.close()
            await writer.wait_closed()


class TestRoutes:
    async def test_open_ones(self, guarded):
        async with httpx.AsyncClient(base_url=guarded.http_url) as http:
            assert (await http.get("/")).json() == {"ok": True, "version": "2026-08-14"}
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/some/prefix/healthz")).status_code == 200
            assert (await http.get("/nothing")).status_code == 404
            assert (await http.post("/healthz")).status_code == 405

    async def test_not_ready_while_draining(self, running):
        await running.drain()
        async with httpx.AsyncClient(base_url=running.http_url) as http:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/healthz")).status_code == 200

    async def test_voices(self, guarded):
        async with httpx.AsyncClient(base_url=guarded.http_url, headers={"X-API-Key": KEY}) as http:
            page = (await http.get("/voices", params={"limit": 3})).json()
            assert [voice["id"] for voice in page["data"]] == ["tone-1", "tone-2", "tone-3"]
            assert (page["has_more"], page["next_page"]) == (True, "tone-3")
            page = (await http.get("/voices", params={"starting_after": "tone-6"})).json()
            assert [voice["id"] for voice in page["data"]] == ["tone-7", "tone-8"]
            assert (page["has_more"], page["next_page"]) == (False, None)
            page = (await http.get("/voices", params={"ending_before": "tone-4", "limit": 2})).json()
            assert [voice["id"] for voice in page["data"]] == ["tone-2", "tone-3"]
            assert len((await http.get("/voices", params={"q": "TONE 5"})).json()["data"]) == 1
            voice = (await http.get("/voices/tone-1")).json()
            assert {"id", "name", "description", "created_at", "language", "locales", "is_public"} <= set(voice)
            alias = await http.get("/voices/a0e99841-438c-4a64-b679-ae501e7d6091")
            assert alias.json()["id"] == "tone-1"
            missing = await http.get("/voices/nobody")
            assert (missing.status_code, missing.json()["error_code"]) == (404, "voice_not_found")
            assert (await http.get("/voices", params={"limit": 0})).status_code == 400
            assert (await http.delete("/voices/tone-1")).status_code == 404

    async def test_voices_need_a_key(self, guarded, caplog):
        caplog.set_level(logging.DEBUG)
        async with httpx.AsyncClient(base_url=guarded.http_url) as http:
            answer = await http.get("/voices")
            assert (answer.status_code, answer.json()["title"]) == (401, "Invalid credential")
            old = await http.get("/voices", headers={"Cartesia-Version": "2024-11-13"})
            assert old.text.startswith("Invalid credential: ")
            assert (await http.get("/voices", params={"api_key": KEY})).status_code == 200
        ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("http", "hc"))]
        assert KEY not in "".join(ours)

    async def test_keep_alive(self, running):
        async with httpx.AsyncClient(base_url=running.http_url, limits=httpx.Limits(max_connections=1)) as http:
            for _ in range(3):
                assert (await http.get("/healthz")).status_code == 200

    @pytest.mark.parametrize(
        ("first", "drip"),
        [
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /healthz HTTP/1.1\r\nX: "),
            (b"POST /voices HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b""),
        ],
    )
    async def test_what_comes_byte_by_byte_keeps_no_connection_open(self, first, drip):
        async with server.serve(engine="tone", handshake_timeout_s=0.5) as running:
            endpoint = Endpoint.parse(running.url)
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(first + drip)
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    while True:
                        try:
                            async with asyncio.timeout(0.1):
                                if not await reader.read(65536):
                                    break
                        except TimeoutError:
                            writer.write(b"x")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def test_upgrades_of_strangers_fill_no_log(self, running, caplog):
        answer = await raw(running.url, upgrade("Connection: close", line="GET /elsewhere HTTP/1.1"))
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert "upgrade" not in caplog.text.lower()

    @pytest.mark.parametrize("early", [b"", b"\x81\x80" + bytes(4)])
    async def test_a_websocket_on_a_used_connection(self, early):
        # Pools of HTTP connections do that: LiveKit's after a request to `/tts/bytes`. It outlives the time that an
        # HTTP connection may be idle.
        async with server.serve(engine="tone", handshake_timeout_s=0.3, idle_timeout_s=1.3) as running:
            answer = await raw(running.url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade() + early)
        first, _, second = answer.partition(b"HTTP/1.1 101 ")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert (b"Invalid message" in second) == bool(early)
        assert second.endswith(b"connection idle timeout")

    async def test_a_bad_upgrade_on_a_used_connection_is_refused_and_closed(self, guarded):
        answer = await raw(guarded.url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade())
        assert answer.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 401 " in answer

    @pytest.mark.parametrize("target", ["/x#/tts/websocket", "/x?/tts/websocket", "http://[/tts/websocket"])
    async def test_what_only_looks_like_the_path(self, running, target):
        answer = await raw(
            running.url,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            + upgrade("Connection: close", line=f"GET {target} HTTP/1.1", without="Connection"),
        )
        assert answer.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 404 " in answer


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"host": "0.0.0.0"}, "api_keys"),
            ({"host": "192.0.2.1", "api_keys": ("k",)}, "allow_plain"),
            ({"api_keys": ("k",), "no_auth": True}, "no_auth"),
            ({"port": 70000}, "port"),
            ({"nonsense": 1}, "nonsense"),
            ({"tls_cert": "chain.pem"}, "tls_key"),
            ({"tls_cert": "no-such.pem", "tls_key": "no-such.pem"}, "no-such.pem"),
            ({"concurrency": 0}, "concurrency"),
            ({"context_expiry_s": -1}, "context_expiry_s"),
            ({"languages": ("english",)}, "languages"),
            ({"unknown_voice": "maybe"}, "unknown_voice"),
        ],
    )
    def test_refused(self, values, words):
        with pytest.raises(ConfigurationError, match=words) as caught:
            Settings.make(**values)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "values",
        [
            {"host": "0.0.0.0", "no_auth": True},
            {"host": "0.0.0.0", "api_keys": ("k",), "allow_plain": True},
            {"host": "::1"},
            {"host": "localhost"},
            {"host": "127.1.2.3"},
        ],
    )
    def test_accepted(self, values):
        Settings.make(**values)

    def test_keys_are_not_shown(self):
        assert KEY not in repr(Settings.make(api_keys=(KEY,)))
        with pytest.raises(ConfigurationError) as caught:
            Settings.make(api_keys=(KEY, 5))
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"default_voice": "nobody"}, "default_voice"),
            ({"voices": {"alias": "nobody"}}, "voices"),
            ({"engine_options": {"nonsense": "1"}}, "nonsense"),
        ],
    )
    async def test_what_does_not_fit_the_engine(self, values, words):
        with pytest.raises(ConfigurationError, match=words):
            await server.serve(engine="tone", **values).start()

    async def test_unknown_engine(self):
        with pytest.raises(PluginError, match="no-such"):
            await server.serve(engine="no-such").start()

    async def test_port_in_use(self, running):
        port = Endpoint.parse(running.url).port
        with pytest.raises(ConfigurationError, match=str(port)):
            await server.serve(engine="tone", port=port).start()

    async def test_default_engine_without_speech(self, monkeypatch, caplog):
        present = plugins.available
        monkeypatch.setattr(plugins, "available", lambda group: [one for one in present(group) if one.name == "tone"])
        async with server.serve() as running:
            assert running.service.host.name == "tone"
        assert "pip install" in caplog.text

    async def test_aliases_and_defaults(self):
        settings = {"voices": {"anna": "tone-3"}, "default_voice": "anna", "unknown_voice": "default"}
        async with server.serve(engine="tone", **settings) as running:
            voices = running.service.voices
            assert voices.resolve("anna", "2026-03-01") == "tone-3"
            assert voices.resolve("nobody", "2026-03-01") == "tone-3"
            assert voices.resolve("6ccbfb76-1fc6-48f7-b71d-91ac6298247b", "2026-03-01") == "tone-3"
            assert voices.resolve("tone-2", "2026-03-01") == "tone-2"

    async def test_models_and_languages(self):
        async with (
            server.serve(engine="tone", models=("mine",), languages=("en", "DE-at")) as running,
            await RawClient.open(running.url) as client,
        ):
            assert (await client.say("a", "Hi"))[0]["error_code"] == "model_not_found"
            assert (await client.say("b", "Hi", model_id="mine", language="fr"))[0]["error_code"] == (
                "language_not_supported"
            )
            for language in ("en-GB", "de-AT"):
                assert kinds_of(await client.say("c", "Hi", model_id="mine", locale=language)) == ["chunk", "done"]


class TestLife:
    async def test_touches_neither_signals_nor_logging(self):
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        loggers = {name: (one.level, list(one.handlers), one.propagate) for name, one in _loggers()}
        async with server.serve(engine="tone") as running:
            async with httpx.AsyncClient(base_url=running.http_url) as http:
                await http.get("/healthz")
            assert {number: signal.getsignal(number) for number in handlers} == handlers
        known = {name: (one.level, list(one.handlers), one.propagate) for name, one in _loggers() if name in loggers}
        assert known == loggers

    async def test_leaves_no_task_and_no_socket(self):
        before = asyncio.all_tasks()
        async with server.serve(engine="tone") as running:
            url = running.url
            client = await RawClient.open(url)
            client.send(request("c1", "Hello there", continue_=True))
            await client.silence()
        await client.closed()
        await client.__aexit__()
        assert asyncio.all_tasks() == before
        endpoint = Endpoint.parse(url)
        with socket.socket() as probe:
            assert probe.connect_ex((endpoint.host, endpoint.port)) != 0

    async def test_starts_again(self):
        running = server.serve(engine="tone")
        for _ in range(2):
            async with running, await RawClient.open(running.url) as client:
                await client.silence()

    async def test_a_stuck_client_does_not_hold_the_end(self):
        async with server.serve(engine="tone") as running:
            client = await RawClient.open(running.url)
            client.send(request("c1", "word " * 50_000))
            await client.receive()
            ending = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - ending < 6
        await client.__aexit__()


def _loggers():
    named = logging.root.manager.loggerDict.items()
    found = [(name, one) for name, one in named if isinstance(one, logging.Logger)]
    return [("", logging.root), *found]
