"""Counts instructions of the core's inner work under callgrind and compares them with the counts of the repository.

``python benches/instructions.py`` is the guard of the gate: unlike a time, a count is the same beside any neighbour. It
ends with status 1 where a case takes over 3 % more than ``instructions.json`` says, or where a case came or went.
``--accept`` writes the counts of now into that file, to be committed with the change that explains them.

Each case is a process of its own (``rust/instructions.rs``), which checks its answer first. Valgrind has AVX2 and no
AVX-512: both the AVX2 and the scalar path are counted, the widest is not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from suite.programs import BENCHES, ROOT, build, program

ACCEPTED = BENCHES / "instructions.json"
# Another C library copies memory in another way, and hash tables are seeded anew in each process.
TOLERANCE = 0.03
# As many as rust/instructions.rs counts in one process.
TURNS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts instructions and compares them with those accepted before")
    parser.add_argument("--accept", action="store_true", help="write the counts of now into instructions.json")
    arguments = parser.parse_args()
    compiler = run("rustc", "--version").stdout.strip()
    counts = counted()
    if arguments.accept:
        ACCEPTED.write_text(json.dumps({"compiler": compiler, "instructions": counts}, indent=1) + "\n")
        print(f"wrote {ACCEPTED.relative_to(ROOT)}")
        return
    accepted = json.loads(ACCEPTED.read_text())
    faults = compare(counts, accepted["instructions"])
    if faults:
        if compiler != accepted["compiler"]:
            faults.append(f"the accepted counts are of {accepted['compiler']}, these are of {compiler}")
        faults.append("what is meant is accepted by: python benches/instructions.py --accept")
        sys.exit("\n".join(faults))


def counted() -> dict[str, int]:
    """Returns the instructions of one turn of each case."""
    build(["instructions"], features=["instructions"])
    cases = run(program("instructions")).stdout.splitlines()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(cases, pool.map(count, cases), strict=True))


def count(case: str) -> int:
    options = ("--collect-atstart=no", "--toggle-collect=*instructions*counted*", "--callgrind-out-file=/dev/null")
    outcome = run("valgrind", "--tool=callgrind", *options, program("instructions"), case)
    found = re.search(r"Collected : (\d+)", outcome.stderr)
    if found is None or int(found[1]) == 0:
        sys.exit(f"callgrind counted nothing for {case!r}:\n{outcome.stderr}")
    return round(int(found[1]) / TURNS)


def compare(counts: dict[str, int], accepted: dict[str, int]) -> list[str]:
    """Prints a table; returns a line for each case that is worse, new or gone."""
    faults = [f"{case}: no longer counted" for case in accepted.keys() - counts.keys()]
    print(f"{'instructions a turn':44} {'accepted':>10} {'now':>10}   ratio")
    for case, now in counts.items():
        before = accepted.get(case)
        if before is None:
            faults.append(f"{case}: {now} instructions, never accepted")
            continue
        ratio = now / before
        print(f"{case:44} {before:10} {now:10} {ratio:7.3f}")
        if ratio > 1 + TOLERANCE:
            faults.append(f"{case}: {now} instructions, {before} were accepted")
    return faults


def run(*command: str) -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{outcome.stderr}")
    return outcome


if __name__ == "__main__":
    main()
