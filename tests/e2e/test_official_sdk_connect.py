"""How the service's own Python client finds this server: prefixes, TLS, credentials, versions."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cartesia import AsyncCartesia, Cartesia
from interop import FORMAT, KEY, ServerThread, audio, speak, spoken
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: dict[str, Any] = {"voice": "tone-1", "output_format": FORMAT, "timeout": 10}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def running(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    with ServerThread(tls_cert=folder / "cert.pem", tls_key=folder / "key.pem", tls_port=0) as server:
        yield server


def hello(connection: Any) -> bytes:
    context = connection.context(**OPTIONS)
    context.push("Hello there.", continue_=False)
    return audio(list(context.receive()))


async def hello_later(connection: Any) -> bytes:
    context = connection.context(**OPTIONS)
    await context.push("Hello there.", continue_=False)
    return audio([event async for event in context.receive()])


@pytest.mark.parametrize("prefix", ["/", "/v1", "/a/long/prefix/"])
def test_a_prefix_of_the_path(running, prefix):
    with (
        Cartesia(api_key=KEY, websocket_base_url=running.url + prefix) as client,
        client.tts.websocket_connect() as connection,
    ):
        assert hello(connection) == spoken("Hello there.").pcm


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_ordinary_base_is_reached_over_tls(running, trust, scheme):
    base = running.tls_url.replace("wss", scheme)
    with (
        Cartesia(api_key=KEY, base_url=base) as client,
        client.tts.websocket_connect(websocket_connection_options={"ssl": trust}) as connection,
    ):
        assert hello(connection) == spoken("Hello there.").pcm


async def test_an_ordinary_base_is_reached_over_tls_asynchronously(running, trust):
    async with (
        AsyncCartesia(api_key=KEY, base_url=running.tls_url.replace("wss", "https") + "/v1") as client,
        client.tts.websocket_connect(websocket_connection_options={"ssl": trust}) as connection,
    ):
        assert await hello_later(connection) == (await speak("Hello there.")).pcm


def test_a_wrong_key(running):
    with (
        Cartesia(api_key="wrong", websocket_base_url=running.url) as client,
        pytest.raises(InvalidStatus) as caught,
    ):
        client.tts.websocket_connect().enter()
    assert caught.value.response.status_code == 401
    assert b"sk_car" not in caught.value.response.body
    assert b"wrong" not in caught.value.response.body


async def test_a_wrong_key_asynchronously(running):
    async with AsyncCartesia(api_key="wrong", websocket_base_url=running.url) as client:
        with pytest.raises(InvalidStatus) as caught:
            await client.tts.websocket_connect().enter()
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize(
    "query", [{"api_key": KEY}, {"access_token": KEY}, {"api_key": KEY, "cartesia_version": "2024-11-13"}]
)
def test_a_wrong_header_and_a_right_query(running, query):
    with (
        Cartesia(api_key="wrong", websocket_base_url=running.url) as client,
        client.tts.websocket_connect(extra_query=query) as connection,
    ):
        assert hello(connection) == spoken("Hello there.").pcm


def test_the_version_of_the_query_wins(running):
    with (
        Cartesia(api_key=KEY, websocket_base_url=running.url) as client,
        client.tts.websocket_connect(extra_query={"cartesia_version": "2024-11-13"}) as connection,
    ):
        context = connection.context(**{**OPTIONS, "voice": {"mode": "embedding", "embedding": [0.1] * 192}})
        context.push("Hello there.", continue_=False)
        events = list(context.receive())
        assert audio(events) == spoken("Hello there.").pcm
        assert not any(getattr(event, "flush_id", None) for event in events)


def test_a_version_that_is_no_date(running):
    with (
        Cartesia(api_key=KEY, websocket_base_url=running.url) as client,
        pytest.raises(InvalidStatus) as caught,
    ):
        client.tts.websocket_connect(extra_query={"cartesia_version": "newest"}).enter()
    assert caught.value.response.status_code == 400


def test_too_many_sockets():
    with ServerThread(concurrency=1) as running, Cartesia(api_key=KEY, websocket_base_url=running.url) as client:
        connections = [client.tts.websocket_connect().enter() for _ in range(10)]
        with pytest.raises(InvalidStatus) as caught:
            client.tts.websocket_connect().enter()
        assert caught.value.response.status_code == 429
        assert int(caught.value.response.headers["Retry-After"]) > 0
        for connection in connections:
            connection.close()


def test_a_compressed_connection_is_declined_in_silence(running):
    with (
        Cartesia(api_key=KEY, websocket_base_url=running.url) as client,
        client.tts.websocket_connect() as connection,
    ):
        handshake = connection._connection
        assert "permessage-deflate" in handshake.request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in handshake.response.headers
        assert handshake.response.headers["X-Request-Id"]
