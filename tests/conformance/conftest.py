"""``voxwire serve`` as a program of its own, seen only through its sockets."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from conformance.exchange import ENVIRONMENT, KEY, OTHER_KEY, VOXWIRE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END_S = 20.0


class Program:
    """A running server."""

    def __init__(self, arguments: tuple[str, ...], log_level: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self.process = subprocess.Popen(
            [VOXWIRE, "--log-level", log_level, "serve", "--port", "0", *arguments],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        line = self.process.stdout.readline()
        assert line, self.errors()
        announced = json.loads(line)
        self.url: str = announced["ws"].removesuffix("/tts/websocket")
        self.tls_url: str | None = announced["wss"]
        self.http_url: str = announced["http"]

    def errors(self) -> str:
        """What it has written to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def http(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.http_url, timeout=END_S, trust_env=False, **options)

    def end(self) -> int:
        """Ends it at once if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        status = self.process.wait(END_S)
        self.process.stdout.close()
        self._errors.close()
        return status


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Program]]:
    """Starts servers; each ends with the test session, unless its test ends it."""
    started = []

    def start(*arguments: str, engine: str = "tone", log_level: str = "warning") -> Program:
        started.append(Program(("--engine", engine, *arguments), log_level))
        return started[-1]

    yield start
    for program in started:
        program.end()


@pytest.fixture(scope="session")
def plain(launch) -> Program:
    """As it starts without any setting."""
    return launch()


@pytest.fixture(scope="session")
def speaking(launch) -> Program:
    """As a client of eSpeak meets it."""
    return launch(engine="espeak")


@pytest.fixture(scope="session")
def slow(launch) -> Program:
    """Time passes between words, open contexts expire soon, and the text FAIL fails."""
    options = ("--engine-option", "delay_ms_per_word=15", "--engine-option", "fail_on=FAIL")
    return launch("--context-expiry-s", "0.15", *options)


@pytest.fixture(scope="session")
def keyed(launch) -> Program:
    """With two keys, and two contexts at once for each."""
    options = ("--api-key", KEY, "--api-key", OTHER_KEY, "--concurrency", "2")
    return launch(*options, "--engine-option", "delay_ms_per_word=15")
