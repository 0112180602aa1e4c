"""One context, spoken into an output and looked at all the while."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from voxwire.exceptions import VoxwireError
from voxwire.playback import play
from voxwire.playback.watched import WatchedPlayback

if TYPE_CHECKING:
    from voxwire.client import Client, Context
    from voxwire.client.feeding import Text
    from voxwire.playback import Output, Playback
    from voxwire.trace.recorder import Recorder

__all__ = ["speak"]

#: How often the sink is asked where it stands.
_LOOK_S = 0.01


async def speak(
    client: Client,
    text: Text,
    output: Output,
    recorder: Recorder,
    *,
    interrupt_at_s: float | None = None,
    **options: Any,
) -> None:
    """Speaks a text to its end, or to an interruption; ``recorder`` sees it, also where it fails.

    Args:
        client: The client.
        text: The text.
        output: Where it is played, inside its block.
        recorder: What looks on; a new one.
        interrupt_at_s: Seconds from the first sound to an interruption; None for none.
        **options: As of ``Client.context``.

    Raises:
        VoxwireError: As ``Playback.wait``.
    """
    async with client.context(text, **options) as context:
        recorder.watch(context)
        context.playback = await play(context, output, make=partial(WatchedPlayback, watcher=recorder))
        try:
            await _listen(context, context.playback, recorder, interrupt_at_s)
        except VoxwireError:
            recorder.note_failure()
            raise


async def _listen(context: Context, playback: Playback, recorder: Recorder, interrupt_at_s: float | None) -> None:
    looked_at_s = time.monotonic()
    due_at_s: float | None = None
    while not await _is_over(playback):
        now_s = time.monotonic()
        played_s = playback.played_s
        if interrupt_at_s is not None and due_at_s is None and played_s > 0:
            # The first sound was since the last look, also where a sink plays faster than time passes.
            due_at_s = max(looked_at_s, now_s - played_s) + interrupt_at_s
        looked_at_s = now_s
        if due_at_s is not None and now_s >= due_at_s:
            await playback.interrupt()
            if context.reason == "interrupted":
                recorder.note("interrupted", now_s)


async def _is_over(playback: Playback) -> bool:
    """Waits for the playback as long as one look takes, and raises its failure."""
    try:
        async with asyncio.timeout(_LOOK_S) as look:
            await playback.wait()
    except TimeoutError:
        if not look.expired():
            raise
        return False
    return True
