"""``voxwire sinks``: what is installed to hear with."""

from __future__ import annotations

from typing import Any

import click

from voxwire import plugins
from voxwire.cli.listing import broken, show
from voxwire.exceptions import PluginError
from voxwire.sinks import Probe

__all__ = ["sinks"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def sinks(*, as_json: bool) -> None:
    """Lists the installed sinks and their state."""
    rows = [_row(info) for info in plugins.available(plugins.SINKS)]
    show(rows, ("name", "distribution", "version", "options", "state"), as_json=as_json)


def _row(info: plugins.PluginInfo) -> dict[str, Any]:
    row: dict[str, Any] = {"name": info.name, "distribution": info.distribution, "version": info.version}
    try:
        sink = plugins.load(plugins.SINKS, info.name)
    except PluginError as error:
        return row | {"options": [], "state": str(error)}
    try:
        return row | {"options": sorted(sink.options), "state": _state(sink.probe())}
    except BaseException as error:
        # One broken sink hides no other.
        if not plugins.foreign(error):
            raise
        return row | {"options": [], "state": broken(error)}


def _state(probe: Probe) -> str:
    if not isinstance(probe, Probe):
        raise TypeError(f"probe() gave {type(probe).__name__}, must be a Probe")
    return "usable" if probe.usable else f"not usable: {probe.reason}"
