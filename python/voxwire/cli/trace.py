"""``voxwire trace``: speaks a text as ``say`` does, and shows when what of it came and was heard."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxwire.cli.options import Finite
from voxwire.cli.speaking import (
    connected,
    context_options,
    is_standard_output,
    print_json,
    speech_options,
    text_source,
)
from voxwire.exceptions import PluginError, SinkError, VoxwireError
from voxwire.playback import default_address, open_sink
from voxwire.trace import Recorder, SilentListener, speak
from voxwire.trace.wording import counted, moment_name
from voxwire.transport import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.trace import Trace

__all__ = ["trace"]

Kind = Literal["png", "svg"]
_KINDS: dict[str, Kind] = {".png": "png", ".svg": "svg"}

_LISTENER = "a silent listener"
_UNFOLDED = 100_000
_STATES = {"heard": "", "half_heard": ", half heard", "unheard": ", not heard"}


def _picture(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuses, before anything is spoken, what could not be drawn afterwards."""
    if value is None:
        return None
    path = Path(value)
    if path.suffix.lower() not in _KINDS:
        raise click.BadParameter(f"{value!r} must end in {' or '.join(_KINDS)}", ctx=context, param=parameter)
    if not path.parent.is_dir():
        raise click.BadParameter(f"folder {str(path.parent)!r} does not exist", ctx=context, param=parameter)
    return value


@click.command()
@speech_options("Where it is heard. Default: the sound device, else a silent listener in real time.")
@click.option(
    "--interrupt-at",
    type=Finite(min=0),
    metavar="S",
    help="Interrupt it so many seconds after the first sound.",
)
@click.option("--plot", callback=_picture, metavar="F", help="Draw it into F, a .png or .svg; needs voxwire[plot].")
@click.option("--json", "as_json", is_flag=True, help="Print all that was seen as one line of JSON.")
def trace(*, plot: str | None, as_json: bool, **arguments: Any) -> None:
    """Speaks TEXT, a file, or standard input as it comes, and shows what happened when.

    The times are seconds from the first push: text going, audio arriving, the buffer, words as they are heard. A sink
    that takes all at once, such as null:, has no buffer to look at; file:out.wav?realtime=1 has.
    """
    draw = None if plot is None else _drawing()
    to_standard_error = is_standard_output(arguments["to"])
    seen, failure = uvloop.run(_trace(**arguments))
    try:
        # Of a failure, one line is told; but how it came to it can be looked at, where there is anything to see.
        if seen is not None and (failure is None or seen.arrivals):
            if as_json:
                print_json(seen, to_standard_error=to_standard_error)
            elif failure is None or isinstance(failure, KeyboardInterrupt):
                _show(seen)
            if plot is not None and draw is not None:
                _write(plot, draw(seen, _KINDS[Path(plot).suffix.lower()]))
    finally:
        # It goes before whatever keeps it from being shown.
        if failure is not None:
            raise failure


async def _trace(
    *,
    text: str | None,
    text_file: str | None,
    to: str | None,
    url: str | None,
    api_key: str | None,
    timeout: float | None,  # noqa: ASYNC109 - the user's own bound on the whole command
    interrupt_at: float | None,
    **options: Any,
) -> tuple[Trace | None, BaseException | None]:
    """Returns what was seen, if anything was, and how it failed, if it did."""
    source = text_source(text, text_file)
    address = to if to is not None else _sound_device()
    recorder = Recorder()
    output = open_sink(SilentListener() if address is None else address)
    failure: BaseException | None = None
    try:
        async with connected(url, api_key, timeout) as client, output:
            await speak(client, source, output, recorder, interrupt_at_s=interrupt_at, **context_options(options))
    except (VoxwireError, TimeoutError) as error:
        failure = error
    except asyncio.CancelledError:
        # By the user, who has seen enough and wants to look at it.
        failure = KeyboardInterrupt()
    if not recorder.began:
        return None, failure
    seen = recorder.trace(
        server=_server(url),
        # Options may hold secrets.
        sink=_LISTENER if address is None else address.partition("?")[0],
        voice=options["voice"],
        paced=output.capabilities.clock != "none",
    )
    return seen, failure


def _sound_device() -> str | None:
    try:
        return default_address()
    except (PluginError, SinkError):
        return None


def _server(url: str | None) -> str:
    """The name of the server: neither path nor query, which may hold secrets."""
    url = url or os.environ.get("VOXWIRE_URL") or "embedded:"
    return url.removesuffix(":") if url.startswith("embedded:") else str(Endpoint.parse(url))


def _drawing() -> Callable[[Trace, Kind], bytes]:
    # That it builds a cache of fonts, or cannot keep one, is no news for who wants a picture.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from voxwire.trace.plot import draw  # noqa: PLC0415 - it is slow to import, and most installations lack it
    except ImportError as error:
        raise click.UsageError(
            f"--plot needs {error.name or 'matplotlib'}, try: pip install 'voxwire[plot]'"
        ) from error
    return draw


def _write(path: str, picture: bytes) -> None:
    try:
        Path(path).write_bytes(picture)
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _show(seen: Trace) -> None:
    """Prints what happened, in order, to standard error: standard output may be the sink."""
    lines = [(push.time_s, f"text, {counted(push.characters, 'character')}") for push in seen.pushes]
    lines += [(moment.time_s, moment_name(moment.name)) for moment in seen.moments]
    lines += [(gap.end_s, f"audio came {1000 * (gap.end_s - gap.start_s):.0f} ms late") for gap in seen.stalls]
    lines += [(time_s, "underrun") for time_s in seen.underruns]
    for word in seen.words:
        if word.from_s is not None:
            lines.append((word.from_s, f"  {word.text}{_STATES[word.state]}"))
    table = Table("at s", "", box=None, pad_edge=False)
    for time_s, line in sorted(lines, key=lambda item: item[0]):
        table.add_row(f"{time_s:.3f}", Text(line))
    # A line is a line where it is not a terminal that reads it.
    Console(stderr=True, width=None if sys.stderr.isatty() else _UNFOLDED).print(table)
    click.echo(_summary(seen), err=True)


def _summary(seen: Trace) -> str:
    record = seen.record
    parts = [f"received {record.audio_s:.2f} s in {counted(len(seen.arrivals), 'piece')}"]
    if seen.readings:
        parts.append(f"played {seen.readings[-1].played / seen.format.sample_rate:.2f} s into {seen.sink}")
    unheard = sum(word.state == "unheard" for word in seen.words)
    if unheard:
        parts.append(f"{counted(unheard, 'word')} not heard")
    parts.append(counted(record.stalls, "stall"))
    if seen.paced:
        parts.append(counted(record.underruns, "underrun"))
    return ", ".join(parts)
