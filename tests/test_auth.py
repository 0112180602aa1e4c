"""Credentials, their carriers and what they may hold at once (protocol.md 2.2, 2.6)."""

from __future__ import annotations

import asyncio

import pytest

from voxwire.server.access.auth import Keyring, credentials
from voxwire.server.access.limits import Account
from voxwire.server.refusal import Refusal

KEY = "sk_car_valid"


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("authorization", f"Bearer {KEY}")], {}),
        ([("authorization", f"bearer {KEY}")], {}),
        ([("x-api-key", KEY)], {}),
        ([], {"access_token": KEY}),
        ([], {"api_key": KEY}),
        ([("authorization", "Bearer wrong"), ("x-api-key", "wrong")], {"api_key": KEY}),
    ],
)
def test_every_carrier_opens(headers, query):
    ring = Keyring(["another", KEY])
    assert ring.authenticate(headers, query) == ring.authenticate([("x-api-key", KEY)], {})


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], {}),
        ([("authorization", f"Basic {KEY}")], {}),
        ([("authorization", KEY)], {}),
        ([("x-api-key", "")], {}),
        ([("x-api-key", KEY + "x")], {"api_key": "sk"}),
        ([("x-api-key", "\xff\udcff")], {}),
    ],
)
def test_anything_else_is_refused(headers, query):
    with pytest.raises(Refusal) as caught:
        Keyring([KEY]).authenticate(headers, query)
    assert caught.value.status == 401
    assert KEY not in str(caught.value)


def test_order_of_trial():
    headers = [("x-api-key", "third"), ("authorization", "Bearer first")]
    assert credentials(headers, {"api_key": "fifth", "access_token": "fourth"}) == ["first", "third", "fourth", "fifth"]


def test_keys_are_different_callers_and_are_not_shown():
    ring = Keyring(["one", "two"])
    assert ring.authenticate([("x-api-key", "one")], {}) != ring.authenticate([("x-api-key", "two")], {})
    assert "one" not in repr(ring) + repr(vars(ring))


def test_without_keys_all_are_one_caller():
    ring = Keyring([])
    assert ring.authenticate([], {}) == ring.authenticate([("x-api-key", "anything")], {})


class TestAccount:
    def test_sockets(self):
        account = Account(1)
        for _ in range(10):
            account.open_socket()
        with pytest.raises(Refusal) as caught:
            account.open_socket()
        assert (caught.value.status, caught.value.code) == (429, "concurrency_limited")
        assert caught.value.retry_after_s is not None
        account.close_socket()
        account.open_socket()

    async def test_slots_are_handed_on_in_order(self):
        account = Account(1)
        first, second, third = account.slot(), account.slot(), account.slot()
        await first.wait(0.0)
        waiting = [asyncio.ensure_future(slot.wait(5)) for slot in (second, third)]
        await asyncio.sleep(0)
        first.release()
        first.release()
        await asyncio.wait_for(waiting[0], 1)
        assert not waiting[1].done()
        second.release()
        await asyncio.wait_for(waiting[1], 1)

    async def test_who_gives_up_leaves_the_queue(self):
        account = Account(1)
        first, second, third = account.slot(), account.slot(), account.slot()
        with pytest.raises(Refusal) as caught:
            await second.wait(0.01)
        assert caught.value.status == 429
        second.release()
        first.release()
        await third.wait(0.0)

    async def test_a_full_queue_refuses_at_once(self):
        account = Account(1)
        kept = [account.slot() for _ in range(11)]
        with pytest.raises(Refusal):
            account.slot()
        kept[-1].release()
        account.slot()

    async def test_no_limit(self):
        account = Account(None)
        for _ in range(100):
            account.open_socket()
            await account.slot().wait(0.0)
