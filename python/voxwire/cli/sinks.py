"""``voxwire sinks``: what is installed to hear with."""

from __future__ import annotations

from typing import Any

import click

from voxwire import plugins
from voxwire.cli.listing import show
from voxwire.exceptions import PluginError

__all__ = ["sinks"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def sinks(*, as_json: bool) -> None:
    """Lists the installed sinks: name, version, options, state."""
    rows = [_row(info) for info in plugins.available(plugins.SINKS)]
    show(rows, ("name", "distribution", "version", "options", "state"), as_json=as_json)


def _row(info: plugins.PluginInfo) -> dict[str, Any]:
    row: dict[str, Any] = {"name": info.name, "distribution": info.distribution, "version": info.version}
    try:
        sink = plugins.load(plugins.SINKS, info.name)
    except PluginError as error:
        return row | {"options": [], "state": str(error)}
    probe = sink.probe()
    state = "usable" if probe.usable else f"not usable: {probe.reason}"
    return row | {"options": sorted(sink.options), "state": state}
