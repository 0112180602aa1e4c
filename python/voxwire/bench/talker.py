"""The server as a process of its own: the tone engine, every context at the speed of speech."""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from voxwire.bench.child import answer_parent, say
from voxwire.bench.machine import pinned
from voxwire.server import serve

__all__ = ["WORD_MS"]

#: A word of one letter is a tone of 60 ms and a pause of 20 ms.
WORD_MS = 80


async def _main() -> None:
    async with serve(engine="tone", port=0, engine_options={"delay_ms_per_word": str(WORD_MS)}) as server:
        say({"url": server.url})
        # Ends with its parent.
        await asyncio.Event().wait()


def main() -> None:
    """Says its URL, answers with its CPU time, serves until its parent ends."""
    answer_parent(lambda: {"cpu_s": time.process_time()})
    with pinned(int(sys.argv[1]) if sys.argv[1] else None):
        uvloop.run(_main())


if __name__ == "__main__":
    main()
