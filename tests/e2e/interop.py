"""What the tests with the service's own clients share: a server for blocking code, and its exact audio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from voxwire import server
from voxwire.engines import Segment, Settings
from voxwire.engines.tone import ToneEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Future

KEY = "sk_car_of_a_test"
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
SENTENCE = "Hello, world! I'm generating audio, again and again."
START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 20.0


class Spoken(NamedTuple):
    """What the tone engine makes of a text, in its own format: 16 bits, 24 kHz."""

    pcm: bytes
    words: list[tuple[str, float, float]]
    phonemes: list[tuple[str, float, float]]


async def speak(text: str | Sequence[tuple[str, float]], voice: str = "tone-1") -> Spoken:
    """Speaks a text, or several with a speed each, as one context."""
    engine = ToneEngine()
    await engine.start({})
    session = await engine.open(Settings(voice=voice, phonemes=True))
    pcm, words, phonemes = bytearray(), [], []
    for part, speed in [(text, 1.0)] if isinstance(text, str) else text:
        offset_s = len(pcm) / 48_000
        async for piece in session.speak(Segment(text=part, speed=speed)):
            pcm += piece.pcm
            for items, found in ((piece.words, words), (piece.phonemes, phonemes)):
                found += [(name, round(start + offset_s, 6), round(end + offset_s, 6)) for name, start, end in items]
    await session.close()
    await engine.stop()
    return Spoken(bytes(pcm), words, phonemes)


def spoken(text: str | Sequence[tuple[str, float]], voice: str = "tone-1") -> Spoken:
    """The same for blocking tests."""
    return asyncio.run(speak(text, voice))


@contextlib.asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[server.Server]:
    async with server.serve(**{"engine": "tone", "api_keys": (KEY,), **settings}) as running:
        yield running


class ServerThread:
    """A server with an event loop of its own."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._server: server.Server | None = None
        self.url = ""
        self.http_url = ""
        self.tls_url: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(START_TIMEOUT_S)
        assert self._server is not None, "the server could not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.shut_down()
        self._thread.join(END_TIMEOUT_S)
        assert not self._thread.is_alive()

    def shut_down(self) -> None:
        """Lets the server end, without waiting for it."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._over.set)

    def drain(self) -> Future[None]:
        """Lets the server take no new work and finish what runs."""
        assert self._server is not None
        return asyncio.run_coroutine_threadsafe(self._server.drain(), self._loop)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        try:
            async with serving(**self._settings) as running:
                self.url, self.http_url, self.tls_url = running.url, running.http_url, running.tls_url
                self._server = running
                self._ready.set()
                await self._over.wait()
        finally:
            self._ready.set()


def kinds(events: Sequence[Any]) -> list[str]:
    """The types of an SDK's events, runs of one type as one."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event.type:
            found.append(event.type)
    return found


def audio(events: Sequence[Any]) -> bytes:
    return b"".join(event.audio for event in events if event.type == "chunk")


def times(events: Sequence[Any], kind: str = "word") -> list[tuple[str, float, float]]:
    """The word or phoneme times of an SDK's events, in order."""
    found: list[tuple[str, float, float]] = []
    for event in events:
        if event.type == ("timestamps" if kind == "word" else "phoneme_timestamps"):
            lists = getattr(event, f"{kind}_timestamps")
            found += zip(getattr(lists, f"{kind}s"), lists.start, lists.end, strict=True)
    return found
