"""From what a server answered to the typed error: handshakes, HTTP bodies, error events, closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from voxwire.exceptions import (
    ConnectionLost,
    InactivityTimeout,
    ProtocolError,
    ServerError,
    VoxwireError,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.protocol import Closed, Failed

__all__ = ["closed_error", "failed_error", "http_error"]

_MESSAGE_CHARACTERS = 1000


def http_error(
    status: int,
    body: bytes,
    mask: Callable[[str], str],
    *,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> VoxwireError:
    """Returns the error for an HTTP answer that refuses (protocol.md 9.3: JSON or plain text, by version)."""
    code: str | None = None
    message = ""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = body.decode("utf-8", "replace")
    else:
        if isinstance(fields, dict):
            code = _string(fields.get("error_code"))
            request_id = request_id or _string(fields.get("request_id"))
            parts = [part for part in (_string(fields.get("title")), _string(fields.get("message"))) if part]
            message = ": ".join(parts) or _string(fields.get("error")) or ""
    message = _line(message, mask) or "the server refused the request without saying why"
    return refusal(
        status, message, retry_after_s=retry_after_s, code=_label(code, mask), request_id=_label(request_id, mask)
    )


def failed_error(failed: Failed, mask: Callable[[str], str], **attributes: Any) -> VoxwireError:
    """Returns the error for a context that failed; ``attributes`` are those of every error."""
    message = _line(failed.message, mask)
    code = _label(failed.code, mask)
    if failed.request_id is not None:
        attributes["request_id"] = _label(failed.request_id, mask)
    if failed.side == "local":
        if failed.code == InactivityTimeout.default_code:
            return InactivityTimeout(message, **attributes)
        return ProtocolError(message, code=code, **attributes)
    message = message or "the server ended the context without saying why"
    if failed.status is None:
        return ServerError(message, code=code, **attributes)
    return refusal(failed.status, message, code=code, **attributes)


def closed_error(closed: Closed, mask: Callable[[str], str], **attributes: Any) -> VoxwireError:
    """Returns the error for a context that was live when the connection ended, also by a normal close."""
    if closed.error is not None:
        return ProtocolError(_line(closed.error, mask), **attributes)
    if closed.timed_out == "ping":
        return ConnectionLost("the server answered no ping in time", **attributes)
    reason = _line(closed.reason, mask)
    described = f"the connection ended with close code {closed.code}"
    return ConnectionLost(f"{described}: {reason}" if reason else described, **attributes)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _label(value: str | None, mask: Callable[[str], str]) -> str | None:
    return None if value is None else _line(value, mask)


def _line(text: str, mask: Callable[[str], str]) -> str:
    """One line of bounded length, without control characters and without our secrets."""
    printable = "".join(character if character.isprintable() else " " for character in mask(text)[:_MESSAGE_CHARACTERS])
    # Once more: joined over what was no blank before, or cut, it may be one now.
    return mask(" ".join(printable.split()))
