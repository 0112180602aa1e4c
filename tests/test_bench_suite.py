"""The benchmark suite's own sums: what is run, what a failure does, which ratio is met, what the page shows."""

from __future__ import annotations

import dataclasses
import json
import sys
from html.parser import HTMLParser

import instructions
import pytest
import rtp
from suite import page, programs, wanted
from suite.conditions import (
    AIORTP,
    BATCHES,
    DECODE,
    EACH,
    FIFO,
    GROUPS,
    ORDINARY,
    PICOWS_ORJSON,
    PICOWS_ORJSON_SSL,
    PICOWS_PLAIN,
    RTP,
    RTP_QUANTITIES,
    SDK,
    THOUSAND,
    TWO_THOUSAND,
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


RECEIVED = {
    "packets": 50,
    "lost": 0,
    "duplicates": 0,
    "reordered": 0,
    "markers": 1,
    "starts_with_marker": True,
    "skipped": 0,
    "wrong_steps": 0,
    "silent": 0,
    "padded": 0,
    "wrong_audio": 0,
    "audio_bytes": 8000,
    "jitter_mean_us": 20.0,
    "jitter_max_us": 70.0,
    "delta_max_us": 20_300.0,
    "late_max_us": 300.0,
}
SENT = {"cpu_s": 0.0004, "others_percent": 2.0}
WAKES = [{"core": core, "worst_us": 900.0 + 500 * core, "late": core} for core in (0, 1)]
LATE = {"p50": 30.0, "p99": 90.0, "p999": 200.0, "max": 300.0}


def received(**parts):
    """A report of two streams of a second, the first with these parts."""
    streams = [RECEIVED | {key: part for key, part in parts.items() if key in RECEIVED}, RECEIVED]
    whole = {"streams": streams, "late_us": LATE, "wakes": WAKES, "strangers": 0, "dropped": 0, "reports": 3}
    return whole | {key: part for key, part in parts.items() if key in whole}


class TestRtp:
    def test_a_whole_run_is_summed_up(self):
        report = received(jitter_max_us=400.0, jitter_mean_us=40.0, delta_max_us=21_000.0, skipped=2)
        rtp.check_report(report, 50)
        found = rtp.sample(report, SENT | {"pacer_cpu_s": 0.0003})
        assert (found.packet_cpu_us, found.pacer_cpu_us) == (pytest.approx(4), pytest.approx(3))
        assert found.streams_per_core == pytest.approx(5000)
        assert (found.jitter_max_us, found.jitter_mean_us, found.delta_max_us, found.skipped) == (400, 30, 21_000, 2)
        assert (found.late_p50_us, found.late_p99_us, found.late_max_us) == (30, 90, 300)
        # Of the core that the sender has.
        assert (found.wake_max_us, found.wakes_late) == (1400, 1)

    def test_silence_that_was_sent_between_is_no_audio(self):
        rtp.check_report(received(packets=54, silent=3, padded=1), 50)

    @pytest.mark.parametrize(
        ("parts", "reason"),
        [
            ({"packets": 49, "lost": 1}, "1 packets were lost"),
            ({"packets": 49, "audio_bytes": 7840}, "160 bytes of audio did not come"),
            ({"wrong_audio": 2}, "2 packets have other audio than was sent"),
            ({"wrong_steps": 1}, "1 packets have a wrong timestamp"),
            ({"reordered": 4}, "4 packets came out of order"),
            ({"duplicates": 4}, "4 packets came twice"),
            ({"strangers": 5}, "5 packets belong to no stream"),
            ({"dropped": 6}, "6 packets were dropped by the receiver"),
        ],
    )
    def test_a_run_in_which_anything_is_wrong_is_no_figure(self, parts, reason):
        with pytest.raises(RunFailed, match=f"^{reason}$"):
            rtp.check_report(received(**parts), 50)

    def test_the_packets_that_the_sender_counted_go_before(self):
        assert rtp.sample(received(), SENT | {"packets": 80}).packet_cpu_us == pytest.approx(5)

    def test_every_quantity_is_reported_where_it_was_measured(self):
        samples = [rtp.sample(received(), SENT | {"cpu_s": cpu_s}) for cpu_s in (0.0002, 0.0004, 0.0009)]
        cell = rtp.cell(AIORTP, THOUSAND, samples)
        assert cell["packet_cpu_us"] == {
            key: pytest.approx(cost) for key, cost in zip(("median", "min", "max"), (4, 2, 9), strict=True)
        }
        assert (cell["stack"], cell["condition"], cell["n"]) == ("aiortp, paced", "1000 streams", 3)
        assert {name for name in RTP_QUANTITIES if cell[name] is None} == {"pacer_cpu_us"}
        assert [(run["packet_cpu_us"], run["wake_max_us"]) for run in cell["runs"]] == [
            (pytest.approx(cost), 1400) for cost in (2, 4, 9)
        ]

    def test_a_machine_that_may_not_be_watched_is_told_of(self, monkeypatch):
        unwatched = [rtp.sample(received(wakes=None), SENT)]
        cells = [rtp.cell(FIFO, THOUSAND, unwatched)]
        assert (cells[0]["wake_max_us"], cells[0]["wakes_late"]) == (None, None)
        section = {"title": RTP.title, "note": RTP.note, "failures": [], "cells": cells}
        monkeypatch.setattr(rtp, "build", lambda _: None)
        monkeypatch.setattr(rtp, "program", lambda _: "true")
        monkeypatch.setattr(rtp, "measure_group", lambda *_, **__: section)
        assert "What the machine itself held up is not known" in rtp.measure(short=True, repetitions=1)["note"]
        assert "machine not watched" in page.runs(section)

    def test_a_short_run_has_every_sender_but_the_one_for_a_single_stream(self):
        short, full = RTP.pairs(short=True), RTP.pairs(short=False)
        assert set(short) < set(full)
        assert {sender.name for sender, _ in full} - {sender.name for sender, _ in short} == {"ffmpeg -re"}

    def test_what_is_wanted_is_measured(self):
        for limit in wanted.LIMITS:
            assert {(limit.stack, condition) for condition in limit.conditions} <= set(RTP.pairs(short=False))
            assert limit.quantity in RTP_QUANTITIES

    @pytest.mark.parametrize(("streams_per_core", "is_met"), [(2000.0, True), (1999.0, False)])
    def test_a_limit_is_met_at_its_bound(self, streams_per_core, is_met):
        cell = {"stack": FIFO.name, "condition": TWO_THOUSAND.label, "n": 1}
        cell["streams_per_core"] = {"median": streams_per_core, "min": 1.0, "max": 9000.0}
        (row,) = wanted.judge({"rtp": {"cells": [cell]}})
        assert row["figure"] == 8
        assert row["values"] == [
            {
                "condition": "2000 streams",
                "wanted": 2000,
                "median": streams_per_core,
                "min": 1.0,
                "max": 9000.0,
                "is_met": is_met,
            }
        ]

    def test_the_page_shows_senders_and_limits(self):
        senders = (FIFO, ORDINARY, AIORTP)
        made = [rtp.sample(received(), SENT)]
        section = {"title": RTP.title, "note": RTP.note, "mode": "paced", "repetitions": 1, "failures": []}
        section["cells"] = [rtp.cell(sender, TWO_THOUSAND, made) for sender in senders]
        sections = {
            "rtp": section | {"machine": report()["sections"]["memory"]["machine"], "short": False, "took_s": 3}
        }
        shown = Balance()
        shown.feed(page.render({"wanted": wanted.judge(sections), "sections": sections}))
        shown.close()
        assert shown.open == []
        text = " ".join(shown.texts)
        assert "aiortp, paced" in text
        assert "Worst jitter (RFC 3550) of any stream at any time, us" in text
        assert "Worst wake of the machine itself on the sender's core meanwhile, us" in text
        assert "Each run: worst jitter, and worst wake of the machine itself, us" in text
        assert "(1,400)" in text
        assert "wanted ≥ 2,000" in text


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
