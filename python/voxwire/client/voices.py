"""The list of voices, by HTTP: one small request now and then, in a thread."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from voxwire.client.refusals import http_error
from voxwire.exceptions import ConnectError, ConnectTimeout, NotFound, ProtocolError, TlsError
from voxwire.protocol import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voxwire.client.dialing import Dialer
    from voxwire.client.target import Target

__all__ = ["Voices"]

_PAGE_BYTES = 16 * 1024 * 1024
_PAGES = 1000


class Voices:
    """Asks a server for its voices."""

    def __init__(self, dialer: Dialer, target: Target, timeout_s: float, default_voice: str | None) -> None:
        self._dialer = dialer
        self._target = target
        self._timeout_s = timeout_s
        self._default_voice = default_voice

    async def all(self) -> list[dict[str, Any]]:
        """Returns all voices, as the protocol's objects."""
        return await self._fetch(None)

    async def default(self) -> str:
        """Returns the id of the server's first voice, asked for once: the protocol knows no default."""
        if self._default_voice is None:
            voices = await self._fetch(1)
            voice = voices[0].get("id") if voices else None
            if not isinstance(voice, str):
                raise NotFound("the server lists no voice, name one by its id")
            self._default_voice = voice
        return self._default_voice

    async def _fetch(self, limit: int | None) -> list[dict[str, Any]]:
        base, ssl_context = await self._dialer.http()
        headers, mask, timeout_s = self._target.headers, self._target.mask, self._timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(_fetch_voices, base, headers, ssl_context, timeout_s, mask, limit=limit)
        except TimeoutError:
            raise ConnectTimeout(f"no list of voices within {timeout_s:g} s") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the key to another host; it is an error like any other status."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _fetch_voices(
    base: str,
    headers: Sequence[tuple[str, str]],
    ssl_context: ssl.SSLContext | None,
    timeout_s: float,
    mask: Callable[[str], str],
    *,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Returns the voices of a server (protocol.md 11.3); blocks.

    Args:
        base: HTTP address without ``/voices``.
        headers: Credentials and version.
        ssl_context: For https.
        timeout_s: Seconds for each step of a request.
        mask: Removes secrets from a text.
        limit: At most this many; None for all, page by page.
    """
    # An empty ProxyHandler: no proxy is taken from the environment.
    handlers: list[Any] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if ssl_context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=ssl_context))
    opener = urllib.request.build_opener(*handlers)
    voices: list[dict[str, Any]] = []
    query = f"limit={limit or 100}"
    for _ in range(_PAGES):
        page = _page(opener, f"{base}/voices?{query}", headers, timeout_s, mask)
        data, next_page = page.get("data"), page.get("next_page")
        if not isinstance(data, list) or not all(isinstance(voice, dict) for voice in data):
            raise ProtocolError("the list of voices has another shape than the protocol's", code="invalid_message")
        voices += data
        if limit is not None or not page.get("has_more") or not isinstance(next_page, str):
            break
        query = f"limit=100&starting_after={quote(next_page, safe='')}"
    return voices


def _page(
    opener: urllib.request.OpenerDirector,
    url: str,
    headers: Sequence[tuple[str, str]],
    timeout_s: float,
    mask: Callable[[str], str],
) -> dict[str, Any]:
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - http or https, from a parsed endpoint
    try:
        with opener.open(request, timeout=timeout_s) as response:
            body = response.read(_PAGE_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            kept = error.read(LIMITS["error_body_bytes"])
            retry_after = error.headers.get("Retry-After", "")
            raise http_error(
                error.code,
                kept,
                mask,
                request_id=error.headers.get("X-Request-Id"),
                retry_after_s=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None,
            ) from None
    except (OSError, http.client.HTTPException) as error:
        # The text of a broken answer is the server's, and may hold our key.
        cause = None if isinstance(error, http.client.HTTPException) else error
        raise _network_error(error, f"{request.host}") from cause
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError:
        page = None
    if not isinstance(page, dict):
        raise ProtocolError("the list of voices is no JSON object", code="invalid_message")
    return page


def _network_error(error: Exception, host: str) -> ConnectError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TlsError(f"the certificate of {host} is not trusted: {cause.verify_message}", code="tls_untrusted")
    if isinstance(cause, ssl.SSLError):
        return TlsError(f"TLS with {host} failed: {cause.reason or 'no TLS answer'}")
    if isinstance(cause, TimeoutError):
        return ConnectTimeout(f"{host} did not answer the request for its voices in time")
    detail = cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else "the HTTP answer broke off"
    return ConnectError(f"cannot list the voices of {host}: {detail}")
