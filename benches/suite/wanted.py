"""The figures that are wanted (performance.md 1), and whether they are met: ratios within one section, and limits."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from suite.conditions import (
    BATCHES,
    DISCARD,
    EACH,
    FIFO,
    JOINED,
    LONG,
    ORDINARY,
    PICOWS_JITER,
    PICOWS_ORJSON,
    PICOWS_ORJSON_SSL,
    PICOWS_PLAIN,
    RTP_QUANTITIES,
    SDK,
    SIZES,
    THOUSAND,
    TWO_THOUSAND,
    Sender,
    Stack,
    Streams,
)
from suite.summary import Cells

LABELS = tuple(f"{size} B" for size in SIZES)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A ratio of two stacks.

    Attributes:
        figure: Its number in performance.md 1.
        section: The group whose cells are compared.
        bound: Which side of ``values`` is good.
        above: Above the line; of several the cheapest.
        below: Below it.
        values: The bound for each of ``conditions``; None where there is none.
        conditions: Labels.
        quantity: As ``Cells.value`` takes it.
        base: The condition below the line; empty for the same.
    """

    figure: int
    section: str
    bound: Literal["at least", "at most"]
    above: tuple[Stack, ...]
    below: Stack
    values: tuple[float | None, ...]
    conditions: tuple[str, ...] = LABELS
    quantity: str = "cpu_us"
    base: str = ""

    @property
    def title(self) -> str:
        names = {"cpu_us": "CPU of", "added_us": "added latency of"}
        base = f" at {self.base}" if self.base else ""
        above = " or ".join(stack.name for stack in self.above)
        return f"{names[self.quantity]} {above} / {self.below.name}{base}"

    def judge(self, cells: Cells) -> list[dict[str, Any]]:
        """Returns wanted and measured ratio, of medians and of minima, for each condition that was measured."""
        rows = []
        for condition, wanted in zip(self.conditions, self.values, strict=True):
            ratios = [self._ratio(cells, condition, kind) for kind in ("median", "min")]
            if wanted is not None and ratios[0] is not None:
                is_met = ratios[0] >= wanted if self.bound == "at least" else ratios[0] <= wanted
                row = {"condition": condition, "wanted": wanted, "ratio": ratios[0], "ratio_of_minima": ratios[1]}
                rows.append(row | {"is_met": is_met})
        return rows

    def _ratio(self, cells: Cells, condition: str, kind: str) -> float | None:
        above = [cells.value(stack.name, condition, self.quantity, kind) for stack in self.above]
        below = cells.value(self.below.name, self.base or condition, self.quantity, kind)
        measured = [value for value in above if value is not None]
        return min(measured) / below if measured and below else None


WANTED = (
    Wanted(1, "saturated", "at least", (SDK,), BATCHES, (60, 50, 40, 40)),
    Wanted(1, "saturated", "at least", (PICOWS_ORJSON,), BATCHES, (7, 6, 4.5, 4.5)),
    Wanted(1, "saturated", "at least", (PICOWS_ORJSON,), EACH, (5, 5, 4, 4)),
    Wanted(1, "saturated", "at least", (PICOWS_JITER,), BATCHES, (7, 6, 3.8, 2.8)),
    Wanted(1, "saturated", "at most", (BATCHES,), DISCARD, (None, None, 1.4, 1.2)),
    Wanted(1, "saturated", "at most", (JOINED,), BATCHES, (0.4, 0.7, None, None)),
    Wanted(2, "tls", "at least", (PICOWS_ORJSON, PICOWS_ORJSON_SSL), BATCHES, (3, 3, 3, 3)),
    Wanted(2, "tls", "at most", (BATCHES,), PICOWS_PLAIN, (1, 1, 1, 1)),
    *(
        wanted
        for ours in (BATCHES, EACH)
        for quantity in ("cpu_us", "added_us")
        for wanted in (
            Wanted(3, "paced", "at least", (PICOWS_ORJSON,), ours, (1, 1, 1, 1), quantity=quantity),
            Wanted(3, "paced", "at least", (SDK,), ours, (4, 4, 4, 4), quantity=quantity),
        )
    ),
    Wanted(6, "sockets", "at most", (BATCHES,), BATCHES, (1.5, 1.5), ("10 x 20", "50 x 20"), base="1 x 20"),
)


@dataclasses.dataclass(frozen=True)
class Limit:
    """A figure that is wanted as such, of medians: as the stream's peer sees it, the machine is no excuse.

    Attributes:
        figure: Its number in performance.md 1.
        section: Whose cells are looked at.
        bound: Which side of ``value`` is good.
        stack: Whose figure.
        quantity: Its name in the cell.
        value: The bound.
        conditions: Where it is wanted.
    """

    figure: int
    section: str
    bound: Literal["at least", "at most"]
    stack: Sender
    quantity: str
    value: float
    conditions: tuple[Streams, ...]

    @property
    def title(self) -> str:
        return f"{self.stack.name}: {RTP_QUANTITIES[self.quantity]}"

    def judge(self, cells: Cells) -> list[dict[str, Any]]:
        """Returns wanted and measured figure for each condition that was measured."""
        rows = []
        for condition in self.conditions:
            figures = (cells.get(self.stack.name, condition.label) or {}).get(self.quantity)
            if figures:
                is_met = (
                    figures["median"] >= self.value if self.bound == "at least" else figures["median"] <= self.value
                )
                rows.append({"condition": condition.label, "wanted": self.value, **figures, "is_met": is_met})
        return rows


# Of RTP, performance.md 1 and what sinks.md 6.3 adds to it.
LIMITS = (
    Limit(8, "rtp", "at least", FIFO, "streams_per_core", 2000, (TWO_THOUSAND,)),
    Limit(8, "rtp", "at most", FIFO, "jitter_max_us", 500, (THOUSAND, LONG)),
    Limit(8, "rtp", "at most", FIFO, "delta_max_us", 22_000, (THOUSAND, LONG)),
    Limit(8, "rtp", "at most", ORDINARY, "jitter_mean_us", 1000, (THOUSAND,)),
    Limit(8, "rtp", "at most", ORDINARY, "jitter_max_us", 5000, (THOUSAND,)),
)


def judge(sections: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for every figure of which something was measured."""
    rows = []
    for wanted in (*WANTED, *LIMITS):
        if wanted.section in sections:
            values = wanted.judge(Cells(sections[wanted.section]))
            row = {"figure": wanted.figure, "section": wanted.section, "what": wanted.title, "bound": wanted.bound}
            if values:
                rows.append(row | {"values": values})
    return rows
