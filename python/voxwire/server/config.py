"""What the operator decides, with defaults; checked as a whole before anything starts."""

from __future__ import annotations

import difflib
import ipaddress
from pathlib import Path  # noqa: TC003 - pydantic reads it at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from voxwire.server.languages import normalised
from voxwire.server.speech.dictionaries import DictionaryItem, distinct

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ConfigurationError", "Settings", "first_reason", "resembling"]

Port = Annotated[int, Field(ge=0, le=65535)]
#: A timer that never fires would be none: a day is the longest.
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Name = Annotated[str, Field(min_length=1)]


def _carried(key: str) -> str:
    # A header carries no other key unchanged, so nobody could use it.
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("must be printable ASCII without blanks")
    return key


class ConfigurationError(ValueError):
    """The server refuses to start; the message names the setting."""


class Settings(BaseModel):
    """Settings of a server. Names are those of the configuration file.

    Attributes:
        host: Address to listen on.
        port: TCP port without TLS; 0 for a free one.
        workers: Processes that share the ports; quotas are per process.
        engine: Name of the engine; None for eSpeak where it is installed, else the tone engine.
        engine_options: Options of the engine, by name.
        api_keys: Keys that open the server; none: open, on loopback only.
        no_auth: Open on any address.
        allow_plain: Keys may cross a network without TLS.
        tls_cert: PEM file with the certificate chain; with ``tls_key`` it opens the TLS listener.
        tls_key: PEM file with its key.
        tls_port: TCP port with TLS; 0 for a free one.
        default_voice: Voice for embeddings (old versions), and for unknown ids where ``unknown_voice`` says so; None
            for the engine's own.
        unknown_voice: ``error``, or ``default`` to speak with the default voice.
        voices: Further ids of voices: alias to voice id.
        models: Names of models that are served, ``*`` at the end for any ending; None for the usual ones.
        languages: Languages that are served; None for all of the engine.
        dictionaries: Pronunciation dictionaries: id to entries, each a ``text`` and its ``alias`` or ``pronunciation``.
        concurrency: Contexts at once for each credential; None for no limit.
        queue_wait_s: Longest wait of a context for its place.
        context_expiry_s: Seconds after the last audio at which an open context ends.
        idle_timeout_s: Seconds without messages and contexts at which a socket is closed.
        drain_s: Longest wait for running contexts at a shut-down.
        slow_reader_s: Seconds that a full socket may take nothing before it is closed.
        send_queue_bytes: Unsent bytes of a socket that hold back synthesis.
        allow_origin: Values of ``Origin`` that browsers may connect from; ``*`` for any.
        token_secret: What access tokens are signed with, the same wherever they are to be valid: 8 characters or more,
            better 32 random ones. None for a random one of the process, with which the tokens end too.
        cancel_done: A cancel is answered with ``done``.
        max_connections: WebSockets, and HTTP answers that speak, at once.
        max_handshakes: Connections at once whose request head has not come yet.
        handshake_timeout_s: Longest time from the accept to the answer of the upgrade, and of an HTTP connection from
            one request to the next.
        context_text_bytes: UTF-8 bytes of text that one context may hold unspoken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    host: Name = "127.0.0.1"
    port: Port = 8765
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    engine: Name | None = None
    engine_options: dict[str, str] = Field(default_factory=dict)
    api_keys: tuple[Annotated[Name, AfterValidator(_carried)], ...] = Field(default=(), repr=False)
    no_auth: bool = False
    allow_plain: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_port: Port = 8766
    default_voice: Name | None = None
    unknown_voice: Literal["error", "default"] = "error"
    voices: dict[str, str] = Field(default_factory=dict)
    models: tuple[str, ...] | None = None
    languages: tuple[Annotated[str, AfterValidator(normalised)], ...] | None = None
    dictionaries: dict[Name, Annotated[tuple[DictionaryItem, ...], AfterValidator(distinct)]] = Field(
        default_factory=dict
    )
    concurrency: PositiveInt | None = None
    queue_wait_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    context_expiry_s: Seconds = 1.0
    idle_timeout_s: Seconds = 300.0
    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    slow_reader_s: Seconds = 30.0
    send_queue_bytes: Annotated[int, Field(ge=65_536, le=1024**3)] = 4 * 1024 * 1024
    allow_origin: tuple[str, ...] = ()
    token_secret: Annotated[str, Field(min_length=8)] | None = Field(default=None, repr=False)
    cancel_done: bool = False
    max_connections: PositiveInt = 1024
    max_handshakes: PositiveInt = 64
    handshake_timeout_s: Seconds = 5.0
    context_text_bytes: PositiveInt = 1024 * 1024

    @classmethod
    def make(cls, **values: Any) -> Settings:
        """Makes settings.

        Raises:
            ConfigurationError: A name is unknown, a value is wrong, or together they would be unsafe.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            name, reason = first_reason(error)
            if name and name not in cls.model_fields and name in values:
                raise ConfigurationError(f"unknown setting {name!r}{resembling(name, cls.model_fields)}") from None
            raise ConfigurationError(f"{name}: {reason}" if name else reason) from None

    @property
    def tls(self) -> bool:
        """Whether a TLS listener is opened."""
        return self.tls_cert is not None

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together or not at all")
        for name in ("tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")
        if self.no_auth and self.api_keys:
            raise ValueError("no_auth: contradicts the API keys that are given")
        if not _is_loopback(self.host):
            if not self.api_keys and not self.no_auth:
                raise ValueError(
                    f"listening on {self.host} without an API key lets anybody in: give api_keys, or say no_auth",
                )
            if self.api_keys and not self.tls and not self.allow_plain:
                raise ValueError(
                    f"keys would reach {self.host} in the clear: give tls_cert and tls_key, or say allow_plain",
                )
        return self


def first_reason(error: ValidationError) -> tuple[str, str]:
    """Returns where a value is wrong, like ``voices.anna`` and empty for a whole, and why; it quotes no value."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
    elif first["type"] == "model_type":
        # The library's own words name a class of ours.
        reason = "must be an object"
    else:
        reason = first["msg"].replace("Input should be", "must be")
    return ".".join(str(part) for part in first["loc"]), reason[:1].lower() + reason[1:]


def resembling(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the one that was meant, if one is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
