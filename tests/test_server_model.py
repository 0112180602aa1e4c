"""Random sequences of everything a client may send, against the model of the server's table (protocol.md 6.2)."""

from __future__ import annotations

import json
import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import RawClient, request
from server_model import EXPIRY_S, FATAL, FLAWS, Cancel, Given, Junk, Model
from still_loop import clock, run_still, still_server

_EXAMPLES = int(os.environ.get("VOXWIRE_EXAMPLES", "80"))
_OLD = "/tts/websocket?cartesia_version=2024-11-13"
_BARRIER = "barrier"

_SPEAKABLE = (
    "Yes. ",
    "One two. ",
    "Hello, world! How ",
    "is it ",
    "7 ",
    "é ",
    f"Then {FATAL} goes. ",
    f"{FATAL} ",
    "A long one, with more words than any other; so that it is cut before its end has come ",
)
_UNSPEAKABLE = ("", " ", "\n", "... ")


def _message(chance: random.Random) -> Given | Cancel | Junk:
    """One of all that a client may send; few ids, so that much happens to each."""
    context_id = chance.choice("aaab")
    kind = chance.choices(("speakable", "unspeakable", "close", "cancel", "junk"), (8, 3, 4, 2, 2))[0]
    if kind == "cancel":
        return Cancel(context_id)
    if kind == "junk":
        return Junk(chance.choice((None, context_id, context_id)), continues=chance.random() < 0.5)
    return Given(
        context_id=context_id,
        text=chance.choice(_SPEAKABLE if kind == "speakable" else _UNSPEAKABLE),
        continues=chance.choice((False, None) if kind == "close" else (True, True, True, False)),
        flush=chance.random() < 0.25,
        delay_ms=chance.choice((None, None, 0, 1000, 5000)),
        speed=chance.choice((None, None, 0.75, 1.5)),
        flaw=chance.choice((*[None] * 14, *FLAWS)),
    )


#: One draw a message: sequences of many draws come out too tame to meet the rarer cells.
_CATALOGUE = [(int(number % 4 == 3), _message(random.Random(number))) for number in range(2000)]
_BATCHES = st.lists(st.sampled_from(_CATALOGUE), min_size=1, max_size=6)
_TIMES = st.sampled_from(("queue", "buffers", "expiry", "expiry", "memory"))
_STEPS = st.lists(st.one_of(_BATCHES, _BATCHES, _BATCHES, _TIMES), min_size=10, max_size=20)
_SETTINGS = st.fixed_dictionaries(
    {"concurrency": st.sampled_from((None, None, 1, 2)), "cancel_done": st.sampled_from((False, False, True))}
)


def wire(message: Given | Cancel | Junk) -> dict[str, Any] | str | bytes:
    """What a client sends for it."""
    if isinstance(message, Cancel):
        return {"context_id": message.context_id, "cancel": True}
    if isinstance(message, Junk):
        if message.context_id is None:
            return "{" if message.continues else b"\xff"
        members = f'"context_id":"{message.context_id}","continue":{json.dumps(message.continues)}'
        return f'{{{members},"model_id":1,"model_id":2,"transcript":"x"}}' if message.continues else f"{{{members}}}"
    flaws: dict[str, Any] = {
        "delay": {"max_buffer_delay_ms": 5001},
        "speed": {"generation_config": {"speed": 1.6}},
        "transcript": {"transcript": 5},
        "model": {"model_id": "no-such-model"},
        "voice": {"voice": "nobody"},
    }
    fields: dict[str, Any] = {"add_timestamps": True}
    if message.continues is not None:
        fields["continue"] = message.continues
    if message.flush:
        fields["flush"] = True
    if message.delay_ms is not None:
        fields["max_buffer_delay_ms"] = message.delay_ms
    if message.speed is not None:
        fields["generation_config"] = {"speed": message.speed}
    whole = request(message.context_id, message.text, **fields)
    return whole | flaws.get(message.flaw or "", {})


class _Play:
    """A model and the real thing, side by side."""

    def __init__(self, model: Model, clients: list[RawClient]) -> None:
        self._model = model
        self._clients = clients
        self._since_expiry_s = 0.0

    async def batch(self, messages: list[tuple[int, Any]]) -> None:
        # All of it is written before the server runs again, so it is read before anything is spoken.
        for index, client in enumerate(self._clients):
            for at, message in messages:
                if at == index:
                    client.send(wire(message))
        for index in range(len(self._clients)):
            for at, message in messages:
                if at == index:
                    self._model.send(index, message)
        await self.settle()

    async def settle(self) -> None:
        """Reads until the server has nothing more to do, and lets the model judge it."""
        received: list[list[dict[str, Any]]] = [[] for _ in self._clients]
        await self._collect(received)
        moved = True
        while moved:
            await clock().idle()
            moved = await self._collect(received)
        self._model.receive(received)

    async def _collect(self, received: list[list[dict[str, Any]]]) -> bool:
        """Reads up to the answer of what is sent now, and says whether anything came before it."""
        before = sum(map(len, received))
        for messages, client in zip(received, self._clients, strict=True):
            client.send(request(_BARRIER, "", continue_=False))
            while (message := await client.receive()).get("context_id") != _BARRIER:
                messages.append(message)
        return sum(map(len, received)) > before

    async def time(self, what: str) -> None:
        # With the clock of a context's expiry somewhere between, more of it would be a guess.
        if what == "buffers" and self._since_expiry_s > EXPIRY_S / 2:
            what = "expiry"
        await self._elapse(1.25)
        if what == "queue" and self._since_expiry_s < EXPIRY_S / 2:
            return
        for _ in range(2):
            await self._elapse(5.5)
        if what == "buffers":
            self._model.release_all()
            await self.settle()
            return
        self._model.release_all()
        await self.settle()
        await clock().advance(EXPIRY_S)
        self._model.elapse(EXPIRY_S)
        self._model.expire_all()
        await self.settle()
        self._since_expiry_s = 0.0
        if what == "memory":
            await self._elapse(299.75)
            await self._elapse(0.25)

    async def _elapse(self, seconds: float) -> None:
        await clock().advance(seconds)
        self._model.elapse(seconds)
        self._since_expiry_s += seconds
        await self.settle()


async def _play(steps: list[Any], concurrency: int | None, *, cancel_done: bool) -> None:
    options = {"fail_on": FATAL}
    limits = {} if concurrency is None else {"concurrency": concurrency}
    async with (
        still_server(engine_options=options, context_expiry_s=EXPIRY_S, cancel_done=cancel_done, **limits) as running,
        await RawClient.open(running.url) as new,
        await RawClient.open(running.url, path=_OLD) as old,
    ):
        play = _Play(Model([True, False], limit=concurrency, cancel_done=cancel_done), [new, old])
        for step in steps:
            await (play.time(step) if isinstance(step, str) else play.batch(step))
        await play.time("expiry")


@settings(max_examples=_EXAMPLES, derandomize="VOXWIRE_EXAMPLES" not in os.environ, database=None)
@given(steps=_STEPS, options=_SETTINGS)
def test_every_message_is_foretold(steps, options):
    run_still(_play(steps, **options))
