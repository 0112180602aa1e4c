"""Row F1 of faults.md: a connection that is reset.

F5 to F7 are in ``test_fleet.py`` and ``test_client_tls.py``, F2 in ``test_transport.py``, I2 in
``e2e/test_server_process.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct

import pytest
from scripted_server import PATIENCE_S, Peer, ScriptedServer, chunk
from test_context import connected, options

import voxwire
from voxwire.protocol import Connection

CONTEXTS = 8
PIECE = bytes(range(256)) * 16


def reset_after(peer: Peer, data: bytes) -> None:
    """Sends bytes as they are, then resets the connection."""
    stream = peer.transport._socket
    assert stream is not None
    sock = stream.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.write(data)
    stream.abort()


def frame(message: dict[str, object]) -> bytes:
    connection = Connection("server", messages=False, ping_interval_s=None)
    connection.send_text(json.dumps(message))
    return connection.poll_transmit()


@pytest.mark.parametrize("part", ["nothing", "head", "half", "all-but-one"])
async def test_f1_a_reset_in_mid_chunk_fails_every_live_context_retryable(part: str) -> None:
    async with connected() as (client, peer), contextlib.AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(client.context("a", **options())) for _ in range(CONTEXTS)]
        for _ in contexts:
            await peer.receive()
        # What came whole before the reset is delivered, the broken chunk is not.
        for context in contexts:
            peer.send(chunk(context.id, PIECE))
        heard = [await anext(aiter(context)) for context in contexts]
        assert [event.data for event in heard] == [PIECE] * CONTEXTS
        broken = frame(chunk(contexts[0].id, PIECE))
        reset_after(peer, broken[: {"nothing": 0, "head": 3, "half": len(broken) // 2, "all-but-one": -1}[part]])
        async with asyncio.timeout(PATIENCE_S):
            for context in contexts:
                with pytest.raises(voxwire.ConnectionLost) as caught:
                    await anext(aiter(context))
                failure = caught.value
                assert (failure.code, failure.retryable) == ("connection_lost", True)
                assert failure.context_id == context.id
                assert context.outcome == "failed"


async def test_f1_a_retry_goes_over_a_new_socket_under_a_new_id() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        ids = []
        for _ in range(2):
            async with client.context("a", **options()) as context:
                peer = await server.accept()
                ids.append((await peer.receive())["context_id"])
                reset_after(peer, frame(chunk(context.id, PIECE))[:100])
                with pytest.raises(voxwire.ConnectionLost):
                    async with asyncio.timeout(PATIENCE_S):
                        await anext(aiter(context))
        assert len(set(ids)) == 2
        assert server.attempts == 2
