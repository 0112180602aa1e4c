"""The traps of protocol.md 14, by number, on whichever of our two ends each one waits.

Not here, because they wait for others alone: 28 is about code generated from the vendor's description, and nothing of
ours is generated from it. 21 is the reason for the TLS listener beside the plain one, shown with both in use in
`test_server.py`. Of 24, both names in a dictionary stand where dictionaries are tested.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from raw_client import RawClient, Refused, audio_of, kinds_of, request
from scripted_server import FORMAT, Peer, ScriptedServer, chunk, done, error, flush_done

import voxwire
from voxwire import server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PCM = bytes(range(64))
KEY = "sk_car_traps"


@pytest.fixture
async def running():
    async with server.serve(engine="tone") as started:
        yield started


@pytest.fixture
async def client(running):
    async with await RawClient.open(running.url) as opened:
        yield opened


@asynccontextmanager
async def scripted(*texts: str) -> AsyncIterator[tuple[Peer, list[voxwire.Context]]]:
    """Our client with one closed context for each text, and the peer that got their requests."""
    async with ScriptedServer() as peer_server, voxwire.Client(peer_server.url) as ours:
        await ours.connect()
        peer = await peer_server.accept()
        opened = [ours.context(text, voice="v", output_format=FORMAT) for text in texts]
        for context in opened:
            await context.__aenter__()
            await peer.receive()
        yield peer, opened
        for context in opened:
            await context.__aexit__(None, None, None)


async def events(context: voxwire.Context) -> list[Any]:
    async with asyncio.timeout(10):
        return [event async for event in context]


async def failure(context: voxwire.Context) -> voxwire.VoxwireError:
    with pytest.raises(voxwire.VoxwireError) as caught:
        await events(context)
    return caught.value


@pytest.mark.parametrize(
    ("config", "served"),
    [
        ({"volume": 2.0}, True),
        ({"volume": 2.01}, False),
        ({"speed": 1.5}, True),
        ({"speed": 1.51}, False),
        ({"speed": 2.0}, False),
    ],
    ids=str,
)
async def test_trap_01_02_ranges_of_volume_and_speed(client, config, served):
    messages = await client.say("c", "Hi.", generation_config=config)
    assert (messages[-1]["type"] == "done") is served


@pytest.mark.parametrize("name", ["Angry", "angry", "ANGRY", "Joking/Comedic", "joking/comedic", "unheard of"])
async def test_trap_03_emotions_in_any_case(client, name):
    assert kinds_of(await client.say("c", "Hi.", generation_config={"emotion": name})) == ["chunk", "done"]


async def test_trap_04_without_a_delay_text_waits_as_with_3000(client):
    client.send(request("waits", "This may go on", continue_=True))
    client.send(request("at once", "This may go on", continue_=True, max_buffer_delay_ms=0))
    first = await client.receive()
    while first["type"] != "flush_done":
        assert first["context_id"] == "at once"
        first = await client.receive()


async def test_trap_05_a_flush_done_that_nobody_asked_for():
    async with scripted("Hi.") as (peer, (context,)):
        late = flush_done(context.id, 1) | {"data": ""}
        peer.send(chunk(context.id, PCM), late, chunk(context.id, PCM), done(context.id))
        kinds = [type(event).__name__ for event in await events(context)]
        assert kinds == ["Audio", "FlushDone", "Audio"]
        assert context.outcome == "finished"


@pytest.mark.parametrize("label", [0, 1, 7, None, ...], ids=repr)
async def test_trap_06_labels_are_opaque_and_may_be_missing(label):
    async with scripted("Hi.") as (peer, (context,)):
        message = chunk(context.id, PCM) | {"flush_id": label}
        if label is ...:
            del message["flush_id"]
        peer.send(message, done(context.id))
        (audio,) = await events(context)
        assert audio.data == PCM


async def test_trap_07_08_a_header_is_version_enough_and_every_carrier_opens():
    async with server.serve(engine="tone", api_keys=(KEY,)) as running:
        for options in (
            {"headers": {"X-API-Key": KEY, "Cartesia-Version": "2026-03-01"}},
            {"headers": {"Authorization": f"Bearer {KEY}"}},
            {"path": f"/tts/websocket?access_token={KEY}"},
            {"path": f"/tts/websocket?cartesia_version=2024-11-13&api_key={KEY}"},
        ):
            async with await RawClient.open(running.url, **options) as client:
                assert kinds_of(await client.say("c", "Hi.")) == ["chunk", "done"]
        with pytest.raises(Refused) as caught:
            await RawClient.open(running.url)
        assert caught.value.status == 401


async def test_trap_09_a_bare_voice_on_every_version_and_an_absent_id_on_old_ones(running):
    for version in ("2024-06-10", "2025-04-16", "2026-08-14"):
        async with await RawClient.open(running.url, path=f"/tts/websocket?cartesia_version={version}") as client:
            assert kinds_of(await client.say("c", "Hi.", voice="tone-1")) == ["chunk", "done"]
            client.send({name: value for name, value in request("", "Hi.").items() if name != "context_id"})
            assert ((await client.receive())["type"] == "chunk") is (version <= "2025-04-16")


async def test_trap_10_later_inputs_may_differ(client):
    client.send(request("c", "One. ", continue_=True))
    client.send(request("c", "Two.", continue_=True, generation_config={"volume": 2.0}))
    client.send(request("c", "", continue_=False, voice="nobody", model_id="sonic-latest", output_format={}))
    assert kinds_of(await client.context("c")) == ["chunk", "done"]


@pytest.mark.parametrize("last", ["", " ", "\n"])
async def test_trap_11_any_blank_closes(client, last):
    client.send(request("c", "One.", continue_=True))
    client.send(request("c", last, continue_=False))
    assert kinds_of(await client.context("c")) == ["chunk", "done"]
    await client.silence()


async def test_trap_12_without_continue_the_context_closes_and_our_client_always_says_it(client):
    assert kinds_of(await client.say("c", "One.")) == ["chunk", "done"]
    async with (
        ScriptedServer() as peer_server,
        voxwire.Client(peer_server.url) as ours,
        ours.context(voice="v") as context,
    ):
        await context.push("One.")
        peer = await peer_server.accept()
        assert (await peer.receive())["continue"] is True
        await context.finish()
        assert (await peer.receive())["continue"] is False
        peer.send(done(context.id))
        await events(context)


async def test_trap_13_done_of_a_chunk_ends_nothing_and_done_has_any_status():
    async with scripted("Hi.") as (peer, (context,)):
        ended = done(context.id) | {"status_code": 200}
        peer.send(chunk(context.id, PCM) | {"done": True}, chunk(context.id, PCM), ended)
        assert b"".join(event.data for event in await events(context)) == 2 * PCM
        assert context.outcome == "finished"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"error": "Broken: very", "status_code": 400}, "Broken: very"),
        ({"title": "Broken", "message": "very", "error_code": None, "status_code": 400.0}, "Broken: very"),
        ({"title": "Broken", "message": "very", "error": "Broken: very", "status_code": 400}, "Broken: very"),
        ({"done": False, "error": "Broken: very", "status_code": 400}, "Broken: very"),
        ({}, ""),
    ],
    ids=["legacy", "structured", "superset", "not done", "type and done alone"],
)
async def test_trap_14_18_19_every_form_of_an_error_is_a_failure_and_says_why(fields, said):
    async with scripted("Hi.") as (peer, (context,)):
        derived = f"2ff8af53-4d38-479d-8287-58940f01c701:{context.id}:2ff8af53-4d38-479d-8287-58940f01c701"
        peer.send(error(context.id, request_id=derived, **fields))
        caught = await failure(context)
        assert said in str(caught)
        assert "None" not in str(caught)
        assert context.outcome == "failed"


async def test_trap_14_19_the_server_sends_both_forms_at_once(client):
    (message,) = await client.say("c", "Hi.", model_id="")
    assert isinstance(message["status_code"], int)
    assert message["error"] == f"{message['title']}: {message['message']}"
    assert "error_code" in message


async def test_trap_15_a_cancel_is_answered_by_nothing_and_what_comes_late_goes_nowhere(client):
    client.send(request("a", "One two three.", continue_=False))
    client.send({"context_id": "a", "cancel": True})
    client.send(request("b", "Hi.", continue_=False))
    while (message := await client.receive())["context_id"] != "b":
        assert message["type"] == "chunk"
    while message["type"] != "done":
        message = await client.receive()
        assert message["context_id"] == "b"
    async with scripted("One.", "Two.") as (peer, (first, second)):
        await first.cancel()
        assert (await peer.receive())["cancel"] is True
        peer.send(chunk(first.id, bytes(8)), done(first.id), chunk(second.id, PCM), done(second.id))
        assert [event.data for event in await events(second)] == [PCM]
        assert (first.outcome, second.outcome) == ("cancelled", "finished")


async def test_trap_16_after_an_expiry_the_same_id_is_a_new_context():
    async with (
        server.serve(engine="tone", context_expiry_s=0.05) as running,
        await RawClient.open(running.url) as client,
    ):
        client.send(request("c", "One.", continue_=True, flush=True, add_timestamps=True))
        assert kinds_of(await client.context("c"))[-1] == "done"
        messages = await client.say("c", "Two.", add_timestamps=True)
        assert messages[0]["word_timestamps"]["start"] == [0]
        assert {message["flush_id"] for message in messages[:-1]} == {1}


async def test_trap_17_a_done_before_our_close_says_so():
    async with (
        ScriptedServer() as peer_server,
        voxwire.Client(peer_server.url) as ours,
        ours.context(voice="v", output_format=FORMAT) as context,
    ):
        await context.push("One.")
        peer = await peer_server.accept()
        await peer.receive()
        peer.send(chunk(context.id, PCM), done(context.id))
        assert [event.data for event in await events(context)] == [PCM]
        assert (context.outcome, context.reason) == ("finished", "expired")
        with pytest.raises(voxwire.ContextExpired):
            await context.push("Two.")


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_trap_18_a_close_in_mid_stream_is_never_a_clean_end(code):
    async with scripted("Hi.") as (peer, (context,)):
        peer.send(chunk(context.id, PCM))
        peer.close(code)
        caught = await failure(context)
        assert isinstance(caught, voxwire.ConnectionLost)
        assert caught.retryable
        assert context.outcome == "failed"


async def test_trap_20_an_error_without_an_id_fails_who_waits_and_the_server_names_the_id(client):
    async with scripted("One.", "Two.") as (peer, opened):
        peer.send(error(None, error="Broken: very", status_code=500))
        for context in opened:
            assert "Broken" in str(await failure(context))
    for message in ({"context_id": "c", "transcript": 5}, {"context_id": "c"}, request("c", "Hi.", voice="")):
        client.send(message)
        assert (await client.receive())["context_id"] == "c"


async def test_trap_22_no_message_is_near_a_receive_limit_of_1_mib(client):
    output = {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 48000}
    messages = await client.say("c", "word " * 50, output_format=output, add_phoneme_timestamps=True)
    assert max(len(json.dumps(message)) for message in messages) < 65_536


async def test_trap_23_a_cancel_over_several_lines(client):
    client.send(request("c", "This may go on", continue_=True))
    client.send(json.dumps({"cancel": True, "context_id": "c"}, indent=2))
    await client.silence()


async def test_trap_24_the_old_name_with_the_opposite_sense_changes_nothing(client):
    options = {"add_timestamps": True}
    plain = await client.say("c", "In 4 days.", **options)
    old = await client.say("c", "In 4 days.", use_original_timestamps=False, **options)
    assert [message.get("word_timestamps") for message in plain] == [message.get("word_timestamps") for message in old]


async def test_trap_25_sonic_3_5_honours_speed_and_volume(client):
    usual = audio_of(await client.say("c", "One two.", model_id="sonic-3.5"))
    fast = audio_of(await client.say("c", "One two.", model_id="sonic-3.5", generation_config={"speed": 1.5}))
    loud = audio_of(await client.say("c", "One two.", model_id="sonic-3.5", generation_config={"volume": 2.0}))
    assert len(fast) < len(usual) == len(loud)
    assert loud != usual


@pytest.mark.parametrize("tag", ["or", "ur", "no", "en-US", "es-MX", "zh-CN"])
async def test_trap_26_languages_that_the_list_lacks(client, tag):
    assert kinds_of(await client.say("c", "Hi.", language=tag)) == ["chunk", "done"]


async def test_trap_27_an_idle_close_is_invisible_to_our_client():
    async with ScriptedServer() as peer_server, voxwire.Client(peer_server.url) as ours:
        await ours.connect()
        peer = await peer_server.accept()
        peer.close(1000, "connection idle timeout")
        await peer.wait_closed()
        async with ours.context("Hi.", voice="v", output_format=FORMAT) as context:
            peer = await peer_server.accept()
            await peer.receive()
            peer.send(chunk(context.id, PCM), done(context.id))
            assert [event.data for event in await events(context)] == [PCM]
        assert peer_server.attempts == 2
    assert server.Settings().idle_timeout_s == 300


@pytest.mark.parametrize("model", ["sonic-2", "sonic-2-2025-03-07", "sonic-turbo", "sonic-3-2025-10-27", "sonic"])
async def test_trap_29_no_model_is_sunset_unless_configured(client, model):
    assert kinds_of(await client.say("c", "Hi.", model_id=model)) == ["chunk", "done"]


async def test_trap_30_a_bad_voice_over_http_and_the_shapes_of_events(running):
    whole = {name: value for name, value in request("", "One two.").items() if name != "context_id"}
    async with httpx.AsyncClient(base_url=running.http_url, trust_env=False) as http:
        for version, status in [("2025-11-04", 400), ("2026-03-01", 404)]:
            headers = {"Cartesia-Version": version}
            for route in ("/tts/bytes", "/tts/sse"):
                answer = await http.post(route, json=whole | {"voice": "nobody"}, headers=headers)
                assert answer.status_code == status
        answer = await http.post("/tts/sse", json=whole | {"context_id": None})
        data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        assert [message["done"] for message in data] == [message["type"] == "done" for message in data]
        assert {message["type"] for message in data} == {"chunk", "done"}
        assert not any("flush_id" in message for message in data)
