"""Rows A1 to A11 of faults.md: bad heads, slow heads, too many at once.

A11 and A12 within one origin are in ``test_client.py`` and ``test_fleet.py``, A13 in ``test_faults.py``, A14 in
``test_handshake.py`` and ``test_client.py``; the order of the server's checks is in ``test_handshake_order.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import pytest
from raw_client import RawClient, Refused, kinds_of
from raw_head import knock, raw, still_open, upgrade
from scripted_server import ScriptedServer

import voxwire
from voxwire import server
from voxwire.protocol import LIMITS
from voxwire.server import Settings
from voxwire.transport import Endpoint

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

KEY = "sk_car_test"
PATIENCE_S = 10.0
#: Longer than the patience of any test: what is refused before it was refused at once.
FOR_EVER_S = 600.0


@pytest.fixture
async def running() -> AsyncIterator[server.Server]:
    async with server.serve(engine="tone", handshake_timeout_s=FOR_EVER_S) as started:
        yield started


async def refused(url: str, **options: dict[str, str]) -> Refused:
    with pytest.raises(Refused) as caught:
        await RawClient.open(url, **options)
    return caught.value


def status_of(answer: bytes) -> int:
    """The status of an answer that is whole and carries an id."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert str(UUID(headers["x-request-id"])) == headers["x-request-id"]
    assert int(headers["content-length"]) == len(body)
    assert headers["connection"] == "close"
    return int(lines[0].split(" ")[1])


# --- A1, A2: slow heads


def test_a1_the_opening_times_are_those_of_the_table() -> None:
    assert Settings().handshake_timeout_s == 5
    assert (Settings().max_handshakes, Settings().max_connections) == (64, 1024)


async def test_a1_bytes_of_a_head_do_not_extend_its_time() -> None:
    async with server.serve(engine="tone", handshake_timeout_s=0.3) as running:
        endpoint = Endpoint.parse(running.url)
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(b"GET /tts/websocket HTTP/1.1\r\nX: ")
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while True:
                    try:
                        async with asyncio.timeout(0.02):
                            assert await reader.read() == b""
                            break
                    except TimeoutError:
                        writer.write(b"x")
        writer.close()


async def test_a1_an_answer_byte_by_byte_is_a_connect_timeout() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nX: "
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for place in range(100_000):
                writer.write(answer[place : place + 1] or b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        over.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as listener:
        url = f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(PATIENCE_S), voxwire.Client(url, connect_timeout_s=0.3) as client:
            with pytest.raises(voxwire.ConnectTimeout) as caught:
                await client.connect()
            await over.wait()
        assert caught.value.retryable


@pytest.mark.parametrize("sent", [b"", b"GET /tts/web", upgrade()[:-2]], ids=["nothing", "half-a-line", "half-a-head"])
async def test_a2_an_unfinished_head_has_its_time(sent: bytes) -> None:
    async with server.serve(engine="tone", handshake_timeout_s=0.1) as running:
        assert await raw(running.url, sent) == b""


async def test_a2_the_time_holds_for_tls_too(certificate) -> None:
    settings, trusting = certificate
    async with server.serve(engine="tone", handshake_timeout_s=0.5, **settings) as running:
        # Nothing at all, no TLS, and nothing after the handshake of TLS.
        assert await raw(running.tls_url, b"") == b""
        assert await raw(running.tls_url, b"\x16\x03\x01") == b""
        assert b"HTTP" not in await raw(running.tls_url, upgrade())
        endpoint = Endpoint.parse(running.tls_url)
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=trusting)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert await reader.read() == b""
            writer.transport.abort()


# --- A3 to A7: heads that are wrong


def padded(count: int, size: int) -> tuple[str, ...]:
    return tuple(f"X{number}: {'y' * size}" for number in range(count))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (upgrade(line=f"GET /tts/websocket?{'y' * LIMITS['head_line_bytes']} HTTP/1.1"), 414),
        (b"G" * (LIMITS["head_line_bytes"] + 1), 414),
        (upgrade("X: " + "y" * LIMITS["head_line_bytes"]), 431),
        (upgrade()[:-2] + b"X: " + b"y" * LIMITS["head_line_bytes"], 431),
        (upgrade(*padded(LIMITS["head_headers"], 1)), 431),
        (upgrade(*padded(3, 6000)), 431),
        (upgrade(f"Sec-WebSocket-Protocol: {'y' * 1025}"), 431),
    ],
    ids=["line", "line-without-end", "header", "header-without-end", "headers", "head", "websocket-header"],
)
async def test_a3_too_large_a_head_is_refused_and_the_connection_closed(running, sent, status) -> None:
    assert status_of(await raw(running.url, sent)) == status


async def test_a3_a_head_of_the_largest_size_is_read(running) -> None:
    line = "GET /tts/websocket?{} HTTP/1.1"
    line = line.format("y" * (LIMITS["head_line_bytes"] - len(line.format(""))))
    spare = LIMITS["head_headers"] - 5
    answer = await raw(running.url, upgrade(*padded(spare, 50), line=line) + b"\x81\x00")
    assert answer.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "doubled", ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Host: localhost"]
)
async def test_a4_a_doubled_header_is_refused(running, doubled) -> None:
    assert status_of(await raw(running.url, upgrade(doubled))) == 400


@pytest.mark.parametrize(
    ("without", "header", "status"),
    [
        ("Sec-WebSocket-Key", "X: no-key", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: ", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ=", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j?!==", 400),
        ("Sec-WebSocket-Version", "X: no-version", 400),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 12", 426),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 013", 426),
        ("Upgrade", "X: no-upgrade", 400),
        ("Connection", "Connection: close", 400),
        ("Host", "X: no-host", 400),
    ],
)
async def test_a5_what_is_no_upgrade_is_refused(running, without, header, status) -> None:
    answer = await raw(running.url, upgrade(header, without=without))
    assert status_of(answer) == status
    assert (b"sec-websocket-version: 13\r\n" in answer.lower()) == (status == 426)


@pytest.mark.parametrize(
    ("line", "header", "status"),
    [
        ("POST /tts/websocket HTTP/1.1", "X: y", 405),
        ("CONNECT /tts/websocket HTTP/1.1", "X: y", 405),
        ("GET /tts/websocket HTTP/1.0", "X: y", 505),
        ("GET /tts/websocket HTTP/1.1", "Cartesia-Version: yesterday", 400),
        ("GET /tts/websocket?cartesia_version=2026-02-30 HTTP/1.1", "Cartesia-Version: 2026-03-01", 400),
        ("GET //[/tts/websocket HTTP/1.1", "X: y", 400),
    ],
)
async def test_a6_wrong_method_http_version_or_version(running, line, header, status) -> None:
    answer = await raw(running.url, upgrade(header, line=line))
    assert status_of(answer) == status
    assert (b"\r\nallow: GET\r\n".lower() in answer.lower()) == (status == 405)


@pytest.mark.parametrize("path", ["/tts/websockets", "/v0/audio/websocket"])
async def test_a6_wrong_path(running, path) -> None:
    answer = await refused(running.url, path=path)
    assert answer.status == 404
    assert UUID(answer.headers["x-request-id"])


BODY = "Content-Length: 5", "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "sent",
    [
        upgrade(*BODY),
        upgrade(*BODY, line="POST /tts/bytes HTTP/1.1"),
        upgrade(BODY[0]),
        upgrade(BODY[1]),
        upgrade("X: 1", " folded")[:-2],
        upgrade()[:-2].replace(b"localhost\r\n", b"localhost\n"),
        upgrade("X: a\x00b")[:-2],
        upgrade("X: a\x07b")[:-2],
        upgrade("X : a")[:-2],
        upgrade(line="GET /tts/web\x01socket HTTP/1.1")[:-2],
    ],
    ids=["both", "both-on-post", "length", "chunked", "folded", "bare-lf", "nul", "bell", "space", "line"],
)
async def test_a7_a_dangerous_head_is_refused_at_once(running, sent) -> None:
    # Most of them do not even end: no more is waited for, neither of the head nor of a body.
    assert status_of(await raw(running.url, sent)) == 400


async def test_a_bad_head_hurts_no_other(running) -> None:
    async with await RawClient.open(running.url) as client:
        await raw(running.url, upgrade("X: a\x00b"))
        await client.silence()


# --- A8: Origin


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        ((), "https://app.example", 403),
        (("https://app.example",), "https://evil.example", 403),
        (("https://app.example",), "https://app.example.evil.example", 403),
        (("https://app.example",), "null", 403),
        (("*",), "null", 403),
        (("https://app.example",), "https://app.example", None),
        (("*",), "https://any.example", None),
        ((), None, None),
    ],
)
async def test_a8_origin(allowed, origin, status) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with server.serve(engine="tone", allow_origin=allowed) as running:
        if status is None:
            async with await RawClient.open(running.url, headers=headers) as client:
                await client.silence()
        else:
            assert (await refused(running.url, headers=headers)).status == status


# --- A9, A10: too many


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a9_of_ten_thousand_handshakes_64_stay_and_others_are_served(certificate, tls) -> None:
    settings, trusting = certificate
    count = 2_000 if tls else 10_000
    async with server.serve(engine="tone", handshake_timeout_s=FOR_EVER_S, **settings) as running:
        url, context = (running.tls_url, trusting) if tls else (running.url, None)
        waiting: list[socket.socket] = []
        async with await RawClient.open(url, tls=context) as early:
            for _ in range(count // 500):
                waiting = still_open(waiting + knock(Endpoint.parse(url), 500))
                # The server has these connections behind it when it has answered one that came after them.
                async with await RawClient.open(url, tls=context) as late:
                    assert kinds_of(await late.say("late", "Hi.")) == ["chunk", "done"]
                waiting = still_open(waiting)
                assert len(waiting) <= 64
            await early.silence()
        # The youngest are the ones that stay: all but the place of the one that was answered last.
        assert len(waiting) == 63
        async with asyncio.timeout(PATIENCE_S):
            name = "127.0.0.1" if tls else None
            reader, writer = await asyncio.open_connection(sock=waiting.pop(), ssl=context, server_hostname=name)
            writer.write(upgrade())
            assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
            writer.transport.abort()
        for sock in waiting:
            sock.close()


async def test_a9_the_oldest_unfinished_handshake_is_displaced() -> None:
    async with server.serve(engine="tone", max_handshakes=2) as running:
        endpoint = Endpoint.parse(running.url)
        async with asyncio.timeout(PATIENCE_S):
            opened = [await asyncio.open_connection(endpoint.host, endpoint.port) for _ in range(3)]
            with contextlib.suppress(ConnectionError):
                assert await opened[0][0].read() == b""
            opened[1][1].write(upgrade())
            assert (await opened[1][0].readline()).startswith(b"HTTP/1.1 101")
            for _, writer in opened:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


async def test_a10_over_the_connection_limit_is_503_with_a_time() -> None:
    async with server.serve(engine="tone", max_connections=1) as running, await RawClient.open(running.url) as client:
        answer = await refused(running.url)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert UUID(answer.headers["x-request-id"])
        # HTTP is served all the same, and so is who is in.
        async with httpx.AsyncClient(base_url=running.http_url) as http:
            assert (await http.get("/healthz")).status_code == 200
        await client.silence()


async def test_a10_over_the_quota_of_a_key_is_429_with_a_time() -> None:
    settings = {"concurrency": 1, "api_keys": (KEY, "another")}
    async with server.serve(engine="tone", **settings) as running, contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(await RawClient.open(running.url, headers={"X-API-Key": KEY}))
        answer = await refused(running.url, headers={"X-API-Key": KEY})
        assert answer.status == 429
        assert json.loads(answer.body)["error_code"] == "concurrency_limited"
        assert int(answer.headers["retry-after"]) > 0
        async with await RawClient.open(running.url, headers={"X-API-Key": "another"}) as client:
            await client.silence()


# --- A11: redirects that lead away


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a11_another_origin_gets_no_request(status: int) -> None:
    async with ScriptedServer() as first, ScriptedServer() as second, voxwire.Client(first.url, api_key=KEY) as client:
        first.refusals.append((status, [("Location", f"{second.url}/tts/websocket")], b""))
        with pytest.raises(voxwire.ConnectError) as caught:
            await client.connect()
        assert (caught.value.status, caught.value.retryable) == (status, False)
        assert (first.attempts, second.attempts) == (1, 0)


@pytest.mark.parametrize("scheme", ["ws", "http"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a11_wss_never_leads_to_ws(certificate, status: int, scheme: str) -> None:
    settings, trusting = certificate
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(settings["tls_cert"], settings["tls_key"])
    async with (
        ScriptedServer(ssl_context=served) as secure,
        ScriptedServer() as plain,
        voxwire.Client(secure.url, api_key=KEY, ssl_context=trusting) as client,
    ):
        # Also not to the very port that it came from.
        for port in (plain.port, secure.port):
            secure.refusals.append((status, [("Location", f"{scheme}://127.0.0.1:{port}/tts/websocket")], b""))
            with pytest.raises(voxwire.ConnectError, match="origin") as caught:
                await client.connect()
            assert not caught.value.retryable
        assert (secure.attempts, plain.attempts) == (2, 0)
