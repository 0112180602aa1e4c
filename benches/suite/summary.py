"""From samples to figures: medians with their spread, and ratios of cells of one section."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from suite.conditions import DECODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from suite.conditions import Condition, Stack
    from suite.programs import Sample


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def quantile(ascending: Sequence[float], share: float) -> float:
    """Returns the value under which ``share`` of them lie."""
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)]


def cell(stack: Stack, condition: Condition, samples: Sequence[Sample]) -> dict[str, Any]:
    """Returns what is reported of a pair; times are microseconds per message, latencies microseconds."""
    figures: dict[str, Any] = {
        "stack": stack.name,
        "condition": condition.label,
        "n": len(samples),
        "cpu_us": spread([sample.cpu_us for sample in samples]),
        "wall_us": spread([sample.wall_us for sample in samples]),
        "load_busy": statistics.median(sample.load_busy for sample in samples),
    }
    timed = [sample.latencies_us for sample in samples if sample.latencies_us]
    if timed:
        figures["p50_us"] = spread([quantile(latencies, 0.5) for latencies in timed])
        figures["p99_us"] = spread([quantile(latencies, 0.99) for latencies in timed])
    return figures


class Cells:
    """The cells of a section, by stack and condition."""

    def __init__(self, section: dict[str, Any]) -> None:
        self._cells = {(cell["stack"], cell["condition"]): cell for cell in section["cells"]}
        self.stacks = list(dict.fromkeys(cell["stack"] for cell in section["cells"]))
        self.conditions = list(dict.fromkeys(cell["condition"] for cell in section["cells"]))

    def get(self, stack: str, condition: str) -> dict[str, Any] | None:
        return self._cells.get((stack, condition))

    def value(self, stack: str, condition: str, quantity: str, kind: str = "median") -> float | None:
        """Returns a figure, or None where it was not measured.

        Args:
            stack: Its name.
            condition: Its label.
            quantity: ``cpu_us``, ``wall_us``, ``p50_us``, ``p99_us``, or ``added_us``: the median latency beyond that
                of the native client, at least 1.
            kind: ``median``, ``min`` or ``max``.
        """
        cell = self.get(stack, condition)
        if quantity == "added_us":
            own, native = (self.value(name, condition, "p50_us", kind) for name in (stack, DECODE.name))
            # What is as fast as the native client is within the noise around 0, where no ratio means anything.
            return None if own is None or native is None else max(own - native, 1.0)
        figures: dict[str, float] | None = (cell or {}).get(quantity)
        return figures[kind] if figures else None
