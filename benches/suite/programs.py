"""The programs that take part in a run: where they are, how they are started, what they answer."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from suite.conditions import Condition, Stack

BENCHES = Path(__file__).resolve().parent.parent
ROOT = BENCHES.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# A run takes a second or two; what hangs is ended by this.
LIMIT_S = 60
SERVER_CORE, CLIENT_CORE = 0, 1
BUSY_CORE, QUIET_WAIT_S = 0.3, 1.0


class RunFailed(Exception):
    """A program failed, or its answer was wrong: there is no figure."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run.

    Attributes:
        cpu_us: CPU time of the client, user and system, per message.
        wall_us: Wall time per message.
        load_busy: CPU time of the load server over the wall time of the run: near 1, it is the limit.
        latencies_us: From the call that sent a message to its PCM in hand, ascending; only paced.
    """

    cpu_us: float
    wall_us: float
    load_busy: float
    latencies_us: list[float]


def build(names: Sequence[str], *, features: Sequence[str] = ()) -> None:
    """Builds programs of the benches crate, in release mode."""
    flags = [flag for name in names for flag in ("--bin", name)]
    flags += [flag for name in features for flag in ("--features", name)]
    command = ["cargo", "build", "--release", "--package", "voxwire-benches", "--locked", "--quiet", *flags]
    subprocess.run(command, cwd=ROOT, check=True)


def program(name: str) -> str:
    return str(TARGET / "release" / name)


class Stage:
    """A folder with what the runs share: a certificate, the source of the audio."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.source = str(folder / "source.pcm")
        self._authority, self._certificate, self._key = (
            str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")
        )
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(self._authority)
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(self._certificate, append=True)
        leaf.private_key_pem.write_to_path(self._key)

    def close(self) -> None:
        self._folder.cleanup()

    def run(self, stack: Stack, condition: Condition, messages: int, *, check: bool) -> Sample:
        """Runs a stack once, in fresh processes.

        Args:
            stack: Who receives.
            condition: What is sent, and how.
            messages: Chunks of each context.
            check: The audio is compared with its source; the figures of such a run do not count. A paced condition is
                sent saturated then, since its chunks have the time written into them.

        Raises:
            RunFailed: Something went wrong, or the count or the audio is wrong.
        """
        is_paced = condition.mode == "paced" and not check
        plan: dict[str, Any] = {
            "mode": "paced" if is_paced else "saturated",
            "size": condition.size,
            "shape": condition.shape,
            "messages": messages,
            "connections": condition.connections,
            "contexts": condition.contexts,
            "interval_us": condition.interval_us,
            "limit_s": LIMIT_S,
        }
        if condition.tls:
            plan |= {"certificate": self._certificate, "key": self._key}
        source = self.source if check else ""
        load = subprocess.Popen(
            [program("load"), json.dumps(plan | {"source": source})],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=pin(SERVER_CORE),  # noqa: PLW1509 - one system call, and this process has no threads
        )
        with load:
            try:
                assert load.stdout is not None
                port = json.loads(load.stdout.readline())["port"]
                figures = self._client(stack, condition, port, messages, is_paced=is_paced, source=source)
                sent = json.loads(load.stdout.readline())
            except ValueError as error:
                load.kill()
                raise RunFailed(f"the load server failed: {load.communicate()[1].strip()}") from error
            except BaseException:
                load.kill()
                raise
            if load.wait(LIMIT_S):
                raise RunFailed("the load server did not end well")
        count = messages * condition.connections * condition.contexts
        if figures["bytes"] != count * condition.size or (not stack.joins and figures["messages"] != count):
            raise RunFailed(
                f"{stack.name}: {figures['messages']} messages and {figures['bytes']} bytes, "
                f"{count} and {count * condition.size} were sent"
            )
        return Sample(
            cpu_us=figures["cpu_s"] / count * 1e6,
            wall_us=figures["wall_s"] / count * 1e6,
            load_busy=sent["cpu_s"] / figures["wall_s"],
            latencies_us=sorted(latency / 1000 for latency in figures["latencies_ns"]),
        )

    def _client(
        self, stack: Stack, condition: Condition, port: int, messages: int, *, is_paced: bool, source: str
    ) -> dict[str, Any]:
        order: dict[str, Any] = {"way": stack.way, "size": condition.size, "messages": messages}
        order |= {"is_paced": is_paced, "source": source}
        if stack.program == "floor":
            order |= {"port": port, "shape": condition.shape, "limit_s": LIMIT_S}
            command = [program("floor"), json.dumps(order)]
        else:
            scheme = "wss" if condition.tls else "ws"
            order |= {"url": f"{scheme}://127.0.0.1:{port}/tts/websocket"}
            order |= {"connections": condition.connections, "contexts": condition.contexts}
            command = [sys.executable, str(BENCHES / "rivals" / f"{stack.program}.py"), json.dumps(order)]
        # Each stack verifies the certificate as it would any other: against the roots of the platform.
        environment = os.environ | {"SSL_CERT_FILE": self._authority, **stack.environment}
        try:
            answer = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=environment,
                timeout=LIMIT_S,
                check=False,
                preexec_fn=pin(CLIENT_CORE),
            )
        except subprocess.TimeoutExpired as error:
            raise RunFailed(f"{stack.name} did not end within {LIMIT_S} s") from error
        if answer.returncode:
            raise RunFailed(f"{stack.name} failed: {' | '.join(answer.stderr.strip().splitlines()[-3:])}")
        try:
            figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise RunFailed(f"{stack.name} printed no figures") from error
        return figures


def cores() -> list[int]:
    """Returns the cores that are used: the server's, and where there are enough behind it the client's."""
    return [SERVER_CORE, CLIENT_CORE] if (os.cpu_count() or 1) > CLIENT_CORE else [SERVER_CORE]


def pin(core: int) -> Callable[[], None]:
    """Returns what puts a fresh process on a core of its own, where there are enough."""

    def place() -> None:
        if len(cores()) > 1:
            os.sched_setaffinity(0, {core})

    return place


def wait_for_quiet(limit_s: float = QUIET_WAIT_S) -> None:
    """Waits, at most a second by default, until both cores are under 30 % busy."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = core_times()
        time.sleep(0.05)
        spent = [
            (busy - busy_before, total - total_before)
            for (busy, total), (busy_before, total_before) in zip(core_times(), before, strict=True)
        ]
        if all(busy <= BUSY_CORE * total for busy, total in spent):
            return


def core_times() -> list[tuple[int, int]]:
    """Returns busy and all ticks of the cores that are used."""
    names = {f"cpu{core}" for core in cores()}
    fields = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = [[int(tick) for tick in field[1:9]] for field in fields if field and field[0] in names]
    return [(sum(tick) - tick[3] - tick[4], sum(tick)) for tick in ticks]
