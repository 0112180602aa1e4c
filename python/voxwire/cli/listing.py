"""What the listing commands share: a table for people, JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["show"]


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Prints rows as a table of these columns, or all they hold as a JSON array, to standard output."""
    if as_json:
        click.echo(orjson.dumps(list(rows)).decode())
        return
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(soft_wrap=True).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
