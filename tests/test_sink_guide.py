"""The guide for authors of sinks is followed to the letter: its files are written, its commands run, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from voxwire.sinks import AsyncSink, ThreadSink

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "sinks.md").read_text()
EXAMPLE = ROOT / "docs" / "examples" / "voxwire-example-sink"


class Step(NamedTuple):
    """A file to write, or commands to run where there is no path."""

    path: str | None
    text: str


def steps() -> list[Step]:
    blocks = re.finditer(r"(?:^`([^`\n]+)`\n\n)?^```(py|toml|sh)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return [Step(match[1], match[3]) for match in blocks]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A fresh environment that sees the voxwire which is tested here, without a network and without a build of it."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    library = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # A path alone would not do: voxwire itself may be installed by such a file.
    (library / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    programs = {
        # What the reader's pip does over the network is there already.
        "pip": 'exec python -m pip "$@" --quiet --no-deps --no-build-isolation --no-index --no-warn-script-location',
        "voxwire": 'exec python -c "from voxwire.cli import main; main()" "$@"',
    }
    for name, program in programs.items():
        file = home / "bin" / name
        file.write_text(f"#!/bin/sh\n{program}\n")
        file.chmod(0o755)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VOXWIRE", "PIP"))}
    variables |= {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(home)}
    return variables | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "80"}


def test_the_guide_is_followed_to_the_letter(tmp_path: Path, environment: dict[str, str]) -> None:
    output = []
    for step in steps():
        if step.path is not None:
            file = tmp_path / step.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text)
            continue
        result = subprocess.run(
            ["sh", "-eu", "-c", step.text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        output.append(result.stdout)
    installed, tested = output
    row = next(line for line in installed.splitlines() if line.startswith("level "))
    assert row.split() == ["level", "voxwire-example-sink", "1.0", "usable"]
    option = next(line for line in installed.splitlines() if line.startswith("level ") and "width" in line)
    assert option.strip().split(maxsplit=3) == ["level", "width", "60", "characters of the longest bar"]
    bars = (tmp_path / "bars.txt").read_text().splitlines()
    assert len(bars) > 20
    assert set("".join(bars)) == {"#"}
    assert re.search(r"\d\d passed", tested)
    assert "failed" not in tested


def test_the_example_is_what_the_guide_shows() -> None:
    shown = {step.path: step.text for step in steps() if step.path is not None}
    assert {path: (EXAMPLE / path).read_text() for path in shown} == shown
    there = {str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*") if path.suffix in {".py", ".toml"}}
    assert there == set(shown)


def test_the_attributes_are_those_of_the_adapters() -> None:
    table = GUIDE.split("## What the attributes mean")[1].split("##")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))
    for adapter in (ThreadSink, AsyncSink):
        documented = "".join((base.__doc__ or "").partition("Attributes:")[2] for base in adapter.__mro__[:2])
        names = re.findall(r"^ {8}(\w+): ", documented, re.MULTILINE)
        assert names
        assert set(names) <= set(rows)
        for name in names:
            if name != "formats":
                assert str(getattr(adapter, name)) == rows[name].strip('`"'), name


def test_it_is_one_page() -> None:
    assert len(GUIDE.splitlines()) <= 170
