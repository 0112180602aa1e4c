"""A client and a server that speak over a socketpair: the real protocol, no network."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from voxwire.client import Client
from voxwire.server import Server, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["connected_pair"]


@contextlib.asynccontextmanager
async def connected_pair(engine: str = "tone", **settings: Any) -> AsyncIterator[tuple[Client, Server]]:
    """Gives a client and the server that it is connected to.

    Args:
        engine: Name of the engine.
        **settings: Any other field of :class:`voxwire.server.Settings`.
    """
    server = Server(Settings.make(engine=engine, **settings))
    await server.start(listen=False)
    try:
        near, far = socket.socketpair()
        near.setblocking(False)  # noqa: FBT003 - the name says it
        far.setblocking(False)  # noqa: FBT003 - the name says it
        client = Client.over_socket(near, default_voice=server.service.voices.default)
        await server.attach(far)
        async with client:
            yield client, server
    finally:
        await server.close()
