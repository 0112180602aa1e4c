"""What the listing commands share: a table for people, JSON for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["broken", "show"]

#: Wide enough for any row: what is not a terminal is read by programs, a line a row.
_UNFOLDED = 100_000


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Prints rows as a table of these columns, or all they hold as a JSON array, to standard output."""
    if as_json:
        click.echo(orjson.dumps(list(rows)).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        # What the row is called by is never shortened: it is there to be copied.
        widest = max((len(_cell(row.get(column))) for row in rows), default=0) if number == 0 else None
        table.add_column(column, min_width=widest, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console(width=None if sys.stdout.isatty() else _UNFOLDED).print(table)


def broken(error: BaseException) -> str:
    """Says as the state of a plugin that it raised what its contract does not know."""
    return " ".join(f"broken: {type(error).__name__}: {error}".split())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
