"""No key, token, text or audio in any line of the log, on its most talkative level (faults.md G6)."""

from __future__ import annotations

import asyncio
import signal
import subprocess

import pytest
from conformance.exchange import ENVIRONMENT, VOXWIRE, refused
from raw_client import RawClient, request

KEY = "sk_car_never_logged"
WRONG = "sk_car_wrong_secret"
TEXT = "Confidential"


async def test_a_run_with_errors_logs_no_secret(launch, tmp_path):
    settings = tmp_path / "serve.toml"
    settings.write_text(f'api_key = ["{KEY}"]\ndrain_s = 0.1\n[engine_option]\nfail_on = "FAIL{TEXT}"\n')
    program = launch("--config", str(settings), log_level="debug")
    secrets = [KEY, WRONG, TEXT, "VGhpcyBpcyBzZWNyZXQ"]
    for options in (
        {"headers": {"X-API-Key": WRONG}},
        {"headers": {"Authorization": f"Bearer {WRONG}"}},
        {"path": f"/tts/websocket?api_key={WRONG}"},
        {"path": f"/tts/websocket?access_token={WRONG}"},
    ):
        assert (await refused(program.url, **options)).status == 401
    async with program.http() as http:
        answer = await http.post("/access-token", json={"grants": {"tts": True}}, headers={"X-API-Key": KEY})
        if answer.status_code == 200:
            secrets.append(answer.json()["token"])
            await http.get("/voices", params={"access_token": secrets[-1]})
        await http.get("/voices", params={"api_key": KEY})
        await http.get("/voices", params={"api_key": WRONG})
        await http.get(f"/{TEXT}", params={"api_key": KEY})
        await http.post("/tts/bytes", json=request("c", TEXT), headers={"X-API-Key": KEY})
        await http.post("/tts/bytes", content=b'{"transcript":"' + TEXT.encode(), headers={"X-API-Key": KEY})
    async with await RawClient.open(program.url, path=f"/tts/websocket?api_key={KEY}") as client:
        client.send(f'{{"transcript":"{TEXT}')
        client.send('{"data":"VGhpcyBpcyBzZWNyZXQ"}')
        client.send(request("c1", TEXT, voice=TEXT))
        client.send(request("c2", f"FAIL{TEXT}", continue_=False))
        client.send(request("c3", TEXT, model_id=TEXT, language=TEXT))
        client.send(request(TEXT, TEXT, continue_=False))
        await asyncio.sleep(0)
        found = []
        while not any(message.get("context_id") == TEXT and message["type"] == "done" for message in found):
            found.append(await client.receive())
        for message in found:
            if message["type"] == "error":
                said = {name: value for name, value in message.items() if name != "context_id"}
                assert TEXT not in str(said), said
        program.process.send_signal(signal.SIGHUP)
        client.send(request("live", f"{TEXT} goes on", continue_=True))
        await client.say("c4", "Hi.")
        settings.write_text(f'api_key = ["{KEY} "]\n')
        program.process.send_signal(signal.SIGHUP)
        program.process.send_signal(signal.SIGTERM)
        assert (await client.closed()).code == 1001
    assert await asyncio.to_thread(program.process.wait, 10) == 0
    log = program.errors()
    assert "keys and voices" in log
    for secret in secrets:
        assert secret not in log


@pytest.mark.parametrize("arguments", [("--host", "192.0.2.1"), ("--engine", "no-such"), ("--engine-option", "x=1")])
def test_a_refused_start_shows_no_key(arguments):
    result = subprocess.run(
        [VOXWIRE, "--log-level", "debug", "serve", "--port", "0", "--api-key", KEY, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("voxwire: ")
    assert len(result.stderr.splitlines()) == 1
    assert KEY not in result.stderr
