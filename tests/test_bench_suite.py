"""The benchmark suite's own sums: what is run, what a failure does, which ratio is met, what the page shows."""

from __future__ import annotations

import dataclasses
import json
import sys
from html.parser import HTMLParser

import instructions
import pytest
from suite import page, programs, wanted
from suite.conditions import (
    BATCHES,
    DECODE,
    EACH,
    GROUPS,
    PICOWS_ORJSON,
    PICOWS_ORJSON_SSL,
    PICOWS_PLAIN,
    SDK,
    Condition,
    Group,
)
from suite.plots import number
from suite.programs import RunFailed, Sample, Stage
from suite.runner import measure
from suite.summary import Cells

SMALL, LARGE = (Condition(tls=False, mode="paced", size=size) for size in (160, 9600))
GROUP = Group("Title", "Note", (SMALL, LARGE), (BATCHES, SDK))


class Script:
    """Stands for the stage: answers from a table of costs, fails where it says so, notes what was asked."""

    def __init__(self, costs, failing=frozenset(), failing_checks=frozenset()) -> None:
        self.costs, self.failing, self.failing_checks = costs, failing, failing_checks
        self.timed, self.checked = [], []

    def run(self, stack, condition, messages, *, check):
        pair = (stack.name, condition.label)
        (self.checked if check else self.timed).append(pair)
        if pair in (self.failing_checks if check else self.failing):
            raise RunFailed("the audio is <not> its source")
        cost = self.costs[pair]
        if isinstance(cost, list):
            cost = cost[0] if check else cost.pop()
        return Sample(cost, 2 * cost, 0.5, [])


def pairs(group):
    return {(stack.name, condition.label) for stack, condition in group.pairs(short=False)}


def test_each_repetition_times_every_pair_once_after_all_were_checked() -> None:
    script = Script(dict.fromkeys(pairs(GROUP), 1.0))
    section = measure(script, GROUP, short=False, repetitions=3)
    assert sorted(script.checked) == sorted(pairs(GROUP))
    for start in range(0, 12, 4):
        assert set(script.timed[start : start + 4]) == pairs(GROUP)
    assert {cell["n"] for cell in section["cells"]} == {3}
    assert section["failures"] == []


def test_the_order_is_drawn_anew() -> None:
    script = Script(dict.fromkeys(pairs(GROUP), 1.0))
    measure(script, GROUP, short=False, repetitions=40)
    orders = {tuple(script.timed[start : start + 4]) for start in range(0, 160, 4)}
    # 40 draws of 24 orders: one alone comes once in 24 to the 39th.
    assert len(orders) > 1


def test_a_wrong_answer_has_no_figure_and_stops_nobody_else() -> None:
    wrong, flaky = (SDK.name, "160 B"), (SDK.name, "9600 B")
    script = Script(dict.fromkeys(pairs(GROUP), 1.0), failing={flaky}, failing_checks={wrong})
    section = measure(script, GROUP, short=False, repetitions=5)
    assert {cell["stack"] for cell in section["cells"]} == {BATCHES.name}
    assert wrong not in script.timed
    # Once more after the first failure, then never again.
    assert script.timed.count(flaky) == 2
    assert [(row["stack"], row["condition"]) for row in section["failures"]] == [wrong, flaky, flaky]


def test_medians_and_spread_are_of_the_repetitions() -> None:
    costs = dict.fromkeys(pairs(GROUP), 1.0) | {(SDK.name, "160 B"): [9.0, 4.0, 5.0]}
    cell = Cells(measure(Script(costs), GROUP, short=False, repetitions=3)).get(SDK.name, "160 B")
    assert cell["cpu_us"] == {"median": 5.0, "min": 4.0, "max": 9.0}
    assert cell["wall_us"] == {"median": 10.0, "min": 8.0, "max": 18.0}


def cells(section_costs, quantity="cpu_us"):
    spread = lambda cost: {"median": cost, "min": cost * 0.9, "max": cost * 1.1}  # noqa: E731
    rows = [
        {"stack": stack.name, "condition": condition, "n": 6, "load_busy": 0.1, quantity: spread(float(cost))}
        for (stack, condition), cost in section_costs.items()
    ]
    return {"cells": rows, "failures": []}


def judged(section, costs, quantity="cpu_us"):
    rows = wanted.judge({section: cells(costs, quantity)})
    return {(row["what"], value["condition"]): value for row in rows for value in row["values"]}


@pytest.mark.parametrize(("cost", "is_met"), [(60, True), (59, False)])
def test_a_ratio_is_met_at_its_bound(cost: float, is_met: bool) -> None:
    rows = judged("saturated", {(BATCHES, "160 B"): 1, (SDK, "160 B"): cost})
    assert rows == {
        ("CPU of official SDK / voxwire, batches", "160 B"): {
            "condition": "160 B",
            "wanted": 60,
            "ratio": cost,
            "ratio_of_minima": pytest.approx(cost),
            "is_met": is_met,
        }
    }


def test_tls_is_judged_against_the_cheaper_of_two_and_against_plain() -> None:
    costs = {BATCHES: 2, PICOWS_ORJSON: 9, PICOWS_ORJSON_SSL: 5, PICOWS_PLAIN: 3}
    rows = judged("tls", {(stack, "9600 B"): cost for stack, cost in costs.items()})
    assert sorted((row["ratio"], row["is_met"]) for row in rows.values()) == [(2 / 3, True), (2.5, False)]


def test_many_sockets_are_judged_against_one() -> None:
    rows = judged("sockets", {(BATCHES, "1 x 20"): 20, (BATCHES, "10 x 20"): 31, (BATCHES, "50 x 20"): 10})
    assert [(row["ratio"], row["is_met"]) for row in rows.values()] == [(1.55, False), (0.5, True)]


def test_latency_counts_beyond_the_native_client() -> None:
    costs = {DECODE: 50, EACH: 60, PICOWS_ORJSON: 70, SDK: 85}
    rows = judged("paced", {(stack, "160 B"): cost for stack, cost in costs.items()}, "p50_us")
    assert sorted((row["ratio"], row["is_met"]) for row in rows.values()) == [(2, True), (3.5, False)]


def test_what_is_wanted_is_measured() -> None:
    for row in wanted.WANTED:
        group = GROUPS[row.section]
        measured = {(stack, condition.label) for stack, condition in group.pairs(short=False)}
        for condition, value in zip(row.conditions, row.values, strict=True):
            if value is not None:
                assert {(stack, condition) for stack in row.above} <= measured
                assert (row.below, row.base or condition) in measured


def test_every_group_has_something_in_a_short_run() -> None:
    for group in GROUPS.values():
        short, full = group.pairs(short=True), group.pairs(short=False)
        assert set(short) < set(full)
        assert {stack for stack, _ in short} == {stack for stack, _ in full}
        assert len({(stack.name, condition.label) for stack, condition in full}) == len(full)


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open, self.texts, self.links = [], [], []

    def handle_starttag(self, tag, attributes) -> None:
        self.links += [value for name, value in attributes if name in {"href", "src"}]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.texts.append(data)


def report():
    machine = {"processor": "P <1>", "cores": 2, "system": "S", "python": "3.11", "commit": "abc", "date": "2026-01-01"}
    stamp = {"machine": machine, "short": True, "took_s": 3}
    script = Script(dict.fromkeys(pairs(GROUP), 1.5), failing={(SDK.name, "160 B")})
    saturated = measure(script, GROUP, short=False, repetitions=2) | stamp
    memory = {"title": "Memory", "note": "", "rows": [{"figure": "idle <b>", "bytes": 1234, "wanted_bytes": None}]}
    sections = {"saturated": saturated, "memory": memory | stamp}
    return {"wanted": wanted.judge(sections), "sections": sections}


def test_the_page_is_whole_alone_and_says_what_failed() -> None:
    shown = Balance()
    shown.feed(page.render(report()))
    shown.close()
    assert shown.open == []
    assert all(link.startswith("#") for link in shown.links)
    text = " ".join(shown.texts)
    assert "official SDK, 160 B: the audio is <not> its source" in text
    assert "idle <b>" in text
    assert "1,234" in text
    assert "took few samples" in text
    assert "Rivals never join chunks" in text


def test_the_report_is_json() -> None:
    assert json.loads(json.dumps(report())) == report()


def test_numbers_have_three_digits() -> None:
    numbers = [0.0, 0.1234, 1.234, 12.34, 123.4, 1234.5, 7, -3.14159]
    assert [number(value) for value in numbers] == ["0.00", "0.123", "1.23", "12.3", "123", "1,234", "7", "-3.14"]


CLIENT = """
import json, sys
order = json.loads(sys.argv[1])
count = order["messages"] + {extra}
if {fails}:
    sys.exit("no module named rival")
print(json.dumps({{"cpu_s": 0.002, "wall_s": 0.004, "messages": count, "bytes": count * order["size"],
    "latencies_ns": [3000, 1000, 2000]}}))
"""
LOAD = """#!{python}
import json
print(json.dumps({{"port": 1}}), flush=True)
print(json.dumps({{"cpu_s": 0.001}}), flush=True)
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A stage whose load server and rival only pretend."""
    (tmp_path / "release").mkdir()
    (tmp_path / "rivals").mkdir()
    load = tmp_path / "release" / "load"
    load.write_text(LOAD.format(python=sys.executable))
    load.chmod(0o755)
    monkeypatch.setattr(programs, "TARGET", tmp_path)
    monkeypatch.setattr(programs, "BENCHES", tmp_path)
    stage = Stage()
    yield (
        stage,
        lambda **parts: (tmp_path / "rivals" / "sdk.py").write_text(
            CLIENT.format(**({"extra": 0, "fails": False} | parts))
        ),
    )
    stage.close()


def test_a_run_is_counted_per_message(stage) -> None:
    stage, client = stage
    client()
    sample = stage.run(SDK, SMALL, 10, check=False)
    figures = [pytest.approx(figure) for figure in (200.0, 400.0, 0.25, [1.0, 2.0, 3.0])]
    assert list(dataclasses.astuple(sample)) == figures


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"extra": -1}, "9 messages and 1440 bytes, 10 and 1600 were sent"),
        ({"fails": True}, "official SDK failed: no module named rival"),
    ],
)
def test_a_run_that_is_wrong_is_no_figure(stage, parts, reason: str) -> None:
    stage, client = stage
    client(**parts)
    with pytest.raises(RunFailed, match=reason):
        stage.run(SDK, SMALL, 10, check=False)


class TestInstructions:
    def test_the_same_and_less_are_accepted(self):
        assert instructions.compare({"a": 1029, "b": 500}, {"a": 1000, "b": 1000}) == []

    def test_more_is_named(self):
        assert instructions.compare({"a": 1031}, {"a": 1000}) == ["a: 1031 instructions, 1000 were accepted"]

    def test_a_case_that_came_or_went_is_named(self):
        faults = instructions.compare({"new": 5}, {"old": 5})
        assert faults == ["old: no longer counted", "new: 5 instructions, never accepted"]

    def test_every_accepted_count_has_both_paths(self):
        accepted = json.loads(instructions.ACCEPTED.read_text())["instructions"]
        cases = {case.rsplit(", ", 1)[0] for case in accepted}
        assert set(accepted) == {f"{case}, {path}" for case in cases for path in ("avx2", "scalar")}
