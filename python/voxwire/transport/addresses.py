"""A TCP socket to a host, by each of its addresses in turn."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["open_socket"]

_Address = tuple[int, int, int, str, Any]


async def open_socket(host: str, port: int) -> socket.socket:
    """Returns a connected socket that does not block, to the first address of a host that answers.

    Whoever calls it limits the time. Cancelled, it leaves no socket behind.

    Raises:
        OSError: No address answered, or there is none: what the system says, or what it says of each where that
            differs.
    """
    failures: list[OSError] = []
    for address in await _addresses(host, port):
        try:
            return await _connected(address)
        except OSError as error:
            failures.append(error)
    if len({str(failure) for failure in failures}) == 1:
        raise failures[0]
    raise OSError(", ".join(str(failure.strerror or failure).lower() for failure in failures) or "no address")


async def _addresses(host: str, port: int) -> Sequence[_Address]:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        # What is an address already needs no lookup, and so no thread.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _connected(address: _Address) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except OSError as error:
        sock.close()
        if error.errno is None:
            raise
        # Loops word it each in their own way.
        raise OSError(error.errno, os.strerror(error.errno)) from error
    except BaseException:
        sock.close()
        raise
    return sock
