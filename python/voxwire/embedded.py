"""The server in the process, for clients that name no URL: on loopback only, shared, gone with its last user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from voxwire.server import Server

__all__ = ["EmbeddedServer", "acquire", "release", "start"]

# Whoever passes through the loopback interface may use it: an embedded server speaks to its own process and asks for
# no key, so it also ends contexts late, as a slow language model is no reason to cut a turn in two.
_EXPIRY_S = 10.0


class EmbeddedServer:
    """A running server: :func:`release` it after :func:`acquire`, :meth:`close` it after :func:`start`.

    Attributes:
        url: Base of its WebSocket URL.
    """

    def __init__(self, server: Server, shelf: _Shelf | None = None, engine: str | None = None) -> None:
        self._server = server
        self._shelf = shelf
        self._engine = engine
        self._users = 1
        self.url = server.url

    async def close(self) -> None:
        """Closes the server, whoever still uses it."""
        if self._shelf is not None:
            self._shelf.forget(self._engine, self)
        await self._server.close()

    def share(self) -> EmbeddedServer:
        """Counts one more user."""
        self._users += 1
        return self

    def leave(self) -> bool:
        """Counts one user less; True for the last."""
        self._users -= 1
        return self._users == 0


class _Shelf:
    """The embedded servers of one loop, by engine."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._servers: dict[str | None, EmbeddedServer] = {}

    async def acquire(self, engine: str | None) -> EmbeddedServer:
        # Two clients that start at once share one server: the second waits until the first has started it.
        async with self._lock:
            running = self._servers.get(engine)
            if running is not None:
                return running.share()
            started = EmbeddedServer(await _serve(engine), self, engine)
            self._servers[engine] = started
            return started

    def forget(self, engine: str | None, server: EmbeddedServer) -> None:
        if self._servers.get(engine) is server:
            del self._servers[engine]


_shelves: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shelf] = WeakKeyDictionary()


async def start(engine: str | None = None) -> EmbeddedServer:
    """Starts a server of one's own.

    Args:
        engine: Name of an engine; None for eSpeak where it is installed, else the tone engine.

    Raises:
        PluginError: There is no such engine, or it is broken.
        EngineError: The engine cannot work here.
    """
    return EmbeddedServer(await _serve(engine))


async def acquire(engine: str | None = None) -> EmbeddedServer:
    """Returns the server of the running loop for this engine, started by its first user; release it when done.

    Args:
        engine: As for :func:`start`.

    Raises:
        PluginError: There is no such engine, or it is broken.
        EngineError: The engine cannot work here.
    """
    loop = asyncio.get_running_loop()
    shelf = _shelves.get(loop)
    if shelf is None:
        shelf = _shelves[loop] = _Shelf()
    return await shelf.acquire(engine)


async def release(server: EmbeddedServer) -> None:
    """Gives back what :func:`acquire` gave; the last user closes the server."""
    if server.leave():
        await server.close()


async def _serve(engine: str | None) -> Server:
    # The server brings an HTTP stack along, which a client of another server never needs.
    from voxwire.server import serve  # noqa: PLC0415

    server = serve(engine=engine, port=0, context_expiry_s=_EXPIRY_S)
    await server.start()
    return server
