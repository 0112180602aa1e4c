"""Contexts at once for one credential: places, the queue for them, and 429 (protocol.md 2.6 and 9.5)."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from raw_client import RawClient, kinds_of, request, words_of
from still_loop import clock, run_still, still_server
from strict_messages import check_message

KEYS = ("sk_car_one", "sk_car_two")
FATAL = "boom"


def play(scenario: Any, *, sockets: int = 1, keys: tuple[str, ...] = (), **settings: Any) -> None:
    """Runs a scenario with clients of a server whose clock stands still; the n-th has the n-th key."""

    async def run() -> None:
        options = {"engine_options": {"fail_on": FATAL}, "context_expiry_s": 60.0, "concurrency": 1}
        async with (
            still_server(**{**options, "api_keys": keys, **settings}) as running,
            contextlib.AsyncExitStack() as opened,
        ):
            clients = []
            for number in range(sockets):
                headers = {"X-API-Key": keys[number]} if keys else {}
                clients.append(await opened.enter_async_context(await RawClient.open(running.url, headers=headers)))
            await scenario(*clients)

    run_still(run())


async def hold(client: RawClient, context_id: str = "holder") -> None:
    """Takes a place with a context that stays open."""
    client.send(request(context_id, "One. ", continue_=True, max_buffer_delay_ms=0))
    while (await client.receive())["type"] != "flush_done":
        pass


async def nothing(client: RawClient) -> None:
    """Proves that the server owes nothing now; takes no place."""
    await clock().idle()
    client.send(request("nothing", "", continue_=False))
    assert (await client.receive())["context_id"] == "nothing"


def ends(error: dict[str, Any]) -> tuple[str, int, str]:
    check_message(error)
    return error["context_id"], error["status_code"], error["error_code"]


class TestQueue:
    def test_one_too_many_waits_a_second_for_its_one_429(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            client.send(request("late", "One ", continue_=True))
            client.send(request("late", "two.", continue_=True))
            await clock().advance(0.75)
            await nothing(client)
            await clock().advance(0.25)
            assert ends(await client.receive()) == ("late", 429, "concurrency_limited")
            client.send(request("late", "three.", continue_=True))
            client.send(request("late", "", continue_=False))
            await nothing(client)
            client.send({"context_id": "holder", "cancel": True})
            assert kinds_of(await client.say("later", "One.")) == ["chunk", "done"]

        play(scenario)

    def test_ten_times_the_limit_may_wait(self):
        async def scenario(client: RawClient) -> None:
            await hold(client, "holder 1")
            await hold(client, "holder 2")
            for number in range(20):
                client.send(request(f"c{number}", "One.", continue_=False))
            await nothing(client)
            client.send(request("over", "One.", continue_=False))
            assert ends(await client.receive()) == ("over", 429, "concurrency_limited")
            client.send({"context_id": "holder 1", "cancel": True})
            # First come, first served.
            for number in range(20):
                assert kinds_of(await client.context(f"c{number}")) == ["chunk", "done"]

        play(scenario, concurrency=2)

    def test_a_full_queue_is_a_setting(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            client.send(request("late", "One.", continue_=False))
            await clock().idle()
            await clock().advance(0)
            assert ends(await client.receive()) == ("late", 429, "concurrency_limited")

        play(scenario, queue_wait_s=0)

    def test_inputs_are_kept_while_it_waits(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            client.send(request("late", "One ", continue_=True, add_timestamps=True))
            client.send(request("late", "", continue_=True, flush=True))
            client.send(request("late", "two ", continue_=True, max_buffer_delay_ms=0))
            client.send(request("late", "three", continue_=False))
            # Refused only after its `done`, as if it ran.
            client.send(request("late", "four", continue_=True))
            await clock().advance(0.75)
            await nothing(client)
            client.send({"context_id": "holder", "cancel": True})
            messages = await client.context("late")
            assert [word for word, _, _ in words_of(messages)] == ["One", "two", "three"]
            flushes = [message["flush_id"] for message in messages if message["type"] == "flush_done"]
            assert flushes == [1, 2]
            assert (await client.context("late"))[0]["title"] == "Context closed"

        play(scenario)

    def test_an_invalid_input_leaves_the_queue(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            client.send(request("late", "One.", continue_=True))
            client.send(request("next", "One.", continue_=False))
            client.send(request("late", "One.", continue_=True, max_buffer_delay_ms=-1))
            assert (await client.receive())["status_code"] == 400
            client.send({"context_id": "holder", "cancel": True})
            assert kinds_of(await client.context("next")) == ["chunk", "done"]

        play(scenario)

    def test_a_cancelled_one_leaves_the_queue_in_silence(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            client.send(request("late", "One.", continue_=True))
            client.send({"context_id": "late", "cancel": True})
            client.send({"context_id": "holder", "cancel": True})
            assert kinds_of(await client.say("next", "One.")) == ["chunk", "done"]
            await clock().advance(2)
            await nothing(client)

        play(scenario)


class TestPlaces:
    @pytest.mark.parametrize("how", ["done", "error", "failure", "cancel", "expiry", "lost"])
    def test_given_back(self, how):
        async def scenario(client: RawClient, other: RawClient) -> None:
            await hold(client)
            other.send(request("late", "One.", continue_=False))
            await nothing(other)
            if how == "done":
                client.send(request("holder", "", continue_=False))
            elif how == "error":
                client.send(request("holder", "x", continue_=True, max_buffer_delay_ms=-1))
            elif how == "failure":
                client.send(request("holder", FATAL, continue_=True, max_buffer_delay_ms=0))
            elif how == "cancel":
                client.send({"context_id": "holder", "cancel": True})
            elif how == "expiry":
                await clock().advance(30)
            else:
                await client.__aexit__()
            assert kinds_of(await other.context("late")) == ["chunk", "done"]

        play(scenario, sockets=2, queue_wait_s=60, context_expiry_s=30)

    def test_an_open_context_costs_one_until_it_expires(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            await clock().advance(59.5)
            client.send(request("late", "One.", continue_=False))
            await nothing(client)
            await clock().advance(0.5)
            assert kinds_of(await client.context("holder")) == ["done"]
            assert kinds_of(await client.context("late")) == ["chunk", "done"]

        play(scenario)

    def test_inputs_of_one_context_cost_one(self):
        async def scenario(client: RawClient) -> None:
            await hold(client)
            for _ in range(20):
                client.send(request("holder", "One. ", continue_=True))
            client.send(request("holder", "", continue_=False))
            assert kinds_of(await client.context("holder")) == ["chunk", "done"]

        play(scenario)

    def test_two_keys_are_apart(self):
        async def scenario(client: RawClient, other: RawClient) -> None:
            await hold(client)
            assert kinds_of(await other.say("c1", "One.")) == ["chunk", "done"]
            await hold(other)
            client.send(request("late", "One.", continue_=False))
            await clock().advance(1)
            assert ends(await client.receive()) == ("late", 429, "concurrency_limited")

        play(scenario, sockets=2, keys=KEYS)

    def test_two_sockets_of_one_key_share(self):
        async def scenario(client: RawClient, other: RawClient) -> None:
            await hold(client)
            other.send(request("late", "One.", continue_=True))
            await clock().advance(1)
            assert ends(await other.receive()) == ("late", 429, "concurrency_limited")

        play(scenario, sockets=2, keys=(KEYS[0],) * 2)

    def test_no_limit_unless_set(self):
        async def scenario(client: RawClient) -> None:
            for number in range(200):
                await hold(client, f"c{number}")

        play(scenario, concurrency=None)
