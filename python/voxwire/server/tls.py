"""The TLS listener: each connection stands at its door from the accept on, before TLS is spoken."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import TYPE_CHECKING

from voxwire.server.config import ConfigurationError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from voxwire.server.config import Settings
    from voxwire.server.websocket import Door
    from voxwire.tasks import Scope

__all__ = ["TlsListener", "tls_context"]

#: Longest wait for the peer's part of the end of TLS.
_SHUTDOWN_S = 1.0
#: The system has no descriptor or no memory left: a connection that ends gives some back.
_ACCEPT_PAUSE_S = 0.1


class TlsListener:
    """Accepts connections on one socket.

    The loop's own TLS server would tell of a connection when its TLS handshake is over. Here an unfinished one counts,
    and can be displaced, like any other (faults.md A9).
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, scope: Scope, make_door: Callable[[], Door]
    ) -> None:
        """Starts to accept.

        Args:
            sock: It listens already; :meth:`close` closes it.
            context: With a certificate.
            scope: Owns the tasks.
            make_door: Makes the protocol of one connection.
        """
        sock.settimeout(0)
        self._sock = sock
        self._context = context
        self._scope = scope
        self._make_door = make_door
        self._accepting = scope.start(self._accept(), "TLS listener")

    @property
    def port(self) -> int:
        """TCP port."""
        port: int = self._sock.getsockname()[1]
        return port

    async def close(self) -> None:
        """Accepts no more."""
        self._accepting.cancel()
        # The loop watches the socket until the task has ended.
        await asyncio.wait({self._accepting})
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._sock)
            except OSError:
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            door = self._make_door()
            securing = self._scope.start(self._secure(sock, door), "TLS handshake")
            # A task that is cancelled before its first step has handed its socket to nobody.
            securing.add_done_callback(partial(_close_unused, sock))
            door.begin(securing.cancel)

    async def _secure(self, sock: socket.socket, door: Door) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: door, sock, ssl=self._context, ssl_shutdown_timeout=_SHUTDOWN_S
            )
        except OSError:
            # TLS failed, so nobody is there who could be told.
            door.leave()


def _close_unused(sock: socket.socket, securing: asyncio.Task[None]) -> None:
    if securing.cancelled():
        sock.close()


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Returns what the TLS listener speaks, at least TLS 1.2 (faults.md 2); None without one.

    Raises:
        ConfigurationError: The certificate or its key cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"tls_cert and tls_key: {error.strerror or error}") from error
    return context
