"""Receiving as fast as one connection brings it, through each way that the client offers."""

from __future__ import annotations

import functools
import gc
import random
import time
from typing import TYPE_CHECKING

from voxwire.bench.child import Child
from voxwire.bench.clients import opened
from voxwire.bench.figures import Saturated, Timing
from voxwire.bench.machine import pinned
from voxwire.bench.messages import CHUNK_BYTES, ROTATION, chunks, format_of
from voxwire.client.events import Audio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from voxwire.bench.machine import Cores
    from voxwire.client import Client
    from voxwire.client.context import Context

    #: Receives all, adds it to the list where there is one, and returns how many bytes it was.
    Way = Callable[[Context, list[bytes] | None], Awaitable[int]]

__all__ = ["measure_receiving"]

#: Messages of the run that warms up and shows how many fit into the time.
_WARM_MESSAGES = {160: 6000, 1920: 4000, 9600: 1500, 38400: 400}
_LEAST_REPETITIONS = 3
_WANTED_REPETITIONS = 6
_MOST_REPETITIONS = 15
#: Warming, the load and all that lies around an interval take longer than the intervals.
_OVERHEAD = 3.0


async def _one_by_one(context: Context, keep: list[bytes] | None) -> int:
    size_bytes = 0
    async for event in context:
        if isinstance(event, Audio):
            size_bytes += len(event.data)
            if keep is not None:
                keep.append(event.data)
    return size_bytes


async def _in_batches(context: Context, keep: list[bytes] | None, *, join: bool = False) -> int:
    size_bytes = 0
    async for events in context.batches(join=join):
        for event in events:
            if isinstance(event, Audio):
                size_bytes += len(event.data)
                if keep is not None:
                    keep.append(event.data)
    return size_bytes


_WAYS: dict[str, Way] = {
    "async for": _one_by_one,
    "batches": _in_batches,
    "joined": functools.partial(_in_batches, join=True),
}


async def measure_receiving(seconds: float, cores: Cores, advance: Callable[[float], None]) -> list[Saturated]:
    """Measures every way at every size, all of them once a repetition, in a new order each time.

    Args:
        seconds: About how long.
        cores: Where to run.
        advance: Told after each step how many of the seconds are over.
    """
    cells = [(chunk_bytes, way) for chunk_bytes in CHUNK_BYTES for way in _WAYS]
    start_s = time.monotonic()

    def step() -> float:
        elapsed_s = time.monotonic() - start_s
        advance(min(elapsed_s, seconds))
        return elapsed_s

    async with Child("voxwire.bench.load", cores.load) as load, opened(load.announced["url"]) as (client,):
        with pinned(cores.measured):
            counts = {}
            for chunk_bytes, way in cells:
                await _check(client, chunk_bytes, way)
                warm = _WARM_MESSAGES[chunk_bytes]
                cost_us = await _run(client, chunk_bytes, way, warm)
                share_us = 1e6 * seconds / _OVERHEAD / len(cells) / _WANTED_REPETITIONS
                counts[chunk_bytes, way] = max(ROTATION, min(int(share_us / max(cost_us, 0.01)), 50 * warm))
                step()
            costs: dict[tuple[int, str], list[float]] = {cell: [] for cell in cells}
            for repetition in range(_MOST_REPETITIONS):
                if repetition >= _LEAST_REPETITIONS and step() > seconds * (1 - 1 / (repetition + 1)):
                    break
                for cell in random.sample(cells, len(cells)):
                    costs[cell].append(await _run(client, *cell, counts[cell]))
                    step()
    return [_row(chunk_bytes, way, counts[chunk_bytes, way], costs[chunk_bytes, way]) for chunk_bytes, way in cells]


def _row(chunk_bytes: int, way: str, messages: int, costs_us: list[float]) -> Saturated:
    timing = Timing.of(costs_us)
    return Saturated(
        chunk_bytes=chunk_bytes,
        way=way,
        messages=messages,
        cpu_us_per_message=timing,
        messages_per_s=round(1e6 / timing.median),
        pcm_megabytes_per_s=chunk_bytes / timing.median,
    )


async def _run(client: Client, chunk_bytes: int, way: str, count: int, keep: list[bytes] | None = None) -> float:
    """Receives so many chunks and returns the microseconds of CPU for each, from the request to the end.

    Raises:
        RuntimeError: The audio was not of the right length.
    """
    async with client.context(voice="load", output_format=format_of(chunk_bytes)) as context:
        gc.collect()
        begin_s = time.process_time()
        await context.feed(f"saturated {chunk_bytes} {count}")
        size_bytes = await _WAYS[way](context, keep)
        cpu_s = time.process_time() - begin_s
    if size_bytes != chunk_bytes * count:
        raise RuntimeError(f"{size_bytes} bytes of audio came by {way}, {chunk_bytes * count} were sent")
    return cpu_s / count * 1e6


async def _check(client: Client, chunk_bytes: int, way: str) -> None:
    """Compares what arrives with what was sent.

    Raises:
        RuntimeError: It is not the same.
    """
    kept: list[bytes] = []
    await _run(client, chunk_bytes, way, 4 * ROTATION, kept)
    if b"".join(kept) != b"".join(chunks(chunk_bytes)) * 4:
        raise RuntimeError(f"the audio that came by {way} in chunks of {chunk_bytes} bytes is not what was sent")
