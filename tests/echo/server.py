"""An echo server for suites that test plain WebSocket: sends back every text and binary message as it came.

It runs on the same core and transport as the speech server. ``python tests/echo/server.py PORT`` serves until it gets
SIGTERM or SIGINT; when it accepts connections it prints one line.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
from typing import TYPE_CHECKING, cast

import uvloop

from voxwire.protocol import Connection, Event, Message, ServerHandshake
from voxwire.transport import Transport, attach

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
OPENING_TIME_S = 5.0


class Echo:
    """Sends every message back. Used by the client too."""

    transport: Transport

    def handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Message) and self.transport.connection.state == "open":
                if isinstance(event.data, str):
                    self.transport.connection.send_text(event.data)
                else:
                    self.transport.connection.send_binary(event.data)


class Upgrade(asyncio.Protocol):
    """Reads one request head and hands the socket to the echo."""

    def __init__(self, make_connection: Callable[[float], Connection]) -> None:
        self._make_connection = make_connection
        self._handshake = ServerHandshake()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(OPENING_TIME_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._handshake.handle_data(data):
            return
        self._timer.cancel()
        failure = self._handshake.failure or self._handshake.upgrade_failure()
        if failure is not None:
            status, reason = failure
            self._transport.write(ServerHandshake.refuse(status, [], f"{reason}\n".encode()))
            self._transport.close()
            return
        self._transport.write(self._handshake.accept())
        echo = Echo()
        connection = self._make_connection(self._loop.time())
        echo.transport = attach(self._transport, connection, echo, remainder=self._handshake.remainder)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()


def make_connection(role: str, max_message_bytes: int) -> Callable[[float], Connection]:
    """Returns a maker of plain WebSocket connections without pings of their own."""
    return lambda now: Connection(
        role, messages=False, max_message_bytes=max_message_bytes, ping_interval_s=None, now=now
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description="WebSocket echo server")
    parser.add_argument("port", type=int, help="TCP port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--max-message", type=int, default=MAX_MESSAGE_BYTES, metavar="BYTES")
    parser.add_argument("--tls-cert", metavar="FILE")
    parser.add_argument("--tls-key", metavar="FILE")
    arguments = parser.parse_args()
    context = None
    if arguments.tls_cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    loop = asyncio.get_running_loop()
    maker = make_connection("server", arguments.max_message)
    server = await loop.create_server(lambda: Upgrade(maker), "127.0.0.1", arguments.port, ssl=context)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    scheme = "ws" if context is None else "wss"
    print(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
