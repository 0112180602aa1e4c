"""Processes of the suite: each says one line of JSON when it is ready, and ends with the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, cast

import orjson

from voxwire.exceptions import ConnectError, ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Child", "answer_parent", "say"]

_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 5.0


class Child:
    """A module of this package as a process, to be used as ``async with``.

    Args:
        module: Name of the module.
        core: Number of the core that it is to stay on, or None.

    Attributes:
        announced: What it said when it was ready.
    """

    def __init__(self, module: str, core: int | None) -> None:
        self._module = module
        self._core = core
        self._process: asyncio.subprocess.Process
        self.announced: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        # -P: a file in the present directory must not stand in for a module of the library. A session of its own: an
        # interrupt of the terminal is this process's to handle, which then ends the child.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            self._module,
            "" if self._core is None else str(self._core),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.announced = await self.line(_START_TIMEOUT_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ask(self) -> dict[str, Any]:
        """Asks for its figures as they are now."""
        cast("asyncio.StreamWriter", self._process.stdin).write(b"\n")
        return await self.line(_ANSWER_TIMEOUT_S)

    async def line(self, timeout_s: float) -> dict[str, Any]:
        """Waits for the next line that it says.

        Raises:
            ConnectionLost: It ended instead.
            ConnectError: It said nothing in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                line = await cast("asyncio.StreamReader", self._process.stdout).readline()
        except TimeoutError:
            raise ConnectError(f"{self._module} said nothing within {timeout_s:g} s") from None
        if not line:
            raise ConnectionLost(f"{self._module} ended: {await self._last_words()}")
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    async def _last_words(self) -> str:
        async with asyncio.timeout(_END_TIMEOUT_S):
            said = await cast("asyncio.StreamReader", self._process.stderr).read()
        lines = said.decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "without a word")

    async def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        # Also its pipes are gone then, which the loop would otherwise find open at its end.
        async with asyncio.timeout(_END_TIMEOUT_S):
            await self._process.communicate()


def answer_parent(figures: Callable[[], dict[str, Any]]) -> None:
    """In the child: answers each line on standard input, and ends the process when that ends, whatever it does."""

    def answer() -> None:
        for _ in sys.stdin:
            say(figures())
        os._exit(0)

    threading.Thread(target=answer, name="voxwire parent", daemon=True).start()


def say(line: dict[str, Any]) -> None:
    """In the child: says a line to the parent."""
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()
