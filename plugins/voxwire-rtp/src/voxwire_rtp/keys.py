"""Keys of SRTP: 16 bytes of master key and 14 of salt, written as base64 (RFC 4568, 6.1)."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

__all__ = ["DEFAULT_SUITE", "SUITES", "Key", "new_key"]

SUITES = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
DEFAULT_SUITE = SUITES[0]
_KEY_BYTES = 30


def new_key() -> str:
    """Returns a fresh random key, as ``key`` of an address and ``inline:`` of SDP take it."""
    return b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class Key:
    """A key that shows itself to nobody.

    Attributes:
        material: 30 bytes, master key and salt.
    """

    material: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Key:
        """Reads base64.

        Raises:
            ValueError: It is none, or not of 30 bytes; the message does not repeat it.
        """
        try:
            material = b64decode(text, validate=True)
        except ValueError:
            material = b""
        if len(material) != _KEY_BYTES:
            raise ValueError(f"value must be base64 of {_KEY_BYTES} bytes")
        return cls(material)
