"""What options of several commands share: numbers that are numbers, and where the server is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RATIO", "SECONDS", "Finite", "server_options"]


class Finite(click.FloatRange):
    """A range of numbers without "nan" and "inf", which compare with nothing and mean nothing on the wire."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parses the text of an option."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Ratio(Finite):
    """A number whose range the server knows, so that the help names none of its own."""

    def _describe_range(self) -> str:
        return ""


RATIO = Ratio()
SECONDS = Finite(min=0, min_open=True)


def _given(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    # An empty variable of a script would otherwise lead, silently, to another server than the one that was meant.
    if value == "":
        raise click.BadParameter("is empty, give a URL or leave it out", ctx=context, param=parameter)
    return value


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--url`` and ``--api-key``."""
    key = click.option("--api-key", metavar="KEY", help="Default: VOXWIRE_API_KEY.")
    url = click.option(
        "--url", metavar="URL", callback=_given, help="Server. Default: VOXWIRE_URL, else one inside this process."
    )
    return url(key(command))
