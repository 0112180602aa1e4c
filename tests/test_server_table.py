"""Every cell of the server's two tables over the wire: the answer, and the state that follows (protocol.md 6.2)."""

from __future__ import annotations

import asyncio

import pytest
from raw_client import request
from still_loop import clock
from table_bench import EXPIRY_S, ID, SPOKEN, Bench, play

from voxwire.protocol import LIMITS

#: For each event and state: the messages, and the state after them. Ended and cancelled contexts act alike.
CELLS: dict[str, dict[str, tuple[str, str]]] = {
    "speakable": {
        "none": ("", "open"),
        "open": ("chunk", "open twice"),
        "draining": (f"{SPOKEN} closed", "failed"),
        "ended": ("", "open"),
        "expired": ("", "open"),
        "cancelled": ("", "open"),
        "failed": ("", "failed"),
    },
    "speakable close": {
        "none": (SPOKEN, "ended"),
        "open": (SPOKEN, "ended"),
        "draining": (f"{SPOKEN} closed", "failed"),
        "ended": (SPOKEN, "ended"),
        "expired": (SPOKEN, "ended"),
        "cancelled": (SPOKEN, "ended"),
        "failed": ("", "none"),
    },
    **{
        event: {
            "none": ("unspeakable", "failed"),
            "open": (audio, "open"),
            "draining": (SPOKEN, "ended"),
            "ended": ("", "ended"),
            "expired": ("", "expired"),
            "cancelled": ("", "ended"),
            "failed": ("", "failed"),
        }
        # What comes behind a full stop settles the sentence before it.
        for event, audio in (("punctuation", "chunk"), ("nothing", ""))
    },
    "flush": {
        "none": ("unspeakable", "failed"),
        "open": ("chunk flush_done", "open"),
        "draining": (SPOKEN, "ended"),
        "ended": ("", "ended"),
        "expired": ("", "expired"),
        "cancelled": ("", "ended"),
        "failed": ("", "failed"),
    },
    **{
        event: {
            "none": ("unspeakable", "none"),
            "open": (SPOKEN, "ended"),
            "draining": (SPOKEN, "ended"),
            "ended": ("", "ended"),
            "expired": ("", "ended"),
            "cancelled": ("", "ended"),
            "failed": ("", "none"),
        }
        for event in ("close", "punctuation close")
    },
    **{
        event: {
            "none": ("unspeakable", "none"),
            "open": (SPOKEN, "ended"),
            "draining": (SPOKEN, "ended"),
            "ended": ("", "ended"),
            "expired": ("done", "ended"),
            "cancelled": ("", "ended"),
            "failed": ("again", "none"),
        }
        for event in ("space close", "line close")
    },
    "cancel": {
        "none": ("", "none"),
        "open": ("", "ended"),
        "draining": ("", "ended"),
        "ended": ("", "ended"),
        "expired": ("", "expired"),
        "cancelled": ("", "ended"),
        "failed": ("", "none"),
    },
    **{
        event: {
            "none": (error, "failed"),
            "open": (error, "failed"),
            "draining": (f"{SPOKEN} {error}", "failed"),
            "ended": (error, "failed"),
            "expired": (error, "failed"),
            "cancelled": (error, "failed"),
            "failed": ("", "failed"),
        }
        for event, error in (("invalid", "invalid"), ("unusable", "unusable"))
    },
    **{
        event: {
            "none": (error, "none"),
            "open": (error, "failed"),
            "draining": (f"{SPOKEN} {error}", "failed"),
            "ended": (error, "none"),
            "expired": (error, "none"),
            "cancelled": (error, "none"),
            "failed": ("", "none"),
        }
        for event, error in (("invalid close", "invalid"), ("unusable close", "unusable"))
    },
}


@pytest.mark.parametrize("state", list(CELLS["cancel"]))
@pytest.mark.parametrize("event", list(CELLS))
def test_input(event, state):
    answers, after = CELLS[event][state]

    async def scenario(bench: Bench) -> None:
        await bench.reach(state)
        assert await bench.tell(event) == answers
        await bench.prove(after)

    play(scenario)


class TestRefused:
    """Inputs after the close wait for its `done`."""

    @pytest.mark.parametrize(
        ("events", "error"),
        [
            (("speakable", "invalid", "unusable", "speakable close"), "closed"),
            (("invalid", "speakable", "speakable"), "invalid"),
            (("unusable close", "speakable", "invalid close"), "unusable"),
            (("nothing", "close", "flush", "space close", "speakable"), "closed"),
        ],
    )
    def test_only_the_first_is_answered(self, events, error):
        async def scenario(bench: Bench) -> None:
            assert await bench.tell("speakable close", *events) == f"{SPOKEN} {error}"
            assert bench.words == ["Yes."]
            await bench.prove("failed")

        play(scenario)

    def test_a_cancel_drops_it(self):
        async def scenario(bench: Bench) -> None:
            assert await bench.tell("speakable close", "speakable", "cancel") == ""
            await bench.prove("ended")

        play(scenario)

    def test_a_failed_synthesis_drops_it(self):
        async def scenario(bench: Bench) -> None:
            assert await bench.tell("speakable", "fatal close", "speakable", "invalid") == "chunk engine"
            await bench.prove("ended")

        play(scenario)


class TestSynthesis:
    def test_a_failure_ends_an_open_context(self):
        async def scenario(bench: Bench) -> None:
            assert await bench.tell("speakable", "fatal", "flush") == "chunk engine"
            await bench.prove("failed")

        play(scenario)

    def test_a_failure_ends_a_closed_context(self):
        async def scenario(bench: Bench) -> None:
            assert await bench.tell("speakable", "fatal close") == "chunk engine"
            await bench.prove("ended")

        play(scenario)

    def test_all_audio_sent_leaves_an_open_context_open(self):
        async def scenario(bench: Bench) -> None:
            assert await bench.tell("speakable", "flush") == "chunk flush_done"
            await bench.prove("open")

        play(scenario)


class TestExpiry:
    """protocol.md 6.3."""

    def test_counts_from_the_last_audio(self):
        async def scenario(bench: Bench) -> None:
            await bench.tell("speakable", "flush")
            await clock().advance(EXPIRY_S - 0.25)
            assert await bench.hear() == ""
            await clock().advance(0.25)
            assert await bench.hear() == "done"
            await bench.prove("expired")

        play(scenario)

    @pytest.mark.parametrize("event", ["speakable", "custom", "punctuation", "nothing", "flush"])
    def test_every_input_restarts_it(self, event):
        async def scenario(bench: Bench) -> None:
            await bench.tell("speakable", "flush")
            await clock().advance(EXPIRY_S - 0.25)
            await bench.tell(event)
            await clock().advance(EXPIRY_S - 0.25)
            assert "done" not in await bench.hear()
            # Text that waited in the buffer was spoken by then, and the time counts from that.
            await clock().advance(EXPIRY_S)
            assert await bench.hear() == "done"

        play(scenario)

    def test_not_while_text_waits_in_the_buffer(self):
        async def scenario(bench: Bench) -> None:
            bench.client.send(request(ID, "Wait", continue_=True, max_buffer_delay_ms=5000))
            await clock().advance(4.75)
            assert await bench.hear() == ""
            await clock().advance(0.25)
            assert await bench.hear() == "chunk"
            await clock().advance(1)
            assert await bench.hear() == "done"
            await bench.prove("expired")

        play(scenario, context_expiry_s=1)

    def test_not_before_the_first_audio(self):
        async def scenario(bench: Bench) -> None:
            await bench.tell("custom")
            for _ in range(9):
                await clock().advance(0.5)
                assert await bench.hear() == ""
            await clock().advance(0.5)
            assert await bench.hear() == "chunk flush_done"
            await clock().advance(1)
            assert await bench.hear() == "done"

        play(scenario, context_expiry_s=1, engine_options={"delay_ms_per_word": "5000"})

    def test_after_text_that_made_no_audio(self):
        async def scenario(bench: Bench) -> None:
            bench.client.send(request(ID, '<speed ratio="1.5"/>', continue_=True, flush=True))
            assert await bench.hear() == "flush_done"
            await clock().advance(EXPIRY_S)
            assert await bench.hear() == "done"
            await bench.prove("expired")

        play(scenario)


class TestMemory:
    @pytest.mark.parametrize("state", ["ended", "expired", "cancelled"])
    def test_five_minutes(self, state):
        async def scenario(bench: Bench) -> None:
            await bench.reach(state)
            await clock().advance(299.75)
            assert await bench.tell("close") == ""
            if state == "expired":
                # The close has made it ended, which lasts as long again.
                await clock().advance(299.75)
                assert await bench.tell("close") == ""
            await clock().advance(0.25)
            await bench.prove("none")

        play(scenario)

    def test_ten_seconds_without_input_of_a_failed_one(self):
        async def scenario(bench: Bench) -> None:
            await bench.reach("failed")
            for event in ("speakable", "nothing", "flush", "invalid", "unusable"):
                await clock().advance(9.75)
                assert await bench.tell(event) == ""
            await clock().advance(10)
            await bench.prove("none")

        play(scenario)

    def test_the_oldest_of_too_many_is_forgotten(self):
        async def scenario(bench: Bench) -> None:
            await bench.reach("ended")
            for number in range(LIMITS["remembered_contexts"] - 1):
                bench.client.send(request(f"other {number}", "", continue_=True))
                await bench.client.receive()
            assert await bench.tell("close") == ""
            bench.client.send(request("one more", "", continue_=True))
            await bench.client.receive()
            await bench.prove("none")

        play(scenario)


class TestNotAdmitted:
    """429 and 503 (protocol.md 2.6, 2.7, 9.5)."""

    @pytest.mark.parametrize(("event", "after"), [("speakable", "failed"), ("speakable close", "ended")])
    def test_no_place_became_free(self, event, after):
        async def scenario(bench: Bench) -> None:
            bench.client.send(request("other", "Yes. ", continue_=True))
            assert await bench.tell(event) == ""
            await clock().advance(1)
            assert await bench.hear() == "limited"
            bench.client.send({"context_id": "other", "cancel": True})
            await bench.prove(after)

        play(scenario, concurrency=1)

    @pytest.mark.parametrize(
        ("event", "after"), [("speakable", "failed"), ("speakable close", "none"), ("custom", "failed")]
    )
    @pytest.mark.parametrize("state", ["none", "ended", "cancelled", "expired"])
    def test_even_the_queue_is_full(self, event, after, state):
        async def scenario(bench: Bench) -> None:
            await bench.reach(state)
            for number in range(11):
                bench.client.send(request(f"other {number}", "Yes. ", continue_=True))
            assert await bench.tell(event) == "limited"
            for number in range(11):
                bench.client.send({"context_id": f"other {number}", "cancel": True})
            await bench.prove(after)

        play(scenario, concurrency=1)

    @pytest.mark.parametrize(("event", "after"), [("speakable", "failed"), ("speakable close", "none")])
    @pytest.mark.parametrize("state", ["none", "ended", "cancelled", "expired"])
    def test_the_server_shuts_down(self, event, after, state):
        async def scenario(bench: Bench) -> None:
            await bench.reach(state)
            bench.client.send(request("other", "Yes. ", continue_=True, max_buffer_delay_ms=0))
            await bench.hear()
            draining = asyncio.ensure_future(bench.server.drain())
            await clock().idle()
            assert await bench.tell(event) == "shutting"
            if after == "failed":
                assert await bench.tell("speakable", "flush") == ""
                assert await bench.tell("space close") == "again"
            assert await bench.tell("close") == "unspeakable"
            bench.client.send(request("other", "", continue_=False))
            await draining

        play(scenario)

    def test_an_open_context_goes_on_while_the_server_shuts_down(self):
        async def scenario(bench: Bench) -> None:
            await bench.reach("open")
            draining = asyncio.ensure_future(bench.server.drain())
            await clock().idle()
            assert await bench.tell("speakable close") == SPOKEN
            assert bench.words == ["Yes.", "Yes."]
            await draining

        play(scenario)
