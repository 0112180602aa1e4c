"""What it is worth to wait for all of a message that comes in many segments: CPU per message, one message per wake-up.

``python benches/choices/segments.py``, with the requirements of the benches installed. In a network namespace of its
own the loopback becomes a line of 1 Gbit/s whose segments are those of an Ethernet; for that it needs ``unshare``,
``ip``, ``tc`` and a kernel with the token bucket filter. voxwire asks the system to be woken once for the rest of a
message (``SO_RCVLOWAT``); the floor, its core without Python, is woken for each segment, and so is picows. Medians and
minima of interleaved rounds, in microseconds.

Chosen: to wait. At 38400 B, 36 segments, it saves two fifths; at 9600 B nothing is lost. Bursts are left alone: there
the two calls of the system would be lost.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from suite.conditions import BATCHES, DECODE, GROUPS, PICOWS_ORJSON
from suite.programs import Stage, build, wait_for_quiet

SIZES = (9600, 38400)
ROUNDS = 6
#: Set where the namespace is ours.
MARK = "VOXWIRE_BENCH_NAMESPACE"
LINE = (
    "ip link set lo mtu 1500 up",
    "tc qdisc add dev lo root tbf rate 1gbit burst 15k latency 50ms",
)


def main() -> None:
    """Prints the table."""
    if MARK not in os.environ:
        build(["load", "floor"])
        command = ["unshare", "--map-root-user", "--net", sys.executable, __file__]
        raise SystemExit(subprocess.run(command, env=os.environ | {MARK: "1"}, check=False).returncode)
    for command in LINE:
        subprocess.run(command.split(), check=True)
    group = GROUPS["paced"]
    stage = Stage()
    spent: dict[tuple[str, int], list[float]] = {}
    pairs = [
        (stack, condition)
        for stack in (BATCHES, PICOWS_ORJSON, DECODE)
        for condition in group.conditions
        if condition.size in SIZES
    ]
    for _ in range(ROUNDS):
        for stack, condition in random.sample(pairs, len(pairs)):
            wait_for_quiet()
            sample = stage.run(stack, condition, group.messages(stack, condition, short=False), check=False)
            spent.setdefault((stack.name, condition.size), []).append(sample.cpu_us)
    stage.close()
    for (name, size), values in sorted(spent.items()):
        print(f"{name:<42}{size:>6} B  {statistics.median(values):6.1f} ({min(values):.1f})")


if __name__ == "__main__":
    main()
