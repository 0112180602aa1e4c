"""The tree of errors.

    VoxwireError
    ├── ConnectError                the socket could not be opened
    │   ├── ConnectTimeout          ... within the opening time
    │   └── TlsError                ... because the certificate or the TLS handshake was refused
    ├── ConnectionLost              the socket ended while contexts were live
    ├── AuthenticationError         no valid credential (401)
    ├── PermissionDenied            the credential may not do this (402, 403)
    ├── RateLimited                 too many contexts or sockets (429); ``retry_after_s``
    ├── AdmissionTimeout            no free place among ``max_contexts`` within ``admission_timeout_s``
    ├── InvalidRequest              the server refused a value (other 4xx)
    ├── NotFound                    unknown voice, dictionary or path (404)
    ├── ServerError                 the server failed (5xx)
    ├── ProtocolError               the peer broke the protocol
    ├── ContextEnded                the context was cancelled or interrupted
    ├── ContextExpired              the server ended the context before its own end
    ├── InactivityTimeout           the server owed something and went silent
    ├── SinkError                   something a sink did
    │   ├── FormatRefused · SinkBusy · SinkLost · SinkClosed · DrainTimeout · Unsupported
    ├── EngineError                 something a speech engine did
    └── PluginError                 a plugin is missing, broken, doubled or of another contract version

Attributes come first, the text is made from them. No class derives from the built-in ``TimeoutError`` or
``ConnectionError``: a bare ``TimeoutError`` is always the caller's own. No text holds a key, a transcript or audio.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AdmissionTimeout",
    "AuthenticationError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "ContextEnded",
    "ContextExpired",
    "DrainTimeout",
    "EngineError",
    "FormatRefused",
    "InactivityTimeout",
    "InvalidRequest",
    "NotFound",
    "PermissionDenied",
    "PluginError",
    "ProtocolError",
    "RateLimited",
    "ServerError",
    "SinkBusy",
    "SinkClosed",
    "SinkError",
    "SinkLost",
    "TlsError",
    "Unsupported",
    "VoxwireError",
    "refusal",
]


class VoxwireError(Exception):
    """Root of every error that voxwire raises about something other than the caller's own call.

    Attributes:
        message: What happened, in one lower-case line without a full stop.
        code: Machine-readable code (the server's ``error_code`` or one of ours), or None.
        status: HTTP or event status of the server, or None.
        retryable: True where the same request may succeed later, on a new context.
        context_id: The context that failed, or None where the whole connection did.
        request_id: The server's id of the connection, for its operator's logs, or None.
        record: The record of the failed context, where there was one.
    """

    #: What ``retryable`` is when the raiser does not say.
    default_retryable = False
    #: What ``code`` is when the raiser does not say.
    default_code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        context_id: str | None = None,
        request_id: str | None = None,
        record: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.status = status
        self.retryable = self.default_retryable if retryable is None else retryable
        self.context_id = context_id
        self.request_id = request_id
        self.record = record

    def __str__(self) -> str:
        details = [str(value) for value in (self.status, self.code) if value is not None]
        return f"{self.message} ({', '.join(details)})" if details else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.__dict__))


def _rebuild(kind: type[VoxwireError], message: str, attributes: dict[str, Any]) -> VoxwireError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(attributes)
    return error


class ConnectError(VoxwireError):
    """The socket could not be opened: name lookup, TCP, TLS or the HTTP upgrade failed."""

    default_retryable = True


class ConnectTimeout(ConnectError):
    """The socket was not open within ``connect_timeout_s``, retries included."""


class TlsError(ConnectError):
    """The TLS handshake failed; an untrusted certificate (code ``tls_untrusted``) is never retried."""

    default_retryable = False


class ConnectionLost(VoxwireError):
    """The socket ended (also by a normal close) while this context was live."""

    default_retryable = True
    default_code = "connection_lost"


class AuthenticationError(VoxwireError):
    """No credential was given, or none was valid (401)."""


class PermissionDenied(VoxwireError):
    """The credential is valid but may not do this, or is out of credits (402, 403)."""


class RateLimited(VoxwireError):
    """Too many contexts or sockets (429).

    Attributes:
        retry_after_s: Seconds that the server asked to wait; None when it did not say.
    """

    default_retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.retry_after_s = retry_after_s


class AdmissionTimeout(VoxwireError):
    """No place among ``max_contexts`` became free within ``admission_timeout_s``."""

    default_retryable = True


class InvalidRequest(VoxwireError):
    """The server refused a value of the request (4xx other than those with a class of their own)."""


class NotFound(VoxwireError):
    """The voice, dictionary, model or path does not exist on the server (404)."""


class ServerError(VoxwireError):
    """The server failed or is shutting down (5xx)."""

    default_retryable = True


class ProtocolError(VoxwireError):
    """The peer broke the protocol.

    ``code`` is ``protocol_error`` or ``handshake`` for a connection, ``invalid_message`` or ``invalid_audio`` for a
    context.
    """

    default_code = "protocol_error"


class ContextEnded(VoxwireError):
    """The context was cancelled or interrupted, so it takes no more text."""


class ContextExpired(VoxwireError):
    """The server ended the context before its own end was sent."""

    default_retryable = True
    default_code = "context_expired"


class InactivityTimeout(VoxwireError):
    """The server owed an answer and sent nothing for ``inactivity_timeout_s``."""

    default_retryable = True
    default_code = "inactivity"


class SinkError(VoxwireError):
    """Something that a sink did; the root of the sinks' own tree."""


class FormatRefused(SinkError):
    """The sink can play none of the offered formats exactly."""


class SinkBusy(SinkError):
    """The device or address is in use by somebody else."""

    default_retryable = True


class SinkLost(SinkError):
    """The sink failed while open: disk full, device gone, reader closed.

    Attributes:
        errno: The system's error number, or None.
    """

    def __init__(self, message: str, *, errno: int | None = None, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.errno = errno


class SinkClosed(SinkError):
    """The sink was used after its close."""


class DrainTimeout(SinkError):
    """The sink did not play out what it had taken within its deadline."""


class Unsupported(SinkError):
    """The sink cannot do this, as its capabilities say."""


class EngineError(VoxwireError):
    """Something that a speech engine did; one context fails, never the connection."""


class PluginError(VoxwireError):
    """A plugin is unknown, fails to import, speaks another contract version, or shares its name with another."""


def refusal(status: int, message: str, *, retry_after_s: float | None = None, **attributes: Any) -> VoxwireError:
    """Returns the error for a status with which a server refused a handshake or ended a context.

    Args:
        status: HTTP status or ``status_code`` of an error event.
        message: The server's own words, already free of secrets.
        retry_after_s: Value of ``Retry-After`` in seconds, for 429.
        **attributes: ``code``, ``context_id``, ``request_id``, ``record``.
    """
    if status == 429:
        return RateLimited(message, status=status, retry_after_s=retry_after_s, **attributes)
    kind: type[VoxwireError]
    if status == 401:
        kind = AuthenticationError
    elif status in {402, 403}:
        kind = PermissionDenied
    elif status == 404:
        kind = NotFound
    elif status >= 500:
        kind = ServerError
    else:
        kind = InvalidRequest
    return kind(message, status=status, **attributes)
