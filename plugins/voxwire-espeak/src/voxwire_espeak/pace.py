# SPDX-License-Identifier: GPL-3.0-or-later
"""The rate at which a text lasts as long as a speed says.

The library's rate is only roughly a speed: at one and a half times the rate, Spanish and Russian come out up to a tenth
too slow and Chinese a tenth too fast, and it depends on the voice and the text as well. So a text that is wanted at
another speed is spoken unheard first, which costs about a thousandth of its length each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NORMAL_RATE", "find_rate", "sample_of"]

NORMAL_RATE = 175  # words a minute
#: So much of a text stands for the whole, so that a long one does not keep its listener waiting.
SAMPLE_CHARACTERS = 240
CLOSE_ENOUGH = 0.008
ATTEMPTS = 4


def find_rate(measure: Callable[[int], int], speed: float) -> int:
    """Returns a rate in words a minute.

    Args:
        measure: Says how many samples the text takes at a rate.
        speed: Factor, 1 is normal.
    """
    rate = round(NORMAL_RATE * speed)
    if rate == NORMAL_RATE:
        return rate
    wanted = measure(NORMAL_RATE) / speed
    if not wanted:
        return rate
    tried: dict[int, float] = {}
    while rate not in tried and len(tried) < ATTEMPTS:
        excess = tried[rate] = measure(rate) / wanted
        if abs(excess - 1) <= CLOSE_ENOUGH:
            return rate
        # Length falls nearly as the rate rises, so each step leaves a fraction of what was wrong.
        rate = round(rate * excess)
    return min(tried, key=lambda rate: abs(tried[rate] - 1))


def sample_of(text: str) -> str:
    """Returns the part of a text that is measured: all of a short one, the first words of a long one."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    blank = text.rfind(" ", 1, SAMPLE_CHARACTERS)
    return text[: SAMPLE_CHARACTERS if blank < 0 else blank]
