"""Runs a group: the audio of every pair is compared once, then all pairs are timed, in a new order each repetition."""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from suite.conditions import CHECK_MESSAGES, REPETITIONS, REPETITIONS_SHORT
from suite.programs import RunFailed
from suite.summary import cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite.conditions import Condition, Group, Sender, Stack, StreamGroup, Streams

    Pair = tuple[Stack, Condition] | tuple[Sender, Streams]

# A pair that failed so often is left out, so that one that hangs does not hold up the others for long.
FAILURES_ALLOWED = 1


class Runs(Protocol):
    """What runs a stack once: ``suite.programs.Stage``, and that of ``rtp.py``."""

    def run(self, stack: Any, condition: Any, messages: int, *, check: bool) -> Any: ...


def measure(
    stage: Runs,
    group: Group | StreamGroup,
    *,
    short: bool,
    repetitions: int | None = None,
    before_run: Callable[[], None] = lambda: None,
    summarise: Callable[..., dict[str, Any]] = cell,
) -> dict[str, Any]:
    """Measures a group.

    Args:
        stage: What runs a stack once.
        group: Its pairs of stack and condition.
        short: Fewer conditions, messages and repetitions.
        repetitions: How often each pair is timed; None for the usual number.
        before_run: Is called before each run that counts.
        summarise: Makes a cell of a stack, a condition and the samples of their runs.

    Returns:
        The group's section of the report. What failed is named in ``failures`` and has no cell.
    """
    repetitions = repetitions or (REPETITIONS_SHORT if short else REPETITIONS)
    pairs = group.pairs(short=short)
    samples: dict[Pair, list[Any]] = {pair: [] for pair in pairs}
    failures: list[dict[str, str]] = []
    failed: dict[Pair, int] = {}

    def attempt(pair: Pair, messages: int, *, check: bool) -> Any:
        stack, condition = pair
        try:
            return stage.run(stack, condition, messages, check=check)
        except RunFailed as error:
            failed[pair] = failed.get(pair, 0) + 1
            failures.append({"stack": stack.name, "condition": condition.label, "reason": str(error)})
            tell(f"FAILED: {stack.name}, {condition.label}: {error}")
            return None

    compared = "; comparing the audio" if any(stack.is_checked for stack, _ in pairs) else ""
    tell(f"{group.title}: {len(pairs)} pairs{compared}")
    # Of a short suite each stack's first condition: the decoder is the same for all.
    seen: set[Stack] = set()
    for pair in pairs:
        if pair[0].is_checked and not (short and pair[0] in seen):
            seen.add(pair[0])
            if attempt(pair, CHECK_MESSAGES, check=True) is None:
                failed[pair] = FAILURES_ALLOWED + 1
    started = time.monotonic()
    for repetition in range(repetitions):
        order = [pair for pair in pairs if failed.get(pair, 0) <= FAILURES_ALLOWED]
        random.shuffle(order)
        for pair in order:
            before_run()
            sample = attempt(pair, group.messages(*pair, short=short), check=False)
            if sample is not None:
                samples[pair].append(sample)
        spent = time.monotonic() - started
        left = spent / (repetition + 1) * (repetitions - repetition - 1)
        tell(f"  repetition {repetition + 1} of {repetitions} after {spent:.0f} s, about {left:.0f} s left")
    return {
        "title": group.title,
        "note": group.note,
        "mode": group.conditions[0].mode,
        "repetitions": repetitions,
        "cells": [summarise(*pair, taken) for pair, taken in samples.items() if taken],
        "failures": failures,
    }


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
