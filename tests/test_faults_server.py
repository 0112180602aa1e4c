"""Rows G1 and G4 of faults.md, and how the server ends a connection (protocol.md 2.6, 2.7).

The idle and slow-reader rules that only need one message are in ``test_session.py``; whole processes (G5, I2, I3) are
in ``e2e/test_server_process.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import httpx
import pytest
from raw_client import ConnectionClosed, RawClient, Refused, audio_of, kinds_of, request

from voxwire import server
from voxwire.server.session import Session
from voxwire.server.tls import tls_context
from voxwire.transport import Endpoint

PATIENCE_S = 10.0
QUEUE_BYTES = 65_536
#: What a socket of loopback holds at most beside our own queue: both ends of it.
SYSTEM_BYTES = 16 * 1024 * 1024


def session_of(running: server.Server, client: RawClient) -> Session:
    found = [
        one for one in running.service.sessions if getattr(one, "request_id", "") == client.headers["x-request-id"]
    ]
    assert isinstance(found[0], Session)
    return found[0]


async def read_to_the_end(client: RawClient) -> tuple[list[dict[str, Any]], ConnectionClosed]:
    messages = []
    while True:
        try:
            messages.append(await client.receive())
        except ConnectionClosed as closed:
            return messages, closed


def errors_of(messages: list[dict[str, Any]]) -> dict[str, tuple[int, str | None, bool]]:
    """Status, code and ``done`` of each context's error; there is at most one."""
    found = [message for message in messages if message["type"] == "error"]
    told = {
        message["context_id"]: (message["status_code"], message["error_code"], message["done"]) for message in found
    }
    assert len(told) == len(found)
    return told


async def speaking(client: RawClient, *context_ids: str) -> None:
    """Opens contexts, and waits until each was heard."""
    for context_id in context_ids:
        client.send(request(context_id, "One two three. ", continue_=True))
    heard: set[str] = set()
    while heard != set(context_ids):
        heard.add((await client.receive())["context_id"])


# --- G1: a reader that never reads


async def test_g1_synthesis_waits_at_the_bound_and_others_are_unaffected() -> None:
    async with (
        server.serve(engine="tone", slow_reader_s=PATIENCE_S, send_queue_bytes=QUEUE_BYTES) as running,
        await RawClient.open(running.url) as slow,
        await RawClient.open(running.url) as other,
    ):
        slow.send(request("c1", "word " * 100_000))
        transport = session_of(running, slow)._transport
        async with asyncio.timeout(PATIENCE_S):
            while transport.writable:
                await other.silence()
        sent_bytes = transport._written_bytes
        for _ in range(20):
            await other.silence()
        # One message may stand above the mark, and no more is made until the reader goes on.
        assert transport.unsent_bytes <= QUEUE_BYTES + 32_768
        assert transport._written_bytes - sent_bytes <= SYSTEM_BYTES
        # It was only waited for: a reader that comes back misses nothing.
        messages = [await slow.receive() for _ in range(200)]
        assert kinds_of(messages) == ["chunk"]
        slow.send({"context_id": "c1", "cancel": True})


async def test_g1_a_reader_that_comes_back_too_late_reads_why() -> None:
    async with (
        server.serve(engine="tone", slow_reader_s=0.3, send_queue_bytes=QUEUE_BYTES) as running,
        await RawClient.open(running.url) as slow,
        await RawClient.open(running.url) as other,
    ):
        slow.send(request("c1", "word " * 100_000))
        slow.send(request("c2", "word", continue_=True))
        session = session_of(running, slow)
        async with asyncio.timeout(PATIENCE_S):
            while session._connection.state == "open":
                await other.silence()
        messages, closed = await read_to_the_end(slow)
        assert (closed.code, closed.reason) == (1008, "slow consumer")
        assert errors_of(messages) == {"c1": (500, None, True), "c2": (500, None, True)}
        assert kinds_of(messages)[-1] == "error"
        assert audio_of(messages)
        await other.silence()


async def test_g1_a_reader_that_never_comes_back_is_cut() -> None:
    async with server.serve(engine="tone", slow_reader_s=0.2, send_queue_bytes=QUEUE_BYTES) as running:
        endpoint = Endpoint.parse(running.url)
        async with await RawClient.open(running.url) as other, await RawClient.open(running.url) as slow:
            slow.send(request("c1", "word " * 100_000))
            transport = session_of(running, slow)._transport
            async with asyncio.timeout(PATIENCE_S):
                await transport.wait_closed()
            await other.silence()
            assert len(running.service.sessions) == 1
            async with await RawClient.open(f"ws://{endpoint.host}:{endpoint.port}") as next_one:
                await next_one.silence()


# --- G4: a client that says nothing


async def test_g4_pings_do_not_keep_an_idle_socket() -> None:
    assert server.Settings().idle_timeout_s == 300
    async with (
        server.serve(engine="tone", idle_timeout_s=0.4) as running,
        await RawClient.open(running.url) as client,
    ):
        closing = asyncio.ensure_future(client.closed())
        pings = 0
        while not closing.done():
            client.connection.send_ping(b"still here")
            client._flush()
            pings += 1
            await asyncio.wait({closing}, timeout=0.02)
        closed = closing.result()
        assert (closed.code, closed.reason) == (1000, "connection idle timeout")
        assert pings > 3


# --- 2.7: what comes before a Close


@pytest.mark.parametrize(
    ("violation", "code"),
    [
        pytest.param(b"\x81\xff" + (1 << 20 | 1).to_bytes(8, "big") + bytes(4), 1009, id="one-byte-over-a-mebibyte"),
        pytest.param(b"\x83\x80" + bytes(4), 1002, id="framing"),
        pytest.param(b"\x81\x82" + bytes(4) + b"a\xff", 1007, id="utf-8"),
        pytest.param(b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 1024, 1008, id="empty-fragments"),
    ],
)
async def test_each_live_context_is_told_before_a_violation_closes(violation: bytes, code: int) -> None:
    async with server.serve(engine="tone", context_expiry_s=30) as running, await RawClient.open(running.url) as client:
        await speaking(client, "c1", "c2")
        client._writer.write(violation)
        messages, closed = await read_to_the_end(client)
        assert closed.code == code
        assert errors_of(messages) == {"c1": (500, None, True), "c2": (500, None, True)}


async def test_each_live_context_is_told_before_the_tenth_unusable_message_closes() -> None:
    async with server.serve(engine="tone", context_expiry_s=30) as running, await RawClient.open(running.url) as client:
        await speaking(client, "c1", "c2")
        for _ in range(10):
            client.send("{")
        messages, closed = await read_to_the_end(client)
        assert closed.code == 1008
        named = [message for message in messages if message.get("context_id") is not None]
        assert errors_of(named) == {"c1": (500, None, True), "c2": (500, None, True)}
        assert sum(message["type"] == "error" for message in messages) == 12


async def test_each_live_context_is_told_before_an_internal_fault_closes(monkeypatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("a fault that names no context")

    async with server.serve(engine="tone", context_expiry_s=30) as running, await RawClient.open(running.url) as client:
        await speaking(client, "c1", "c2")
        monkeypatch.setattr(Session, "_handle_unusable", fail)
        client.send("{")
        messages, closed = await read_to_the_end(client)
        assert closed.code == 1011
        assert errors_of(messages) == {"c1": (500, None, True), "c2": (500, None, True)}


async def test_a_shut_down_refuses_drains_tells_and_closes() -> None:
    running = server.serve(engine="tone", engine_options={"delay_ms_per_word": "20"}, context_expiry_s=30, drain_s=0.5)
    await running.start()
    async with (
        httpx.AsyncClient(base_url=running.http_url) as http,
        await RawClient.open(running.url) as client,
        await RawClient.open(running.url) as idle,
    ):
        assert (await http.get("/readyz")).status_code == 200
        await speaking(client, "open", "finishing")

        async def end() -> None:
            await running.drain()
            await running.close()

        ending = asyncio.ensure_future(end())
        await asyncio.sleep(0)
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200
        with pytest.raises(Refused) as refused:
            await RawClient.open(running.url)
        assert refused.value.status == 503
        client.send(request("new", "One.", continue_=True))
        client.send(request("finishing", "Four.", continue_=False))
        messages, closed = await read_to_the_end(client)
        assert closed.code == 1001
        assert errors_of(messages) == {"new": (503, None, True), "open": (503, None, True)}
        (done,) = [message for message in messages if message["type"] == "done"]
        assert done["context_id"] == "finishing"
        assert (await idle.closed()).code == 1001
        async with asyncio.timeout(PATIENCE_S):
            await ending
    endpoint = Endpoint.parse(running.url)
    with socket.socket() as probe:
        assert probe.connect_ex((endpoint.host, endpoint.port)) != 0


# --- the listeners


async def test_a_plain_and_a_tls_listener_at_once(certificate) -> None:
    settings, trusting = certificate
    async with server.serve(engine="tone", **settings) as running:
        assert running.tls_url is not None
        for url, context in ((running.url, None), (running.tls_url, trusting)):
            async with await RawClient.open(url, tls=context) as client:
                assert kinds_of(await client.say("c1", "Hi.")) == ["chunk", "done"]
        async with httpx.AsyncClient(base_url=running.tls_url.replace("wss:", "https:"), verify=trusting) as http:
            assert (await http.get("/healthz")).status_code == 200
        # Both count towards one limit, and both are refused in HTTP.
        await running.drain()
        for url, context in ((running.url, None), (running.tls_url, trusting)):
            with pytest.raises(Refused) as refused:
                await RawClient.open(url, tls=context)
            assert refused.value.status == 503


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_tls_is_refused(certificate, version: ssl.TLSVersion) -> None:
    settings, trusting = certificate
    trusting.minimum_version = trusting.maximum_version = version
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    floor = tls_context(server.Settings.make(**settings))
    assert floor is not None
    assert floor.minimum_version == ssl.TLSVersion.TLSv1_2
    async with server.serve(engine="tone", **settings) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await RawClient.open(running.tls_url, tls=trusting)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_new_tls_is_spoken(certificate, version: ssl.TLSVersion) -> None:
    settings, trusting = certificate
    trusting.minimum_version = trusting.maximum_version = version
    async with (
        server.serve(engine="tone", **settings) as running,
        await RawClient.open(running.tls_url, tls=trusting) as client,
    ):
        assert kinds_of(await client.say("c1", "Hi.")) == ["chunk", "done"]


async def test_a_tls_handshake_under_way_does_not_hold_the_end(certificate) -> None:
    settings, _ = certificate
    async with server.serve(engine="tone", **settings) as running:
        endpoint = Endpoint.parse(running.tls_url)
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(b"\x16\x03\x01")
        await writer.drain()
        before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert asyncio.all_tasks() <= before
