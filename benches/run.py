"""Runs the suite and writes ``results/latest.json`` and ``results/latest.html`` beside it.

``python benches/run.py`` measures for some minutes; ``--short`` takes few samples, which shows that everything runs and
gives rough figures. Each bench checks its answer before it counts the time. Figures are medians with minimum and
maximum; ratios compare stacks of one run, the only comparison that holds from one machine to another.
"""

from __future__ import annotations

import argparse
import datetime as dt
import html
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BENCHES = Path(__file__).resolve().parent
ROOT = BENCHES.parent
RESULTS = BENCHES / "results"
OURS = "voxwire"


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the benchmark suite of voxwire")
    parser.add_argument("--short", action="store_true", help="few samples: does it run, and roughly how fast")
    short = parser.parse_args().short
    rust(short=short)
    report = {"machine": machine(), "short": short, "python": python(short=short), "rust": criterion()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(report, indent=1))
    (RESULTS / "latest.html").write_text(page(report))
    print(f"wrote {RESULTS.relative_to(ROOT)}/latest.json and latest.html")


def machine() -> dict[str, Any]:
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def rust(*, short: bool) -> None:
    command = ["cargo", "bench", "--package", "voxwire-benches", "--locked", "--quiet", "--"]
    subprocess.run([*command, *(["--quick"] if short else [])], cwd=ROOT, check=True)


def criterion() -> list[dict[str, Any]]:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    rows = []
    for path in sorted((target / "criterion").rglob("new/estimates.json")):
        estimates = json.loads(path.read_text())
        name = json.loads((path.parent / "benchmark.json").read_text())
        throughput = name.get("throughput") or {}
        median = estimates["median"]["point_estimate"]
        row = {"group": name["group_id"], "bench": name["function_id"] or "", "value": name["value_str"] or ""}
        row |= {"median_ns": median, "deviation_ns": estimates["median_abs_dev"]["point_estimate"]}
        if throughput.get("Bytes"):
            row["gigabytes_per_s"] = throughput["Bytes"] / median
        rows.append(row)
    return rows


def python(*, short: bool) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", str(BENCHES), "-q", f"--benchmark-json={output}"]
        command += ["--benchmark-warmup=on", "--benchmark-columns=median,min,max", "--benchmark-sort=name"]
        if short:
            command += ["--benchmark-max-time=0.05", "--benchmark-min-rounds=3"]
        subprocess.run(command, cwd=ROOT, check=True)
        benchmarks = json.loads(output.read_text())["benchmarks"]
    rows = []
    for bench in benchmarks:
        info = bench["extra_info"]
        per = 1e9 / info["messages"]
        stats = {f"{key}_ns": bench["stats"][key] * per for key in ("median", "min", "max")}
        rows.append({"group": bench["group"], "stack": info["stack"], **stats})
    ours = {row["group"]: row["median_ns"] for row in rows if row["stack"] == OURS}
    for row in rows:
        row["ratio"] = row["median_ns"] / ours[row["group"]]
    return rows


def page(report: dict[str, Any]) -> str:
    def table(rows: list[dict[str, Any]], columns: list[str]) -> str:
        head = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{cell(row.get(column))}</td>" for column in columns) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}" if value < 1000 else f"{value:.0f}"
        return html.escape(str(value if value is not None else ""))

    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    note = " Few samples were taken: read the figures as rough." if report["short"] else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>voxwire benchmarks</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
        "table{border-collapse:collapse;width:100%}"
        "th,td{padding:.25rem .75rem;border-bottom:1px solid #ddd;text-align:left}"
        "td:nth-child(n+3){text-align:right;font-variant-numeric:tabular-nums}</style>"
        f"<h1>voxwire benchmarks</h1><p>{html.escape(facts)}.{note}</p>"
        "<h2>Through Python</h2><p>Time per message; ratio is the time of a stack over that of voxwire in this run.</p>"
        + table(report["python"], ["group", "stack", "median_ns", "min_ns", "max_ns", "ratio"])
        + "<h2>In Rust</h2>"
        + table(report["rust"], ["group", "bench", "value", "median_ns", "deviation_ns", "gigabytes_per_s"])
        + "</html>\n"
    )


if __name__ == "__main__":
    main()
