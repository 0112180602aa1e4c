"""The host of the engine: finds it, starts it, keeps to its limits, and gives every wait an end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from voxwire import plugins
from voxwire.exceptions import EngineError
from voxwire.server.config import ConfigurationError
from voxwire.server.patience import Patience, WaitedTooLong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from voxwire.engines import Engine, Info, Piece, Segment, Session, Settings, Voice

__all__ = ["EngineHost", "default_engine"]

_logger = logging.getLogger("voxwire.server")

_SPEECH = "espeak"
_TONES = "tone"
_START_TIMEOUT_S = 60.0
_OPEN_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
#: Engines have deadlines of their own, shorter and better informed; this one is for those that forgot.
_PIECE_TIMEOUT_S = 30.0


def default_engine() -> str:
    """Returns the name of the engine to use where none was asked for; says so where it only makes tones."""
    if any(info.name == _SPEECH for info in plugins.available(plugins.ENGINES)):
        return _SPEECH
    _logger.warning(
        "no speech engine is installed, so every word will be a tone: pip install 'voxwire[espeak]' for speech"
    )
    return _TONES


class EngineHost:
    """One running engine.

    Attributes:
        name: Its name in the entry-point group.
        info: What it can do.
        voices: What it offers.
    """

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.info: Info = engine.info
        self.voices: list[Voice] = engine.voices()
        self._engine = engine
        self._places = asyncio.Semaphore(self.info.max_parallel)

    @classmethod
    async def start(cls, name: str, options: Mapping[str, str]) -> EngineHost:
        """Starts an engine by its name.

        Raises:
            PluginError: There is no such engine, or it is broken.
            ConfigurationError: An option is unknown or wrong.
            EngineError: It cannot work here.
        """
        kind: type[Engine] = plugins.load(plugins.ENGINES, name)
        try:
            engine = kind()
        except Exception as error:
            raise _not_started(name, error) from error
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await engine.start(dict(options))
        except ValueError as error:
            raise ConfigurationError(f"engine_options: {error}") from error
        except TimeoutError:
            await _stop(name, engine)
            raise EngineError(
                f"engine {name} was not ready after {_START_TIMEOUT_S:.0f} s", code="engine_timeout"
            ) from None
        except EngineError:
            raise
        except Exception as error:
            await _stop(name, engine)
            raise _not_started(name, error) from error
        return cls(name, engine)

    @property
    def healthy(self) -> bool:
        """Whether text handed over now would be spoken."""
        return self._engine.healthy()

    async def stop(self) -> None:
        """Stops it, in bounded time."""
        await _stop(self.name, self._engine)

    async def open(self, settings: Settings) -> Session:
        """Opens the session of a context.

        Raises:
            EngineError: The engine refuses, or does not answer.
        """
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                return await self._engine.open(settings)
        except TimeoutError:
            raise EngineError(
                f"engine {self.name} opened no session within {_OPEN_TIMEOUT_S:.0f} s", code="engine_timeout"
            ) from None

    async def speak(self, session: Session, segment: Segment, take: Callable[[Piece], Awaitable[None]]) -> None:
        """Speaks a segment as soon as the engine may.

        Args:
            session: The engine's.
            segment: The text.
            take: Called with each piece; the engine waits until it has returned.

        Raises:
            EngineError: The engine failed, or gave nothing for too long.
        """
        async with self._places:
            speech = session.speak(segment)
            patience = Patience(_PIECE_TIMEOUT_S)
            try:
                while True:
                    # The time is the engine's alone: none passes while the listener takes a piece.
                    with patience:
                        piece = await anext(speech, None)
                    if piece is None:
                        return
                    await take(piece)
            except WaitedTooLong:
                raise EngineError(
                    f"engine {self.name} gave no audio for {_PIECE_TIMEOUT_S:.0f} s", code="engine_timeout"
                ) from None
            finally:
                patience.end()
                await speech.aclose()


def _not_started(name: str, error: Exception) -> EngineError:
    return EngineError(f"engine {name} could not be started: {type(error).__name__}: {error}", code="engine_failed")


async def _stop(name: str, engine: Engine) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await engine.stop()
    except TimeoutError:
        _logger.warning("engine %s did not stop within %.0f s", name, _STOP_TIMEOUT_S)
