"""All measurements, one after the other, and what they say in plain words."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxwire.bench.cadence import measure_cadence
from voxwire.bench.converting import RESAMPLING, measure_converting
from voxwire.bench.figures import Conversion, Paced, Row, Saturated, Served
from voxwire.bench.machine import Cores, describe
from voxwire.bench.receiving import measure_receiving
from voxwire.bench.talking import measure_talking
from voxwire.protocol import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Report", "measure", "summarise"]

# What each measurement gets of the time.
_RECEIVING = 0.45
_CADENCE = 0.25
_CONVERTING = 0.06
_TALKING = 0.24

#: Whatever a machine does: so much longer than it was told, all of it is given up.
_SLOWNESS = 4
_SET_UP_S = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        version: Of voxwire.
        date: When it began, ISO 8601 in UTC.
        machine: ``processor``, ``cores``, ``pinned``, ``system``, ``python``.
        seconds: How long it was to measure.
        rows: The figures.
        summary: What they mean, and what was not measured, a sentence each.
    """

    version: str
    date: str
    machine: dict[str, Any]
    seconds: float
    rows: list[Row]
    summary: list[str]


async def measure(seconds: float, progress: Callable[[str, float], None]) -> Report:
    """Measures everything.

    Args:
        seconds: How long to measure, about; starting and ending the processes comes on top.
        progress: Told after each step what is measured and how many of the seconds are over.

    Raises:
        TimeoutError: It took several times as long.
        ConnectError: A process of the load could not be started.
        ConnectionLost: One ended.
        RuntimeError: An answer was wrong.
    """
    begun = dt.datetime.now(dt.UTC)
    cores = Cores.choose()
    over_s = 0.0

    def enter(title: str, share: float) -> tuple[float, Cores, Callable[[float], None]]:
        nonlocal over_s
        before_s, over_s = over_s, over_s + seconds * share
        progress(title, before_s)
        return seconds * share, cores, lambda done_s: progress(title, before_s + done_s)

    limit_s = _SLOWNESS * seconds + _SET_UP_S
    try:
        async with asyncio.timeout(limit_s) as limit:
            rows: list[Row] = [*await measure_receiving(*enter("receiving bursts", _RECEIVING))]
            rows.append(await measure_cadence(*enter("receiving calls in real time", _CADENCE)))
            rows += await measure_converting(*enter("converting", _CONVERTING))
            rows.append(await measure_talking(*enter("serving talkers in real time", _TALKING)))
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"not done within {limit_s:g} s") from None
        raise
    return Report(
        version=__version__,
        date=begun.isoformat(timespec="seconds"),
        machine=describe(cores),
        seconds=seconds,
        rows=rows,
        summary=summarise(rows, cores),
    )


def summarise(rows: Sequence[Row], cores: Cores) -> list[str]:
    """Returns what the figures mean and what was not measured, a sentence each.

    Calls come from the figures at the cadence of speech: those of bursts say nothing about them.
    """
    return [*(sentence for row in rows for sentence in _sentences(row)), *_caveats(cores)]


@functools.singledispatch
def _sentences(row: Row) -> list[str]:
    """Returns what a row means for its reader."""
    raise AssertionError(f"no words for {type(row).__name__}")


@_sentences.register
def _(row: Saturated) -> list[str]:  # noqa: ARG001 - what a burst costs says nothing about calls
    return []


@_sentences.register
def _(row: Paced) -> list[str]:
    culprit = "the process that sends them" if row.limited_by == "load" else "the receiver"
    tried = " and ".join(f"{calls:,}" for calls in row.refused)
    if not row.held:
        return [f"No figure for calls in real time: {culprit} fell behind with {tried} and with {row.calls:,} of them."]
    found = (
        f"One core of this machine has time for about {_about(row.calls_per_core)} calls of 20 ms mu-law in real time: "
        f"{row.calls:,} at once took {row.cpu_share:.0%} of a core in this run, with the samples in hand "
        f"{row.latency_us_median / 1000:.2g} ms after they were sent in the median and "
        f"{row.latency_us_p99 / 1000:.2g} ms in 99 of 100."
    )
    return [found, f"With {tried} calls, which were tried before, {culprit} fell behind."] if tried else [found]


@_sentences.register
def _(row: Conversion) -> list[str]:
    if row.name != RESAMPLING:
        return []
    return [f"One core converts about {_about(row.streams_per_core)} streams from {row.name} in real time."]


@_sentences.register
def _(row: Served) -> list[str]:
    found = (
        f"One core carries a server with about {_about(row.talkers_per_core)} talkers in real time, s16 at 24 kHz from "
        f"the tone engine: {row.talkers} talked in this run."
    )
    return [found] if row.held else [found, "They fell behind the speed of speech: the machine had no time left."]


def _caveats(cores: Cores) -> list[str]:
    found = [
        "Calls are computed from the cost at the cadence of speech, never from that of a burst, which is far lower.",
        "Not measured: TLS, a network card (on loopback a part of receiving is paid by the sender), speech engines.",
    ]
    if cores.usable == 1:
        found.append("There was one core for the load and for what was measured, so both had less than a core.")
    elif cores.measured is None:
        found.append("No core could be reserved, so the load may have run on the one that was measured.")
    return found


def _about(number: int) -> str:
    """Returns a number to two digits, with its thousands set apart: more would not hold in the next run."""
    return f"{int(float(f'{number:.1e}')):,}"
