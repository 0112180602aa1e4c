"""Credentials: their carriers, who fails with them, what they may hold (protocol.md 2.2, 2.6; faults.md H)."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from raw_client import RawClient, Refused, request
from raw_head import raw, upgrade

from voxwire import server
from voxwire.server.access.auth import Keyring, credentials
from voxwire.server.access.gate import Gate
from voxwire.server.access.guesses import Guesses
from voxwire.server.access.limits import Account
from voxwire.server.refusal import Refusal

KEY = "sk_car_valid"
SECRET = "a secret of the tests"


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
    ring = Keyring(["another", KEY], SECRET)
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
        Keyring([KEY], SECRET).authenticate(headers, query)
    assert caught.value.status == 401
    assert KEY not in str(caught.value)


def test_order_of_trial():
    headers = [("x-api-key", "third"), ("authorization", "Bearer first")]
    assert credentials(headers, {"api_key": "fifth", "access_token": "fourth"}) == ["first", "third", "fourth", "fifth"]


def test_keys_are_different_callers_and_are_not_shown():
    ring = Keyring(["one", "two"], SECRET)
    assert ring.authenticate([("x-api-key", "one")], {}) != ring.authenticate([("x-api-key", "two")], {})
    assert "one" not in repr(ring) + repr(vars(ring))


def test_without_keys_all_are_one_caller():
    ring = Keyring([], SECRET)
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


def test_all_refusals_are_alike():
    ring = Keyring([KEY], SECRET)
    told = set()
    for headers, query in [
        ([], {}),
        ([("x-api-key", "")], {}),
        ([("x-api-key", "wrong")], {}),
        ([("x-api-key", KEY.upper())], {}),
        ([("authorization", "Bearer vxt_AAAA")], {}),
        ([], {"api_key": "sk\0", "access_token": "ä"}),
    ]:
        with pytest.raises(Refusal) as caught:
            ring.authenticate(headers, query)
        told.add((caught.value.status, str(caught.value), caught.value.code, caught.value.headers))
    assert len(told) == 1
    assert ("WWW-Authenticate", "Bearer") in told.pop()[3]


class TestGuesses:
    """Over ten failures a minute from one address are too many; loopback is not counted (faults.md H1)."""

    def test_the_eleventh_of_a_minute_waits_for_the_first_to_pass(self):
        guesses = Guesses()
        assert [guesses.count("192.0.2.7", float(second)) for second in range(10)] == [None] * 10
        assert guesses.count("192.0.2.7", 10.0) == 50
        assert guesses.count("192.0.2.8", 10.0) is None
        assert guesses.count("192.0.2.7", 59.5) == 1
        assert guesses.count("192.0.2.7", 60.0) is None
        assert guesses.count("192.0.2.7", 60.5) == 1

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", None])
    def test_loopback_never_waits(self, address):
        guesses = Guesses()
        assert {guesses.count(address, 0.0) for _ in range(100)} == {None}
        assert len(guesses) == 0

    @pytest.mark.parametrize("address", ["2001:db8::7", "fe80::1%eth0", "::ffff:192.0.2.7", "10.0.0.1"])
    def test_every_other_address_does(self, address):
        guesses = Guesses()
        assert [guesses.count(address, 0.0) for _ in range(11)][-1] == 60

    def test_memory_is_bounded(self):
        guesses = Guesses()
        for number in range(10_000):
            guesses.count(f"2001:db8::{number:x}", 0.0)
        assert len(guesses) == 4096


class TestGate:
    ADDRESS = "192.0.2.7"

    def test_too_many_failures(self):
        gate = Gate(Keyring([KEY], SECRET), ())
        for _ in range(10):
            with pytest.raises(Refusal) as caught:
                gate.enter([("x-api-key", "wrong")], {}, self.ADDRESS)
            assert caught.value.status == 401
        with pytest.raises(Refusal) as caught:
            gate.enter([], {}, self.ADDRESS)
        assert caught.value.status == 429
        assert 1 <= caught.value.retry_after_s <= 60
        headers, _ = caught.value.http("2026-03-01", "id")
        assert ("Retry-After", str(caught.value.retry_after_s)) in headers
        with pytest.raises(Refusal) as caught:
            gate.enter([], {}, "192.0.2.8")
        assert caught.value.status == 401
        # Behind a proxy the others have the same address.
        assert gate.enter([("x-api-key", KEY)], {}, self.ADDRESS).digest

    def test_new_keys_forget_no_failures(self):
        gate = Gate(Keyring([KEY], SECRET), ())
        for _ in range(10):
            with pytest.raises(Refusal):
                gate.enter([], {}, self.ADDRESS)
        gate.keyring = Keyring(["new"], SECRET)
        with pytest.raises(Refusal) as caught:
            gate.enter([("x-api-key", KEY)], {}, self.ADDRESS)
        assert caught.value.status == 429

    @pytest.mark.parametrize(
        ("allowed", "origin", "comes_in"),
        [
            ((), None, True),
            ((), "https://app.example", False),
            (("https://app.example",), "https://app.example", True),
            (("https://app.example",), "https://app.example.evil", False),
            (("*",), "https://anything.example", True),
            (("*",), "null", False),
        ],
    )
    def test_origin_goes_before_the_credential(self, allowed, origin, comes_in):
        gate = Gate(Keyring([KEY], SECRET), allowed)
        headers = [] if origin is None else [("origin", origin)]
        with pytest.raises(Refusal) as caught:
            gate.enter(headers, {}, self.ADDRESS)
        assert caught.value.status == (401 if comes_in else 403)


class TestServer:
    """Rows H1, H4 and H5 of faults.md on the wire; H2 and H3 are in ``test_tokens.py``."""

    @pytest.mark.parametrize(
        ("headers", "query"),
        [
            ({}, ""),
            ({"X-API-Key": "wrong"}, ""),
            ({"X-API-Key": ""}, ""),
            ({"Authorization": "Bearer"}, ""),
            ({}, "?api_key=sk%00car"),
            ({}, "?api_key=sk_%FF"),
            ({}, "?access_token="),
            ({"X-API-Key": "x" * 8000}, ""),
        ],
    )
    async def test_no_valid_credential(self, guarded, headers, query):
        over_http = await asyncio.to_thread(
            httpx.get,
            f"{guarded.http_url}/voices{query}",
            headers=headers,
            trust_env=False,
        )
        with pytest.raises(Refused) as caught:
            await RawClient.open(guarded.url, path=f"/tts/websocket{query}", headers=headers)
        assert over_http.status_code == caught.value.status == 401
        bodies = [over_http.json(), json.loads(caught.value.body)]
        for body, sent in zip(bodies, (over_http.headers, caught.value.headers), strict=True):
            assert sent["www-authenticate"] == "Bearer"
            assert body.pop("request_id") == sent["x-request-id"]
            assert body == {
                "error_code": None,
                "title": "Invalid credential",
                "message": bodies[0]["message"],
                "error": f"Invalid credential: {bodies[0]['message']}",
            }

    async def test_not_ascii(self, guarded):
        key = "X-API-Key: schl\xfcssel"
        over_http = f"GET /voices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{key}\r\n\r\n".encode("latin-1")
        for head in (upgrade(key), over_http):
            assert (await raw(guarded.url, head)).startswith(b"HTTP/1.1 401 ")

    async def test_too_long_for_the_head(self, guarded):
        answer = await asyncio.to_thread(
            httpx.get, f"{guarded.http_url}/voices", headers={"X-API-Key": "x" * 9000}, trust_env=False
        )
        assert answer.status_code == 431

    async def test_many_failures_from_loopback(self, guarded):
        async with httpx.AsyncClient(base_url=guarded.http_url, trust_env=False) as http:
            assert {(await http.get("/voices")).status_code for _ in range(15)} == {401}

    async def test_both_ways_in_count_together(self, guarded, monkeypatch):
        for module in ("voxwire.server.websocket", "voxwire.server.http.entry"):
            monkeypatch.setattr(f"{module}.address_of", lambda _transport: "192.0.2.7")
        async with httpx.AsyncClient(base_url=guarded.http_url, trust_env=False) as http:
            for _ in range(5):
                assert (await http.get("/voices")).status_code == 401
                with pytest.raises(Refused) as caught:
                    await RawClient.open(guarded.url, headers={"X-API-Key": "wrong"})
                assert caught.value.status == 401
            answer = await http.get("/voices")
            assert (answer.status_code, answer.json()["title"]) == (429, "Too many failed credentials")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            with pytest.raises(Refused) as caught:
                await RawClient.open(guarded.url)
            assert caught.value.status == 429
            assert "retry-after" in caught.value.headers
            assert (await http.get("/voices", headers={"X-API-Key": KEY})).status_code == 200

    async def test_two_keys_know_nothing_of_each_other(self, guarded):
        async with (
            await RawClient.open(guarded.url, headers={"X-API-Key": KEY}) as one,
            await RawClient.open(guarded.url, headers={"X-API-Key": "another"}) as other,
        ):
            one.send(request("c", "Hello.", continue_=True))
            assert (await one.receive())["type"] == "chunk"
            # The place of the other key is free, and its cancel is of its own context.
            assert (await other.say("c", "Hello."))[-1]["type"] == "done"
            other.send({"context_id": "c", "cancel": True})
            await other.silence()
            one.send(request("c", "", continue_=False))
            assert (await one.context("c"))[-1]["type"] == "done"


@pytest.fixture
async def guarded():
    async with server.serve(
        engine="tone", api_keys=(KEY, "another"), concurrency=1, queue_wait_s=0.05, context_expiry_s=60
    ) as running:
        yield running
