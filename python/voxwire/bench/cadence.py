"""Receiving calls in real time: 20 ms of mu-law every 20 ms on every context, as many as this machine holds."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from voxwire.bench.child import Child
from voxwire.bench.clients import opened, results
from voxwire.bench.figures import Paced, Timing, percentile
from voxwire.bench.load import CADENCE_NS, STAMP_BYTES
from voxwire.bench.machine import pinned
from voxwire.bench.messages import CHUNK_BYTES, TELEPHONY, chunks
from voxwire.client.events import Audio
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.bench.machine import Cores
    from voxwire.client import Client

__all__ = ["measure_cadence"]

_CHUNK_BYTES = CHUNK_BYTES[0]
#: Connections, and contexts on each: from what one core is to hold (performance.md 1, figure 6) down to one call.
_LEVELS = ((50, 20), (25, 20), (10, 20), (5, 20), (5, 5), (1, 1))
_WINDOWS = 5
_PROBE_S = 0.8
#: Before the first window, and after the last.
_WARM_S = 0.3
#: For the load to come to its end, whatever else the machine does.
_END_TIMEOUT_S = 30.0
_BUSY_SHARE = 0.9


@dataclass(slots=True)
class _Tally:
    """What all contexts received so far."""

    compare: bool
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    chunks: int = 0
    wrong: int = 0
    latencies_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Window:
    """One interval of a run."""

    chunks: int
    cpu_s: float
    wall_s: float


async def measure_cadence(seconds: float, cores: Cores, advance: Callable[[float], None]) -> Paced:
    """Tries fewer calls until they are held, and measures those.

    Args:
        seconds: About how long, without what it takes to try.
        cores: Where to run.
        advance: Told after each step how many of the seconds are over.
    """
    refused: tuple[int, ...] = ()
    limited_by = None
    probe_s = min(_PROBE_S, seconds / 4)
    async with Child("voxwire.bench.load", cores.load) as load:
        with pinned(cores.measured):
            for connections, contexts in _LEVELS:
                # What is compared costs time too, so it is compared before.
                probe = await _run(load, connections, contexts, [probe_s], compare=True)
                last = (connections, contexts) == _LEVELS[-1]
                if probe.held or last:
                    advance(seconds / 4)
                    windows = [(seconds - probe_s) / _WINDOWS] * _WINDOWS
                    row = await _run(load, connections, contexts, windows, compare=False)
                    if row.held or last:
                        advance(seconds)
                        return replace(row, refused=refused, limited_by=limited_by)
                    probe = row
                refused += (probe.calls,)
                limited_by = probe.limited_by
    raise AssertionError("the last level is always measured")


async def _run(load: Child, connections: int, contexts: int, windows_s: list[float], *, compare: bool) -> Paced:
    tally = _Tally(compare)
    calls = connections * contexts
    duration_s = 2 * _WARM_S + sum(windows_s)
    scope = Scope()
    async with opened(load.announced["url"], connections) as clients:
        try:
            request = f"paced {calls} {duration_s * 1000:.0f}"
            receiving = [
                scope.start(_receive(client, request, tally), "voxwire bench receives")
                for client in clients
                for _ in range(contexts)
            ]
            # The load begins when all have asked.
            begun = scope.start(tally.begun.wait(), "voxwire bench begins")
            await asyncio.wait([begun, *receiving], timeout=_END_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            gc.collect()
            await asyncio.sleep(_WARM_S)
            first = len(tally.latencies_ns)
            windows = [await _window(tally, window_s) for window_s in windows_s]
            latencies_ns = tally.latencies_ns[first:]
            counts = await results(receiving, _END_TIMEOUT_S)
            sent = await load.line(_END_TIMEOUT_S)
        finally:
            await scope.close(1.0)
    if tally.wrong or any(count != sent["rounds"] for count in counts):
        raise RuntimeError(f"of {calls} calls {tally.wrong} chunks were wrong and {sum(counts)} came in all")
    # A machine that stood still in all windows has only those before and after.
    return _row(connections, calls, windows, latencies_ns or tally.latencies_ns, late_ms=sent["late_ms"])


def _row(connections: int, calls: int, windows: list[_Window], latencies_ns: list[int], *, late_ms: float) -> Paced:
    timing = Timing.of([window.cpu_s / max(window.chunks, 1) * 1e6 for window in windows])
    share = sum(window.cpu_s for window in windows) / sum(window.wall_s for window in windows)
    latency_ns = percentile(latencies_ns, 0.5)
    held = late_ms * 1e6 <= CADENCE_NS and latency_ns <= CADENCE_NS
    per_second = 1e9 / CADENCE_NS
    return Paced(
        connections=connections,
        calls=calls,
        held=held,
        limited_by=None if held else "receiver" if share > _BUSY_SHARE else "load",
        messages=sum(window.chunks for window in windows),
        cpu_us_per_message=timing,
        cpu_share=share,
        calls_per_core=int(1e6 / timing.median / per_second),
        latency_us_median=latency_ns / 1e3,
        latency_us_p99=percentile(latencies_ns, 0.99) / 1e3,
    )


async def _window(tally: _Tally, window_s: float) -> _Window:
    chunks_before, cpu_s, wall_s = tally.chunks, time.process_time(), time.monotonic()
    await asyncio.sleep(window_s)
    return _Window(tally.chunks - chunks_before, time.process_time() - cpu_s, time.monotonic() - wall_s)


async def _receive(client: Client, request: str, tally: _Tally) -> int:
    """Receives one call to its end and returns how many chunks it had."""
    count = 0
    source = chunks(_CHUNK_BYTES)
    async with client.context(voice="load", output_format=TELEPHONY) as context:
        await context.feed(request)
        async for events in context.batches():
            now_ns = time.monotonic_ns()
            for event in events:
                if not isinstance(event, Audio):
                    continue
                data = event.data
                count += 1
                if not tally.chunks:
                    tally.begun.set()
                tally.chunks += 1
                tally.latencies_ns.append(now_ns - int.from_bytes(data[:8], "big"))
                if len(data) != _CHUNK_BYTES or (
                    tally.compare and data[STAMP_BYTES:] != source[data[STAMP_BYTES - 1]][STAMP_BYTES:]
                ):
                    tally.wrong += 1
    return count
