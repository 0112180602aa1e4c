"""The client against a server that does everything the real one may do, in any order, over several contexts."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from client_model import Model
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_server import PATIENCE_S, Peer, ScriptedServer, chunk, done, error, flush_done, timestamps
from test_context import collect, options

import voxwire

if TYPE_CHECKING:
    from voxwire.transport import Transport

CONTEXTS = 4
NUMBERS = st.integers(0, CONTEXTS - 1)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["open"])),
    st.tuples(st.sampled_from(["push", "push", "finish", "cancel"]), NUMBERS),
    st.tuples(st.sampled_from(["done", "done", "error", "bad-audio", "bad-type"]), NUMBERS),
    st.tuples(st.sampled_from(["times", "flush", "news"]), NUMBERS),
    st.tuples(st.sampled_from(["chunk"]), NUMBERS, st.integers(0, 9)),
    st.tuples(st.sampled_from(["chunk"]), NUMBERS, st.integers(0, 9)),
    st.tuples(st.sampled_from(["error-for-all", "unknown-id", "no-id"])),
    st.tuples(st.sampled_from(["lose"]), st.sampled_from(["close", "reset", "garbage"])),
)
# Every script begins with two contexts that have sent text, so that most steps meet something.
BEGINNING: list[tuple[Any, ...]] = [("open",), ("push", 0), ("open",), ("push", 1)]


class Run:
    """Carries out a script on a real client and the model, and settles after each step of the server."""

    def __init__(self, server: ScriptedServer, client: voxwire.Client, stack: AsyncExitStack) -> None:
        self.server = server
        self.client = client
        self.stack = stack
        self.model = Model()
        self.contexts: list[voxwire.Context] = []
        self.collected: list[asyncio.Task[tuple[bytes, voxwire.VoxwireError | None]]] = []
        self.transports: list[Transport] = []
        self.peer: Peer | None = None
        self._count = 0

    async def step(self, name: str, *arguments: Any) -> None:
        if name == "open":
            if len(self.contexts) < CONTEXTS:
                self.model.open()
                context = await self.stack.enter_async_context(self.client.context(**options()))
                self.contexts.append(context)
                self.collected.append(asyncio.ensure_future(gather(context)))
        elif name == "lose":
            await self.lose(arguments[0])
        elif arguments:
            number = arguments[0] % len(self.contexts)
            if name in {"push", "finish", "cancel"}:
                await self.act(name, number)
            else:
                await self.say(name, number, *arguments[1:])
        else:
            await self.say_to_nobody(name)

    async def connected(self) -> Peer:
        if self.peer is None:
            await self.client.connect()
            self.peer = await self.server.accept()
            link = self.client._fleet.open_link
            assert link is not None
            assert link.transport is not None
            self.transports.append(link.transport)
        return self.peer

    async def act(self, name: str, number: int) -> None:
        await self.connected()
        context = self.contexts[number]
        if name == "push":
            if self.model.contexts[number].state not in {"new", "open"}:
                return
            await context.push("a")
        elif name == "finish":
            await context.finish()
        else:
            await context.cancel()
        getattr(self.model, name)(number)

    async def say(self, name: str, number: int, size: int = 0) -> None:
        peer = await self.connected()
        context_id = self.contexts[number].id
        model = self.model
        if name == "chunk":
            # No two bytes in a row are sent twice: audio of another context, or delivered again, is seen.
            data = b"".join((self._count + n).to_bytes(2, "big") for n in range(size))[: 2 * size - size % 3 % 2]
            self._count += size
            peer.send(chunk(context_id, data))
            model.chunk(number, data)
        elif name == "done":
            peer.send(done(context_id))
            model.done(number)
        elif name == "error":
            peer.send(error(context_id, status_code=500, error_code="engine_failed", title="t", message="m"))
            model.fail(number, "engine_failed")
        elif name == "bad-audio":
            peer.send(chunk(context_id, b"") | {"data": "A"})
            model.fail(number, "invalid_audio")
        elif name == "bad-type":
            peer.send(chunk(context_id, b"") | {"type": None})
            model.fail(number, "invalid_message")
        elif name == "times":
            peer.send(timestamps(context_id, ("a", 0, 1)))
        elif name == "flush":
            peer.send(flush_done(context_id, 1))
        else:
            peer.send({"type": "news", "context_id": context_id, "done": True, "data": "!"})
        await self.settle()

    async def say_to_nobody(self, name: str) -> None:
        peer = await self.connected()
        if name == "error-for-all":
            peer.send(error(None, status_code=503, error="all"))
            self.model.fail_all("ServerError")
        elif name == "unknown-id":
            peer.send(chunk("never", b"\1\1"), done("never"), error("never", error="x"))
        else:
            peer.send({"type": "chunk", "data": "AAAA"}, {"type": "done"})
        await self.settle(everyone=name == "error-for-all")

    async def settle(self, *, everyone: bool = False) -> None:
        """Returns once the client has read all that was sent."""
        peer = await self.connected()
        async with self.client.context("marker", **options()) as marker:
            while (await peer.receive())["context_id"] != marker.id:
                pass
            peer.send(done(marker.id))
            try:
                assert await collect(marker) == []
            except voxwire.ServerError:
                # An error for all was still on its way when the marker was sent.
                assert everyone
        for context, expected in zip(self.contexts, self.model.contexts, strict=True):
            assert (context.outcome, context.reason) == expected.ending

    async def lose(self, how: str) -> None:
        peer = await self.connected()
        if how == "close":
            peer.close(1000, "bye")
        elif how == "reset":
            peer.reset()
        else:
            peer.send_text("{")
        await self.transports[-1].wait_closed()
        self.peer = None
        self.model.lose("protocol_error" if how == "garbage" else "connection_lost")


async def gather(context: voxwire.Context) -> tuple[bytes, voxwire.VoxwireError | None]:
    data = b""
    try:
        async for event in context:
            if isinstance(event, voxwire.Audio):
                assert len(event.data) % event.format.frame_bytes == 0
                data += event.data
    except voxwire.VoxwireError as failure:
        return data, failure
    return data, None


async def play(script: list[tuple[Any, ...]]) -> None:
    before = asyncio.all_tasks()
    async with asyncio.timeout(3 * PATIENCE_S), ScriptedServer() as server:
        async with voxwire.Client(server.url) as client, AsyncExitStack() as stack:
            run = Run(server, client, stack)
            for step in [*BEGINNING, *script]:
                await run.step(*step)
            # Leaving a block cancels what has not ended.
            for number, context in enumerate(run.contexts):
                await context.cancel()
                run.model.cancel(number)
            for context, collected, expected in zip(run.contexts, run.collected, run.model.contexts, strict=True):
                data, failure = await collected
                assert (context.outcome, context.reason) == expected.ending
                assert context.outcome is not None
                if expected.state == "cancelled":
                    # What had not been taken when it was cancelled is dropped.
                    assert expected.audio.startswith(data)
                else:
                    assert data == expected.audio
                if expected.error is None:
                    assert failure is None
                else:
                    assert failure is not None
                    assert expected.error in {failure.code, type(failure).__name__}
                    assert failure.context_id == context.id
        assert all(transport.closed for transport in run.transports)
    assert asyncio.all_tasks() == before


@settings(max_examples=200, derandomize=True)
@given(script=st.lists(STEPS, min_size=4, max_size=30))
@example(script=[("chunk", 0, 3), ("lose", "reset"), ("chunk", 0, 3), ("open",), ("push", 2), ("done", 0), ("done", 2)])
def test_every_context_has_one_outcome_and_its_own_audio(script: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(script))
