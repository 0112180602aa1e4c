"""``voxwire serve``: the speech server as a program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from voxwire.cli.sources import CONFIG_VARIABLE, Sources
from voxwire.server import ConfigurationError, run

__all__ = ["serve"]


@click.command
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    metavar="F.toml",
    help="File of settings: the flags with underscores, and more.",
)
@click.option("--host", metavar="ADDRESS", help="Default 127.0.0.1. Another one needs keys, or --no-auth.")
@click.option("--port", type=int, metavar="PORT", help="TCP port without TLS; 0 for a free one. Default 8765.")
@click.option("--workers", type=int, metavar="N", help="Processes that share the port. Default 1.")
@click.option("--engine", metavar="NAME", help="Default espeak where it is installed, else tone.")
@click.option("--engine-option", multiple=True, metavar="K=V", help="An option of the engine.")
@click.option("--api-key", multiple=True, metavar="KEY", help="A key that opens the server; repeatable.")
@click.option("--tls-cert", type=click.Path(), metavar="FILE", help="PEM certificate chain; opens a TLS listener.")
@click.option("--tls-key", type=click.Path(), metavar="FILE", help="PEM key of it.")
@click.option("--tls-port", type=int, metavar="PORT", help="TCP port with TLS. Default 8766.")
@click.option("--default-voice", metavar="ID", help="Voice for embeddings, and for unknown ids where allowed.")
@click.option("--concurrency", type=int, metavar="N", help="Contexts at once for each credential. Default: no limit.")
@click.option("--context-expiry-s", type=float, metavar="S", help="An open context ends so long after its last audio.")
@click.option("--idle-timeout-s", type=float, metavar="S", help="A socket without messages is closed after it.")
@click.option("--drain-s", type=float, metavar="S", help="Longest wait for running contexts at a shut-down.")
@click.option("--allow-origin", multiple=True, metavar="ORIGIN", help="Where browsers may connect from; repeatable.")
@click.option("--cancel-done", is_flag=True, default=None, help="Answer a cancel with done.")
@click.option("--no-auth", is_flag=True, default=None, help="Serve an address other than loopback without keys.")
@click.option("--allow-plain", is_flag=True, default=None, help="Let keys cross a network without TLS.")
def serve(config: Path | None, **flags: Any) -> int:
    """Serves speech until SIGTERM. Prints one line of JSON when it accepts connections.

    Every option is also read from VOXWIRE_SERVE_OPTION and, as a key with underscores, from the TOML file; the flag
    goes before the variable, and the variable before the file. SIGHUP reads keys and voices anew.
    """
    sources = Sources(flags, config, os.environ)
    settings = sources.read()
    try:
        return run(settings, reread=sources.read)
    except ConfigurationError as error:
        raise sources.explained(error) from error
