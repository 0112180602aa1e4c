"""Access tokens (protocol.md 11.5, 2.2; faults.md H2, H3): made with a key, for a time, for what they grant."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from raw_client import RawClient, Refused, request

from voxwire import server
from voxwire.server import ConfigurationError, Settings
from voxwire.server.access.tokens import GRANTS, Signer

KEY = "sk_car_of_the_tests"
OTHER = "sk_car_of_another"
SECRET = "a secret of the tests"
VOXWIRE = Path(sys.executable).parent / "voxwire"
NOW = 1_800_000_000
SPEECH = {name: value for name, value in request("c", "Hello.").items() if name != "context_id"}


@pytest.fixture
async def running():
    async with server.serve(engine="tone", api_keys=(KEY, OTHER), token_secret=SECRET) as started:
        yield started


@pytest.fixture
async def http(running):
    async with httpx.AsyncClient(base_url=running.http_url, timeout=10, trust_env=False) as client:
        yield client


async def mint(http: httpx.AsyncClient, key: str = KEY, **body: Any) -> str:
    answer = await http.post("/access-token", json=body, headers={"X-API-Key": key})
    assert answer.status_code == 200
    assert answer.json().keys() == {"token"}
    return answer.json()["token"]


def carried(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def refused(running: server.Server, token: str) -> int:
    with pytest.raises(Refused) as caught:
        await RawClient.open(running.url, headers=carried(token))
    return caught.value.status


class TestMinting:
    @pytest.mark.parametrize("expires_in", [1, 60, 3600, 60.0, None])
    async def test_what_it_opens(self, running, http, expires_in):
        token = await mint(http, grants={"tts": True}, expires_in=expires_in)
        assert (await http.post("/tts/bytes", json=SPEECH, headers=carried(token))).status_code == 200
        assert (await http.post("/tts/sse", json=SPEECH, headers=carried(token))).status_code == 200
        assert (await http.get("/voices", headers=carried(token))).status_code == 200
        async with await RawClient.open(running.url, headers=carried(token)) as client:
            assert (await client.say("c", "Hello."))[-1]["type"] == "done"

    @pytest.mark.parametrize(
        ("carrier", "path"),
        [
            ({"Authorization": "Bearer {}"}, ""),
            ({"X-API-Key": "{}"}, ""),
            ({}, "?access_token={}"),
            ({}, "?api_key={}"),
            ({"Authorization": "Bearer wrong", "X-API-Key": "{}"}, "?access_token=wrong"),
        ],
    )
    async def test_every_carrier(self, running, http, carrier, path):
        token = await mint(http, grants={"tts": True})
        headers = {name: value.format(token) for name, value in carrier.items()}
        assert (await http.get("/voices" + path.format(token), headers=headers)).status_code == 200
        async with await RawClient.open(running.url, headers=headers, path="/tts/websocket" + path.format(token)):
            pass

    @pytest.mark.parametrize("expires_in", [0, 3601, -1, 1.5, "60", True, 1e300])
    async def test_expiry_out_of_range(self, http, expires_in):
        answer = await http.post("/access-token", json={"expires_in": expires_in}, headers={"X-API-Key": KEY})
        assert (answer.status_code, answer.json()["title"]) == (400, "Invalid expires_in")

    @pytest.mark.parametrize(
        ("grants", "name"),
        [([], "grants"), ("tts", "grants"), ({"tts": "yes"}, "grants.tts"), ({"stt": 1}, "grants.stt")],
    )
    async def test_wrong_grants(self, http, grants, name):
        answer = await http.post("/access-token", json={"grants": grants}, headers={"X-API-Key": KEY})
        assert (answer.status_code, answer.json()["title"]) == (400, f"Invalid {name}")

    async def test_a_token_makes_no_token(self, http):
        token = await mint(http, grants={"tts": True})
        answer = await http.post("/access-token", json={}, headers=carried(token))
        assert (answer.status_code, answer.json()["title"]) == (403, "Not permitted")
        assert token not in answer.text

    async def test_without_a_key(self, http):
        assert (await http.post("/access-token", json={})).status_code == 401

    async def test_an_open_server_takes_every_token(self):
        async with (
            server.serve(engine="tone") as running,
            httpx.AsyncClient(base_url=running.http_url, trust_env=False) as http,
        ):
            token = (await http.post("/access-token", json={"grants": {"tts": True}})).json()["token"]
            async with await RawClient.open(running.url, headers=carried(token)) as client:
                assert (await client.say("c", "Hello."))[-1]["type"] == "done"


class TestGrants:
    @pytest.mark.parametrize(
        "body", [{}, {"grants": None}, {"grants": {}}, {"grants": {"tts": False, "stt": True, "agent": True}}]
    )
    async def test_without_tts(self, running, http, body):
        token = await mint(http, **body)
        assert await refused(running, token) == 403
        for path in ("/tts/bytes", "/tts/sse"):
            assert (await http.post(path, json=SPEECH, headers=carried(token))).status_code == 403
        assert (await http.get("/voices", headers=carried(token))).status_code == 200

    async def test_the_first_valid_credential_decides(self, running, http):
        token = await mint(http, grants={"stt": True})
        answer = await http.post("/tts/bytes", json=SPEECH, headers=carried(token) | {"X-API-Key": KEY})
        assert answer.status_code == 403
        reverse = {"Authorization": f"Bearer {KEY}", "X-API-Key": token}
        assert (await http.post("/tts/bytes", json=SPEECH, headers=reverse)).status_code == 200

    async def test_the_grant_goes_before_the_body(self, http):
        token = await mint(http)
        assert (await http.post("/tts/bytes", content=b"{", headers=carried(token))).status_code == 403


class TestLife:
    async def test_expired_at_connect(self, running, http, monkeypatch):
        token = await mint(http, grants={"tts": True}, expires_in=1)
        async with await RawClient.open(running.url, headers=carried(token)) as client:
            end = time.time() + 2
            monkeypatch.setattr(time, "time", lambda: end)
            assert await refused(running, token) == 401
            assert (await http.get("/voices", headers=carried(token))).status_code == 401
            assert (await client.say("c", "Hello."))[-1]["type"] == "done"

    async def test_ends_with_its_key(self, running, http):
        token = await mint(http, grants={"tts": True})
        theirs = await mint(http, key=OTHER, grants={"tts": True})
        async with await RawClient.open(running.url, headers=carried(token)) as client:
            running.service.admit(Settings.make(api_keys=(OTHER,)))
            assert await refused(running, token) == 401
            assert await refused(running, KEY) == 401
            assert (await client.say("c", "Hello."))[-1]["type"] == "done"
        async with await RawClient.open(running.url, headers=carried(theirs)):
            pass

    async def test_shares_the_limits_of_its_key(self):
        settings = {"api_keys": (KEY, OTHER), "concurrency": 1, "queue_wait_s": 0.05, "context_expiry_s": 60}
        async with (
            server.serve(engine="tone", **settings) as running,
            httpx.AsyncClient(base_url=running.http_url, trust_env=False) as http,
        ):
            token = await mint(http, grants={"tts": True})
            async with await RawClient.open(running.url, headers={"X-API-Key": KEY}) as client:
                client.send(request("c", "Hello.", continue_=True))
                await client.receive()
                answer = await http.post("/tts/bytes", json=SPEECH, headers=carried(token))
                assert (answer.status_code, answer.json()["error_code"]) == (429, "concurrency_limited")
                other = await http.post("/tts/bytes", json=SPEECH, headers={"X-API-Key": OTHER})
                assert other.status_code == 200

    async def test_servers_with_one_secret_take_each_others(self, http):
        token = await mint(http, grants={"tts": True})
        for secret, status in ((SECRET, 200), ("another secret", 401), (None, 401)):
            async with (
                server.serve(engine="tone", api_keys=(KEY,), token_secret=secret) as second,
                httpx.AsyncClient(base_url=second.http_url, trust_env=False) as there,
            ):
                assert (await there.get("/voices", headers=carried(token))).status_code == status

    async def test_a_secret_of_the_process_outlives_new_keys(self):
        async with (
            server.serve(engine="tone", api_keys=(KEY,)) as running,
            httpx.AsyncClient(base_url=running.http_url, trust_env=False) as http,
        ):
            token = await mint(http, grants={"tts": True})
            running.service.admit(Settings.make(api_keys=(KEY, OTHER)))
            assert (await http.get("/voices", headers=carried(token))).status_code == 200


class TestSigner:
    DIGEST = sha256(KEY.encode()).digest()

    def test_nothing_in_a_token_can_be_changed(self):
        signer = Signer(SECRET)
        token = signer.make(self.DIGEST, ["tts"], NOW)
        content = base64.urlsafe_b64decode(token.removeprefix("vxt_") + "=" * (-len(token.removeprefix("vxt_")) % 4))
        for index in range(len(content) * 8):
            forged = bytearray(content)
            forged[index // 8] ^= 1 << index % 8
            text = "vxt_" + base64.urlsafe_b64encode(forged).decode().rstrip("=")
            assert signer.read(text, [self.DIGEST], NOW - 1) is None

    @pytest.mark.parametrize("text", ["", "vxt_", "vxt_A", "vxt_é", "vxt_" + "A" * 76, "vxt_" + "A" * 10_000, "vxt_!"])
    def test_what_is_no_token(self, text):
        assert Signer(SECRET).read(text, [self.DIGEST], NOW) is None

    def test_ends_on_the_second(self):
        signer = Signer(SECRET)
        token = signer.make(self.DIGEST, GRANTS, NOW)
        read = signer.read(token, [b"another", self.DIGEST], NOW - 0.001)
        assert read is not None
        assert (read.digest, read.grants) == (self.DIGEST, frozenset(GRANTS))
        assert signer.read(token, [self.DIGEST], NOW) is None

    def test_tells_nothing_about_the_key(self):
        token = Signer(SECRET).make(self.DIGEST, ["tts"], NOW)
        content = base64.urlsafe_b64decode(token.removeprefix("vxt_") + "==")
        assert not any(self.DIGEST[start : start + 4] in content for start in range(29))


class TestSecret:
    def test_too_short(self):
        with pytest.raises(ConfigurationError, match=r"^token_secret: ") as caught:
            Settings.make(token_secret="1234567")
        assert "1234567" not in str(caught.value)

    def test_is_not_shown(self):
        assert SECRET not in repr(Settings.make(token_secret=SECRET))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="re-reads its keys at SIGHUP")
def test_workers_take_each_others_tokens_until_the_key_is_gone(tmp_path):
    settings = tmp_path / "serve.toml"
    settings.write_text(f'api_key = ["{KEY}", "{OTHER}"]\n')
    process = subprocess.Popen(
        [VOXWIRE, "serve", "--port", "0", "--engine", "tone", "--workers", "2", "--config", settings],
        stdout=subprocess.PIPE,
    )
    try:
        base = json.loads(process.stdout.readline())["http"]

        def statuses(token: str) -> set[int]:
            # Each is a connection of its own, which goes to either worker.
            asked = [httpx.get(f"{base}/voices", headers=carried(token), trust_env=False) for _ in range(12)]
            return {answer.status_code for answer in asked}

        def minted(key: str) -> str:
            answer = httpx.post(
                f"{base}/access-token", json={"grants": {"tts": True}}, headers={"X-API-Key": key}, trust_env=False
            )
            return answer.json()["token"]

        token, other = minted(KEY), minted(OTHER)
        assert statuses(token) == statuses(other) == {200}
        settings.write_text(f'api_key = ["{OTHER}"]\n')
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while statuses(token) != {401}:
            assert time.monotonic() < deadline
        assert statuses(KEY) == {401}
        assert statuses(other) == {200}
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_many_at_once(http):
    tokens = await asyncio.gather(*(mint(http, grants={"tts": True}, expires_in=second) for second in range(1, 21)))
    assert len(set(tokens)) == 20
