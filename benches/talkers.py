"""What a talker costs the server: a tone engine speaks to many contexts, and every sample is checked.

``python benches/talkers.py`` starts ``voxwire serve --engine tone`` in a process of its own on one core and loads it
from another. A talker is a context whose audio is s16 at 24 kHz in chunks of 100 ms. Its cost is the CPU time of the
server's process (user and system, all threads) for each second of audio delivered; talkers per core is the inverse.

- *saturated*: the server sends as fast as it can, as the protocol allows, to 1 to 1000 contexts over 1 to 50 sockets;
- *paced*: the engine makes a word of 100 ms every 100 ms, so that each chunk pays its own timer, wake-up and system
  call, and a talker hears as fast as it was made. This is the figure for real time;
- *memory*: of a context while it speaks, of an idle connection, and over many short contexts.

Latency is from the request to the first audio; all contexts of a row ask at the same moment. Gap is the longest time
between two chunks of one context; behind is how far the last chunk to come lay behind a player that began with
the first. Share is the least progress of a context, against the mean, when the first one ended: 1 is fair. Where that
many requests come over one socket, the first contexts speak before the last are read, and the share is less.

The last line is the result as JSON: rows, each with the name of its ``figure``. ``--short`` takes fewer words, talkers
and contexts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talker_load import CHUNK_S, Load, Talker, audio_s, sources

from voxwire.protocol import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_TIMEOUT_S = 20.0
_SHAPES = ((1, 1), (10, 1), (100, 1), (1000, 1), (10, 10), (100, 50), (1000, 50))
_IDLE_CONNECTIONS = 500
_ROUNDS = 3
#: So many that a talker lasts longer than it takes the server to begin with a thousand.
_LEAST_WORDS = 20


class Server:
    """The process that is measured."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._pid = process.pid
        assert process.stdout is not None
        self.port = int(json.loads(process.stdout.readline())["http"].rpartition(":")[2])
        #: The clock of another process's CPU time, as clock_getcpuclockid(3) makes it.
        self._clock = ~process.pid << 3 | 2

    def cpu_s(self) -> float:
        """CPU time of all its threads so far, user and system."""
        return time.clock_gettime(self._clock)

    def memory_bytes(self) -> int:
        """Its proportional set size."""
        rollup = Path(f"/proc/{self._pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


@contextlib.contextmanager
def serve(*, delay_ms: int = 0) -> Iterator[Server]:
    """Runs a server on the first core that we may use; we are on the last."""
    cores = sorted(os.sched_getaffinity(0))
    program = "import sys; from voxwire.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--engine", "tone", "--port", "0"]
    command += ["--engine-option", f"delay_ms_per_word={delay_ms}"]
    os.sched_setaffinity(0, cores[:1])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(0, cores[-1:])
        try:
            yield Server(process)
        finally:
            os.sched_setaffinity(0, cores)
            process.terminate()
            try:
                process.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def talk(server: Server, manner: str, contexts: int, sockets: int, words: int) -> dict[str, Any]:
    """Lets so many contexts speak at once and returns what they cost and how they were served."""
    texts = sources(words)
    load = Load(server.port, sockets, timeout_s=_TIMEOUT_S)
    shares: list[float] = []

    def handle_end(_talker: Talker, _line: int) -> None:
        if not shares:
            taken = [talker.taken_bytes for talker in talkers]
            shares.append(min(taken) / statistics.fmean(taken))

    try:
        for line in range(sockets):
            # The first word of all is made here, and the paths are warm.
            load.ask(texts[line % len(texts)], line)
        load.send()
        load.receive()
        cpu_s, began = server.cpu_s(), time.perf_counter()
        talkers = [load.ask(texts[index % len(texts)], index) for index in range(contexts)]
        load.send()
        load.receive(handle_end)
        cpu_s, wall_s = server.cpu_s() - cpu_s, time.perf_counter() - began
    finally:
        load.close()
    seconds = audio_s(talkers)
    first = [talker.heard_at - talker.asked_at for talker in talkers]
    return {
        "figure": f"{manner}, {contexts} talkers on {sockets} sockets",
        "contexts": contexts,
        "sockets": sockets,
        "audio_s": seconds,
        "chunks": sum(talker.chunks for talker in talkers),
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "cpu_us_per_audio_s": cpu_s / seconds * 1e6,
        "cpu_us_per_chunk": cpu_s / sum(talker.chunks for talker in talkers) * 1e6,
        "talkers_per_core": seconds / cpu_s,
        "first_audio_p50_ms": quantile(first, 0.5) * 1e3,
        "first_audio_p99_ms": quantile(first, 0.99) * 1e3,
        "gap_p99_ms": quantile([talker.longest_gap_s for talker in talkers], 0.99) * 1e3,
        "behind_p99_ms": quantile([talker.latest_s for talker in talkers], 0.99) * 1e3,
        "share": shares[0],
    }


def saturated(chunks: int, repetitions: int) -> list[dict[str, Any]]:
    """The server as fast as it goes; the median of repetitions that take turns, with the least beside it."""
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {shape: [] for shape in _SHAPES}
    with serve() as server:
        for _ in range(repetitions):
            for contexts, sockets in _SHAPES:
                words = max(_LEAST_WORDS, min(600, chunks // contexts))
                runs[contexts, sockets].append(talk(server, "saturated", contexts, sockets, words))
    rows = []
    for found in runs.values():
        found.sort(key=lambda row: row["cpu_us_per_chunk"])
        rows.append(found[len(found) // 2] | {"least_us_per_chunk": found[0]["cpu_us_per_chunk"]})
    return rows


def paced(counts: Sequence[int], words: int) -> list[dict[str, Any]]:
    """Talkers in real time; ``speed`` is the audio that came in a second for each of them."""
    rows = []
    with serve(delay_ms=round(CHUNK_S * 1000)) as server:
        for contexts in counts:
            row = talk(server, "paced", contexts, min(contexts, 50), words)
            # The wait before the first word is no audio yet.
            row["speed"] = row["audio_s"] / contexts / (row["wall_s"] - CHUNK_S)
            row["core_share"] = row["cpu_s"] / row["wall_s"]
            rows.append(row)
    return rows


def memory(contexts: int, short_contexts: int) -> list[dict[str, Any]]:
    """What the server holds for connections and contexts, in bytes of its proportional set size.

    What an ended context leaves is room that its allocators keep for the next; the growth from one round to the next
    tells what is not used again.
    """
    with serve(delay_ms=round(CHUNK_S * 1000)) as server:
        texts = sources(_LEAST_WORDS)
        load = Load(server.port, 50, timeout_s=_TIMEOUT_S)
        load.ask(texts[0], 0)
        load.send()
        load.receive()
        before = server.memory_bytes()
        speaking, ended = [], []
        for _ in range(_ROUNDS):
            for index in range(contexts):
                load.ask(texts[index % len(texts)], index)
            load.send()
            load.receive_for(1.0)
            speaking.append(server.memory_bytes())
            load.receive()
            ended.append(server.memory_bytes())
        load.close()
    with serve() as server:
        before_idle = server.memory_bytes()
        idle = Load(server.port, _IDLE_CONNECTIONS, timeout_s=_TIMEOUT_S)
        idle_bytes = server.memory_bytes() - before_idle
        idle.close()
    sizes = {
        "a context while it speaks": ((speaking[0] - before) / contexts, contexts),
        "left of a context, first round": ((ended[0] - before) / contexts, contexts),
        "left of a context, each later round": ((ended[-1] - ended[0]) / (_ROUNDS - 1) / contexts, contexts),
        "an idle connection": (idle_bytes / _IDLE_CONNECTIONS, _IDLE_CONNECTIONS),
    }
    rows = [{"figure": name, "count": count, "bytes": round(size)} for name, (size, count) in sizes.items()]
    return [*rows, churn(short_contexts)]


def churn(contexts: int) -> dict[str, Any]:
    """Short contexts one after the other through one server.

    A connection remembers so many of its ended contexts, within which the server does grow; the slope is that of the
    second half, when all connections have come to that limit.
    """
    texts = sources(1)
    step = contexts // 10
    sockets = max(1, contexts // (4 * LIMITS["remembered_contexts"]))
    sizes = []
    with serve() as server:
        load = Load(server.port, sockets, timeout_s=_TIMEOUT_S)
        asked = 0
        cpu_s = server.cpu_s()

        def ask_next(_talker: Talker, line: int) -> None:
            nonlocal asked
            if asked % step:
                ask(line)

        def ask(line: int) -> None:
            nonlocal asked
            load.ask(texts[asked % len(texts)], line)
            asked += 1

        while asked < contexts:
            for line in range(min(100, step)):
                ask(line)
            load.send()
            load.receive(ask_next)
            sizes.append(server.memory_bytes())
        cpu_s = server.cpu_s() - cpu_s
        load.close()
    late = sizes[len(sizes) // 2 :]
    slope = statistics.linear_regression([step * index for index in range(len(late))], late).slope
    return {
        "figure": "growth per short context",
        "count": asked,
        "sockets": sockets,
        "bytes": round(slope, 1),
        "server_bytes": sizes,
        "cpu_us": cpu_s / asked * 1e6,
    }


def quantile(values: Sequence[float], part: float) -> float:
    """Returns the value below which ``part`` of them lie."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def table(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Prints rows under the names of their columns."""
    print(f"\n{title}")
    print(" ".join(f"{column.replace('cpu_', ''):>18}" for column in columns))
    for row in rows:
        cells = (row[column] for column in columns)
        print(" ".join(f"{cell:>18.4g}" if isinstance(cell, float) else f"{cell:>18}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description="What a talker costs the server")
    parser.add_argument("--short", action="store_true", help="fewer words, talkers and contexts: roughly how fast")
    parser.add_argument("--only", choices=("saturated", "paced", "memory"), help="one part alone")
    arguments = parser.parse_args()
    short = arguments.short
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "saturated": lambda: saturated(*((5_000, 1) if short else (40_000, 6))),
        "paced": lambda: paced((100, 1000) if short else (1, 100, 500, 1000), 20 if short else 100),
        "memory": lambda: memory(200 if short else 1000, 10_000 if short else 100_000),
    }
    report = {name: part() for name, part in parts.items() if arguments.only in {None, name}}
    shape = ["contexts", "sockets"]
    cost = ["cpu_us_per_chunk", "talkers_per_core"]
    served = ["first_audio_p50_ms", "first_audio_p99_ms", "gap_p99_ms"]
    columns = {
        "saturated": [*shape, *cost, "least_us_per_chunk", *served, "share"],
        "paced": [*shape, *cost, "core_share", "speed", *served, "behind_p99_ms"],
        "memory": ["bytes", "count", "figure"],
    }
    for name, rows in report.items():
        table(name, rows, columns[name])
    print(json.dumps([row for rows in report.values() for row in rows]))


if __name__ == "__main__":
    main()
