"""What every request of a caller must pass: version, Origin, credential, in the order of protocol.md 2.4."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from voxwire.server import versions
from voxwire.server.access.guesses import Guesses
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from voxwire.server.access.auth import Keyring, Principal

__all__ = ["Gate", "address_of", "resolve_version"]


class Gate:
    """The way in, the same for the WebSocket and for every HTTP route that needs a credential.

    Attributes:
        keyring: Who may come in; replaced when the keys are read anew.
    """

    def __init__(self, keyring: Keyring, allow_origin: tuple[str, ...]) -> None:
        """Makes the gate of a server.

        Args:
            keyring: Who may come in.
            allow_origin: Values of ``Origin`` that browsers may come from; ``*`` for any.
        """
        self.keyring = keyring
        self._allow_origin = allow_origin
        self._guesses = Guesses()

    def enter(self, headers: Sequence[tuple[str, str]], query: Mapping[str, str], address: str | None) -> Principal:
        """Returns who is calling.

        Args:
            headers: Names in lower case.
            query: Parameters of the target.
            address: IP address of the peer, if it has one.

        Raises:
            Refusal: 403 for the Origin, 401 for the credential, 429 after too many of those from this address.
        """
        for name, value in headers:
            if name == "origin" and not self._allows(value):
                raise Refusal(403, "Origin not allowed", "this server accepts no browser from there")
        try:
            return self.keyring.authenticate(headers, query)
        except Refusal:
            wait_s = self._guesses.count(address, time.monotonic())
            if wait_s is None:
                raise
        raise Refusal(
            429,
            "Too many failed credentials",
            "wait before another try, or pass a valid API key or access token",
            retry_after_s=wait_s,
        )

    def _allows(self, origin: str) -> bool:
        return origin != "null" and ("*" in self._allow_origin or origin in self._allow_origin)


def resolve_version(query: Mapping[str, str], header: str | None) -> str:
    """Returns the version that a request is answered in.

    Args:
        query: Parameters of the target.
        header: Value of ``Cartesia-Version``.

    Raises:
        Refusal: 400, it is none.
    """
    try:
        return versions.resolve(query.get("cartesia_version"), header)
    except ValueError:
        raise Refusal(400, "Invalid version", "the version must be a calendar date written YYYY-MM-DD") from None


def address_of(transport: asyncio.BaseTransport) -> str | None:
    """Returns the IP address of the peer; None where it has none."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else None
