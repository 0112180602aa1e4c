"""Credentials of a request: five carriers, keys known by their hash alone (protocol.md 2.2)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Keyring", "Principal", "credentials"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling.

    Attributes:
        digest: SHA-256 of the API key; empty where the server is open.
    """

    digest: bytes


def credentials(headers: Sequence[tuple[str, str]], query: Mapping[str, str]) -> list[str]:
    """Returns what a request offers, in the order in which it is tried.

    Args:
        headers: Names in lower case.
        query: Parameters of the target.
    """
    offered = []
    for name, value in headers:
        if name == "authorization":
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                offered.append(token.strip())
    offered += [value.strip() for name, value in headers if name == "x-api-key"]
    offered += [query[name] for name in ("access_token", "api_key") if name in query]
    return [value for value in offered if value]


class Keyring:
    """The API keys that open this server; it holds no key, only SHA-256 digests."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __repr__(self) -> str:
        return f"Keyring({len(self._digests)} keys)"

    def authenticate(self, headers: Sequence[tuple[str, str]], query: Mapping[str, str]) -> Principal:
        """Returns who is calling: the first valid credential wins.

        Raises:
            Refusal: 401, no credential or none that is valid.
        """
        if not self._digests:
            return Principal(b"")
        offered = credentials(headers, query)
        for credential in offered:
            digest = _digest(credential)
            # Every key is compared, whichever fits, so that the time tells nothing.
            fits = [hmac.compare_digest(digest, known) for known in self._digests]
            if any(fits):
                return Principal(digest)
        if offered:
            raise Refusal(401, "Invalid credential", "the API key or access token is not valid")
        raise Refusal(
            401,
            "Missing credential",
            "pass an API key in the header X-API-Key or as Authorization: Bearer",
        )


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogateescape")).digest()
