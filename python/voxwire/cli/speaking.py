"""What the commands that speak share: where the text comes from, what it is spoken with, and for how long."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import click
import orjson

from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, AudioFormat
from voxwire.cli.options import RATIO, SECONDS, server_options
from voxwire.client import Client
from voxwire.sinks import split_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["connected", "context_options", "is_standard_output", "print_json", "speech_options", "text_source"]


def speech_options(to_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds TEXT and every option about speech: ``--file``, ``--to``, ``--voice``, the server's, ``--timeout`` ...

    Args:
        to_help: What ``--to`` says about itself.
    """
    options = (
        click.argument("text", required=False),
        click.option("--file", "-f", "text_file", type=click.Path(), metavar="F", help="Speak the text of this file."),
        click.option("--to", metavar="ADDRESS", help=to_help),
        click.option("--voice", metavar="ID", help="Voice id. Default: the server's own."),
        click.option("--language", metavar="CODE", help="e.g. en or en-US."),
        click.option("--model", metavar="NAME", help="Model id."),
        click.option("--encoding", type=click.Choice(list(SAMPLE_WIDTHS)), help="Encoding to ask for."),
        click.option(
            "--sample-rate", type=click.Choice([str(rate) for rate in SAMPLE_RATES]), help="Rate in Hz to ask for."
        ),
        click.option("--speed", type=RATIO, metavar="RATIO", help="0.6 to 1.5."),
        click.option("--volume", type=RATIO, metavar="RATIO", help="0.5 to 2.0."),
        click.option("--emotion", metavar="NAME", help="e.g. calm, excited, sad."),
        server_options,
        click.option("--timeout", type=SECONDS, metavar="S", help="Seconds for all of it."),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def text_source(text: str | None, text_file: str | None) -> str | AsyncIterator[str]:
    """Returns the text to speak: the argument, what the file holds, or standard input as it comes.

    Raises:
        click.UsageError: Both were given, or the file cannot be read.
    """
    if text is not None and text_file is not None:
        raise click.UsageError("TEXT and --file were both given, give one")
    if text_file is not None:
        return _read(text_file)
    return _standard_input() if text is None else text


def context_options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a context that :func:`speech_options` have read."""
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


@contextlib.asynccontextmanager
async def connected(
    url: str | None,
    api_key: str | None,
    timeout: float | None,  # noqa: ASYNC109 - the user's own bound on the whole command
) -> AsyncIterator[Client]:
    """Gives a client, for at most so many seconds.

    Raises:
        TimeoutError: They are over.
    """
    try:
        async with asyncio.timeout(timeout) as budget, Client(url, api_key=api_key) as client:
            yield client
    except TimeoutError:
        if budget.expired():
            raise TimeoutError(f"not done within {timeout:g} s") from None
        raise


def is_standard_output(address: str | None) -> bool:
    """The sink of this address is standard output, by whatever name; asked before anything is written there."""
    if address is None:
        return False
    try:
        _, target, _ = split_address(address)
    except ValueError:
        # Whoever opens it says what is wrong.
        return False
    if target == "-":
        return True
    try:
        there, output = os.stat(target), os.fstat(1)  # noqa: PTH116 - beside a descriptor
    except (OSError, ValueError):
        return False
    # Of a device that forgets everything there is one for all.
    return os.path.samestat(there, output) and target != os.devnull


def print_json(value: Any, *, to_standard_error: bool) -> None:
    """Prints a dataclass as one line of JSON."""
    line = orjson.dumps(value, default=str).decode()
    with contextlib.suppress(BrokenPipeError):
        click.echo(line, err=to_standard_error)


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
