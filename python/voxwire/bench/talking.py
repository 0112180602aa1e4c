"""What the server costs while its contexts talk in real time."""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from typing import TYPE_CHECKING

from voxwire.bench.child import Child
from voxwire.bench.clients import opened, results
from voxwire.bench.figures import Served, Timing
from voxwire.bench.machine import pinned
from voxwire.bench.messages import SPEECH
from voxwire.bench.talker import WORD_MS
from voxwire.client.events import Audio
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.bench.machine import Cores
    from voxwire.client import Client

__all__ = ["measure_talking"]

_TALKERS = 200
_CONNECTIONS = 10
_WINDOWS = 5
_WARM_S = 0.5
_END_TIMEOUT_S = 30.0
_HELD_SHARE = 0.9
#: The pause behind a word is sent before the next one, so the last has none.
_PAUSE_MS = 20


async def measure_talking(seconds: float, cores: Cores, advance: Callable[[float], None]) -> Served:
    """Measures the server over several windows of one run.

    Args:
        seconds: About how long.
        cores: Where to run: the server is what is measured, so this process makes the load.
        advance: Told after each step how many of the seconds are over.
    """
    words = math.ceil((seconds + 2 * _WARM_S) * 1000 / WORD_MS)
    text = " ".join("abcdefgh"[number % 8] for number in range(words))
    received = [0]
    scope = Scope()
    costs_ms, audio_s = [], 0.0
    async with (
        Child("voxwire.bench.talker", cores.measured) as server,
        opened(server.announced["url"], _CONNECTIONS) as clients,
    ):
        with pinned(cores.load):
            try:
                talking = []
                for number in range(_TALKERS):
                    client = clients[number % _CONNECTIONS]
                    talking.append(scope.start(_listen(client, text, received), "voxwire bench listens"))
                    # Their words begin at different moments.
                    await asyncio.sleep(WORD_MS / 1000 / _TALKERS)
                await asyncio.sleep(_WARM_S)
                begin_s = time.monotonic()
                for window in range(_WINDOWS):
                    cpu_s, bytes_before = (await server.ask())["cpu_s"], received[0]
                    await asyncio.sleep(seconds / _WINDOWS)
                    heard_s = SPEECH.duration_s(received[0] - bytes_before)
                    costs_ms.append(((await server.ask())["cpu_s"] - cpu_s) / max(heard_s, 1e-3) * 1000)
                    audio_s += heard_s
                    advance(seconds * (window + 1) / _WINDOWS)
                wall_s = time.monotonic() - begin_s
                heard = set(await results(talking, _END_TIMEOUT_S))
            finally:
                await scope.close(1.0)
    expected_bytes = (words * WORD_MS - _PAUSE_MS) * SPEECH.sample_rate // 1000 * SPEECH.frame_bytes
    if len(heard) != 1 or {size_bytes for size_bytes, _ in heard} != {expected_bytes}:
        raise RuntimeError(f"not every talker was heard with {expected_bytes} bytes of the same audio")
    timing = Timing.of(costs_ms)
    return Served(
        talkers=_TALKERS,
        held=audio_s / wall_s / _TALKERS >= _HELD_SHARE,
        cpu_ms_per_audio_s=timing,
        talkers_per_core=int(1000 / timing.median),
    )


async def _listen(client: Client, text: str, received: list[int]) -> tuple[int, int]:
    """Listens to the end and returns how many bytes it was, and their checksum."""
    size_bytes = checksum = 0
    async with client.context(voice="tone-1", output_format=SPEECH) as context:
        await context.feed(text)
        async for event in context:
            if isinstance(event, Audio):
                size_bytes += len(event.data)
                checksum = zlib.crc32(event.data, checksum)
                received[0] += len(event.data)
    return size_bytes, checksum
