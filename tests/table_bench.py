"""One context id on a socket of a server whose clock stands still: events go in, answers come out as words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raw_client import RawClient, request, words_of
from still_loop import clock, run_still, still_server
from strict_messages import check_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from voxwire.server import Server

EXPIRY_S = 60.0
FATAL = "boom"
ID = "c1"
SPOKEN = "chunk done"
_BARRIER = "barrier"

_ERRORS = {
    "unspeakable": "first transcript for WS is empty or contains only punctuation",
    "invalid": "max_buffer_delay_ms",
    "unusable": "Invalid message",
    "closed": "Context closed",
    "engine": "engine_failed",
    "limited": "concurrency_limited",
    "shutting": "Shutting down",
}

EVENTS: dict[str, Any] = {
    "speakable": {"transcript": "Yes. ", "continue": True},
    "speakable close": {"transcript": "Yes. ", "continue": False},
    "punctuation": {"transcript": "... ", "continue": True},
    "nothing": {"transcript": "", "continue": True},
    "flush": {"transcript": "", "continue": True, "flush": True},
    "close": {"transcript": "", "continue": False},
    "space close": {"transcript": " ", "continue": False},
    "line close": {"transcript": "\n\t", "continue": ...},
    "punctuation close": {"transcript": "?!", "continue": False},
    "fatal": {"transcript": f"{FATAL} ", "continue": True},
    "fatal close": {"transcript": f"{FATAL} ", "continue": False},
    "custom": {"transcript": "Yes. ", "continue": True, "max_buffer_delay_ms": 0},
    "cancel": {"cancel": True},
    "invalid": {"transcript": "Yes. ", "continue": True, "max_buffer_delay_ms": 5001},
    "invalid close": {"transcript": "Yes. ", "continue": False, "max_buffer_delay_ms": 5001},
    "unusable": f'{{"context_id":"{ID}","continue":true}}',
    "unusable close": f'{{"context_id":"{ID}","transcript":"a","transcript":"b"}}',
}


class Bench:
    """One socket of a server whose clock stands still, and one context id on it."""

    def __init__(self, client: RawClient, server: Server) -> None:
        self.client = client
        self.server = server
        self.errors: list[dict[str, Any]] = []
        self.words: list[str] = []

    def send(self, *events: str) -> None:
        """Sends events in one go: the server reads all of them before it speaks."""
        for name in events:
            event = EVENTS[name]
            if isinstance(event, str):
                self.client.send(event)
            elif "cancel" in event:
                self.client.send({"context_id": ID, "cancel": True})
            else:
                fields = {**event, "add_timestamps": True}
                self.client.send(request(ID, fields.pop("transcript"), **fields))

    async def hear(self) -> str:
        """Everything that the server has to say now, in the words of CELLS; errors by their name."""
        messages: list[dict[str, Any]] = []
        for _ in range(2):
            self.client.send(request(_BARRIER, "", continue_=False))
            while (message := await self.client.receive()).get("context_id") != _BARRIER:
                check_message(message)
                if not message["context_id"].startswith("other"):
                    assert message["context_id"] == ID
                    messages.append(message)
            await clock().idle()
        self.words += [word for word, _, _ in words_of(messages)]
        kinds = []
        for message in messages:
            if message["type"] == "error":
                kinds.append(self._error(message))
            elif message["type"] != "timestamps" and kinds[-1:] != [message["type"]]:
                kinds.append(message["type"])
        return " ".join(kinds)

    def _error(self, message: dict[str, Any]) -> str:
        if message in self.errors:
            return "again"
        self.errors.append(message)
        said = f"{message['error_code']} {message['error']}"
        (name,) = [name for name, words in _ERRORS.items() if words in said]
        return name

    async def tell(self, *events: str) -> str:
        self.send(*events)
        return await self.hear()

    async def reach(self, state: str) -> None:
        """Brings the id into a state; a draining context lasts until the server speaks."""
        steps = {
            "none": (),
            "open": ("speakable",),
            "draining": ("speakable close",),
            "ended": ("speakable close",),
            "expired": ("speakable", "flush"),
            "cancelled": ("speakable", "cancel"),
            "failed": ("invalid",),
        }[state]
        self.send(*steps)
        if state == "draining":
            return
        await self.hear()
        if state == "expired":
            await clock().advance(EXPIRY_S)
            assert await self.hear() == "done"
        if state != "open":
            self.words.clear()

    async def prove(self, state: str) -> None:
        """Shows by what it does in which state the id is."""
        if state == "none":
            assert await self.tell("close") in {"unspeakable", "again"}
        elif state.startswith("open"):
            assert "done" in (await self.tell("close")).split()
            spoken = [word for word in self.words if word != "..."]
            assert spoken == ["Yes."] * (2 if state == "open twice" else 1)
            await self.prove("ended")
        elif state == "ended":
            assert await self.tell("close", "space close", "flush", "nothing", "cancel") == ""
            self.words.clear()
            assert await self.tell("speakable close") == SPOKEN
            assert self.words == ["Yes."]
        elif state == "expired":
            assert await self.tell("flush", "nothing", "cancel") == ""
            assert await self.tell("space close", "space close") == "done"
            await self.prove("ended")
        else:
            assert state == "failed"
            assert await self.tell("speakable", "flush", "invalid") == ""
            assert await self.tell("space close") == "again"
            await self.prove("none")


def play(scenario: Callable[[Bench], Awaitable[None]], **settings: Any) -> None:
    """Runs a scenario with a server of its own."""

    async def run() -> None:
        options = {"fail_on": FATAL}
        async with (
            still_server(**{"engine_options": options, "context_expiry_s": EXPIRY_S, **settings}) as running,
            await RawClient.open(running.url) as client,
        ):
            await scenario(Bench(client, running))

    run_still(run())
