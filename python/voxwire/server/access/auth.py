"""Credentials of a request: five carriers, keys known by their hash alone (protocol.md 2.2)."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from voxwire.server.access.tokens import Signer
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Keyring", "Principal", "credentials"]

_SCHEME = "bearer"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling.

    Attributes:
        digest: SHA-256 of the API key, also behind an access token; empty where the server is open.
        grants: What an access token allows; None for an API key, which may do everything.
    """

    digest: bytes
    grants: frozenset[str] | None = None

    def require(self, grant: str) -> None:
        """Raises a Refusal with 403 unless the caller may do this."""
        if self.grants is not None and grant not in self.grants:
            raise Refusal(403, "Not permitted", f"the access token was made without the grant `{grant}`")

    def require_key(self) -> None:
        """Raises a Refusal with 403 for an access token."""
        if self.grants is not None:
            raise Refusal(403, "Not permitted", "an access token makes no access tokens, pass an API key")


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
            if scheme.lower() == _SCHEME:
                offered.append(token.strip())
    offered += [value.strip() for name, value in headers if name == "x-api-key"]
    offered += [query[name] for name in ("access_token", "api_key") if name in query]
    return [value for value in offered if value]


class Keyring:
    """The API keys that open this server, and the tokens made with them; it holds no key, only SHA-256 digests."""

    def __init__(self, keys: Iterable[str], token_secret: str) -> None:
        """Remembers keys.

        Args:
            keys: API keys; none leaves the server open.
            token_secret: What access tokens are signed with.
        """
        self._digests = [_digest(key) for key in keys]
        self._signer = Signer(token_secret)

    def __repr__(self) -> str:
        return f"Keyring({len(self._digests)} keys)"

    def authenticate(self, headers: Sequence[tuple[str, str]], query: Mapping[str, str]) -> Principal:
        """Returns who is calling: the first valid credential wins; an open server looks at none.

        Raises:
            Refusal: 401, no credential or none that is valid; the same for each.
        """
        if not self._digests:
            return Principal(b"")
        for credential in credentials(headers, query):
            digest = _digest(credential)
            # Every key is compared, whichever fits, so that the time tells nothing.
            fits = [hmac.compare_digest(digest, known) for known in self._digests]
            if any(fits):
                return Principal(digest)
            if (token := self._signer.read(credential, self._digests, time.time())) is not None:
                return Principal(token.digest, token.grants)
        raise Refusal(
            401,
            "Invalid credential",
            "pass a valid API key or access token as Authorization: Bearer, or a key as X-API-Key",
            headers=(("WWW-Authenticate", "Bearer"),),
        )

    def mint(self, principal: Principal, grants: Iterable[str], expires_in_s: int) -> str:
        """Returns an access token (protocol.md 11.5).

        It stands for the key that it is made with: it shares the key's limits, and ends with the key.

        Args:
            principal: Who is calling, with an API key.
            grants: What it allows, of :data:`voxwire.server.access.tokens.GRANTS`.
            expires_in_s: Seconds from now, 1 to 3600.
        """
        return self._signer.make(principal.digest, grants, int(time.time()) + expires_in_s)


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogateescape")).digest()
