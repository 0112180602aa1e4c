"""The command line as its user meets it: what it prints, one line per error, the exit statuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest

VOXWIRE = Path(sys.executable).parent / "voxwire"
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("VOXWIRE", "CARTESIA"))}


def voxwire(*arguments: str, cwd: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [VOXWIRE, *arguments],
        cwd=cwd,
        input=stdin,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def assert_one_line(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("voxwire: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture
def server(tmp_path: Path):
    """A server with a key, as a process of its own."""
    process = subprocess.Popen(
        [VOXWIRE, "serve", "--port", "0", "--engine", "tone", "--api-key", "k-secret"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    announced = json.loads(process.stdout.readline())
    yield process, announced
    if process.poll() is None:
        process.kill()
    process.wait(10)
    process.stdout.close()
    process.stderr.close()


def test_say_speaks_into_a_file(tmp_path: Path) -> None:
    result = voxwire("say", "Hello there.", "--url", "embedded:tone", "--to", "file:out.wav", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["outcome"] == "finished"
    assert [word["text"] for word in record["words"]] == ["Hello", "there."]
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(record["audio_s"], abs=1e-6)


@pytest.mark.parametrize("address", ["raw:-", "raw://-", "raw:%2D", "raw:/dev/stdout", "raw:/dev/fd/1"])
def test_say_takes_standard_input_and_gives_standard_output(tmp_path: Path, address: str) -> None:
    result = subprocess.run(
        [VOXWIRE, "say", "--url", "embedded:tone", "--to", address, "--json"],
        input=b"One two.",
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stderr.decode())
    assert len(result.stdout) == round(record["audio_s"] * 24000) * 2
    assert any(result.stdout)


def test_say_speaks_a_file_and_an_asked_format(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Good morning.\n")
    arguments = ["--file", "text.txt", "--encoding", "pcm_mulaw", "--sample-rate", "8000", "--url", "embedded:tone"]
    result = voxwire("say", *arguments, "--to", "raw:out.raw", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.raw").stat().st_size == round(json.loads(result.stdout)["audio_s"] * 8000)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("say", "x", "--to", "out.wav"), 2, ("file:out.wav",)),
        (("say", "x", "--to", "nothing:here"), 2, ("nothing", "null")),
        (("say", "x", "--to", "file:no/such/folder/out.wav"), 6, ("no/such/folder",)),
        (("say", "x", "--to", "null:?depth=2"), 2, ("depth",)),
        (("say", "x", "--to", "null:", "--url", "embedded:nobody"), 2, ("nobody", "tone")),
        (("say", "x", "--to", "null:", "--url", "embedded:tone", "--voice", "nobody"), 2, ("voice",)),
        (("say", "x", "--to", "null:", "--url", "ftp://127.0.0.1"), 2, ("ftp",)),
        (("say", "x", "--to", "null:", "--api-key", "k"), 2, ("key",)),
        (("say", "x", "--file", "y", "--to", "null:"), 2, ("--file",)),
        (("say", "--file", "absent.txt", "--to", "null:"), 2, ("absent.txt",)),
        (("say", "x", "--speed", "fast"), 2, ("--speed",)),
        (("say", "x", "--speed", "nan"), 2, ("--speed", "nan")),
        (("say", "x", "--timeout", "nan"), 2, ("--timeout", "nan")),
        (("say", "x", "--to", "null:", "--url", ""), 2, ("--url", "empty")),
        (("voices", "--url", ""), 2, ("--url", "empty")),
        (
            ("serve", "--port", "0", "--engine", "tone", "--default-voice", "nobody"),
            2,
            ("--default-voice: engine tone",),
        ),
        (("serve", "--port", "0", "--engine", "tone", "--engine-option", "x=1"), 2, ("--engine-option: unknown",)),
        (("shout",), 2, ("shout",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_misuse_is_one_line(arguments: tuple[str, ...], status: int, words: tuple[str, ...], tmp_path: Path) -> None:
    assert_one_line(voxwire(*arguments, cwd=tmp_path), status, *words)


def test_an_unreachable_server_is_status_3(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = voxwire("say", "x", "--to", "null:", "--url", f"ws://127.0.0.1:{port}", cwd=tmp_path)
    assert_one_line(result, 3, f"127.0.0.1:{port}")


def test_a_server_that_never_answers_is_bounded(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        assert_one_line(
            voxwire("say", "x", "--to", "null:", "--url", url, "--timeout", "0.5", cwd=tmp_path), 8, "0.5 s"
        )


def test_a_wrong_key_is_status_4_and_is_not_shown(server, tmp_path: Path) -> None:
    _, announced = server
    result = voxwire("say", "x", "--to", "null:", "--url", announced["ws"], "--api-key", "wrong-k", cwd=tmp_path)
    assert_one_line(result, 4, "--api-key")
    assert "wrong-k" not in result.stderr
    result = voxwire("say", "x", "--to", "null:", cwd=tmp_path, VOXWIRE_URL=announced["ws"], VOXWIRE_API_KEY="k-secret")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_status_6(tmp_path: Path) -> None:
    result = voxwire("say", "x", "--to", "raw:/dev/full", "--url", "embedded:tone", cwd=tmp_path)
    assert_one_line(result, 6, "/dev/full", "no space")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("say", "x", "--url", "embedded:tone", "--to", "file:/dev/full"),
        ("say", "x", "--url", "embedded:tone", "--to", "file:-"),
        ("say", "x", "--url", "embedded:tone", "--to", "null:", "--json"),
        ("sinks",),
        ("sinks", "--json"),
        ("--version",),
    ],
    ids=" ".join,
)
def test_a_full_standard_output_is_status_6(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [VOXWIRE, *arguments],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
            check=False,
        )
    where = "'/dev/full'" if "file:/dev/full" in arguments else "standard output"
    assert result.stderr == f"voxwire: cannot write to {where}: no space left on device\n"
    assert result.returncode == 6


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_missing_standard_streams_do_no_harm(closed: tuple[int, ...], tmp_path: Path) -> None:
    result = subprocess.run(
        [VOXWIRE, "say", "One two.", "--url", "embedded:espeak", "--to", "file:out.wav"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        preexec_fn=lambda: [os.close(descriptor) for descriptor in closed],
        timeout=50,
        check=False,
    )
    assert result.returncode == 0
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert file.getnframes() > 10_000
    result = subprocess.run(
        [VOXWIRE, "say", "x", "--url", "embedded:tone", "--to", "raw:-"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        preexec_fn=lambda: os.close(1),
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )
    assert (result.returncode, result.stderr) == (6, "voxwire: standard output is closed\n")


def test_a_list_in_a_pipe_has_a_whole_row_a_line(tmp_path: Path) -> None:
    rows = json.loads(voxwire("voices", "--url", "embedded:espeak", "--json", cwd=tmp_path).stdout)
    lines = voxwire("voices", "--url", "embedded:espeak", cwd=tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [row["id"] for row in rows]
    assert all(row["description"] in line for row, line in zip(rows, lines[1:], strict=True))


def test_a_broken_plugin_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from voxwire.sinks import ThreadSink\n"
        "class Sink(ThreadSink):\n"
        "    @classmethod\n"
        "    def probe(cls): raise KeyError('driver')\n"
        "class Odd(ThreadSink):\n"
        "    @classmethod\n"
        "    def probe(cls): return True\n"
        "class Engine:\n"
        "    api_version = 1\n"
        "    async def start(self, config): raise ZeroDivisionError('no model')\n"
    )
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[voxwire.sinks]\nbroken = broken:Sink\nodd = broken:Odd\n[voxwire.engines]\nbroken = broken:Engine\n"
    )
    for command in ("sinks", "engines"):
        result = voxwire(command, "--json", cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert (result.returncode, result.stderr) == (0, "")
        states = {row["name"]: row["state"] for row in json.loads(result.stdout)}
        assert states["broken"] in {"broken: KeyError: 'driver'", "broken: ZeroDivisionError: no model"}
        assert states.get("odd", "must be a Probe").endswith("must be a Probe")
        assert "usable" in states.values()


def test_the_lists_name_what_is_installed(tmp_path: Path) -> None:
    sinks = {row["name"]: row for row in json.loads(voxwire("sinks", "--json", cwd=tmp_path).stdout)}
    assert {"null", "file", "raw"} <= sinks.keys()
    assert sinks["file"]["state"] == "usable"
    assert sinks["file"]["distribution"] == "voxwire-file"
    engines = {row["name"]: row for row in json.loads(voxwire("engines", "--json", cwd=tmp_path).stdout)}
    assert {"tone", "espeak"} <= engines.keys()
    assert engines["espeak"]["state"] == "usable"
    voices = json.loads(voxwire("voices", "--url", "embedded:tone", "--json", cwd=tmp_path).stdout)
    assert len({voice["id"] for voice in voices}) == len(voices) > 0
    assert "file" in voxwire("sinks", cwd=tmp_path).stdout


def test_serve_announces_itself_drains_and_ends(server) -> None:
    process, announced = server
    assert announced["ws"].endswith("/tts/websocket")
    assert announced["wss"] is None
    assert announced["http"].startswith("http://127.0.0.1:")
    assert announced["pid"] == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_serve_refuses_an_open_port_without_a_key(tmp_path: Path) -> None:
    assert_one_line(voxwire("serve", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path), 2, "--no-auth")


@pytest.mark.parametrize("keys", ['"k-file"', '["other", "k-file"]'])
def test_a_repeatable_option_in_the_file_is_one_text_or_a_list(keys: str, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(f'port = 0\nengine = "tone"\napi_key = {keys}\n')
    process = subprocess.Popen(
        [VOXWIRE, "serve", "--config", "serve.toml"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        url = json.loads(process.stdout.readline())["ws"]
        said = voxwire("say", "x", "--to", "null:", "--url", url, "--api-key", "k-file", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        assert voxwire("say", "x", "--to", "null:", "--url", url, "--api-key", "k", cwd=tmp_path).returncode == 4
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("api_key = 3", ("serve.toml: api_key", "array")),
        ('engine_option = "x"', ("engine_option", "K=V")),
        ("port = 'abc'", ("serve.toml: port", "integer")),
        ("engine_option = {depth = 1}", ("engine_option: unknown option 'depth'",)),
        ("bogus = 1", ("bogus",)),
        ("bogus", ("serve.toml", "line 1")),
    ],
)
def test_a_wrong_file_of_settings_is_one_line(line: str, words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(f"{line}\n")
    arguments = ("serve", "--engine", "tone", *(() if "port" in line else ("--port", "0")), "--config", "serve.toml")
    assert_one_line(voxwire(*arguments, cwd=tmp_path), 2, *words)


def test_an_interrupt_is_status_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [VOXWIRE, "say", "--url", "embedded:tone", "--to", "null:"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The text never ends, so the command runs until it is interrupted. A pipe holds less than this: once it is written,
    # the command has begun to speak.
    process.stdin.write("One two three. " * 20_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert process.stderr.read() == "voxwire: interrupted\n"
    process.stdin.close()
    process.stderr.close()


def test_version(tmp_path: Path) -> None:
    from voxwire.protocol import __version__

    assert __version__ in voxwire("--version", cwd=tmp_path).stdout


def test_sighup_reads_keys_and_voices_anew(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('engine = "tone"\nport = 0\napi_key = ["first"]\n')
    process = subprocess.Popen(
        [VOXWIRE, "--log-level", "info", "serve", "--config", config],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def status(key: str, voice: str) -> int:
        arguments = ["--url", announced["ws"], "--api-key", key, "--voice", voice, "--to", "null:"]
        return voxwire("say", "Hi.", *arguments, cwd=tmp_path).returncode

    def reread(expected: str) -> None:
        process.send_signal(signal.SIGHUP)
        assert expected in next(line for line in process.stderr if "voices" in line)

    try:
        announced = json.loads(process.stdout.readline())
        assert (status("first", "tone-1"), status("second", "tone-1"), status("first", "alias")) == (0, 4, 2)
        config.write_text('engine = "tone"\nport = 0\napi_key = ["second"]\n[voices]\nalias = "tone-2"\n')
        reread("read anew")
        assert (status("first", "tone-1"), status("second", "tone-1"), status("second", "alias")) == (4, 0, 0)
        config.write_text('engine = "tone"\nport = 0\napi_key = [5]\n')
        reread("stay as they were")
        assert status("second", "alias") == 0
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def children_of(parent: int) -> list[int]:
    listing = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in listing.read_text().split()]


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").exists(), reason="finds the workers through /proc")
class TestWorkers:
    def start(self, cwd: Path) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [VOXWIRE, "serve", "--port", "0", "--engine", "tone", "--workers", "2"],
            cwd=cwd,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        announced = json.loads(process.stdout.readline())
        assert announced["pid"] == process.pid
        return process, announced["ws"]

    def end(self, process: subprocess.Popen[str]) -> str:
        process.stdout.close()
        with process.stderr:
            return process.stderr.read()

    def test_share_a_port_and_drain_together(self, tmp_path: Path) -> None:
        process, url = self.start(tmp_path)
        assert len(children_of(process.pid)) == 2
        for _ in range(4):
            result = voxwire("say", "Hi.", "--url", url, "--to", "null:", cwd=tmp_path)
            assert result.returncode == 0, result.stderr
        process.send_signal(signal.SIGHUP)
        assert voxwire("say", "Hi.", "--url", url, "--to", "null:", cwd=tmp_path).returncode == 0
        process.terminate()
        assert process.wait(20) == 0
        assert self.end(process) == ""

    def test_end_together_when_one_dies(self, tmp_path: Path) -> None:
        process, _ = self.start(tmp_path)
        victim, _other = children_of(process.pid)
        os.kill(victim, signal.SIGKILL)
        assert process.wait(20) == 1
        assert f"worker {victim} ended unasked" in self.end(process)

    def test_end_when_the_parent_is_gone(self, tmp_path: Path) -> None:
        process, url = self.start(tmp_path)
        process.kill()
        process.wait(20)
        # The pipe of standard error ends with its last holder: the workers.
        self.end(process)
        assert voxwire("say", "Hi.", "--url", url, "--to", "null:", cwd=tmp_path).returncode == 3

    def test_a_worker_that_cannot_start_is_one_line(self, tmp_path: Path) -> None:
        arguments = ["serve", "--port", "0", "--workers", "2", "--engine", "nobody"]
        assert_one_line(voxwire(*arguments, cwd=tmp_path), 2, "nobody", "tone")
