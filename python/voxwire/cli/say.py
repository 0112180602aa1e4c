"""``voxwire say``: speaks a text into a sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import uvloop
from rich.console import Console
from rich.table import Table

from voxwire.cli.speaking import (
    connected,
    context_options,
    is_standard_output,
    print_json,
    speech_options,
    text_source,
)

if TYPE_CHECKING:
    from voxwire.client.record import Record

__all__ = ["say"]


@click.command()
@speech_options("Where it is heard, e.g. file:out.wav. Default: the sound device.")
@click.option("--words", is_flag=True, help="Print each word with its times to standard error.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as one line of JSON.")
def say(**arguments: Any) -> None:
    """Speaks TEXT, a file, or standard input as it comes."""
    uvloop.run(_say(**arguments))


async def _say(
    *,
    text: str | None,
    text_file: str | None,
    to: str | None,
    words: bool,
    url: str | None,
    api_key: str | None,
    timeout: float | None,  # noqa: ASYNC109 - the user's own bound on the whole command
    as_json: bool,
    **options: Any,
) -> None:
    source = text_source(text, text_file)
    to_standard_error = is_standard_output(to)
    async with connected(url, api_key, timeout) as client:
        record = await client.say(source, sink=to, **context_options(options))
    _report(record, words=words, as_json=as_json, to_standard_error=to_standard_error)


def _report(record: Record, *, words: bool, as_json: bool, to_standard_error: bool) -> None:
    if words:
        table = Table("word", "start s", "end s", box=None)
        for word in record.words:
            table.add_row(word.text, f"{word.start_s:.3f}", f"{word.end_s:.3f}")
        Console(stderr=True).print(table)
    if as_json:
        print_json(record, to_standard_error=to_standard_error)
    else:
        first = "" if record.first_audio_s is None else f", first audio after {record.first_audio_s * 1000:.0f} ms"
        click.echo(f"spoke {record.audio_s:.2f} s{first}", err=True)
