"""The laws of the house (CONTRIBUTING.md), each as a test over the source."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "voxwire"
RUST = ROOT / "rust"
PLUGINS = sorted((ROOT / "plugins").iterdir())
NATIVE_PLUGINS = [plugin for plugin in PLUGINS if (plugin / "native").is_dir()]


UNSAFE = re.compile(r"\bunsafe\s*(\{|fn|impl|extern)")


def modules(*parts: str) -> list[Path]:
    place = PACKAGE.joinpath(*parts)
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, with the names taken from packages."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """The parts of voxwire that a file imports: the first name below the package."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("voxwire.")}


def rust_sources(crate: str) -> list[Path]:
    return sorted((RUST / crate / "src").rglob("*.rs"))


def code(path: Path) -> str:
    """A Rust file without comments and without its test module."""
    text = path.read_text().split("#[cfg(test)]", maxsplit=1)[0]
    return re.sub(r"//[^\n]*", "", text)


def test_law_1_the_core_knows_no_world() -> None:
    manifest = tomllib.loads((RUST / "core" / "Cargo.toml").read_text())
    assert not {"pyo3", "tokio", "mio", "libc", "rustls"} & set(manifest["dependencies"])
    banned = re.compile(
        r"\bpyo3\b|std::(net|thread|time::(Instant|SystemTime)|fs|process|env)\b|\bunsafe\s*[{(]|unsafe fn"
    )
    for path in rust_sources("core"):
        assert not banned.search(code(path)), path
    assert "#![forbid(unsafe_code)]" in (RUST / "core" / "src" / "lib.rs").read_text()


def test_law_1_unsafe_lives_in_its_rooms() -> None:
    allowed = {
        RUST / "link" / "src" / "socket.rs",
        RUST / "plugin" / "src" / "lent.rs",
        RUST / "py" / "src" / "raw.rs",
    }
    for crate in ("audio", "core", "link", "plugin", "py", "sink"):
        for path in rust_sources(crate):
            if path not in allowed:
                assert not UNSAFE.search(code(path)), path


@pytest.mark.parametrize("plugin", NATIVE_PLUGINS, ids=lambda path: path.name)
def test_law_1_a_native_plugin_has_one_file_with_unsafe(plugin: Path) -> None:
    sources = sorted((plugin / "native" / "src").rglob("*.rs"))
    assert len([path for path in sources if UNSAFE.search(code(path))]) <= 1


@pytest.mark.parametrize("crate", ["link", "sink"])
def test_law_1_what_drives_sockets_and_sinks_knows_no_python(crate: str) -> None:
    manifest = tomllib.loads((RUST / crate / "Cargo.toml").read_text())
    assert "pyo3" not in manifest["dependencies"]
    for path in rust_sources(crate):
        assert "pyo3" not in code(path), path


def test_law_2_the_binding_translates() -> None:
    manifest = tomllib.loads((RUST / "py" / "Cargo.toml").read_text())
    assert set(manifest["dependencies"]) == {"pyo3", "voxwire-core", "voxwire-audio", "voxwire-link"}
    protocol = re.compile(
        r'"(transcript|context_id|flush_id|flush_done|word_timestamps|step_time|status_code|pcm_s16le|'
        r'Sec-WebSocket-[A-Za-z]+)"'
    )
    for path in rust_sources("py"):
        assert not protocol.search(code(path)), path


def test_law_3_two_doors_to_the_core() -> None:
    doors = {PACKAGE / "protocol.py", PACKAGE / "audio.py"}
    for path in [*modules(), *(ROOT / "plugins").rglob("*.py")]:
        if path not in doors:
            assert "voxwire._core" not in imports(path), path


@pytest.mark.parametrize("plugin", NATIVE_PLUGINS, ids=lambda path: path.name)
def test_law_3_native_plugins_know_three_of_our_crates(plugin: Path) -> None:
    manifest = tomllib.loads((plugin / "native" / "Cargo.toml").read_text())
    for table in ("dependencies", "dev-dependencies", "build-dependencies"):
        ours = {name for name in manifest.get(table, {}) if name.startswith("voxwire-")}
        assert ours <= {"voxwire-audio", "voxwire-plugin", "voxwire-sink"}, table


def test_law_4_exceptions_import_nothing_of_ours() -> None:
    assert ours(PACKAGE / "exceptions.py") == set()


def test_law_4_transport_knows_protocol_and_exceptions() -> None:
    for path in modules("transport"):
        assert ours(path) <= {"transport", "protocol", "exceptions"}, path


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        (("server",), {"client", "sync", "playback", "sinks", "cli"}),
        (("engines",), {"client", "sync", "playback", "sinks", "server", "cli"}),
        (("sinks",), {"client", "sync", "engines", "server", "cli"}),
        (("playback",), {"server", "engines", "cli", "trace"}),
        (("trace",), {"server", "engines", "cli"}),
        (("client",), {"server", "engines", "sinks", "cli", "trace"}),
        (("sync",), {"server", "engines", "sinks", "cli"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_law_4_rooms_keep_apart(room: tuple[str, ...], forbidden: set[str]) -> None:
    for path in modules(*room):
        assert not ours(path) & forbidden, path


def test_law_4_nothing_imports_the_command_line() -> None:
    for path in modules():
        if "cli" not in path.relative_to(PACKAGE).parts:
            assert "cli" not in ours(path), path


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_law_5_a_plugin_imports_only_public_names(plugin: Path) -> None:
    for path in sorted((plugin / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "voxwire":
                public = importlib.import_module(str(node.module)).__all__
                for alias in node.names:
                    assert alias.name in public, f"{path} imports {alias.name} of {node.module}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    assert not alias.name.startswith("voxwire."), f"{path} imports {alias.name}"


def test_law_6_importing_voxwire_scans_nothing() -> None:
    program = (
        "import sys, voxwire\n"
        "loaded = set(sys.modules)\n"
        "heavy = {'importlib.metadata', 'uvicorn', 'starlette', 'pydantic', 'rich', 'click'}\n"
        "rooms = ('voxwire_', 'voxwire.server', 'voxwire.cli', 'voxwire.engines')\n"
        "print(sorted(m for m in loaded if m in heavy or m.startswith(rooms)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout.strip() == "[]"


def test_law_7_vectors_are_read_by_both_languages() -> None:
    rust = "".join(path.read_text() for path in RUST.rglob("*.rs") if "target" not in path.parts)
    python = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for vector in (ROOT / "tests" / "vectors").glob("*.jsonl"):
        assert vector.name in rust, f"{vector.name} is not read by Rust"
        assert vector.name in python, f"{vector.name} is not read by Python"


def test_law_8_a_fact_has_one_home() -> None:
    limits = re.compile(r"message_bytes\"?\s*[=:]\s*\d")
    for path in modules():
        assert not limits.search(path.read_text()), f"{path}: message limits live in the core (LIMITS)"
    widths = re.compile(r"\"pcm_(f32le|s16le|mulaw|alaw)\"\s*:\s*\d")
    for path in modules():
        assert not widths.search(path.read_text()), f"{path}: sample widths live in the core (SAMPLE_WIDTHS)"
    closing = re.compile(r"\b(1002|1003|1006|1007|1009|1011)\b")
    for path in modules():
        text = re.sub(r'"""[\s\S]*?"""|#[^\n]*', "", path.read_text())
        assert not closing.search(text), f"{path}: close codes live in the core (CLOSE_CODES)"
    for crate in ("core", "py"):
        for path in rust_sources(crate):
            if path != RUST / "core" / "src" / "error.rs":
                assert not closing.search(re.sub(r'"[^"\n]*"', "", code(path))), f"{path}: close codes live in error.rs"


def test_law_9_tasks_are_made_in_one_module() -> None:
    made = re.compile(r"\b(create_task|ensure_future|TaskGroup)\(")
    for path in [*modules(), *(path for plugin in PLUGINS for path in (plugin / "src").rglob("*.py"))]:
        if path != PACKAGE / "tasks.py":
            assert not made.search(path.read_text()), path


def test_law_9_public_names_are_the_documented_ones() -> None:
    import voxwire

    documented = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "reference.md").read_text(), flags=re.MULTILINE)
    assert sorted(set(voxwire.__all__) - {"__version__"}) == sorted(documented)
    for name in voxwire.__all__:
        assert getattr(voxwire, name) is not None, name
