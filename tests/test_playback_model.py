"""Any order of audio, pauses and interruptions on one line: every frame is heard once, in order, and counted."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_playback import RATE, Device, FakeContext

from voxwire.client.events import Word
from voxwire.playback import open_sink

CONTEXTS = 3
#: Each context has so many values of its own, and no frame of it has that of another.
VALUES = 10_000
WORD_FRAMES = 150
WORDS = [
    Word("end." if index % 3 == 2 else "word", index * WORD_FRAMES / RATE, (index + 1) * WORD_FRAMES / RATE)
    for index in range(VALUES // WORD_FRAMES)
]

step = st.one_of(
    st.tuples(st.just("audio"), st.integers(0, CONTEXTS - 1), st.integers(1, 600)),
    st.tuples(st.just("advance"), st.just(0), st.integers(1, 900)),
    st.tuples(st.just("done"), st.integers(0, CONTEXTS - 1), st.just(0)),
    st.tuples(st.just("pause"), st.integers(0, CONTEXTS - 1), st.just(0)),
    st.tuples(st.just("resume"), st.integers(0, CONTEXTS - 1), st.just(0)),
    st.tuples(st.sampled_from(["now", "word", "sentence"]), st.integers(0, CONTEXTS - 1), st.just(0)),
)
device_settings = st.fixed_dictionaries(
    {
        "buffer": st.sampled_from([1, 7, 100, 480, 1 << 30]),
        "can_clear": st.booleans(),
        "can_pause": st.booleans(),
        "lead_ms": st.sampled_from([0, 10, 40]),
    }
)


class Line:
    """Contexts on one output, and what was given to each."""

    def __init__(self, device, line):
        self.device = device
        self.line = line
        self.contexts = []
        self.playbacks = []
        self.given = [0] * CONTEXTS
        self.ended = [False] * CONTEXTS
        self.interrupted = [False] * CONTEXTS
        self.interruptions = []

    async def begin(self):
        for _ in range(CONTEXTS):
            context = FakeContext(words=WORDS)
            self.playbacks.append(await context.play(self.line))
            self.contexts.append(context)

    async def take(self, name, which, count):
        context, playback = self.contexts[which], self.playbacks[which]
        match name:
            case "audio" if not self.ended[which] and self.given[which] + count <= VALUES:
                first = which * VALUES + self.given[which] + 1
                self.given[which] += count
                context.audio(struct.pack(f"<{count}h", *range(first, first + count)))
            case "advance":
                self.device.advance(count)
            case "done" if not self.ended[which]:
                self.ended[which] = True
                context.done()
            case "pause":
                playback.pause()
            case "resume":
                playback.resume()
            case "now" if not playback.over:
                self.interrupted[which] = self.ended[which] = True
                await asyncio.wait_for(playback.interrupt(), 5)
            case "word" | "sentence" if not playback.over:
                self.interrupted[which] = True
                self.interruptions.append(asyncio.ensure_future(playback.interrupt(at=name)))
        # What a timer would do, without the time.
        self.line.pump()
        await asyncio.sleep(0)
        self.check()

    def check(self):
        """What was heard of each context is its beginning, and just as long as it says."""
        heard = struct.unpack(f"<{len(self.device.heard) // 2}h", self.device.heard)
        owners = [(value - 1) // VALUES for value in heard]
        assert owners == sorted(owners), "a later play sounded before an earlier one had ended"
        counts = Counter(owners)
        assert heard == tuple(which * VALUES + index + 1 for which in range(CONTEXTS) for index in range(counts[which]))
        for which, playback in enumerate(self.playbacks):
            assert round(playback.played_s * RATE) == counts[which]

    async def end(self):
        for which in range(CONTEXTS):
            await self.take("resume", which, 0)
            await self.take("done", which, 0)
        for _ in range(sum(self.given) + 200):
            if all(playback.over for playback in self.playbacks):
                break
            await self.take("advance", 0, 700)
        for which, playback in enumerate(self.playbacks):
            heard = await asyncio.wait_for(playback.wait(), 5)
            assert heard.played_s <= self.given[which] / RATE
            if not self.interrupted[which]:
                assert round(heard.played_s * RATE) == self.given[which]
                assert self.contexts[which].outcome == "finished"
        for interruption in self.interruptions:
            await asyncio.wait_for(interruption, 5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(device_settings, st.lists(step, max_size=40))
def test_every_frame_is_heard_once_and_counted(chosen, steps):
    async def scenario():
        device = Device(**chosen)
        async with open_sink(device) as opened:
            line = Line(device, opened)
            await line.begin()
            for one in steps:
                await line.take(*one)
            await line.end()

    asyncio.run(scenario())
