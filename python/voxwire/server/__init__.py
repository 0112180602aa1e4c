"""The speech server: the protocol from the other end, with pluggable engines.

async with voxwire.server.serve(engine="tone", port=0) as server:
    print(server.url)
"""

from __future__ import annotations

from typing import Any

from voxwire.server.config import ConfigurationError, Settings
from voxwire.server.listener import Server
from voxwire.server.program import run

__all__ = ["ConfigurationError", "Server", "Settings", "run", "serve"]


def serve(*, engine: str | None = None, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> Server:
    """Makes a server; ``async with`` runs it in the present loop, touching neither signals nor logging.

    Args:
        engine: Name of an engine; None for eSpeak where it is installed, else the tone engine.
        host: Address to listen on; others than loopback need ``api_keys`` or ``no_auth``.
        port: TCP port; 0 for a free one.
        **settings: Any other field of :class:`Settings`.

    Raises:
        ConfigurationError: A setting is unknown, wrong, or unsafe together with the others.
    """
    return Server(Settings.make(engine=engine, host=host, port=port, **settings))
