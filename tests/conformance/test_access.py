"""Credentials, versions and refused handshakes (protocol.md 15, server item 11; 2.2 to 2.4)."""

from __future__ import annotations

import json
import uuid

import pytest
from conformance.exchange import KEY, OTHER_KEY, UPGRADE, VERSIONS, accepted, raw, refused
from raw_client import RawClient, kinds_of

PATH = "/tts/websocket"


async def token(program, expires_in: int = 60, **grants: bool) -> str:
    async with program.http() as http:
        body = {"grants": grants, "expires_in": expires_in}
        answer = await http.post("/access-token", json=body, headers={"X-API-Key": KEY})
        assert answer.status_code == 200, answer.text
        return answer.json()["token"]


class TestItem11Credentials:
    @pytest.mark.parametrize("kind", ["key", "token"])
    async def test_five_carriers_take_keys_and_tokens(self, keyed, kind):
        credential = KEY if kind == "key" else await token(keyed, tts=True)
        await accepted(keyed.url, headers={"Authorization": f"Bearer {credential}"})
        await accepted(keyed.url, headers={"authorization": f"bearer {credential}"})
        await accepted(keyed.url, headers={"X-API-Key": credential})
        await accepted(keyed.url, path=f"{PATH}?access_token={credential}")
        await accepted(keyed.url, path=f"{PATH}?cartesia_version=2024-11-13&api_key={credential}&cartesia_client=x")

    async def test_the_first_valid_one_wins(self, keyed):
        # A token without the grant is a valid credential with a 403 of its own: it shows which one was tried first.
        poor = await token(keyed, tts=False)
        carriers = [
            ({"Authorization": "Bearer {}"}, ""),
            ({"X-API-Key": "{}"}, ""),
            ({}, "access_token={}"),
            ({}, "api_key={}"),
        ]

        def together(first: int, second: int, credentials: tuple[str, str]) -> dict:
            headers: dict[str, str] = {}
            queries = []
            for place, credential in zip((first, second), credentials, strict=True):
                given, query = carriers[place]
                headers |= {name: value.format(credential) for name, value in given.items()}
                queries.append(query.format(credential))
            return {"path": f"{PATH}?{'&'.join(reversed([query for query in queries if query]))}", "headers": headers}

        for first in range(4):
            for second in range(first + 1, 4):
                assert (await refused(keyed.url, **together(first, second, (poor, KEY)))).status == 403
                await accepted(keyed.url, **together(first, second, (KEY, poor)))
                await accepted(keyed.url, **together(first, second, ("not-valid", KEY)))
                await accepted(keyed.url, **together(first, second, (KEY, "not-valid")))

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"headers": {"X-API-Key": "not-valid"}},
            {"headers": {"X-API-Key": ""}},
            {"headers": {"Authorization": f"Basic {KEY}"}},
            {"headers": {"Authorization": KEY}},
            {"path": f"{PATH}?api_key="},
            {"path": f"{PATH}?token={KEY}"},
        ],
        ids=str,
    )
    async def test_none_that_is_valid(self, keyed, options):
        refusal = await refused(keyed.url, **options)
        assert refusal.status == 401
        assert uuid.UUID(refusal.headers["x-request-id"])

    async def test_without_keys_all_are_welcome(self, plain):
        await accepted(plain.url, headers={"X-API-Key": "anything"})


class TestItem11Versions:
    async def shape(self, program, **options) -> bool:
        """Whether chunks carry a label, which tells old versions from new ones."""
        async with await RawClient.open(program.url, **options) as client:
            return "flush_id" in (await client.say("c1", "Hi."))[0]

    async def test_query_beats_header_and_alone_is_checked(self, plain):
        old, new = "2024-11-13", "2025-04-16"
        for query, header in [(old, new), (new, old), (old, "nonsense"), (new, "")]:
            options = {"path": f"{PATH}?cartesia_version={query}", "headers": {"Cartesia-Version": header}}
            assert await self.shape(plain, **options) is (query == new)
        assert await self.shape(plain, headers={"cartesia-version": old}) is False
        assert await self.shape(plain) is True

    async def test_an_unknown_date_acts_as_the_one_before(self, plain):
        for asked, labelled in [
            ("2025-04-15", False),
            ("2020-02-29", False),
            ("2025-04-17", True),
            ("2099-01-01", True),
        ]:
            assert await self.shape(plain, path=f"{PATH}?cartesia_version={asked}") is labelled

    @pytest.mark.parametrize(
        "asked", ["", "latest", "2025-4-16", "2025-02-30", "20250416", "2025-W01-1", "2025-04-16x"]
    )
    async def test_malformed(self, plain, asked):
        assert (await refused(plain.url, path=f"{PATH}?cartesia_version={asked}")).status == 400
        assert (await refused(plain.url, headers={"Cartesia-Version": asked or "x"})).status == 400

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_body_of_a_refusal(self, keyed, version):
        refusal = await refused(keyed.url, path=f"{PATH}?cartesia_version={version}")
        if version < "2026-03-01":
            assert refusal.headers["content-type"].startswith("text/plain")
            title, separator, message = refusal.body.decode().partition(": ")
            assert title
            assert separator
            assert message
        else:
            body = json.loads(refusal.body)
            assert set(body) - {"doc_url"} == {"error_code", "title", "message", "error", "request_id"}
            assert body["error"] == f"{body['title']}: {body['message']}"
            assert body["request_id"] == refusal.headers["x-request-id"]


class TestOrderOfChecks:
    async def test_each_goes_before_the_next(self, launch):
        program = launch("--api-key", KEY, "--concurrency", "1", "--allow-origin", "https://app.example")
        wrong_version = {"Cartesia-Version": "x"}
        wrong_origin = {"Origin": "https://other.example"}
        key = {"X-API-Key": KEY}
        assert (await refused(program.url, path="/tts/websockets", headers=wrong_version)).status == 404
        head = UPGRADE.replace("Version: 13", "Version: 12") + "Cartesia-Version: x\n\n"
        answer = await raw(program.url, head)
        assert answer.startswith("http/1.1 426 ")
        assert "sec-websocket-version: 13" in answer
        assert (await refused(program.url, headers=wrong_version | wrong_origin)).status == 400
        assert (await refused(program.url, headers=wrong_origin)).status == 403
        poor = await token(program, tts=False)
        clients = [await RawClient.open(program.url, headers=key) for _ in range(10)]
        assert (await refused(program.url)).status == 401
        assert (await refused(program.url, headers={"Authorization": f"Bearer {poor}"})).status == 403
        assert (await refused(program.url, headers=key)).status == 429
        for client in clients:
            await client.__aexit__()
        program.end()

    @pytest.mark.parametrize(
        ("old", "new", "status"),
        [
            ("GET ", "POST ", 405),
            ("HTTP/1.1", "HTTP/1.0", 505),
            ("/tts/websocket", "/tts/websocket/", 404),
            ("Upgrade: websocket\n", "", 400),
            ("Connection: Upgrade\n", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
        ],
    )
    async def test_what_is_no_upgrade(self, plain, old, new, status):
        answer = await raw(plain.url, UPGRADE.replace(old, new) + "\n")
        assert answer.startswith(f"http/1.1 {status} ")

    async def test_any_prefix(self, plain):
        async with await RawClient.open(plain.url, path="/a/b/tts/websocket") as client:
            assert kinds_of(await client.say("c1", "Hi.")) == ["chunk", "done"]

    async def test_another_key_has_limits_of_its_own(self, keyed):
        mine = [await RawClient.open(keyed.url, headers={"X-API-Key": KEY}) for _ in range(20)]
        refusal = await refused(keyed.url, headers={"X-API-Key": KEY})
        assert (refusal.status, int(refusal.headers["retry-after"]) > 0) == (429, True)
        assert json.loads(refusal.body)["error_code"] == "concurrency_limited"
        await accepted(keyed.url, headers={"X-API-Key": OTHER_KEY})
        for client in mine:
            await client.__aexit__()
