"""Access tokens: signed, kept nowhere, read by every process that shares the secret (protocol.md 11.5).

A token is ``vxt_`` and, in URL-safe base64, grants and expiry, the keyed hash of the API key that made it, and the
signature of both. The hash of the key is keyed, so that a token tells nothing about the key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["GRANTS", "Signer", "Token"]

#: What a token may allow; its index is the bit in the token.
GRANTS = ("tts", "stt", "agent")

_PREFIX = "vxt_"
_SIGNATURE_BYTES = 32
#: Grants as bits, seconds since 1970 at which the token ends, keyed hash of the API key.
_CLAIMS = struct.Struct(">BQ16s")


@dataclass(frozen=True, slots=True)
class Token:
    """What a valid token says.

    Attributes:
        digest: SHA-256 of the API key that made it.
        grants: What it allows.
    """

    digest: bytes
    grants: frozenset[str]


class Signer:
    """Makes and reads tokens with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def make(self, digest: bytes, grants: Iterable[str], expires_at_s: int) -> str:
        """Returns a token.

        Args:
            digest: SHA-256 of the API key; empty on an open server.
            grants: Of :data:`GRANTS`.
            expires_at_s: Seconds since 1970.
        """
        bits = sum(1 << GRANTS.index(grant) for grant in set(grants))
        claims = _CLAIMS.pack(bits, expires_at_s, self._name(digest))
        return _PREFIX + base64.urlsafe_b64encode(claims + self._signature(claims)).decode().rstrip("=")

    def read(self, text: str, digests: Iterable[bytes], now_s: float) -> Token | None:
        """Returns what a token says, or None if it is none, not ours, over, or made with a key that is not known.

        Args:
            text: The token, or anything else that a caller may send.
            digests: SHA-256 of each API key that is valid now.
            now_s: Seconds since 1970.
        """
        content = _decode(text)
        if content is None:
            return None
        claims, signature = content[: _CLAIMS.size], content[_CLAIMS.size :]
        if not hmac.compare_digest(signature, self._signature(claims)):
            return None
        bits, expires_at_s, name = _CLAIMS.unpack(claims)
        # Every key is compared, whichever fits, so that the time tells nothing.
        made_with = [digest for digest in digests if hmac.compare_digest(name, self._name(digest))]
        if not made_with or now_s >= expires_at_s:
            return None
        return Token(made_with[0], frozenset(grant for index, grant in enumerate(GRANTS) if bits >> index & 1))

    def _name(self, digest: bytes) -> bytes:
        return hmac.digest(self._secret, b"key" + digest, "sha256")[:16]

    def _signature(self, claims: bytes) -> bytes:
        return hmac.digest(self._secret, b"token" + claims, "sha256")


def _decode(text: str) -> bytes | None:
    if not text.startswith(_PREFIX) or not text.isascii():
        return None
    body = text.removeprefix(_PREFIX)
    try:
        content = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return content if len(content) == _CLAIMS.size + _SIGNATURE_BYTES else None
