"""``voxwire voices``: what a server can speak with."""

from __future__ import annotations

from typing import Any

import click
import uvloop

from voxwire.cli.listing import show
from voxwire.cli.options import server_options
from voxwire.client import Client

__all__ = ["voices"]


@click.command()
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def voices(*, url: str | None, api_key: str | None, as_json: bool) -> None:
    """Lists the voices of a server."""
    rows = uvloop.run(_voices(url, api_key))
    show(rows, ("id", "name", "language", "gender", "description"), as_json=as_json)


async def _voices(url: str | None, api_key: str | None) -> list[dict[str, Any]]:
    async with Client(url, api_key=api_key) as client:
        return await client.voices()
