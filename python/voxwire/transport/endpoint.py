"""Where a WebSocket is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Endpoint"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a WebSocket is: taken from a URL.

    Attributes:
        host: Name or address, without brackets.
        port: TCP port.
        tls: Whether TLS is spoken.
        target: Path and query of the request.
    """

    host: str
    port: int
    tls: bool
    target: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Reads a ``ws``, ``wss``, ``http`` or ``https`` URL.

        Raises:
            ValueError: Another scheme, no host, a bad port, a fragment, credentials, or a character that no URL has.
        """
        if any(not "!" <= character <= "~" for character in url):
            raise ValueError("URL holds a blank, a control character or one beyond ASCII; percent-encode it")
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss", "http", "https"}:
            if "//" not in url:
                raise ValueError(f"URL without a scheme, did you mean ws://{url}")
            raise ValueError(f"URL scheme {parts.scheme!r}, must be ws, wss, http or https")
        if not parts.hostname:
            raise ValueError("URL without a host, must be like wss://host:port/path")
        if parts.username is not None:
            raise ValueError("URL with credentials in it, pass them as api_key or access_token")
        if parts.fragment:
            raise ValueError("URL with a fragment, which a WebSocket has not")
        tls = parts.scheme in {"wss", "https"}
        try:
            given = parts.port
        except ValueError:
            raise ValueError("URL with a bad port, must be a number from 0 to 65535") from None
        port = given if given is not None else (443 if tls else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, port, tls, target)

    @property
    def authority(self) -> str:
        """The ``Host`` header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}"
