"""Cancels and every cell of the state table (protocol.md 15, server items 6 and 7; 6.2).

The last row of each table, time, needs 10 and 300 seconds: it is proved where time is an argument, in the core's tests.
"""

from __future__ import annotations

import pytest
from conformance.exchange import FLUSH, MARKS, after, until
from raw_client import PATIENCE_S, RawClient, audio_of, kinds_of, request

INPUTS = {
    "text": {"transcript": "More.", "continue": True},
    "text, close": {"transcript": "More.", "continue": False},
    "marks": {"transcript": "?!", "continue": True},
    "flush": FLUSH,
    "close empty": {"transcript": "", "continue": False},
    "close blank": {"transcript": " ", "continue": False},
    "close marks": {"transcript": "?!", "continue": False},
    "invalid": {"transcript": "More.", "continue": True, "max_buffer_delay_ms": "1"},
    "invalid, close": {"transcript": "More.", "continue": False, "max_buffer_delay_ms": "1"},
}
SPOKEN = ["done"]
#: Event, the marks that answer it (audio apart), and the state that it leads to.
CELLS = {
    "none": {
        "text": ([], "open"),
        "text, close": (SPOKEN, "ended"),
        "marks": (["error"], "failed"),
        "flush": (["error"], "failed"),
        "close empty": (["error"], "none"),
        "close blank": (["error"], "none"),
        "close marks": (["error"], "none"),
        "cancel": ([], "none"),
        "invalid": (["error"], "failed"),
        "invalid, close": (["error"], "none"),
    },
    "open": {
        "text": ([], "open"),
        "text, close": (SPOKEN, "ended"),
        "marks": ([], "open"),
        "flush": (["flush_done"], "open"),
        "close empty": (SPOKEN, "ended"),
        "close blank": (SPOKEN, "ended"),
        "close marks": (SPOKEN, "ended"),
        "cancel": ([], "ended"),
        "invalid": (["error"], "failed"),
        "invalid, close": (["error"], "failed"),
        "expiry": (["done"], "expired"),
        "failing text": (["error"], "failed"),
    },
    "draining": {
        "text": (["done", "error"], "failed"),
        "text, close": (["done", "error"], "failed"),
        "marks": (["done"], "ended"),
        "flush": (["done"], "ended"),
        "close empty": (["done"], "ended"),
        "close blank": (["done"], "ended"),
        "close marks": (["done"], "ended"),
        "cancel": ([], "ended"),
        "invalid": (["done", "error"], "failed"),
        "invalid, close": (["done", "error"], "failed"),
    },
    "ended": {
        "text": ([], "open"),
        "text, close": (SPOKEN, "ended"),
        "marks": ([], "ended"),
        "flush": ([], "ended"),
        "close empty": ([], "ended"),
        "close blank": ([], "ended"),
        "close marks": ([], "ended"),
        "cancel": ([], "ended"),
        "invalid": (["error"], "failed"),
        "invalid, close": (["error"], "none"),
    },
    "expired": {
        "text": ([], "open"),
        "text, close": (SPOKEN, "ended"),
        "marks": ([], "expired"),
        "flush": ([], "expired"),
        "close empty": ([], "ended"),
        "close blank": (["done"], "ended"),
        "close marks": ([], "ended"),
        "cancel": ([], "expired"),
        "invalid": (["error"], "failed"),
        "invalid, close": (["error"], "none"),
    },
    "failed": {
        "text": ([], "failed"),
        "text, close": ([], "none"),
        "marks": ([], "failed"),
        "flush": ([], "failed"),
        "close empty": ([], "none"),
        "close blank": (["error"], "none"),
        "close marks": ([], "none"),
        "cancel": ([], "none"),
        "invalid": ([], "failed"),
        "invalid, close": ([], "none"),
    },
}
# A cancelled context and an ended one are told apart by nothing that a client could see.
CELLS["cancelled"] = CELLS["ended"]


async def reach(client: RawClient, state: str) -> None:
    """Brings context ``c`` from nothing into a state, and reads what that brings."""
    if state == "open":
        client.send(request("c", "Begin.", continue_=True))
    elif state == "draining":
        client.send(request("c", "Begin one two three four five six.", continue_=False))
    elif state == "ended":
        await client.say("c", "Begin.")
    elif state == "expired":
        client.send(request("c", "Begin.", continue_=True))
        assert kinds_of(await client.context("c")) == ["chunk", "done"]
    elif state == "cancelled":
        client.send(request("c", "Begin.", continue_=True))
        client.send({"context_id": "c", "cancel": True})
        await after(client, "c", 0)
    elif state == "failed":
        client.send(request("c", "Begin.", continue_=True, voice=""))
        assert kinds_of(await client.context("c")) == ["error"]


def answers(messages: list[dict]) -> list[str]:
    return [message["type"] for message in messages if message["type"] in MARKS]


async def be_in(client: RawClient, state: str) -> None:
    """Proves the state of context ``c`` by what it answers to a blank close, and then to a whole request."""
    ask = request("c", " ", continue_=False)
    client.send(ask)
    if state == "open":
        assert answers(await after(client, "c", 1)) == ["done"]
    elif state == "expired":
        assert kinds_of(await after(client, "c", 1)) == ["done"]
    elif state == "none":
        (error,) = await after(client, "c", 1)
        assert error["title"] == "transcript empty or contains only punctuation"
    elif state == "ended":
        assert await after(client, "c", 0) == []
    else:
        (again,) = await after(client, "c", 1)
        assert again["type"] == "error"
    assert kinds_of(await client.say("c", "Whole.")) == ["chunk", "done"]


@pytest.mark.parametrize(
    ("state", "event"), [(state, event) for state, events in CELLS.items() for event in events], ids=str
)
async def test_item_07_cell(slow, state, event):
    expected, then = CELLS[state][event]
    async with await RawClient.open(slow.url) as client:
        await reach(client, state)
        if event == "cancel":
            client.send({"context_id": "c", "cancel": True})
        elif event == "failing text":
            client.send({"context_id": "c", "transcript": "Now FAIL here.", "continue": True})
        elif event != "expiry":
            client.send(request("c", **INPUTS[event]))
        if then == "open":
            # Open contexts soon expire here, so what follows is sent at once.
            client.send({"context_id": "c", "transcript": "", "continue": False})
            messages = await after(client, "c", len(expected) + 1)
            assert answers(messages) == [*expected, "done"]
            return
        messages = await after(client, "c", len(expected))
        assert answers(messages) == expected
        if expected == SPOKEN and event == "text, close":
            assert kinds_of(messages) == ["chunk", "done"]
        if then == "failed" and expected:
            await swallow(client, messages[-1])
        else:
            await be_in(client, then)


async def swallow(client: RawClient, error: dict) -> None:
    """A failed context drops what was under way, and repeats its own error once for a blank close."""
    client.send({"context_id": "c", "transcript": "Under way.", "continue": True})
    client.send(request("c", " ", continue_=False))
    (again,) = await after(client, "c", 1)
    assert again == error


class TestItem07Refusals:
    async def test_the_error_is_the_inputs_own_or_context_closed(self, slow):
        async with await RawClient.open(slow.url) as client:
            for extra, title in [({}, "Context closed"), ({"flush": 1}, "Invalid flush")]:
                await reach(client, "draining")
                client.send({"context_id": "c", "transcript": "More.", "continue": True} | extra)
                assert (await after(client, "c", 2))[-1]["title"] == title
                client.send({"context_id": "c", "cancel": True})

    async def test_there_is_one_for_all(self, slow):
        async with await RawClient.open(slow.url) as client:
            await reach(client, "draining")
            for _ in range(3):
                client.send({"context_id": "c", "transcript": "More.", "continue": True})
            assert answers(await after(client, "c", 2)) == ["done", "error"]

    async def test_it_is_dropped_if_the_synthesis_fails_first(self, slow):
        async with await RawClient.open(slow.url) as client:
            client.send(request("c", "One two FAIL.", continue_=False))
            client.send({"context_id": "c", "transcript": "More.", "continue": True})
            messages = await after(client, "c", 1)
            assert answers(messages) == ["error"]
            assert (messages[-1]["status_code"], messages[-1]["error_code"]) == (500, "engine_failed")
            await be_in(client, "ended")

    async def test_an_unusable_message_with_an_id_counts_as_invalid(self, slow):
        async with await RawClient.open(slow.url) as client:
            await reach(client, "open")
            client.send('{"context_id":"c","transcript":"a","transcript":"b","continue":true}')
            assert answers(await after(client, "c", 1)) == ["error"]
            client.send('{"context_id":"c","transcript":"a","transcript":"b","continue":true}')
            assert await after(client, "c", 0) == []


class TestItem06Cancel:
    async def test_before_audio_during_audio_and_twice(self, slow):
        async with await RawClient.open(slow.url) as client:
            client.send(request("other", "One two three four five six.", continue_=False))
            client.send(request("before", "Wait for more", continue_=True))
            client.send({"context_id": "before", "cancel": True})
            client.send(request("during", "word " * 500, continue_=False))
            found = []
            while not any(message["context_id"] == "during" for message in found):
                found.append(await client.receive())
            for _ in range(2):
                client.send({"context_id": "during", "cancel": True})
            # What was under way before the cancel was read may still come; a fence ends that.
            client.send(request("fence", "a"))
            while found[-1]["type"] != "done" or found[-1]["context_id"] != "fence":
                found.append(await client.receive())
            assert answers([one for one in found if one["context_id"] in {"before", "during"}]) == []
            late = []
            while not any(one["context_id"] == "other" and one["type"] == "done" for one in found + late):
                late.append(await client.receive())
            assert {one["context_id"] for one in late} <= {"other"}
            spoken = audio_of([one for one in found + late if one["context_id"] == "other"])
            assert spoken == audio_of(await client.say("alone", "One two three four five six."))
            await client.silence()

    @pytest.mark.parametrize("state", ["none", "ended", "expired", "cancelled"])
    async def test_of_what_is_not_there_a_hundred_times(self, slow, state):
        async with await RawClient.open(slow.url) as client:
            await reach(client, state)
            for _ in range(100):
                client.send({"context_id": "c", "cancel": True})
            assert await after(client, "c", 0) == []

    async def test_no_more_inputs_after_it_stays_silent(self, slow):
        async with await RawClient.open(slow.url) as client:
            await reach(client, "cancelled")
            client.send(request("c", "", continue_=False))
            assert await after(client, "c", 0) == []

    @pytest.mark.parametrize(
        "message",
        [
            '{\n  "cancel": true,\n  "context_id": "c"\n}',
            '{"context_id":"c","cancel":true}',
            '{"context_id":"c","cancel":true,"transcript":"Never.","voice":5}',
        ],
        ids=["over several lines", "reordered", "with other fields"],
    )
    async def test_spellings(self, slow, message):
        async with await RawClient.open(slow.url) as client:
            client.send(request("c", "Wait for more", continue_=True))
            client.send(message)
            assert await after(client, "c", 0) == []

    async def test_without_a_usable_id_it_is_an_unusable_message(self, slow):
        async with await RawClient.open(slow.url) as client:
            for message in [{"cancel": True}, {"cancel": True, "context_id": 5}]:
                client.send(message)
                error = await client.receive()
                assert (error["status_code"], "context_id" in error) == (400, False)
            client.send({"cancel": False, "context_id": "c"})
            assert (await client.receive())["status_code"] == 400
            assert kinds_of(await client.say("d", "Hi.", cancel=False)) == ["chunk", "done"]

    async def test_the_slot_is_free_at_once(self, launch):
        program = launch("--concurrency", "1", "--engine-option", "delay_ms_per_word=1000")
        async with await RawClient.open(program.url) as client:
            for number in range(5):
                client.send(request(f"c{number}", "One two three four five.", continue_=False))
                client.send({"context_id": f"c{number}", "cancel": True})
            client.send(request("last", "One.", continue_=False))
            found = (await until(client, {"last": 1}))["last"]
            assert kinds_of(found) == ["chunk", "done"]
        program.end()

    async def test_cancel_done(self, launch):
        program = launch("--cancel-done", "--engine-option", "delay_ms_per_word=1000")
        async with await RawClient.open(program.url) as client:
            client.send(request("c", "One two three.", continue_=False))
            for _ in range(2):
                client.send({"context_id": "c", "cancel": True})
            assert await client.receive(PATIENCE_S) == {
                "type": "done",
                "context_id": "c",
                "done": True,
                "status_code": 206,
            }
            client.send({"context_id": "unknown", "cancel": True})
            client.send({"context_id": "end", "transcript": 5, "continue": True})
            assert (await client.receive())["context_id"] == "end"
        program.end()
