"""``voxwire bench``: what this machine carries."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import click
import orjson
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from voxwire.bench.figures import Conversion, Paced, Saturated, Served, Timing
from voxwire.cli.options import Finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from voxwire.bench.figures import Row
    from voxwire.bench.suite import Report

__all__ = ["bench"]

_TITLES = {
    Saturated: "Receiving bursts, CPU per message; messages and PCM per second",
    Paced: "Receiving calls in real time, 20 ms of mu-law in each message, CPU per message",
    Conversion: "Converting in chunks of 20 ms, CPU per sample that goes in",
    Served: "Serving talkers in real time, tone engine, CPU per second of audio",
}


@click.command()
@click.option(
    "--seconds",
    type=Finite(1, 120),
    default=20,
    show_default=True,
    metavar="S",
    help="How long to measure, 1 to 120; starting and ending comes on top.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(*, seconds: float, as_json: bool) -> None:
    """Measures what this machine carries: receiving, converting, serving.

    Nothing but this program is needed, and no network but loopback. Every answer is checked before its time counts.
    For figures that hold, let the machine do nothing else.
    """
    from voxwire.bench.suite import measure  # noqa: PLC0415 - it brings the server along, which no other command needs

    with _progress(seconds) as progress:
        report = uvloop.run(measure(seconds, progress))
    if as_json:
        click.echo(orjson.dumps(dataclasses.asdict(report)).decode())
    else:
        _show(report)


@contextlib.contextmanager
def _progress(seconds: float) -> Iterator[Callable[[str, float], None]]:
    """Shows on a terminal what is measured; drawn between two measurements, since a thread would cost CPU in them."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=seconds)

        def update(title: str, over_s: float) -> None:
            bar.update(task, description=title, completed=over_s, refresh=True)

        yield update


def _show(report: Report) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    machine = report.machine
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    console.print(
        f"voxwire {report.version} on {machine['processor']}, {cores}, {machine['system']}, Python {machine['python']}"
    )
    for number, (kind, title) in enumerate(_TITLES.items()):
        console.print()
        console.print(title, style="bold")
        table = Table(box=None, pad_edge=False, show_header=number == 0, header_style="dim")
        table.add_column("", width=30)
        table.add_column("median", justify="right", width=9)
        table.add_column("minimum", justify="right", width=9)
        table.add_column("one core carries", no_wrap=True)
        for row in report.rows:
            if isinstance(row, kind):
                table.add_row(*map(Text, _cells(row)))
        console.print(table)
    for sentence in report.summary:
        console.print()
        console.print(sentence)


def _cells(row: Row) -> tuple[str, str, str, str]:
    match row:
        case Saturated():
            case = f"  {row.chunk_bytes:5} B, {row.way}"
            carries = f"{row.messages_per_s:,}/s, {row.pcm_megabytes_per_s:,.0f} MB/s"
            return (case, *_timing(row.cpu_us_per_message, "us"), carries)
        case Paced():
            case = f"  {row.calls:,} calls, {row.connections} connections"
            return (case, *_timing(row.cpu_us_per_message, "us"), f"{row.calls_per_core:,} calls")
        case Conversion():
            return (f"  {row.name}", *_timing(row.cpu_ns_per_sample, "ns"), f"{row.streams_per_core:,} streams")
        case Served():
            case = f"  {row.talkers} talkers"
            return (case, *_timing(row.cpu_ms_per_audio_s, "ms"), f"{row.talkers_per_core:,} talkers")


def _timing(timing: Timing, unit: str) -> tuple[str, str]:
    return f"{timing.median:.2f} {unit}", f"{timing.minimum:.2f} {unit}"
