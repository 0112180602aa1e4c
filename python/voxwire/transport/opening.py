"""How a WebSocket is opened: by an upgrade of ours, over a socket that was upgraded, over one that needs none."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from typing import TYPE_CHECKING

from voxwire.exceptions import ConnectError, ConnectTimeout, ProtocolError, TlsError
from voxwire.protocol import ClientHandshake, Connection, TlsContext
from voxwire.transport.addresses import open_socket
from voxwire.transport.channel import Channel, can_watch
from voxwire.transport.stream import Handler, Transport, reason_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from voxwire.transport.endpoint import Endpoint

__all__ = ["HandshakeRefused", "attach", "attach_socket", "connect", "python_context"]

_WRITE_LIMIT_BYTES = 4 * 1024 * 1024
#: Up to thirty years: more digits mean nothing, and very many are no finite number.
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


class HandshakeRefused(Exception):
    """The server answered the upgrade with an HTTP status other than 101.

    Attributes:
        status: HTTP status.
        headers: In order, names in lower case.
        body: At most ``LIMITS["error_body_bytes"]``.
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        super().__init__(f"the server refused the upgrade with status {status}")
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        """Returns the first value of a header (name in lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def request_id(self) -> str | None:
        """The server's ``X-Request-Id``."""
        return self.header("x-request-id")

    @property
    def retry_after_s(self) -> float | None:
        """``Retry-After`` in seconds; None where it is absent or no sensible count of seconds."""
        value = self.header("retry-after")
        return float(value) if value is not None and _SECONDS.fullmatch(value) else None


async def connect(
    endpoint: Endpoint,
    handler: Handler,
    *,
    headers: Sequence[tuple[str, str]],
    ssl_context: ssl.SSLContext | TlsContext | None,
    timeout_s: float,
    make_connection: Callable[[float], Connection],
    write_limit_bytes: int = _WRITE_LIMIT_BYTES,
    sock: socket.socket | None = None,
) -> Transport:
    """Opens a WebSocket: one attempt, in which ``timeout_s`` covers name lookup, TCP, TLS and HTTP together.

    Args:
        endpoint: Where to.
        handler: Who gets the events.
        headers: Request headers beside those of the upgrade itself.
        ssl_context: For TLS; None for the platform's roots with every check on. An ``ssl.SSLContext`` goes through
            Python's TLS, anything else through the core's.
        timeout_s: Seconds for all of it.
        make_connection: Called with the present time once the upgrade is accepted.
        write_limit_bytes: Unsent bytes at which :attr:`Transport.writable` turns False.
        sock: A connected socket to use in place of a new one.

    Raises:
        ValueError: A header or the URL holds a control character.
        ConnectTimeout: The time ran out.
        TlsError: TLS failed; code ``tls_untrusted`` where the certificate is the reason.
        ConnectError: Any other failure of the network.
        ProtocolError: The answer breaks HTTP or RFC 6455 section 4; code ``handshake``.
        HandshakeRefused: An answer with another status than 101.
    """
    handshake = ClientHandshake(
        host=endpoint.authority, target=endpoint.target, headers=list(headers), key=os.urandom(16)
    )
    transport = Transport(handler, write_limit_bytes=write_limit_bytes, handshake=handshake)
    try:
        async with asyncio.timeout(timeout_s) as budget:
            await _open(transport, endpoint, ssl_context, sock)
            await transport.upgraded()
    except TimeoutError as error:
        transport.abort()
        if budget.expired():
            _raise_refused(handshake)
            raise ConnectTimeout(f"no connection to {endpoint} within {timeout_s:g} s") from None
        raise ConnectError(f"cannot connect to {endpoint}{reason_of(error)}") from error
    except ssl.SSLCertVerificationError as error:
        raise TlsError(
            f"the certificate of {endpoint} is not trusted: {error.verify_message}", code="tls_untrusted"
        ) from error
    except ssl.SSLError as error:
        raise TlsError(f"TLS with {endpoint} failed: {error.reason or 'no TLS answer'}") from error
    except TlsError as error:
        if error.code is None:
            raise TlsError(f"TLS with {endpoint} failed: {error.message}") from error
        raise TlsError(f"the certificate of {endpoint} is not trusted: {error.message}", code=error.code) from error
    except OSError as error:
        raise ConnectError(f"cannot connect to {endpoint}{reason_of(error)}") from error
    except ConnectError:
        transport.abort()
        _raise_refused(handshake)
        raise
    except BaseException:
        transport.abort()
        raise
    if not handshake.accepted:
        transport.abort()
        if handshake.failure is not None:
            raise ProtocolError(f"invalid answer to the upgrade: {handshake.failure}", code="handshake")
        raise HandshakeRefused(handshake.status or 0, handshake.headers, handshake.body)
    transport.request_id = next((value for name, value in handshake.headers if name == "x-request-id"), None)
    transport.start(make_connection(transport.now()), handshake.remainder)
    return transport


def attach(
    socket_transport: asyncio.Transport,
    connection: Connection,
    handler: Handler,
    *,
    remainder: bytes = b"",
    write_limit_bytes: int = _WRITE_LIMIT_BYTES,
) -> Transport:
    """Takes over an open asyncio transport whose upgrade is done.

    Args:
        socket_transport: asyncio's transport, plain or TLS.
        connection: The core, new.
        handler: Who gets the events.
        remainder: Bytes that came after the head of the upgrade.
        write_limit_bytes: Unsent bytes at which :attr:`Transport.writable` turns False.
    """
    transport = Transport(handler, write_limit_bytes=write_limit_bytes)
    # A loop that reads already has chosen how it reads; a pause makes it choose anew for this protocol.
    socket_transport.pause_reading()
    socket_transport.set_protocol(transport)
    transport.connection_made(socket_transport)
    transport.start(connection, remainder)
    return transport


async def attach_socket(
    sock: socket.socket,
    connection: Connection,
    handler: Handler,
    *,
    write_limit_bytes: int = _WRITE_LIMIT_BYTES,
) -> Transport:
    """Speaks WebSocket over a connected stream socket, without an HTTP upgrade before it (a socketpair)."""
    loop = asyncio.get_running_loop()
    transport = Transport(handler, write_limit_bytes=write_limit_bytes)
    if can_watch(loop):
        Channel(sock, transport)
    else:
        transport.connection = connection
        await loop.create_connection(lambda: transport, sock=sock)
    transport.start(connection, b"")
    return transport


def python_context(tls: ssl.SSLContext | TlsContext | None) -> ssl.SSLContext:
    """Returns the same settings for where Python speaks TLS; None stands for the platform's roots."""
    if isinstance(tls, ssl.SSLContext):
        return tls
    if tls is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    return context


async def _open(
    transport: Transport, endpoint: Endpoint, tls: ssl.SSLContext | TlsContext | None, sock: socket.socket | None
) -> None:
    """Opens the socket of a transport: one that the core reads, where nothing speaks against it."""
    loop = asyncio.get_running_loop()
    python_tls = None
    if endpoint.tls and (isinstance(tls, ssl.SSLContext) or not can_watch(loop)):
        python_tls = python_context(tls)
    elif can_watch(loop):
        sock = sock or await open_socket(endpoint.host, endpoint.port)
        try:
            core_tls = (tls if isinstance(tls, TlsContext) else TlsContext()) if endpoint.tls else None
            Channel(sock, transport, tls=core_tls, server_name=endpoint.host).resume_reading()
        except BaseException:
            sock.close()
            raise
        return
    if sock is None:
        await loop.create_connection(lambda: transport, endpoint.host, endpoint.port, ssl=python_tls)
    else:
        name = endpoint.host if endpoint.tls else None
        await loop.create_connection(lambda: transport, sock=sock, ssl=python_tls, server_hostname=name)


def _raise_refused(handshake: ClientHandshake) -> None:
    """Raises the refusal whose head has come: its status is definite, though its body never ended."""
    if handshake.status is not None and handshake.status >= 200 and handshake.failure is None:
        raise HandshakeRefused(handshake.status, handshake.headers, handshake.body) from None
