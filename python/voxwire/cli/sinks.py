"""``voxwire sinks``: what is installed to hear with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
import orjson

from voxwire import plugins
from voxwire.cli.listing import broken, show
from voxwire.exceptions import PluginError
from voxwire.guard import Blocked, call_once
from voxwire.sinks import Probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voxwire.sinks import Option

__all__ = ["sinks"]

_PATIENCE_S = 5.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def sinks(*, as_json: bool) -> None:
    """Lists the installed sinks, their state, and the options of their addresses."""
    rows = [_row(info) for info in plugins.available(plugins.SINKS)]
    show(rows, ("name", "distribution", "version", "state"), as_json=as_json)
    options = [_option_row(row["name"], name, option) for row in rows for name, option in row["options"].items()]
    if options and not as_json:
        click.echo()
        show(options, ("sink", "option", "default", "help"), as_json=False)


def _option_row(sink: str, name: str, option: dict[str, Any]) -> dict[str, Any]:
    default = option["default"]
    # A switch is 0 or 1 in an address.
    written = int(default) if isinstance(default, bool) else default
    return {"sink": sink, "option": name, "default": written, "help": option["help"]}


def _row(info: plugins.PluginInfo) -> dict[str, Any]:
    """One row; whatever the sink does, it hides no other."""
    row: dict[str, Any] = {"name": info.name, "distribution": info.distribution, "version": info.version, "options": {}}
    try:
        outcome = call_once(partial(_look_at, info.name), _PATIENCE_S, f"look at sink {info.name}")
    except Blocked:
        return row | {"state": f"broken: no answer within {_PATIENCE_S:g} s"}
    if isinstance(outcome.error, PluginError):
        return row | {"state": " ".join(str(outcome.error).split())}
    return row | (outcome.result if outcome.error is None else {"state": broken(outcome.error)})


def _look_at(name: str) -> dict[str, Any]:
    sink = plugins.load(plugins.SINKS, name)
    return {"options": _described(sink.options), "state": _state(sink.probe())}


def _described(options: Mapping[str, Option]) -> dict[str, dict[str, Any]]:
    return {
        name: {"default": _plain(option.default), "help": _plain(option.help)}
        for name, option in sorted(options.items())
    }


def _plain(value: Any) -> Any:
    """The value, or its text where JSON cannot say it."""
    try:
        orjson.dumps(value)
    except TypeError:
        return ascii(value)
    return value


def _state(probe: Probe) -> str:
    if not isinstance(probe, Probe):
        raise TypeError(f"probe() gave {type(probe).__name__}, must be a Probe")
    return "usable" if probe.usable else f"not usable: {probe.reason}"
