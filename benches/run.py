"""Runs the suite and writes ``results/latest.json`` and ``results/latest.html`` beside it.

``python benches/run.py`` measures for the better part of an hour; ``--short`` takes a few minutes and few samples,
which shows that everything runs and gives rough figures; ``--only`` measures one section and leaves the others of the
results as they are, so that a long run can be made in pieces. Every answer is checked before its time counts. Figures
are medians with minimum and maximum; ratios compare stacks of one section, whose runs are interleaved, and are the only
figures that hold from one machine to another.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rtp
from suite import others, page, wanted
from suite.conditions import GROUPS
from suite.programs import BENCHES, ROOT, RunFailed, Stage, build, wait_for_quiet
from suite.runner import measure, tell

RESULTS = BENCHES / "results"
# In the order of the page.
PARTS = {"memory": others.memory, "talkers": others.talkers, "python": others.python, "rust": others.rust}
SECTIONS = (*GROUPS, "rtp", *PARTS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the benchmark suite of voxwire")
    parser.add_argument("--short", action="store_true", help="few samples: does it run, and roughly how fast")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section alone; may be repeated")
    parser.add_argument("--repetitions", type=int, help="how often each pair of stack and condition is timed")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page anew")
    arguments = parser.parse_args()
    path = RESULTS / "latest.json"
    names = [name for name in SECTIONS if not arguments.render and name in (arguments.only or SECTIONS)]
    is_whole = len(names) == len(SECTIONS)
    sections: dict[str, Any] = {} if is_whole or not path.exists() else json.loads(path.read_text())["sections"]
    if GROUPS.keys() & set(names):
        build(["load", "floor"])
    failed = []
    for name in names:
        started = time.monotonic()
        try:
            section = measured(name, short=arguments.short, repetitions=arguments.repetitions)
        except (others.PartFailed, RunFailed) as error:
            tell(f"FAILED: {name}: {error}")
            failed.append(name)
            continue
        section |= {"machine": machine(), "short": arguments.short, "took_s": round(time.monotonic() - started)}
        if section.get("failures"):
            failed.append(name)
        sections[name] = section
        # After each, so that a run that is broken off has lost nothing.
        write(path, sections)
    if arguments.render:
        write(path, sections)
    print(f"wrote {path.relative_to(ROOT)} and {path.stem}.html")
    if failed:
        sys.exit(f"failed, see above: {', '.join(failed)}")


def measured(name: str, *, short: bool, repetitions: int | None) -> dict[str, Any]:
    if name in PARTS:
        tell(f"{name}: its own program")
        return PARTS[name](short=short)
    if name == "rtp":
        return rtp.measure(short=short, repetitions=repetitions)
    stage = Stage()
    try:
        return measure(stage, GROUPS[name], short=short, repetitions=repetitions, before_run=wait_for_quiet)
    finally:
        stage.close()


def write(path: Path, sections: dict[str, Any]) -> None:
    ordered = {name: sections[name] for name in SECTIONS if name in sections}
    report = {"wanted": wanted.judge(ordered), "sections": ordered}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    path.with_suffix(".html").write_text(page.render(report))


def machine() -> dict[str, Any]:
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "processor": models[0].split(":")[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


if __name__ == "__main__":
    main()
