"""How long the host waits for an engine, and for what it does not hurry it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from virtual_loop import VirtualLoop

from voxwire.engines import EngineError, Info, Piece, Segment, Settings, Voice
from voxwire.server.host import EngineHost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

#: Longer than any engine may take for a piece, and much longer than all of a test takes.
_LONG_S = 100.0
_HOUR_S = 3600.0
_PCM = bytes(200)


class ScriptedEngine:
    """An engine whose speech is a function; it is its own session."""

    def __init__(self, speak: Callable[[], AsyncGenerator[Piece, None]]) -> None:
        self.info = Info(name="scripted", sample_rate=8000)
        self._speak = speak
        self.ended = 0

    def voices(self) -> list[Voice]:
        return []

    async def open(self, settings: Settings) -> ScriptedEngine:
        return self

    async def speak(self, segment: Segment) -> AsyncGenerator[Piece, None]:
        try:
            async for piece in self._speak():
                yield piece
        finally:
            self.ended += 1


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(_HOUR_S):
            await test

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(bounded())


async def spoken(engine: ScriptedEngine, take: Callable[[Piece], Awaitable[None]]) -> None:
    host = EngineHost("scripted", engine)
    segment = Segment(text="Hi", ends_sentence=True, last=True)
    await host.speak(await host.open(Settings()), segment, take)


async def hangs() -> AsyncGenerator[Piece, None]:
    yield Piece(_PCM, (), ())
    await asyncio.Event().wait()


async def catches_a_cancel() -> AsyncGenerator[Piece, None]:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        yield Piece(_PCM, (), ())
    await asyncio.Event().wait()


@pytest.mark.parametrize("speak", [hangs, catches_a_cancel])
def test_an_engine_that_gives_nothing_more_has_failed(speak: Callable[[], AsyncGenerator[Piece, None]]) -> None:
    async def test() -> None:
        engine = ScriptedEngine(speak)
        taken: list[Piece] = []

        async def take(piece: Piece) -> None:
            taken.append(piece)

        with pytest.raises(EngineError, match="gave no audio for 30 s") as caught:
            await spoken(engine, take)
        assert caught.value.code == "engine_timeout"
        assert (len(taken), engine.ended) == (1, 1)
        assert asyncio.current_task().cancelling() == 0

    run(test())


def test_the_time_of_a_slow_listener_is_not_the_engines() -> None:
    async def three() -> AsyncGenerator[Piece, None]:
        for _ in range(3):
            await asyncio.sleep(20)
            yield Piece(_PCM, (), ())

    async def test() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def take(piece: Piece) -> None:
            await asyncio.sleep(_LONG_S)

        engine = ScriptedEngine(three)
        await spoken(engine, take)
        assert loop.time() - began >= 3 * _LONG_S
        assert engine.ended == 1

    run(test())


def test_a_cancel_from_elsewhere_stays_one() -> None:
    async def test() -> None:
        engine = ScriptedEngine(hangs)

        async def take(piece: Piece) -> None:
            """Takes it."""

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await spoken(engine, take)
        assert engine.ended == 1

    run(test())
