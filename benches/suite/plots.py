"""Plots as SVG that stands in the page: no script, no network; colours follow the page's light or dark."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.summary import Cells

ROW, PANEL, NAMES, GAP = 24, 170, 330, 18
TOP, BOTTOM = 26, 26
VALUE_ROOM = 46


def dots(cells: Cells, quantity: str, title: str) -> str:
    """Returns a panel for each condition with a row for each stack: median as a dot, minimum to maximum as a line.

    Args:
        cells: A section's.
        quantity: A name of a cell's; the axis is logarithmic.
        title: For those who do not see it.
    """
    height = TOP + ROW * len(cells.stacks) + BOTTOM
    width = NAMES + (PANEL + GAP) * len(cells.conditions)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">']
    for index, stack in enumerate(cells.stacks):
        middle = TOP + ROW * index + ROW / 2
        parts.append(f'<text class="{kind(stack)}" x="{NAMES - 12}" y="{middle + 4}" text-anchor="end">')
        parts.append(f"{html.escape(stack)}</text>")
    for index, condition in enumerate(cells.conditions):
        parts.append(panel(cells, condition, quantity, NAMES + (PANEL + GAP) * index, height))
    return "".join(parts) + "</svg>"


def panel(cells: Cells, condition: str, quantity: str, left: float, height: float) -> str:
    rows = {stack: (cells.get(stack, condition) or {}).get(quantity) for stack in cells.stacks}
    figures = [figure for spread in rows.values() if spread for figure in spread.values() if figure > 0]
    if not figures:
        return ""
    low, high = math.log10(min(figures)), math.log10(max(figures))
    # A panel of nearly equal figures would blow up their noise.
    high = max(high, low + 0.5)
    room = PANEL - VALUE_ROOM

    def across(figure: float) -> float:
        return left + 4 + (math.log10(max(figure, 10**low)) - low) / (high - low) * (room - 8)

    parts = [f'<text class="head" x="{left}" y="14">{html.escape(condition)}</text>']
    bottom = height - BOTTOM
    for tick in ticks(low, high):
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for index, (stack, spread) in enumerate(rows.items()):
        if not spread:
            continue
        y = TOP + ROW * index + ROW / 2
        least, median, most = (across(spread[key]) for key in ("min", "median", "max"))
        name = kind(stack)
        parts.append(f'<line class="{name} range" x1="{least:.1f}" x2="{most:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{name}" cx="{median:.1f}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="value" x="{left + PANEL}" y="{y + 4}" text-anchor="end">')
        parts.append(f"{number(spread['median'])}</text>")
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Returns powers of ten between two logarithms, with 2 and 5 between them where there are few."""
    steps = (1,) if high - low > 1.5 else (1, 3) if high - low > 1 else (1, 2, 5)
    powers = range(math.floor(low), math.ceil(high) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= math.log10(step * 10.0**power) <= high]


def kind(stack: str) -> str:
    """Returns the class that gives a stack its colour: ``voxwire``, ``floor`` or ``rival``."""
    return next((name for name in ("voxwire", "floor") if stack.startswith(name)), "rival")


def number(value: Any) -> str:
    """Returns a figure with three significant digits, of one as large as thousands all."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"
