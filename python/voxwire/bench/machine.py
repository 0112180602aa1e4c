"""The machine: what it is, and which of its cores measures and which makes the load."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cores", "describe", "pinned"]


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core does what; both None where there is one core, or where the system does not let us choose.

    Attributes:
        measured: Number of the core of the measured process.
        load: Number of the core that makes its load, not a sibling of the other where there is a choice.
        usable: How many this process may run on.
    """

    measured: int | None
    load: int | None
    usable: int

    @classmethod
    def choose(cls) -> Cores:
        """Returns two cores for the whole run."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None, os.cpu_count() or 1)
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) == 1:
            return cls(None, None, 1)
        measured = usable[-1]
        # Two threads of one physical core take from each other what is to be measured.
        apart = [core for core in usable[:-1] if core not in _siblings(measured)]
        return cls(measured, (apart or usable)[0], len(usable))


def _siblings(core: int) -> set[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return set()
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keeps this thread on one core, then lets it run where it could before; None changes nothing."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe(cores: Cores) -> dict[str, Any]:
    """Returns what a reader of the figures must know of the machine."""
    return {
        "processor": _processor(),
        "cores": cores.usable,
        "pinned": cores.measured is not None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
            if (found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)) is not None:
                return found[1].strip()
    return platform.processor() or platform.machine()
