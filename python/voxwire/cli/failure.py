"""What a failure looks like on the command line: one line and an exit status."""

from __future__ import annotations

import errno
import logging
import os
import sys

import click

from voxwire.exceptions import (
    AdmissionTimeout,
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    ContextEnded,
    ContextExpired,
    EngineError,
    InactivityTimeout,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PluginError,
    ProtocolError,
    RateLimited,
    ServerError,
    SinkError,
    VoxwireError,
)

__all__ = ["report"]

INTERNAL = 1
USAGE = 2
CONNECTION = 3
CREDENTIALS = 4
REFUSED = 5
SINK = 6
ENGINE = 7
TIMED_OUT = 8
INTERRUPTED = 130

# Read from the top: a class stands before the ones it derives from.
_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (PluginError, USAGE),
    (InactivityTimeout, TIMED_OUT),
    (AdmissionTimeout, TIMED_OUT),
    (ConnectError, CONNECTION),
    (ConnectionLost, CONNECTION),
    (ProtocolError, CONNECTION),
    (AuthenticationError, CREDENTIALS),
    (PermissionDenied, CREDENTIALS),
    (NotFound, REFUSED),
    (InvalidRequest, REFUSED),
    (RateLimited, REFUSED),
    (ServerError, REFUSED),
    (ContextExpired, REFUSED),
    (ContextEnded, REFUSED),
    (SinkError, SINK),
    (EngineError, ENGINE),
    (ValueError, USAGE),
    (TypeError, USAGE),
    (TimeoutError, TIMED_OUT),
)
#: What standard output answers when it can take no more; all other files are written by sinks, which say so themselves.
_FULL = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
# What the user named and nobody has is the user's to mend, whoever found it.
_USAGE_CODES = frozenset({"voice_not_found", "model_not_found", "language_not_supported", "voice_model_mismatch"})


def report(error: BaseException) -> int:
    """Writes the one line about a failure to standard error and returns the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else INTERNAL
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        _write("interrupted")
        return INTERRUPTED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    if isinstance(error, click.ClickException):
        hint = ""
        if isinstance(error, click.UsageError) and error.ctx is not None:
            hint = f" (see {error.ctx.command_path} --help)"
        message = _line(error.format_message())
        _write(message[:1].lower() + message[1:] + hint)
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _FULL:
        _forget_standard_output()
        _write(f"cannot write to standard output: {(error.strerror or str(error)).lower()}")
        return SINK
    status = _status(error)
    if status is None:
        logging.getLogger("voxwire").debug("internal fault", exc_info=error)
        _write(f"internal fault: {type(error).__name__}: {_line(str(error))} (--log-level debug shows where)")
        return INTERNAL
    _write((_line(str(error)) or type(error).__name__) + _hint(error))
    return status


def _hint(error: BaseException) -> str:
    """What the user of this program can do about a server's refusal, which speaks of the protocol."""
    if isinstance(error, AuthenticationError):
        return ", check --api-key or VOXWIRE_API_KEY"
    if isinstance(error, VoxwireError) and error.code == "voice_not_found":
        return ", voxwire voices shows them"
    return ""


def _status(error: BaseException) -> int | None:
    if isinstance(error, VoxwireError) and error.code is not None:
        if error.code in _USAGE_CODES:
            return USAGE
        if error.code.startswith("engine_"):
            return ENGINE
    return next((status for kind, status in _STATUS if isinstance(error, kind)), None)


def _forget_standard_output() -> None:
    # What is still buffered can go nowhere, and the interpreter's end would complain about it once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _line(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def _write(text: str) -> None:
    try:
        click.echo(f"voxwire: {text}", err=True)
    except OSError:
        # Nobody listens on standard error either; point it elsewhere so that the interpreter's end stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
