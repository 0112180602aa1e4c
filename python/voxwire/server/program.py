"""The server as a program: one line when it accepts, signals, an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Any

import orjson

from voxwire.server.config import ConfigurationError
from voxwire.server.listener import Server, bound
from voxwire.server.workers import supervise
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    accepted, one line of JSON on standard output says where. Several workers are processes of their own, told and
    ended by this one.

    Args:
        settings: Checked settings.
        reread: Called at SIGHUP for the settings as they are now: keys and voices are taken over, and what is
            connected stays so. A refusal of them is logged and changes nothing. None ignores SIGHUP.

    Raises:
        ConfigurationError: It refuses to start.
        PluginError: There is no such engine, or it is broken.
        EngineError: The engine cannot work here.
    """
    if settings.workers == 1:
        return _run(settings, reread, _say)
    # The ports are chosen, and kept, before there are workers to share them.
    names = ("port", "tls_port") if settings.tls else ("port",)
    with contextlib.ExitStack() as kept:
        holders = {name: kept.enter_context(bound(settings, getattr(settings, name), listen=False)) for name in names}
        ports = {name: holder.getsockname()[1] for name, holder in holders.items()}
        # A token that one worker made is read by all of them.
        secret = settings.token_secret or secrets.token_hex()
        shared = settings.model_copy(update={**ports, "token_secret": secret})
        return supervise(shared, lambda say, lifeline: _run(shared, reread, say, lifeline), _say)


def _run(
    settings: Settings,
    reread: Callable[[], Settings] | None,
    say: Callable[[dict[str, Any]], None],
    lifeline: int | None = None,
) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, reread, say, lifeline))


async def _serve(
    settings: Settings,
    reread: Callable[[], Settings] | None,
    say: Callable[[dict[str, Any]], None],
    lifeline: int | None,
) -> int:
    loop = asyncio.get_running_loop()
    first: asyncio.Future[int] = loop.create_future()
    second = asyncio.Event()

    def handle(number: int) -> None:
        if first.done():
            second.set()
        else:
            first.set_result(number)

    if lifeline is None:
        loop.add_signal_handler(signal.SIGINT, handle, signal.SIGINT)
    else:
        # A worker of several: an interrupt of the terminal reaches all of them, and the parent alone hands it on.
        loop.add_reader(lifeline, _lose_parent, loop, lifeline, first)
    loop.add_signal_handler(signal.SIGTERM, handle, signal.SIGTERM)
    server = Server(settings)
    await server.start()
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, _readmit, server, reread)
    with _left_alone():
        say(_where(server))
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


@contextlib.contextmanager
def _left_alone() -> Iterator[None]:
    """Keeps collections away from what stands by now, which lives as long as the process.

    A full collection through modules, models and voices would hold up the audio of all contexts for 15 ms and more
    (benches/talkers.py). A context leaves nothing to collect. Only the program does this: where a server is embedded,
    the process is its user's.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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


def _lose_parent(loop: asyncio.AbstractEventLoop, lifeline: int, first: asyncio.Future[int]) -> None:
    loop.remove_reader(lifeline)
    if not first.done():
        first.set_result(signal.SIGTERM)


def _where(server: Server) -> dict[str, Any]:
    tls_url = server.tls_url
    return {
        "ws": f"{server.url}{_PATH}",
        "wss": None if tls_url is None else f"{tls_url}{_PATH}",
        "http": server.http_url,
        "pid": os.getpid(),
    }


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not there on every platform

    return uvloop.new_event_loop
