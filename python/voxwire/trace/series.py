"""What a picture of a trace is drawn from: sums over time, and where words stand. Pure functions."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxwire.trace.model import TimedWord, Trace

__all__ = ["PlacedWord", "Series", "lanes", "place_words", "series", "stopped_at"]

#: How much of an axis may show words that were never heard, as a part of what was, and in seconds at least.
_UNHEARD_PART = 0.35
_UNHEARD_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class Series:
    """Seconds of audio over time, as the points of lines: what jumps has two at one moment.

    Attributes:
        times_s: The moments; never fall.
        received_s: What had come.
        written_s: What the sink had taken.
        played_s: What had been played.
        in_sink_s: What the sink held.
        depth_s: All that had come and was not played, or thrown away.
    """

    times_s: list[float]
    received_s: list[float]
    written_s: list[float]
    played_s: list[float]
    in_sink_s: list[float]
    depth_s: list[float]


def stopped_at(trace: Trace) -> float | None:
    """Returns when what waited was thrown away: at an interruption or a failure; None where it was all played."""
    if trace.record.outcome == "finished":
        return None
    ends = [moment.time_s for moment in trace.moments if moment.name == "interrupted"]
    return ends[0] if ends else trace.end_s


def series(trace: Trace) -> Series:
    """Returns the sums of a trace, up to its end."""
    rate = trace.format.sample_rate
    arrivals = [(arrival.time_s, arrival.duration_s) for arrival in trace.arrivals]
    writes = [(write.time_s, write.frames / rate) for write in trace.writes]
    readings = [(reading.time_s, reading.played / rate) for reading in trace.readings]
    times_s = sorted({time_s for time_s, _ in (*arrivals, *writes, *readings)} | {0.0, trace.end_s})
    received_s, written_s = _sums(arrivals, times_s), _sums(writes, times_s)
    # A sink that is not paced plays nothing between two readings, but all of it in the turn of the second.
    played_s = _straight(readings, times_s) if trace.paced else _held(readings, times_s)
    stop_s = stopped_at(trace)
    result = Series([], [], [], [], [], [])
    for index, time_s in enumerate(times_s):
        # The end of what was before, then what is from now on.
        for now in (index - 1, index) if index else (0,):
            played = played_s[index if trace.paced else now]
            thrown_away = stop_s is not None and times_s[now] >= stop_s
            result.times_s.append(time_s)
            result.received_s.append(received_s[now])
            result.written_s.append(written_s[now])
            result.played_s.append(played)
            # What is converted on its way is a little later than what came.
            result.in_sink_s.append(0.0 if thrown_away else max(0.0, written_s[now] - played))
            result.depth_s.append(0.0 if thrown_away else max(0.0, received_s[now] - played, written_s[now] - played))
    return result


def _sums(changes: list[tuple[float, float]], times_s: list[float]) -> list[float]:
    """The sum of all that came until each moment."""
    return _held(
        [(time_s, sum_s) for (time_s, _), sum_s in zip(changes, accumulate(size for _, size in changes), strict=True)],
        times_s,
    )


def _held(points: list[tuple[float, float]], times_s: list[float]) -> list[float]:
    """The value of the last point until each moment, 0 before the first."""
    moments = [time_s for time_s, _ in points]
    return [points[last - 1][1] if (last := bisect_right(moments, time_s)) else 0.0 for time_s in times_s]


def _straight(points: list[tuple[float, float]], times_s: list[float]) -> list[float]:
    """The value on the straight line between the points around each moment."""
    moments = [time_s for time_s, _ in points]
    values = []
    for time_s in times_s:
        after = bisect_right(moments, time_s)
        if after == 0:
            values.append(0.0)
        elif after == len(points):
            values.append(points[-1][1])
        else:
            (before_s, low_s), (after_s, high_s) = points[after - 1 : after + 1]
            values.append(low_s + (high_s - low_s) * (time_s - before_s) / (after_s - before_s))
    return values


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word on the axis of time; one that was not heard stands where it would have been."""

    word: TimedWord
    from_s: float
    to_s: float


def place_words(trace: Trace) -> tuple[list[PlacedWord], int]:
    """Returns the words that have a place, and how many more were never heard and would stand too far away."""
    stop_s = stopped_at(trace)
    stop_s = trace.end_s if stop_s is None else stop_s
    rate = trace.format.sample_rate
    played_s = trace.readings[-1].played / rate if trace.readings else 0.0
    last_s = stop_s + max(_UNHEARD_LEAST_S, _UNHEARD_PART * stop_s)
    placed: list[PlacedWord] = []
    beyond = 0
    for word in trace.words:
        if word.from_s is not None and word.to_s is not None:
            placed.append(PlacedWord(word, word.from_s, word.to_s))
            continue
        from_s = stop_s + max(0.0, word.start_s - played_s)
        if from_s >= last_s:
            beyond += 1
        else:
            placed.append(PlacedWord(word, from_s, min(from_s + word.end_s - word.start_s, last_s)))
    return placed, beyond


def lanes(spans: Sequence[tuple[float, float]], most: int, gap: float) -> list[int | None]:
    """Puts labels in as few lanes as will do, so that none covers another.

    Args:
        spans: Begin and end of each, in the order of their begins.
        most: Lanes at most.
        gap: Least distance of two labels in one lane.

    Returns:
        The lane of each, the first being 0; None where there is no room.
    """
    ends: list[float] = []
    found: list[int | None] = []
    for begin, end in spans:
        lane = next((index for index, taken in enumerate(ends) if taken + gap <= begin), len(ends))
        if lane == len(ends):
            if lane == most:
                found.append(None)
                continue
            ends.append(end)
        ends[lane] = end
        found.append(lane)
    return found
