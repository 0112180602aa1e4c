"""What the operator decides, with defaults; checked as a whole before anything starts."""

from __future__ import annotations

import ipaddress
from pathlib import Path  # noqa: TC003 - pydantic reads it at run time
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from voxwire.server.languages import normalised

__all__ = ["ConfigurationError", "Settings"]

Port = Annotated[int, Field(ge=0, le=65535)]


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
        concurrency: Contexts at once for each credential; None for no limit.
        queue_wait_s: Longest wait of a context for its place.
        context_expiry_s: Seconds after the last audio at which an open context ends.
        idle_timeout_s: Seconds without messages and contexts at which a socket is closed.
        drain_s: Longest wait for running contexts at a shut-down.
        slow_reader_s: Seconds that a full socket may take nothing before it is closed.
        send_queue_bytes: Unsent bytes of a socket that hold back synthesis.
        allow_origin: Values of ``Origin`` that browsers may connect from; ``*`` for any.
        cancel_done: A cancel is answered with ``done``.
        max_connections: WebSockets at once.
        max_handshakes: Connections at once whose request head has not come yet.
        handshake_timeout_s: Longest time from the accept to the answer of the upgrade, and of an HTTP connection from
            one request to the next.
        context_text_bytes: UTF-8 bytes of text that one context may hold unspoken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Port = 8765
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    engine: str | None = None
    engine_options: dict[str, str] = Field(default_factory=dict)
    api_keys: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), repr=False)
    no_auth: bool = False
    allow_plain: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_port: Port = 8766
    default_voice: str | None = None
    unknown_voice: Literal["error", "default"] = "error"
    voices: dict[str, str] = Field(default_factory=dict)
    models: tuple[str, ...] | None = None
    languages: tuple[Annotated[str, AfterValidator(normalised)], ...] | None = None
    concurrency: PositiveInt | None = None
    queue_wait_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    context_expiry_s: PositiveFloat = 1.0
    idle_timeout_s: PositiveFloat = 300.0
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    slow_reader_s: PositiveFloat = 30.0
    send_queue_bytes: Annotated[int, Field(ge=65_536)] = 4 * 1024 * 1024
    allow_origin: tuple[str, ...] = ()
    cancel_done: bool = False
    max_connections: PositiveInt = 1024
    max_handshakes: PositiveInt = 64
    handshake_timeout_s: PositiveFloat = 5.0
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
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ConfigurationError(f"unknown setting {name!r}") from None
            reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
            reason = reason[:1].lower() + reason[1:]
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


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
