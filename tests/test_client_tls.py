"""TLS of the client (faults.md F6): each fault a typed error, and what is a matter of trust is never tried again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
import trustme
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from raw_server import raw_server
from scripted_server import PATIENCE_S, ScriptedServer, chunk, done
from test_context import options, pcm

import voxwire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path
    from typing import Any

DAY = dt.timedelta(days=1)
LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def run(factory: Callable[[], asyncio.AbstractEventLoop], test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(test)


class Trust:
    """Makes what a client is given: for the core's TLS, or for Python's."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder

    def __call__(
        self, authority: trustme.CA, certificate: trustme.LeafCert | None = None
    ) -> ssl.SSLContext | voxwire.TlsContext:
        """Trusts an authority alone, and shows a certificate where it is asked for one."""
        trusted, shown = self._folder / "trusted.pem", self._folder / "shown.pem"
        authority.cert_pem.write_to_path(trusted)
        if certificate is not None:
            certificate.private_key_and_cert_chain_pem.write_to_path(shown)
        if self._kind == "core":
            return voxwire.TlsContext(ca_file=trusted, certificate_file=None if certificate is None else shown)
        context = ssl.create_default_context(cafile=trusted)
        if certificate is not None:
            context.load_cert_chain(shown)
        return context


@pytest.fixture(params=["core", "python"])
def trusting(request: pytest.FixtureRequest, tmp_path: Path) -> Trust:
    """Both ways to speak TLS."""
    return Trust(request.param, tmp_path)


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@LOOPS
@pytest.mark.parametrize("fault", ["self-signed", "expired", "not-yet-valid", "wrong-host", "unknown-authority"])
def test_an_untrusted_certificate_is_raised_and_never_tried_again(
    factory: Callable[[], asyncio.AbstractEventLoop], fault: str, tmp_path: Path, trusting: Trust
) -> None:
    authority, now = trustme.CA(), dt.datetime.now(dt.UTC)
    if fault == "self-signed":
        served = self_signed(tmp_path)
    elif fault == "expired":
        served = serving(authority.issue_cert("127.0.0.1", not_after=now - DAY))
    elif fault == "not-yet-valid":
        served = serving(authority.issue_cert("127.0.0.1", not_before=now + DAY, not_after=now + 2 * DAY))
    elif fault == "wrong-host":
        served = serving(authority.issue_cert("elsewhere.example"))
    else:
        served = serving(trustme.CA().issue_cert("127.0.0.1"))

    async def test() -> None:
        async with ScriptedServer(ssl_context=served) as server:
            async with voxwire.Client(server.url, ssl_context=trusting(authority)) as client:
                with pytest.raises(voxwire.TlsError, match="not trusted") as caught:
                    await client.connect()
                assert (caught.value.code, caught.value.retryable) == ("tls_untrusted", False)
                # The push that needed it raises it too, and the consumer.
                async with client.context(**options()) as context:
                    with pytest.raises(voxwire.TlsError):
                        await context.push("a")
                    assert context.outcome == "failed"
            assert server.attempts == 0

    run(factory, test())


async def test_a_trusted_certificate_is_not_trusted_without_its_authority() -> None:
    """The default settings verify, whatever the environment says."""
    async with ScriptedServer(ssl_context=serving(trustme.CA().issue_cert("127.0.0.1"))) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONHTTPSVERIFY", "0")
            async with voxwire.Client(server.url) as client:
                with pytest.raises(voxwire.TlsError):
                    await client.connect()


@LOOPS
def test_old_versions_of_tls_are_refused(factory: Callable[[], asyncio.AbstractEventLoop], trusting: Trust) -> None:
    authority = trustme.CA()
    served = serving(authority.issue_cert("127.0.0.1"))
    served.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        served.minimum_version = ssl.TLSVersion.TLSv1
        served.maximum_version = ssl.TLSVersion.TLSv1_1

    def refuse(listener: socket.socket) -> None:
        # A blocking server sends its alert before it gives up, as those of the field do; asyncio's does not.
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            served.wrap_socket(connection, server_side=True)

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE_S)
            refusing = asyncio.get_running_loop().run_in_executor(None, refuse, listener)
            url = f"wss://127.0.0.1:{listener.getsockname()[1]}"
            async with voxwire.Client(url, ssl_context=trusting(authority)) as client:
                with pytest.raises(voxwire.TlsError) as caught:
                    await client.connect()
                assert caught.value.code != "tls_untrusted"
                assert not caught.value.retryable
            await refusing

    run(factory, test())


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[str, list[int]]]:
    """A TCP server that answers the first bytes with these, or not at all; how many connections came."""
    connections = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        await reader.read(4096)
        if answer is not None:
            writer.write(answer)
            writer.write_eof()
        await reader.read()

    async with raw_server(serve) as address:
        yield f"wss://{address}", connections


@LOOPS
def test_plain_http_behind_wss_is_a_tls_error(
    factory: Callable[[], asyncio.AbstractEventLoop], trusting: Trust
) -> None:
    async def test() -> None:
        async with (
            answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, connections),
            voxwire.Client(url, ssl_context=trusting(trustme.CA())) as client,
        ):
            with pytest.raises(voxwire.TlsError) as caught:
                await client.connect()
            assert caught.value.code != "tls_untrusted"
            assert connections == [1]

    run(factory, test())


@LOOPS
def test_a_tls_handshake_that_stalls_is_a_timeout(
    factory: Callable[[], asyncio.AbstractEventLoop], trusting: Trust
) -> None:
    async def test() -> None:
        async with (
            answering(None) as (url, _),
            voxwire.Client(url, ssl_context=trusting(trustme.CA()), connect_timeout_s=0.2) as client,
        ):
            with pytest.raises(voxwire.ConnectTimeout) as caught:
                await client.connect()
            assert caught.value.retryable

    run(factory, test())


@LOOPS
@pytest.mark.parametrize("end", ["end-of-stream", "reset"])
def test_an_end_without_close_notify_fails_live_contexts_after_what_came(
    factory: Callable[[], asyncio.AbstractEventLoop], end: str, trusting: Trust
) -> None:
    authority = trustme.CA()

    async def test() -> None:
        async with (
            ScriptedServer(ssl_context=serving(authority.issue_cert("127.0.0.1"))) as server,
            voxwire.Client(server.url, ssl_context=trusting(authority)) as client,
            client.context("a", **options()) as context,
        ):
            peer = await server.accept()
            await peer.receive()
            peer.send(chunk(context.id, b"\1\0"))
            assert pcm(await anext(context)) == b"\1\0"
            handle = peer.transport.get_extra_info("socket")
            if end == "reset":
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.reset()
            else:
                with socket.socket(fileno=socket.dup(handle.fileno())) as same:
                    same.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(voxwire.ConnectionLost) as caught:
                    await anext(context)
            assert caught.value.retryable

    run(factory, test())


async def test_a11_a_redirect_never_leads_out_of_tls(trusting: Trust) -> None:
    authority = trustme.CA()
    async with (
        ScriptedServer(ssl_context=serving(authority.issue_cert("127.0.0.1"))) as server,
        voxwire.Client(server.url, api_key="secret-key", ssl_context=trusting(authority)) as client,
    ):
        for scheme in ("ws", "http"):
            location = f"{scheme}://127.0.0.1:{server.port}/tts/websocket"
            server.refusals.append((307, [("Location", location)], b""))
            with pytest.raises(voxwire.ConnectError, match="another origin") as caught:
                await client.connect()
            assert (caught.value.status, caught.value.retryable) == (307, False)
        assert server.attempts == 2
        server.refusals.append((307, [("Location", f"https://127.0.0.1:{server.port}/other/tts/websocket")], b""))
        await client.connect()
        assert (await server.accept()).target == "/other/tts/websocket"


@LOOPS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_trusted_certificate_works_with_either_version(
    factory: Callable[[], asyncio.AbstractEventLoop], version: ssl.TLSVersion, trusting: Trust
) -> None:
    authority = trustme.CA()
    served = serving(authority.issue_cert("127.0.0.1"))
    served.minimum_version = served.maximum_version = version
    sound = bytes(range(256)) * 1000

    async def test() -> None:
        async with (
            ScriptedServer(ssl_context=served) as server,
            voxwire.Client(server.url, ssl_context=trusting(authority)) as client,
            client.context("a", **options()) as context,
        ):
            peer = await server.accept()
            assert peer.transport.get_extra_info("ssl_object").version() == f"TLSv1.{version - ssl.TLSVersion.TLSv1}"
            await peer.receive()
            peer.send(*(chunk(context.id, sound) for _ in range(4)), done(context.id))
            assert b"".join([pcm(event) async for event in context]) == sound * 4

    run(factory, test())


@LOOPS
@pytest.mark.parametrize("shown", [True, False], ids=["shown", "missing"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_certificate_of_the_client_is_shown_where_it_is_required(
    factory: Callable[[], asyncio.AbstractEventLoop], version: ssl.TLSVersion, shown: bool, trusting: Trust
) -> None:
    authority = trustme.CA()
    served = serving(authority.issue_cert("127.0.0.1"))
    served.verify_mode = ssl.CERT_REQUIRED
    served.maximum_version = version
    authority.configure_trust(served)
    own = authority.issue_cert("client.example") if shown else None

    async def test() -> None:
        async with (
            ScriptedServer(ssl_context=served) as server,
            voxwire.Client(server.url, ssl_context=trusting(authority, own), connect_timeout_s=1) as client,
        ):
            if shown:
                await client.connect()
                peer = await server.accept()
                assert peer.transport.get_extra_info("peercert")
            else:
                with pytest.raises(voxwire.ConnectError) as caught:
                    await client.connect()
                assert caught.value.code != "tls_untrusted"

    run(factory, test())


async def test_a_context_serves_many_clients_and_its_tickets_shorten_the_second_handshake(trusting: Trust) -> None:
    authority = trustme.CA()
    context = trusting(authority)
    async with ScriptedServer(ssl_context=serving(authority.issue_cert("127.0.0.1"))) as server:
        reused = []
        for _ in range(2):
            async with voxwire.Client(server.url, ssl_context=context) as client:
                await client.connect()
                peer = await server.accept()
                reused.append(peer.transport.get_extra_info("ssl_object").session_reused)
        # Python's asyncio offers no session again.
        assert reused == [False, isinstance(context, voxwire.TlsContext)]


def test_files_that_are_no_use_are_named(tmp_path: Path) -> None:
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no PEM")
    certificate = trustme.CA().issue_cert("client.example")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    for name in ("ca_file", "certificate_file"):
        with pytest.raises(FileNotFoundError) as caught:
            voxwire.TlsContext(**{name: missing})
        assert caught.value.filename == str(missing)
        with pytest.raises(ValueError, match=r"text\.pem must hold certificates in PEM"):
            voxwire.TlsContext(**{name: str(text)})
    with pytest.raises(ValueError, match="an unencrypted private key"):
        voxwire.TlsContext(certificate_file=chain)
    with pytest.raises(ValueError, match="a key without a certificate"):
        voxwire.TlsContext(key_file=key)
    with pytest.raises(TypeError):
        voxwire.TlsContext(str(text))  # type: ignore[call-arg]
    context = voxwire.TlsContext(ca_file=str(chain), certificate_file=chain, key_file=key)
    assert (context.ca_file, context.certificate_file, context.key_file) == (chain, chain, key)
    assert repr(context) == f"<TlsContext trusting {chain}>"
    assert repr(voxwire.TlsContext()) == "<TlsContext trusting the platform's roots>"
    with pytest.raises(AttributeError):
        context.ca_file = None  # type: ignore[misc]
