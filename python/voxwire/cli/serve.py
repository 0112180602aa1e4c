"""``voxwire serve``: the speech server as a program."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from voxwire.server import ConfigurationError, Settings, run

__all__ = ["serve"]

# Options that are given more than once, or as pairs, have names of their own in the settings.
_SETTING_NAMES = {"api_key": "api_keys", "engine_option": "engine_options"}


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(value.partition("=")[::2] for value in values)
    if len(pairs) != len(values) or not all("=" in value for value in values):
        raise click.BadParameter("must be K=V, each K once", ctx=context, param=parameter)
    return pairs


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(
            f"cannot read {path}: {(error.strerror or str(error)).lower()}", ctx=context, param=parameter
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}", ctx=context, param=parameter) from error
    flags = {option.name for option in context.command.params}
    for option in context.command.params:
        if isinstance(option, click.Option) and option.multiple and option.name in values:
            values[option.name] = _several(values[option.name], f"{path}: {option.name}", context, parameter)
    # What is also a flag comes after the flag and the environment; the rest goes to the settings as it is.
    context.obj = {key: value for key, value in values.items() if key not in flags}
    context.default_map = {key: value for key, value in values.items() if key in flags}


def _several(value: Any, name: str, context: click.Context, parameter: click.Parameter) -> list[str]:
    """What a repeatable option may be in the file: one text, a list of them, or a table of ``K = V``."""
    if isinstance(value, dict):
        return [f"{key}={item}" for key, item in value.items()]
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(item, str) for item in several):
        raise click.BadParameter(f"{name} must be text or a list of texts", ctx=context, param=parameter)
    return several


@click.command(context_settings={"auto_envvar_prefix": "VOXWIRE_SERVE"})
@click.option(
    "--config",
    type=click.Path(),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    metavar="F.toml",
    help="File of settings: the flags with underscores, and more.",
)
@click.option("--host", metavar="ADDRESS", help="Default 127.0.0.1. Another one needs keys, or --no-auth.")
@click.option("--port", type=int, metavar="PORT", help="TCP port without TLS; 0 for a free one. Default 8765.")
@click.option("--workers", type=int, metavar="N", help="Processes that share the port. Default 1.")
@click.option("--engine", metavar="NAME", help="Default espeak where it is installed, else tone.")
@click.option("--engine-option", multiple=True, callback=_pairs, metavar="K=V", help="An option of the engine.")
@click.option("--api-key", multiple=True, metavar="KEY", help="A key that opens the server; repeatable.")
@click.option("--tls-cert", type=click.Path(), metavar="FILE", help="PEM certificate chain; opens a TLS listener.")
@click.option("--tls-key", type=click.Path(), metavar="FILE", help="PEM key of it.")
@click.option("--tls-port", type=int, metavar="PORT", help="TCP port with TLS. Default 8766.")
@click.option("--default-voice", metavar="ID", help="Voice for embeddings, and for unknown ids where allowed.")
@click.option("--concurrency", type=int, metavar="N", help="Contexts at once for each credential. Default: no limit.")
@click.option("--context-expiry-s", type=float, metavar="S", help="An open context ends so long after its last audio.")
@click.option("--idle-timeout-s", type=float, metavar="S", help="A socket without messages is closed after it.")
@click.option("--drain-s", type=float, metavar="S", help="Longest wait for running contexts at a shut-down.")
@click.option("--allow-origin", multiple=True, metavar="ORIGIN", help="Where browsers may connect from; repeatable.")
@click.option("--cancel-done", is_flag=True, default=None, help="Answer a cancel with done.")
@click.option("--no-auth", is_flag=True, default=None, help="Serve an address other than loopback without keys.")
@click.option("--allow-plain", is_flag=True, default=None, help="Let keys cross a network without TLS.")
@click.pass_context
def serve(context: click.Context, /, **flags: Any) -> int:
    """Serves speech until SIGTERM. Prints one line of JSON when it accepts connections.

    Every option is also read from VOXWIRE_SERVE_OPTION and, as a key with underscores, from the TOML file. SIGHUP reads
    keys and voices anew.
    """
    try:
        settings = _settings(context.obj or {}, flags)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    arguments = sys.argv[sys.argv.index("serve") + 1 :]

    def reread() -> Settings:
        try:
            anew = serve.make_context("serve", list(arguments))
            return _settings(anew.obj or {}, anew.params)
        except click.ClickException as error:
            raise ConfigurationError(error.format_message()) from None

    try:
        return run(settings, reread=reread)
    except ConfigurationError as error:
        raise ConfigurationError(_in_flags(str(error), flags)) from error


def _settings(further: dict[str, Any], flags: dict[str, Any]) -> Settings:
    values = {_SETTING_NAMES.get(name, name): value for name, value in flags.items() if value not in (None, (), {})}
    if clash := sorted(set(_SETTING_NAMES.values()) & further.keys()):
        raise ConfigurationError(f"unknown key {clash[0]!r} in the configuration file")
    try:
        return Settings.make(**further | values)
    except ConfigurationError as error:
        raise ConfigurationError(_in_flags(str(error), flags)) from None


def _in_flags(message: str, flags: dict[str, Any]) -> str:
    """Names each setting as it is written on the command line."""
    for name in flags:
        setting = _SETTING_NAMES.get(name, name)
        # A setting like ``engine`` is also a word of the language: only at the start is it the setting.
        pattern = rf"\b{setting}\b" if "_" in setting else rf"^{setting}(?=:)"
        message = re.sub(pattern, f"--{name.replace('_', '-')}", message)
    return message
