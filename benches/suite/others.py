"""The parts of the suite that are programs of their own: criterion, pytest-benchmark, the scripts beside ``run.py``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from suite.programs import BENCHES, ROOT, TARGET

OURS = "voxwire"
# Sampling for each of criterion's many benches.
SHORT_CRITERION = ("--quick",)
SHORT_PYTEST = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=3")
LIMIT_S = 3600


class PartFailed(Exception):
    """A program of the suite failed: its section has no figures."""


def rust(*, short: bool) -> dict[str, Any]:
    """Runs criterion over the core and returns its section."""
    command = ["cargo", "bench", "--package", "voxwire-benches", "--locked", "--quiet", "--"]
    call([*command, *(SHORT_CRITERION if short else ())])
    rows = []
    for path in sorted((TARGET / "criterion").rglob("new/estimates.json")):
        estimates = json.loads(path.read_text())
        name = json.loads((path.parent / "benchmark.json").read_text())
        median = estimates["median"]["point_estimate"]
        row = {"group": name["group_id"], "bench": name["function_id"] or "", "value": name["value_str"] or ""}
        row |= {"median_ns": median, "deviation_ns": estimates["median_abs_dev"]["point_estimate"]}
        if size := (name.get("throughput") or {}).get("Bytes"):
            row["gigabytes_per_s"] = size / median
        rows.append(row)
    return {"title": "In Rust, in memory", "note": "Criterion: time of one operation.", "rows": rows}


def python(*, short: bool) -> dict[str, Any]:
    """Runs pytest-benchmark over the public API and returns its section."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", str(BENCHES), "-q", f"--benchmark-json={output}"]
        command += ["--benchmark-columns=median,min,max", "--benchmark-sort=name"]
        call([*command, *(SHORT_PYTEST if short else ("--benchmark-warmup=on",))])
        benchmarks = json.loads(output.read_text())["benchmarks"]
    rows: list[dict[str, Any]] = []
    for bench in benchmarks:
        info = bench["extra_info"]
        per = 1e9 / info["messages"]
        times = {f"{key}_ns": bench["stats"][key] * per for key in ("median", "min", "max")}
        rows.append({"group": bench["group"], "stack": info["stack"], **times})
    ours = {row["group"]: row["median_ns"] for row in rows if row["stack"] == OURS}
    for row in rows:
        row["ratio"] = row["median_ns"] / ours[row["group"]]
    note = "Wall time of a message; ratio is the time of a stack over that of voxwire in this run."
    return {"title": "Through Python, in memory", "note": note, "rows": rows}


def memory(*, short: bool) -> dict[str, Any]:
    """Runs ``memory.py`` and returns its section."""
    rows = script("memory.py", short=short)
    note = "Growth of a process of its own, in bytes; of an idle one after a burst has passed through all of them."
    return {"title": "Memory", "note": note, "rows": rows}


def talkers(*, short: bool) -> dict[str, Any]:
    """Runs ``talkers.py`` and returns its section."""
    rows = script("talkers.py", short=short)
    note = "A tone engine's server; a talker is a context of s16 at 24 kHz in chunks of 100 ms. Saturated is not paced."
    return {"title": "Server: what a talker costs", "note": note, "rows": rows}


def script(name: str, *, short: bool) -> Any:
    """Runs a script of this folder, whose last line is its result as JSON, and returns that."""
    lines = call([sys.executable, str(BENCHES / name), *(["--short"] if short else [])], keep=True).splitlines()
    return json.loads(lines[-1])


def call(command: list[str], *, keep: bool = False) -> str:
    try:
        output = subprocess.PIPE if keep else None
        ran = subprocess.run(command, cwd=ROOT, check=True, timeout=LIMIT_S, stdout=output, text=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise PartFailed(str(error)) from error
    return ran.stdout or ""
