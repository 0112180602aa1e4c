"""What every client program shares: its order, the clocks, the comparison of the audio with its source.

A program is started anew for each run with one argument, an object in JSON (``Run``), and prints one line of JSON.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# Bytes at the start of a paced chunk that hold the time of sending, little-endian nanoseconds of CLOCK_MONOTONIC.
STAMP_BYTES = 8
ROTATION = 16
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}


@dataclasses.dataclass(frozen=True)
class Run:
    """One order.

    Attributes:
        way: Which way of several that the stack offers.
        url: Where the load server listens.
        size: Bytes of PCM in a chunk.
        messages: Chunks of each context.
        connections: Sockets.
        contexts: Contexts on each of them.
        is_paced: Chunks carry the time of sending.
        source: File with the chunks that take turns: everything is kept and compared with it, after the clock has
            stopped. Empty in the runs that count.
    """

    way: str
    url: str
    size: int
    messages: int
    connections: int
    contexts: int
    is_paced: bool
    source: str


class Meter:
    """The clock of a run.

    Attributes:
        watch: Takes (context id, PCM) of each piece: keeps it or notes its latency; None in saturated runs that count,
            so that nothing but the stack is timed there.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._latencies_ns: list[int] = []
        self._kept: dict[Any, list[Any]] = {}
        self.watch: Callable[[Any, Any], None] | None = None
        if run.source:
            self.watch = self._keep
        elif run.is_paced:
            self.watch = self._note

    def _keep(self, context: Any, data: Any) -> None:
        self._kept.setdefault(context, []).append(data)

    def _note(self, context: Any, data: Any) -> None:  # noqa: ARG002 - the same call for both
        self._latencies_ns.append(time.monotonic_ns() - int.from_bytes(data[:STAMP_BYTES], "little"))

    def start(self) -> None:
        gc.collect()
        self._wall_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def stop(self, counts: list[tuple[int, int]]) -> None:
        """Prints the figures.

        Args:
            counts: Pieces and bytes of PCM, of each receiver.
        """
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s
        if self._run.source:
            self._compare()
        messages, total = (sum(column) for column in zip(*counts, strict=True))
        figures = {"cpu_s": cpu_s, "wall_s": wall_s, "messages": messages, "bytes": total}
        print(json.dumps(figures | {"latencies_ns": self._latencies_ns}), flush=True)

    def _compare(self) -> None:
        run = self._run
        rotation = Path(run.source).read_bytes()
        whole, rest = divmod(run.messages * run.size, len(rotation))
        expected = rotation * whole + rotation[:rest]
        if len(self._kept) != run.connections * run.contexts:
            raise SystemExit(f"audio of {len(self._kept)} contexts, not of {run.connections * run.contexts}")
        if any(b"".join(pieces) != expected for pieces in self._kept.values()):
            raise SystemExit("the audio is not its source")


def request() -> bytes:
    """Returns a generation request for a context of its own."""
    fields = {"model_id": "sonic-3", "transcript": "Hi.", "voice": {"mode": "id", "id": "tone-1"}, "language": "en"}
    fields |= {"context_id": str(uuid.uuid4()), "output_format": FORMAT, "continue": False}
    return json.dumps(fields, separators=(",", ":")).encode()


def start(main: Callable[[Run], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(main(Run(**json.loads(sys.argv[1]))))
