"""What the server answers in place of speech: one shape for events and HTTP bodies (protocol.md 9)."""

from __future__ import annotations

import orjson

from voxwire.server.versions import STRUCTURED_ERRORS

__all__ = ["Refusal"]


class Refusal(Exception):
    """A request is refused, or a context fails.

    Attributes:
        status: HTTP status, also that of an error event.
        title: What kind of thing is wrong, a few words.
        message: What is wrong and what would be right; quotes nothing of the request.
        code: ``error_code`` (protocol.md 9.2), or None.
        retry_after_s: Whole seconds for ``Retry-After``, or None.
        headers: Further headers of an HTTP answer.
    """

    def __init__(
        self,
        status: int,
        title: str,
        message: str,
        *,
        code: str | None = None,
        retry_after_s: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(f"{title}: {message}")
        self.status = status
        self.title = title
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s
        self.headers = headers

    def http(self, version: str, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
        """Returns headers and body of the HTTP answer, in the form that ``version`` asks for (protocol.md 9.3)."""
        headers = [("X-Request-Id", request_id), *self.headers]
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(self.retry_after_s)))
        if version < STRUCTURED_ERRORS:
            return [*headers, ("Content-Type", "text/plain; charset=utf-8")], str(self).encode()
        return [*headers, ("Content-Type", "application/json")], orjson.dumps(self.members(request_id))

    def members(self, request_id: str) -> dict[str, str | None]:
        """Returns what the JSON body and the error of an event stream say alike."""
        return {
            "error_code": self.code,
            "title": self.title,
            "message": self.message,
            "error": str(self),
            "request_id": request_id,
        }
