"""The command line: ``voxwire say | serve | sinks | engines | voices | bench | trace``. One file a command."""

from __future__ import annotations

import logging
import os
import sys

import click

from voxwire.cli.bench import bench
from voxwire.cli.engines import engines
from voxwire.cli.failure import report
from voxwire.cli.say import say
from voxwire.cli.serve import serve
from voxwire.cli.sinks import sinks
from voxwire.cli.trace import trace
from voxwire.cli.voices import voices
from voxwire.protocol import __version__

__all__ = ["main", "voxwire"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="voxwire")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="What is logged to standard error. Keys, texts and audio never are.",
)
def voxwire(log_level: str) -> None:
    """Speech from a text-to-speech WebSocket to where it is heard."""
    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


for command in (say, serve, sinks, engines, voices, bench, trace):
    voxwire.add_command(command)


def main() -> None:
    """Runs the command line and exits with its status: one line on standard error for a failure."""
    _open_standard_streams()
    try:
        # Not `voxwire.main()`, which writes an empty line of its own for an interrupt.
        with voxwire.make_context("voxwire", sys.argv[1:]) as context:
            status = voxwire.invoke(context)
    except BaseException as error:  # noqa: BLE001 - the one place where every failure becomes a line and a status
        sys.exit(report(error))
    sys.exit(status if isinstance(status, int) else 0)


def _open_standard_streams() -> None:
    """Puts /dev/null where the program was started without one of its three standard streams.

    Else the first file or socket that it opens gets that number and is taken for the stream, and the event loop ends
    the program.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - it has no name there
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - lives as long as the program
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
