"""The server as a program: one line when it accepts, signals, an exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import orjson

from voxwire.server.config import ConfigurationError
from voxwire.server.listener import Server
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.server.config import Settings

__all__ = ["run"]

_log = logging.getLogger(__name__)

_PATH = "/tts/websocket"
_DRAINED = 0
_AT_ONCE = 1
_INTERRUPTED = 130
_QUICK_STOP_S = 1.0


def run(settings: Settings, *, reread: Callable[[], Settings] | None = None) -> int:
    """Runs a server until SIGTERM or SIGINT, and returns the exit status.

    The first signal drains (0 after SIGTERM, 130 after SIGINT), a second one ends at once (1). Once connections are
    accepted, one line of JSON on standard output says where.

    Args:
        settings: Checked settings.
        reread: Called at SIGHUP for the settings as they are now: keys and voices are taken over, and what is
            connected stays so. A refusal of them is logged and changes nothing. None ignores SIGHUP.

    Raises:
        ConfigurationError: It refuses to start.
        PluginError: There is no such engine, or it is broken.
        EngineError: The engine cannot work here.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, reread))


async def _serve(settings: Settings, reread: Callable[[], Settings] | None) -> int:
    loop = asyncio.get_running_loop()
    first: asyncio.Future[int] = loop.create_future()
    second = asyncio.Event()

    def handle(number: int) -> None:
        if first.done():
            second.set()
        else:
            first.set_result(number)

    for ours in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ours, handle, ours)
    server = Server(settings)
    await server.start()
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, _readmit, server, reread)
    _say_where(server)
    number = await first
    scope = Scope()
    ending = scope.start(_end(server), "graceful end of the server")
    hurry = scope.start(second.wait(), "second signal")
    await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if ending.done():
        await scope.close()
        ending.result()
        return _DRAINED if number == signal.SIGTERM else _INTERRUPTED
    await scope.close(_QUICK_STOP_S)
    server.abort()
    return _AT_ONCE


def _readmit(server: Server, reread: Callable[[], Settings] | None) -> None:
    if reread is None:
        return
    try:
        server.service.admit(reread())
    except ConfigurationError as error:
        _log.error("keys and voices stay as they were: %s", error)
    else:
        _log.info("keys and voices were read anew")


async def _end(server: Server) -> None:
    await server.drain()
    await server.close()


def _say_where(server: Server) -> None:
    tls_url = server.tls_url
    line = {
        "ws": f"{server.url}{_PATH}",
        "wss": None if tls_url is None else f"{tls_url}{_PATH}",
        "http": server.http_url,
        "pid": os.getpid(),
    }
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not there on every platform

    return uvloop.new_event_loop
