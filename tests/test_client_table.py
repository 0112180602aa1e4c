"""Every cell of the client's state table (protocol.md 6.5): a state, an event, what the user and the server see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import Peer, ScriptedServer, chunk, done, error, flush_done, timestamps
from test_context import collect, options

import voxwire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from voxwire.transport import Transport

STATES = ["open", "closing", "cancelled", "ended", "expired", "failed"]
LIVE = ["open", "closing"]
OUTCOMES = {
    "open": (None, None),
    "closing": (None, None),
    "cancelled": ("cancelled", None),
    "ended": ("finished", None),
    "expired": ("finished", "expired"),
    "failed": ("failed", None),
}
PIECE = b"\1\0"


@dataclass
class Stage:
    """One context brought into a state, with all messages that led there received."""

    server: ScriptedServer
    client: voxwire.Client
    context: voxwire.Context
    peer: Peer

    @property
    def ending(self) -> tuple[str | None, str | None]:
        return (self.context.outcome, self.context.reason)

    @property
    def transport(self) -> Transport:
        link = self.client._fleet.open_link
        assert link is not None
        assert link.transport is not None
        return link.transport

    async def settle(self) -> None:
        """Returns once the client has read all that was sent before, where the socket lives."""
        async with self.client.context("marker", **options()) as marker:
            while (await self.peer.receive())["context_id"] != marker.id:
                pass
            self.peer.send(done(marker.id))
            assert await collect(marker) == []


async def play(
    state: str, act: Callable[[Stage], Awaitable[None]], inactivity_timeout_s: float = 10, **given: Any
) -> None:
    async with (
        ScriptedServer() as server,
        voxwire.Client(server.url, inactivity_timeout_s=inactivity_timeout_s) as client,
        client.context(**options(**given)) as context,
    ):
        await context.push("Hello.")
        peer = await server.accept()
        await peer.receive()
        stage = Stage(server, client, context, peer)
        if state in {"closing", "ended"}:
            await context.finish()
            assert (await peer.receive())["continue"] is False
        if state in {"ended", "expired"}:
            peer.send(done(context.id))
        if state == "failed":
            peer.send(error(context.id, status_code=500, message="no"))
        if state == "cancelled":
            await context.cancel()
            assert await peer.receive() == {"context_id": context.id, "cancel": True}
        if state in {"ended", "expired", "failed"}:
            await stage.settle()
        assert stage.ending == OUTCOMES[state]
        await act(stage)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("open", None),
        ("closing", RuntimeError),
        ("cancelled", voxwire.ContextEnded),
        ("ended", RuntimeError),
        ("expired", voxwire.ContextExpired),
        ("failed", voxwire.ServerError),
    ],
)
async def test_the_application_pushes_text(state: str, kind: type[Exception] | None) -> None:
    async def act(stage: Stage) -> None:
        if kind is None:
            await stage.context.push("more")
            message = await stage.peer.receive()
            assert (message["transcript"], message["continue"]) == ("more", True)
            return
        with pytest.raises(kind) as caught:
            await stage.context.push("more")
        assert type(caught.value) is kind
        await stage.settle()
        assert stage.peer.pending == 0
        assert stage.ending == OUTCOMES[state]

    await play(state, act)


async def test_a_push_after_a_failure_that_the_consumer_raised_is_wrong_use() -> None:
    async def act(stage: Stage) -> None:
        with pytest.raises(voxwire.ServerError):
            await collect(stage.context)
        with pytest.raises(RuntimeError):
            await stage.context.push("more")

    await play("failed", act)


@pytest.mark.parametrize("state", STATES)
async def test_the_application_closes(state: str) -> None:
    async def act(stage: Stage) -> None:
        await stage.context.finish()
        if state == "open":
            message = await stage.peer.receive()
            assert (message["transcript"], message["continue"]) == ("", False)
            stage.peer.send(done(stage.context.id))
            assert await collect(stage.context) == []
            assert stage.ending == ("finished", None)
            return
        await stage.settle()
        assert stage.peer.pending == 0
        assert stage.ending == OUTCOMES[state]

    await play(state, act)


@pytest.mark.parametrize("state", STATES)
async def test_the_application_cancels(state: str) -> None:
    async def act(stage: Stage) -> None:
        await stage.context.cancel()
        if state in LIVE:
            assert await stage.peer.receive() == {"context_id": stage.context.id, "cancel": True}
        await stage.settle()
        assert stage.peer.pending == 0
        assert stage.ending == (("cancelled", None) if state in LIVE else OUTCOMES[state])
        # A second one is a no-op in every state.
        await stage.context.cancel()
        await stage.settle()
        assert stage.peer.pending == 0

    await play(state, act)


MESSAGES: dict[str, Callable[[str], dict[str, Any]]] = {
    "chunk": lambda context_id: chunk(context_id, PIECE),
    "timestamps": lambda context_id: timestamps(context_id, ("Hello.", 0, 1)),
    "phoneme_timestamps": lambda context_id: {
        "type": "phoneme_timestamps",
        "context_id": context_id,
        "phoneme_timestamps": {"phonemes": ["h"], "start": [0], "end": [1]},
    },
    "flush_done": lambda context_id: flush_done(context_id, 1),
}


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("state", STATES)
async def test_a_message_of_the_context_comes(state: str, kind: str) -> None:
    async def act(stage: Stage) -> None:
        connection = stage.transport.connection
        late = connection.counters["late"]
        stage.peer.send(MESSAGES[kind](stage.context.id))
        if state in LIVE:
            event = await anext(stage.context)
            names = {
                "chunk": "Audio",
                "timestamps": "Words",
                "phoneme_timestamps": "Phonemes",
                "flush_done": "FlushDone",
            }
            assert type(event).__name__ == names[kind]
            return
        await stage.settle()
        assert connection.counters["late"] == late + 1
        assert stage.ending == OUTCOMES[state]
        if state == "failed":
            with pytest.raises(voxwire.ServerError):
                await collect(stage.context)
        assert await collect(stage.context) == []

    await play(state, act)


@pytest.mark.parametrize("state", STATES)
async def test_done_comes(state: str) -> None:
    async def act(stage: Stage) -> None:
        stage.peer.send(chunk(stage.context.id, PIECE), done(stage.context.id), done(stage.context.id))
        await stage.settle()
        reached = {"open": "expired", "closing": "ended"}.get(state, state)
        assert stage.ending == OUTCOMES[reached]
        if state != "failed":
            assert len(await collect(stage.context)) == (1 if state in LIVE else 0)

    await play(state, act)


SHAPES: dict[str, dict[str, Any]] = {
    "structured": {"status_code": 429, "error_code": "concurrency_limited", "title": "t", "message": "m"},
    "legacy": {"status_code": 429, "error": "t: m"},
    "superset": {"status_code": 429, "error_code": None, "title": "t", "message": "m", "error": "t: m"},
    "not-final": {"status_code": 429, "error": "t: m", "done": False},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("state", STATES)
async def test_an_error_comes(state: str, shape: str) -> None:
    async def act(stage: Stage) -> None:
        stage.peer.send(error(stage.context.id, **SHAPES[shape]))
        await stage.settle()
        if state not in LIVE:
            assert stage.ending == OUTCOMES[state]
            return
        assert stage.ending == ("failed", None)
        with pytest.raises(voxwire.RateLimited) as caught:
            await collect(stage.context)
        assert caught.value.message == "t: m"
        assert (caught.value.retryable, caught.value.context_id) == (True, stage.context.id)
        # The server ended it: no cancel is sent.
        assert stage.peer.pending == 0

    await play(state, act)


@pytest.mark.parametrize("loss", ["1000", "1001", "1011", "reset"])
@pytest.mark.parametrize("state", STATES)
async def test_the_socket_is_lost(state: str, loss: str) -> None:
    async def act(stage: Stage) -> None:
        transport = stage.transport
        if loss == "reset":
            stage.peer.reset()
        else:
            stage.peer.close(int(loss))
        await stage.peer.wait_closed()
        await transport.wait_closed()
        if state in LIVE:
            with pytest.raises(voxwire.ConnectionLost) as caught:
                await collect(stage.context)
            assert caught.value.retryable
            assert caught.value.context_id == stage.context.id
        else:
            # The next use dials anew; the old id is forgotten with its socket, and stays ended.
            async with stage.client.context("next", **options()) as following:
                second = await stage.server.accept()
                await second.receive()
                second.send(chunk(stage.context.id, PIECE), done(stage.context.id), done(following.id))
                assert await collect(following) == []
        assert stage.ending == (("failed", None) if state in LIVE else OUTCOMES[state])

    await play(state, act)


@pytest.mark.parametrize("state", STATES)
async def test_the_server_is_silent_for_too_long(state: str) -> None:
    async def act(stage: Stage) -> None:
        if state in LIVE:
            with pytest.raises(voxwire.InactivityTimeout) as caught:
                await collect(stage.context)
            assert (caught.value.code, caught.value.retryable) == ("inactivity", True)
            assert await stage.peer.receive() == {"context_id": stage.context.id, "cancel": True}
            assert stage.ending == ("failed", None)
            return
        # A live context beside it runs into its time; the one that has ended does not.
        async with stage.client.context("owed", **options(max_buffer_delay_ms=0)) as owed:
            with pytest.raises(voxwire.InactivityTimeout):
                await collect(owed)
            await stage.peer.receive()
            assert await stage.peer.receive() == {"context_id": owed.id, "cancel": True}
        assert stage.peer.pending == 0
        assert stage.ending == OUTCOMES[state]

    # The buffer delay of an open input would prolong its time.
    await play(state, act, inactivity_timeout_s=0.2, max_buffer_delay_ms=0)


async def test_a_context_with_one_closing_request_starts_in_closing() -> None:
    async with (
        ScriptedServer() as server,
        voxwire.Client(server.url) as client,
        client.context("Hello.", **options()) as context,
    ):
        peer = await server.accept()
        assert (await peer.receive())["continue"] is False
        with pytest.raises(RuntimeError, match="finish"):
            await context.push("more")
        peer.send(done(context.id))
        assert await collect(context) == []
        assert (context.outcome, context.reason) == ("finished", None)
