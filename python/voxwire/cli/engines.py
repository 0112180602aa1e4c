"""``voxwire engines``: what is installed to speak with."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import uvloop

from voxwire import plugins
from voxwire.cli.listing import show
from voxwire.exceptions import EngineError, PluginError

__all__ = ["engines"]

_START_S = 15.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def engines(*, as_json: bool) -> None:
    """Lists the installed speech engines: name, version, languages, state."""
    rows = uvloop.run(_rows())
    show(rows, ("name", "distribution", "version", "sample_rate", "languages", "voices", "state"), as_json=as_json)


async def _rows() -> list[dict[str, Any]]:
    return [await _row(info) for info in plugins.available(plugins.ENGINES)]


async def _row(info: plugins.PluginInfo) -> dict[str, Any]:
    row: dict[str, Any] = {"name": info.name, "distribution": info.distribution, "version": info.version}
    try:
        engine = plugins.load(plugins.ENGINES, info.name)()
        async with asyncio.timeout(_START_S):
            await engine.start({})
    except (PluginError, EngineError, TimeoutError) as error:
        return row | {"languages": [], "state": str(error) or f"not started within {_START_S:g} s"}
    try:
        return row | {
            "sample_rate": engine.info.sample_rate,
            "languages": list(engine.info.languages),
            "voices": len(engine.voices()),
            "state": "usable",
        }
    finally:
        await engine.stop()
