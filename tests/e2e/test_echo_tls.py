"""The echo programs over TLS: the same bytes come back, and a certificate that nobody vouches for is refused."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import serve as websockets_serve

ECHO = Path(__file__).resolve().parents[1] / "echo"
WAIT_S = 20
MESSAGES = ["text", "täxt", b"\x00\xff", "x" * 100_000, b"y" * 1_000_000, ""]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


async def test_server_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ECHO / "server.py",
        "0",
        "--tls-cert",
        tmp_path / "cert.pem",
        "--tls-key",
        tmp_path / "key.pem",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), WAIT_S)).decode().strip()
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with asyncio.timeout(WAIT_S), websockets_connect(url, ssl=context, compression=None) as peer:
            for message in MESSAGES:
                await peer.send(message)
                assert await peer.recv() == message
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0


async def test_client_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    echoed: list[str | bytes] = []

    async def ask(peer) -> None:
        for message in MESSAGES:
            await peer.send(message)
            echoed.append(await peer.recv())

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with websockets_serve(ask, "127.0.0.1", 0, ssl=context) as server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        arguments = [ECHO / "client.py", "--ca", tmp_path / "ca.pem", url]
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
        assert echoed == MESSAGES
        process = await asyncio.create_subprocess_exec(
            sys.executable, ECHO / "client.py", url, stderr=asyncio.subprocess.PIPE
        )
        _, complaint = await asyncio.wait_for(process.communicate(), WAIT_S)
        assert process.returncode == 1
        assert b"is not trusted" in complaint
        assert b"tls_untrusted" in complaint
