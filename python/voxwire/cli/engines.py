"""``voxwire engines``: what is installed to speak with."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import uvloop

from voxwire import plugins
from voxwire.cli.listing import broken, show
from voxwire.exceptions import EngineError, PluginError

__all__ = ["engines"]

_START_S = 15.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def engines(*, as_json: bool) -> None:
    """Lists the installed speech engines and their state."""
    rows = uvloop.run(_rows())
    show(rows, ("name", "distribution", "version", "sample_rate", "languages", "voices", "state"), as_json=as_json)


async def _rows() -> list[dict[str, Any]]:
    return [await _row(info) for info in plugins.available(plugins.ENGINES)]


async def _row(info: plugins.PluginInfo) -> dict[str, Any]:
    row: dict[str, Any] = {"name": info.name, "distribution": info.distribution, "version": info.version}
    try:
        async with asyncio.timeout(_START_S):
            return row | await _describe(plugins.load(plugins.ENGINES, info.name))
    except (PluginError, EngineError) as error:
        state = str(error)
    except TimeoutError:
        state = f"not started within {_START_S:g} s"
    except BaseException as error:
        # One broken engine hides no other.
        if not plugins.foreign(error):
            raise
        state = broken(error)
    return row | {"languages": [], "state": state}


async def _describe(plugin: type[Any]) -> dict[str, Any]:
    engine = plugin()
    await engine.start({})
    try:
        return {
            "sample_rate": engine.info.sample_rate,
            "languages": list(engine.info.languages),
            "voices": len(engine.voices()),
            "state": "usable",
        }
    finally:
        await engine.stop()
