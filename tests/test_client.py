"""The client: where it connects to, with what, how often, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import ssl
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop
from scripted_server import FORMAT, PATIENCE_S, ScriptedServer, chunk, done, error, peer_over
from test_context import collect, options

import voxwire
from voxwire.client.target import Target, http_base, websocket_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk_car_secret"
VERSION = "2026-03-01"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOXWIRE_URL", "VOXWIRE_API_KEY", "CARTESIA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts take no time."""
    monkeypatch.setattr("voxwire.client.backoff.random.uniform", lambda _low, _high: 0.0)


# --- address and credentials


@pytest.mark.parametrize(
    ("url", "address", "target", "base"),
    [
        ("ws://h:1", "ws://h:1", "/tts/websocket", "http://h:1"),
        ("http://h:1/", "ws://h:1", "/tts/websocket", "http://h:1"),
        ("https://h/a/b", "wss://h:443", "/a/b/tts/websocket", "https://h/a/b"),
        ("wss://h/a/tts/websocket", "wss://h:443", "/a/tts/websocket", "https://h/a"),
        ("ws://[::1]:5/tts/websocket?x=1", "ws://[::1]:5", "/tts/websocket?x=1", "http://[::1]:5"),
        ("ws://h/a?x=1", "ws://h:80", "/a/tts/websocket?x=1", "http://h/a"),
    ],
)
def test_a_url_is_a_base_or_the_whole_path(url: str, address: str, target: str, base: str) -> None:
    endpoint = websocket_endpoint(url)
    assert (str(endpoint), endpoint.target, http_base(endpoint)) == (address, target, base)


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "ftp://h"},
        {"url": "ws://"},
        {"url": "ws://h/a b"},
        {"url": "ws://h/\r\nX: y"},
        {"url": "ws://h", "api_key": "a\r\nX: y"},
        {"url": "ws://h", "api_key": "a\0"},
        {"url": "ws://h", "access_token": "a\n"},
        {"url": "ws://h", "version": "2026\r\n"},
        {"url": "ws://h", "version": "2026-02-30"},
        {"url": "ws://h", "version": "20260301"},
        {"version": "newest"},
        {"api_key": KEY},
        {"access_token": KEY},
        {"url": "ws://h", "max_contexts": 0},
        {"url": "ws://h", "connect_timeout_s": -1},
    ],
)
def test_a_wrong_value_is_refused_before_any_io(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        voxwire.Client(**arguments)
    assert KEY not in str(caught.value)
    assert "X: y" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": 5},
        {"url": "ws://h", "api_key": b"k"},
        {"url": "ws://h", "ping_timeout_s": "1"},
        {"url": "wss://h", "ssl_context": 5},
        {"url": "ws://127.0.0.1", "max_buffered_bytes": 1.5},
    ],
)
def test_a_wrong_type_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        voxwire.Client(**arguments)


def test_keys_of_the_environment_go_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTESIA_API_KEY", "theirs")

    def key(url: str, **arguments: str) -> str | None:
        return dict(Target.resolve(url, version=VERSION, **arguments).headers).get("X-API-Key")

    assert key("wss://api.cartesia.ai") == "theirs"
    assert key("ws://api.cartesia.ai") is None
    assert key("wss://api.cartesia.ai.evil.example") is None
    assert key("wss://evilcartesia.ai") is None
    assert key("wss://other.example") is None
    monkeypatch.setenv("VOXWIRE_API_KEY", "ours")
    assert key("wss://api.cartesia.ai") == "ours"
    assert key("ws://other.example") == "ours"
    assert key("ws://other.example", api_key="given") == "given"
    assert key("ws://other.example", access_token="token") is None
    monkeypatch.setenv("VOXWIRE_URL", "ws://from.environment/x")
    resolved = Target.resolve(None, version=VERSION, api_key="given")
    assert str(resolved.endpoint) == "ws://from.environment:80"
    assert "given" not in repr(resolved)
    assert Target.resolve("embedded:tone", version=VERSION).engine == "tone"
    assert Target.resolve("embedded:", version=VERSION).embedded


async def test_credentials_and_version_travel_in_headers_and_the_prefix_is_kept() -> None:
    async with ScriptedServer() as server:
        url = f"http://127.0.0.1:{server.port}/a/prefix"
        async with voxwire.Client(url, api_key=KEY, access_token="tok", version="2025-04-16") as client:
            assert KEY not in repr(client)
            await client.connect()
            peer = await server.accept()
            assert peer.target == "/a/prefix/tts/websocket"
            assert peer.header("x-api-key") == KEY
            assert peer.header("authorization") == "Bearer tok"
            assert peer.header("cartesia-version") == "2025-04-16"
            assert peer.header("origin") is None
            assert peer.header("sec-websocket-extensions") is None


# --- the handshake


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, voxwire.InvalidRequest),
        (401, voxwire.AuthenticationError),
        (402, voxwire.PermissionDenied),
        (403, voxwire.PermissionDenied),
        (404, voxwire.NotFound),
    ],
)
async def test_a_refusal_is_typed_and_not_retried_and_shows_no_secret(
    status: int, kind: type[voxwire.VoxwireError]
) -> None:
    body = {"error_code": "c", "title": "No", "message": f"your key {KEY} is bad\r\nX", "request_id": "r"}
    async with ScriptedServer() as server, voxwire.Client(server.url, api_key=KEY) as client:
        server.refusals.append((status, [("X-Request-Id", "from-header")], json.dumps(body).encode()))
        with pytest.raises(kind) as caught:
            await client.connect()
        failure = caught.value
        assert type(failure) is kind
        assert (failure.status, failure.code, failure.retryable) == (status, "c", False)
        assert failure.request_id == "from-header"
        assert failure.message == "No: your key *** is bad X"
        assert server.attempts == 1


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([("Retry-After", "7")], 7.0),
        ([], None),
        ([("Retry-After", "x")], None),
        ([("Retry-After", "9" * 400)], None),
    ],
)
async def test_429_raises_at_once_with_its_wait(headers: list[tuple[str, str]], wait: float | None) -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.refusals.append((429, headers, b"Too many"))
        with pytest.raises(voxwire.RateLimited) as caught:
            await client.connect()
        assert caught.value.retry_after_s == wait
        assert caught.value.retryable
        assert caught.value.message == "Too many"
        assert server.attempts == 1


@pytest.mark.usefixtures("hurried")
async def test_5xx_is_retried() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.refusals += [(503, [], b""), (500, [], b"")]
        await client.connect()
        assert server.attempts == 3
        await server.accept()


async def test_a_5xx_that_stays_is_raised_in_place_of_a_timeout() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url, connect_timeout_s=0.3) as client:
        server.refusals += [(503, [], b"down")] * 1000
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(voxwire.ServerError) as caught:
                await client.connect()
        assert caught.value.status == 503
        assert caught.value.retryable


async def test_a_refused_port_is_a_connect_error_within_the_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with voxwire.Client(f"ws://127.0.0.1:{port}", connect_timeout_s=0.2) as client:
            with pytest.raises(voxwire.ConnectError) as caught:
                await client.connect()
            assert type(caught.value) is voxwire.ConnectError
            assert caught.value.retryable


async def test_a_server_that_never_answers_is_a_connect_timeout() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url, connect_timeout_s=0.1) as client:
        server.silent = True
        with pytest.raises(voxwire.ConnectTimeout):
            await client.connect()


async def test_redirects_are_followed_within_the_origin_only() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url, api_key=KEY) as client:
        for status in (301, 302, 307, 308):
            server.refusals.append((status, [("Location", f"/moved/{status}/tts/websocket")], b""))
        await client.connect()
        assert (await server.accept()).target == "/moved/308/tts/websocket"
    for location in ("ws://127.0.0.1:9/tts/websocket", "http://user@127.0.0.1/", "/again" * 0 + "ftp://x/"):
        async with ScriptedServer() as server, voxwire.Client(server.url, api_key=KEY) as client:
            server.refusals.append((302, [("Location", location)], b""))
            with pytest.raises(voxwire.ConnectError) as caught:
                await client.connect()
            assert not caught.value.retryable
            assert server.attempts == 1


async def test_a_loop_of_redirects_is_an_error() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.refusals += [(302, [("Location", "/tts/websocket")], b"")] * 100
        with pytest.raises(voxwire.ConnectError, match="redirects"):
            await client.connect()
        assert server.attempts == 6


async def test_an_untrusted_certificate_is_raised_at_once_and_a_trusted_one_works() -> None:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with ScriptedServer(ssl_context=served) as server:
        async with voxwire.Client(server.url) as client:
            with pytest.raises(voxwire.TlsError) as caught:
                await client.connect()
            assert caught.value.code == "tls_untrusted"
            assert not caught.value.retryable
        async with (
            voxwire.Client(server.url, ssl_context=trusting) as client,
            client.context("a", **options()) as context,
        ):
            peer = await server.accept()
            await peer.receive()
            peer.send(chunk(context.id, b"\1\0"), done(context.id))
            assert [event.data for event in await collect(context)] == [b"\1\0"]


# --- one dial for all


async def test_attempts_are_shared_and_a_cancelled_waiter_leaves_them_to_the_others() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.silent = True
        waiters = [asyncio.create_task(client.connect()) for _ in range(3)]
        await server.arrival()
        waiters[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiters[0]
        server.answer()
        await asyncio.gather(*waiters[1:])
        await server.accept()
        assert server.attempts == 1
        await client.connect()
        assert server.attempts == 1


async def test_a_connect_that_nobody_waits_for_any_more_ends_and_the_next_dials_anew() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.silent = True
        waiter = asyncio.create_task(client.connect())
        await server.arrival()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        server.silent = False
        await client.connect()
        assert server.attempts == 1


async def test_a_failed_attempt_is_raised_by_the_push_and_by_the_consumer() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.refusals += [(401, [], b""), (403, [], b"")]
        async with client.context(**options()) as context:
            with pytest.raises(voxwire.AuthenticationError) as caught:
                await context.push("a")
            assert caught.value.context_id == context.id
            assert caught.value.record.outcome == context.outcome == "failed"
            with pytest.raises(voxwire.AuthenticationError):
                await collect(context)
        async with client.context("a", **options()) as given:
            with pytest.raises(voxwire.PermissionDenied):
                await collect(given)
            assert given.outcome == "failed"


async def test_two_contexts_that_needed_one_attempt_fail_with_errors_of_their_own() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.refusals.append((401, [], b""))
        async with client.context("a", **options()) as first, client.context("b", **options()) as second:
            for context in (first, second):
                with pytest.raises(voxwire.AuthenticationError) as caught:
                    await collect(context)
                assert caught.value.context_id == context.id
        assert server.attempts == 1


async def test_an_idle_close_is_unseen_and_the_next_use_opens_another_socket() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        await client.connect()
        first = await server.accept()
        first.close(1000, "connection idle timeout")
        await first.wait_closed()
        async with client.context("a", **options()) as context:
            second = await server.accept()
            await second.receive()
            second.send(done(context.id))
            assert await collect(context) == []
        assert first.pending == 0
        assert server.attempts == 2


async def test_a_lost_socket_fails_its_contexts_and_a_new_id_goes_over_a_new_one() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        async with client.context("a", **options()) as lost:
            first = await server.accept()
            await first.receive()
            first.reset()
            with pytest.raises(voxwire.ConnectionLost):
                await collect(lost)
        async with client.context("a", **options()) as context:
            second = await server.accept()
            assert (await second.receive())["context_id"] == context.id != lost.id
            second.send(chunk(lost.id, b"\1\0"), chunk(context.id, b"\2\0"), done(context.id))
            assert [event.data for event in await collect(context)] == [b"\2\0"]


# --- admission


async def test_contexts_over_the_limit_wait_for_a_place_in_order() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url, max_contexts=2) as client:
        await client.connect()
        peer = await server.accept()
        contexts = [client.context(f"{n}", **options()) for n in range(5)]
        for context in contexts:
            await context.__aenter__()
        live = [await peer.receive() for _ in range(2)]
        for n in range(3):
            assert peer.pending == 0
            peer.send(done(live[n]["context_id"]))
            live.append(await peer.receive())
        assert [message["transcript"] for message in live] == ["0", "1", "2", "3", "4"]
        for context in contexts:
            await context.__aexit__(None, None, None)


async def test_no_place_in_time_is_an_admission_timeout() -> None:
    async with (
        ScriptedServer() as server,
        voxwire.Client(server.url, max_contexts=1, admission_timeout_s=0.05) as client,
        client.context("a", **options()),
        client.context(**options()) as waiting,
    ):
        await (await server.accept()).receive()
        with pytest.raises(voxwire.AdmissionTimeout) as caught:
            await waiting.push("b")
        assert caught.value.retryable
        assert waiting.outcome == "failed"


async def test_a_cancelled_wait_for_a_place_takes_none() -> None:
    async with (
        ScriptedServer() as server,
        voxwire.Client(server.url, max_contexts=1) as client,
        client.context("a", **options()) as holder,
    ):
        peer = await server.accept()
        await peer.receive()
        async with client.context("b", **options()):
            await asyncio.sleep(0)
        await holder.cancel()
        await peer.receive()
        async with client.context("c", **options()) as next_one:
            assert (await peer.receive())["context_id"] == next_one.id


# --- closing


async def test_close_ends_contexts_quietly_and_leaves_no_task_and_no_socket() -> None:
    before = asyncio.all_tasks()
    async with ScriptedServer() as server:
        client = voxwire.Client(server.url)
        async with client:
            context = client.context("a", **options())
            await context.__aenter__()
            peer = await server.accept()
            await peer.receive()
            consumer = asyncio.create_task(collect(context))
            waiting = client.context(**options())
            await waiting.__aenter__()
            await asyncio.sleep(0)
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        assert (await peer.wait_closed()).code == 1000
        assert await consumer == []
        assert context.outcome == waiting.outcome == "cancelled"
        with pytest.raises(voxwire.ContextEnded):
            await waiting.push("a")
        with pytest.raises(RuntimeError, match="closed"):
            await client.connect()
        with pytest.raises(RuntimeError, match="closed"):
            async with client.context(**options()):
                pass
        await client.close()
        await context.__aexit__(None, None, None)
        await waiting.__aexit__(None, None, None)
        assert asyncio.all_tasks() == before


async def test_close_during_a_dial_ends_it() -> None:
    async with ScriptedServer() as server:
        server.silent = True
        client = voxwire.Client(server.url)
        connecting = asyncio.create_task(client.connect())
        async with client.context("a", **options()) as context:
            await server.arrival()
            await client.close()
            with pytest.raises(voxwire.ConnectError):
                await connecting
            assert await collect(context) == []
            assert context.outcome == "cancelled"
        assert len(asyncio.all_tasks()) == 1


async def test_close_does_not_wait_for_a_server_that_does_not_answer() -> None:
    async with ScriptedServer() as server:
        client = voxwire.Client(server.url, close_timeout_s=0.05)
        await client.connect()
        peer = await server.accept()
        peer.stop_reading()
        async with asyncio.timeout(PATIENCE_S):
            await client.close()
        peer.go_on_reading()
        await peer.wait_closed()


async def test_closing_an_unused_client_does_nothing() -> None:
    client = voxwire.Client("ws://127.0.0.1:9")
    await client.close()
    await client.close()


async def test_an_unclosed_client_warns_and_aborts_its_socket() -> None:
    async with ScriptedServer() as server:
        client = voxwire.Client(server.url, api_key=KEY)
        await client.connect()
        peer = await server.accept()
        with pytest.warns(ResourceWarning, match="unclosed <voxwire.Client ws://127") as caught:
            del client
            gc.collect()
        assert KEY not in str(caught[0].message)
        assert (await peer.wait_closed()).code == 1006


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_unclosed_client_warns_also_after_its_loop_has_ended(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def leave(port: int) -> voxwire.Client:
        client = voxwire.Client(f"ws://127.0.0.1:{port}")
        await client.connect()
        return client

    async def scenario() -> None:
        async with ScriptedServer() as server:

            def elsewhere() -> None:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    with asyncio.Runner(loop_factory=factory) as runner:
                        client = runner.run(leave(server.port))
                    del client
                    gc.collect()
                assert any("unclosed <voxwire.Client" in str(warning.message) for warning in caught)

            await asyncio.to_thread(elsewhere)
            peer = await server.accept()
            await peer.wait_closed()

    asyncio.run(scenario())


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_whole_way_on_both_loops(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        async with ScriptedServer() as server, voxwire.Client(server.url) as client:
            async with client.context(iter(["Hello ", "world."]), **options()) as context:
                peer = await server.accept()
                assert [(await peer.receive())["transcript"] for _ in range(3)] == ["Hello ", "world.", ""]
                peer.send(chunk(context.id, b"\1\0"), done(context.id))
                assert [event.data for event in await collect(context)] == [b"\1\0"]
            async with client.context(**options()) as context:
                await context.push("a")
                await peer.receive()
                step = asyncio.create_task(anext(context))
                await asyncio.sleep(0)
                await context.cancel()
                with pytest.raises(StopAsyncIteration):
                    await step
            async with client.context("b", **options()) as context:
                await peer.receive()
                await peer.receive()
                peer.send(error(context.id, status_code=500, message="m"))
                with pytest.raises(voxwire.ServerError):
                    await collect(context)
        await peer.wait_closed()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


# --- over a given socket


async def test_a_given_socket_carries_contexts_without_an_upgrade() -> None:
    ours, theirs = socket.socketpair()
    peer = await peer_over(theirs)
    async with voxwire.Client.over_socket(ours, default_voice="v9", max_contexts=3) as client:
        async with client.context("a", output_format=FORMAT) as context:
            assert (await peer.receive())["voice"] == {"mode": "id", "id": "v9"}
            peer.send(chunk(context.id, b"\1\0"), done(context.id))
            assert [event.data for event in await collect(context)] == [b"\1\0"]
        with pytest.raises(RuntimeError, match="no HTTP"):
            await client.voices()
        peer.close()
        await peer.wait_closed()
        async with client.context("a", output_format=FORMAT) as context:
            with pytest.raises(voxwire.ConnectError):
                await collect(context)
    with pytest.raises(TypeError):
        voxwire.Client.over_socket(ours, nonsense=1)


# --- voices


def page(*ids: str, next_page: str | None = None) -> bytes:
    return json.dumps(
        {"data": [{"id": name} for name in ids], "has_more": next_page is not None, "next_page": next_page}
    ).encode()


async def test_voices_are_listed_over_all_pages() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url + "/p", api_key=KEY) as client:
        server.pages["/p/voices?limit=100"] = page("a", "b b", next_page="b b")
        server.pages["/p/voices?limit=100&starting_after=b%20b"] = page("c")
        assert [voice["id"] for voice in await client.voices()] == ["a", "b b", "c"]


async def test_a_context_without_a_voice_takes_the_first_of_the_server_and_asks_once() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.pages["/voices?limit=1"] = page("first", next_page="first")
        await client.connect()
        peer = await server.accept()
        for _ in range(2):
            async with client.context("a") as context:
                assert (await peer.receive())["voice"] == {"mode": "id", "id": "first"}
                peer.send(done(context.id))
                await collect(context)
        assert server.requests == ["/voices?limit=1"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, voxwire.NotFound),
        (b"[]", voxwire.ProtocolError),
        (b"no json", voxwire.ProtocolError),
        (b'{"data": 5}', voxwire.ProtocolError),
    ],
)
async def test_a_failed_list_of_voices_is_typed(body: bytes | None, kind: type[Exception]) -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        if body is not None:
            server.pages["/voices?limit=100"] = body
        with pytest.raises(kind):
            await client.voices()


async def test_no_voice_to_be_had_fails_the_context() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.pages["/voices?limit=1"] = page()
        async with client.context("a") as context:
            with pytest.raises(voxwire.NotFound, match="lists no voice"):
                await collect(context)


async def test_voices_of_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with voxwire.Client(f"http://127.0.0.1:{unused.getsockname()[1]}") as client:
            with pytest.raises(voxwire.ConnectError, match=r"cannot list the voices of 127\.0\.0\.1"):
                await client.voices()
    async with ScriptedServer() as server, voxwire.Client(server.url, connect_timeout_s=0.1) as client:
        server.silent = True
        with pytest.raises(voxwire.ConnectTimeout):
            await client.voices()


# --- the embedded server, and playing


async def test_without_a_url_a_server_in_the_process_speaks() -> None:
    async with voxwire.Client() as client:
        assert repr(client) == "<voxwire.Client embedded:>"
        async with client.context("Hello world.") as context:
            events = await collect(context)
        assert context.outcome == "finished"
        assert any(isinstance(event, voxwire.Audio) for event in events)
        assert [voice["id"] for voice in await client.voices()]
    assert len(asyncio.all_tasks()) == 1


async def test_calls_that_need_the_embedded_server_at_once_leave_none_behind() -> None:
    async with voxwire.Client("embedded:tone") as client:
        await asyncio.gather(client.connect(), client.voices())
    assert len(asyncio.all_tasks()) == 1


async def test_an_embedded_server_that_starts_while_its_client_closes_is_not_left_behind() -> None:
    client = voxwire.Client("embedded:tone")
    listing = asyncio.ensure_future(client.voices())
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(voxwire.ConnectError, match="closed"):
        await listing
    assert len(asyncio.all_tasks()) == 1


async def test_say_plays_to_the_end_and_tells_what_was_heard() -> None:
    async with voxwire.Client("embedded:tone") as client:
        record = await client.say("Hello world.", sink="null:")
        assert record.outcome == "finished"
        assert record.heard is not None
        assert (record.heard.text, record.heard.rest) == ("Hello world.", "")
        assert record.first_sound_s is not None


async def test_leaving_a_played_context_finishes_it_and_waits_for_its_playback() -> None:
    async with voxwire.Client("embedded:tone") as client:
        async with client.context() as context:
            await context.play("null:")
            with pytest.raises(RuntimeError):
                await context.play("null:")
            with pytest.raises(RuntimeError, match="second consumer"):
                await anext(context)
            await context.push("Hello.")
        assert context.outcome == "finished"
        assert context.record.heard is not None
        assert context.record.heard.text == "Hello."
        async with client.context(iter(["Hello ", "world."])) as fed:
            await fed.play("null:")
        assert fed.record.heard is not None
        assert fed.record.heard.text == "Hello world."


async def test_leaving_a_played_context_by_an_exception_stops_it() -> None:
    async with voxwire.Client("embedded:tone") as client:
        with pytest.raises(ZeroDivisionError):
            async with client.context("Hello. " * 200) as context:
                await context.play("null:")
                raise ZeroDivisionError
        assert context.outcome == "cancelled"


async def test_a_failed_playback_is_raised_once() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        await client.connect()
        peer = await server.accept()
        for seen in (False, True):
            failures = 0
            try:
                async with client.context("a", **options()) as context:
                    playback = await context.play("null:")
                    await peer.receive()
                    peer.send(error(context.id, status_code=500, message="m"))
                    if seen:
                        try:
                            await playback.wait()
                        except voxwire.ServerError:
                            failures += 1
            except voxwire.ServerError:
                failures += 1
            assert failures == 1
            assert context.outcome == "failed"


async def test_closing_the_client_ends_a_playback() -> None:
    async with voxwire.Client("embedded:tone") as client:
        context = client.context("Hello. " * 200)
        await context.__aenter__()
        await context.play("null:")
    assert context.outcome == "cancelled"
    await context.__aexit__(None, None, None)
    assert len(asyncio.all_tasks()) == 1
