"""``voxwire say``: speaks a text into a sink."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import dataclasses
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import click
import orjson
import uvloop
from rich.console import Console
from rich.table import Table

from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, AudioFormat
from voxwire.cli.options import RATIO, SECONDS, server_options
from voxwire.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voxwire.client.record import Record

__all__ = ["say"]


@click.command()
@click.argument("text", required=False)
@click.option("--file", "-f", "text_file", type=click.Path(), metavar="F", help="Speak the text of this file.")
@click.option("--to", metavar="ADDRESS", help="Where it is heard, e.g. file:out.wav. Default: the sound device.")
@click.option("--voice", metavar="ID", help="Voice id. Default: the server's own.")
@click.option("--language", metavar="CODE", help="e.g. en or en-US.")
@click.option("--model", metavar="NAME", help="Model id.")
@click.option("--encoding", type=click.Choice(list(SAMPLE_WIDTHS)), help="Encoding to ask for.")
@click.option("--sample-rate", type=click.Choice([str(rate) for rate in SAMPLE_RATES]), help="Rate in Hz to ask for.")
@click.option("--speed", type=RATIO, metavar="RATIO", help="0.6 to 1.5.")
@click.option("--volume", type=RATIO, metavar="RATIO", help="0.5 to 2.0.")
@click.option("--emotion", metavar="NAME", help="e.g. calm, excited, sad.")
@click.option("--words", is_flag=True, help="Print each word with its times to standard error.")
@server_options
@click.option("--timeout", type=SECONDS, metavar="S", help="Seconds for all of it.")
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
    if text is not None and text_file is not None:
        raise click.UsageError("TEXT and --file were both given, give one")
    source: str | AsyncIterator[str]
    if text_file is not None:
        source = _read(text_file)
    elif text is not None:
        source = text
    else:
        source = _standard_input()
    try:
        async with asyncio.timeout(timeout) as budget, Client(url, api_key=api_key) as client:
            record = await client.say(source, sink=to, **_context_options(options))
    except TimeoutError:
        if budget.expired():
            raise TimeoutError(f"not done within {timeout:g} s") from None
        raise
    _report(record, words=words, as_json=as_json, to_standard_error=to is not None and _is_standard_output(to))


def _context_options(arguments: dict[str, Any]) -> dict[str, Any]:
    options = {key: arguments[key] for key in ("voice", "language", "model") if arguments[key] is not None}
    if arguments["encoding"] is not None or arguments["sample_rate"] is not None:
        default = AudioFormat()
        options["output_format"] = AudioFormat(
            arguments["encoding"] or default.encoding, int(arguments["sample_rate"] or default.sample_rate)
        )
    generation = {key: arguments[key] for key in ("speed", "volume", "emotion") if arguments[key] is not None}
    if generation:
        options["generation_config"] = generation
    return options


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - the name is shown as the user wrote it
            return file.read()
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 at byte {error.start}") from error


async def _standard_input() -> AsyncIterator[str]:
    """Yields what standard input brings, as it comes, cut only between characters."""
    if sys.stdin.isatty():
        click.echo("Type the text; it is spoken as it comes. End it with Ctrl-D.", err=True)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        async for data in _standard_input_bytes():
            if piece := decoder.decode(data):
                yield piece
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is not UTF-8: {error.reason}") from error


async def _standard_input_bytes() -> AsyncIterator[bytes]:
    descriptor = sys.stdin.fileno()
    if not (sys.stdin.isatty() or stat.S_ISFIFO(mode := os.fstat(descriptor).st_mode) or stat.S_ISSOCK(mode)):
        # A file or /dev/null never makes a reader wait, and a loop cannot watch it.
        while data := os.read(descriptor, 65536):
            yield data
        return
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            if not (data := os.read(descriptor, 65536)):
                return
            yield data
    finally:
        loop.remove_reader(descriptor)


def _is_standard_output(address: str) -> bool:
    return address.partition("?")[0].partition(":")[2] == "-"


def _report(record: Record, *, words: bool, as_json: bool, to_standard_error: bool) -> None:
    if words:
        table = Table("word", "start s", "end s", box=None)
        for word in record.words:
            table.add_row(word.text, f"{word.start_s:.3f}", f"{word.end_s:.3f}")
        Console(stderr=True).print(table)
    if as_json:
        line = orjson.dumps(dataclasses.asdict(record), default=str).decode()
        with contextlib.suppress(BrokenPipeError):
            click.echo(line, err=to_standard_error)
    else:
        first = "" if record.first_audio_s is None else f", first audio after {record.first_audio_s * 1000:.0f} ms"
        click.echo(f"spoke {record.audio_s:.2f} s{first}", err=True)
