"""Where a client connects to, and with which credentials."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from datetime import date
from urllib.parse import quote, urlsplit

from voxwire.transport import Endpoint

__all__ = ["Target"]

_PATH = "/tts/websocket"
_EMBEDDED = "embedded:"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# The beginning of a secret at the end of a text that was cut there; a shorter one gives nothing away.
_TELLING_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects to, and with which credentials.

    Attributes:
        endpoint: The WebSocket; None for an embedded server that is still to be started.
        engine: Engine of the embedded server; None for its default.
        headers: Request headers, those with secrets among them.
        secrets: What must never be seen in a text.
    """

    endpoint: Endpoint | None
    engine: str | None
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def resolve(
        cls, url: str | None, *, api_key: str | None = None, access_token: str | None = None, version: str
    ) -> Target:
        """Reads the arguments of a client and its environment.

        Raises:
            TypeError: An argument is no string.
            ValueError: The URL is none of ours, a key comes without a URL, a character cannot stand in a header, or the
                version is no date.
        """
        for name, value in (("url", url), ("api_key", api_key), ("access_token", access_token), ("version", version)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be of type str, not {type(value).__name__}")
        _check_version(version)
        url = url or os.environ.get("VOXWIRE_URL") or None
        if url is None and (api_key is not None or access_token is not None):
            raise ValueError("a key without a URL: pass url or set VOXWIRE_URL")
        url = url or _EMBEDDED
        if url.startswith(_EMBEDDED):
            return cls(None, url.removeprefix(_EMBEDDED) or None, _headers(version), ())
        endpoint = websocket_endpoint(url)
        if api_key is None and access_token is None:
            api_key = os.environ.get("VOXWIRE_API_KEY") or _cartesia_key(endpoint)
        given = [value for value in (api_key, access_token) if value]
        # Longest first: one may hold another. A server may quote a URL too.
        secrets = sorted({*given, *(quote(value, safe="") for value in given)}, key=len, reverse=True)
        return cls(endpoint, None, _headers(version, api_key, access_token), tuple(secrets))

    @property
    def embedded(self) -> bool:
        """The server is to be started in this process."""
        return self.endpoint is None

    def mask(self, text: str) -> str:
        """Returns ``text`` without our own secrets: a server may quote what it was sent, also cut at the end."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        for secret in self.secrets:
            for length in range(min(len(secret) - 1, len(text)), _TELLING_CHARACTERS - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + "***"
        return text


def websocket_endpoint(url: str) -> Endpoint:
    """Returns the WebSocket of a URL that is either a base, whose path prefix is kept, or the full path."""
    endpoint = Endpoint.parse(url)
    path, separator, query = endpoint.target.partition("?")
    if not path.endswith(_PATH):
        path = path.rstrip("/") + _PATH
    return replace(endpoint, target=path + separator + query)


def http_base(endpoint: Endpoint) -> str:
    """Returns the HTTP address under which the siblings of a WebSocket lie, without a slash at its end."""
    path = urlsplit(endpoint.target).path.removesuffix(_PATH)
    return f"{'https' if endpoint.tls else 'http'}://{endpoint.authority}{path}"


def _headers(version: str, api_key: str | None = None, access_token: str | None = None) -> tuple[tuple[str, str], ...]:
    headers = [("Cartesia-Version", version)]
    if api_key:
        headers.append(("X-API-Key", api_key))
    if access_token:
        headers.append(("Authorization", f"Bearer {access_token}"))
    for name, value in headers:
        # The value is not quoted: it may be a secret.
        if any(not " " <= character <= "~" for character in value):
            raise ValueError(
                f"the value for {name} holds a character that no header may carry, must be printable ASCII"
            )
    return tuple(headers)


def _check_version(version: str) -> None:
    """protocol.md 2.3: a server refuses what is no ``YYYY-MM-DD`` of the calendar."""
    try:
        date.fromisoformat(version if _DATE.fullmatch(version) else "")
    except ValueError:
        raise ValueError("version is no date, must be like 2026-03-01") from None


def _cartesia_key(endpoint: Endpoint) -> str | None:
    if endpoint.tls and endpoint.host.endswith(".cartesia.ai"):
        return os.environ.get("CARTESIA_API_KEY") or None
    return None
