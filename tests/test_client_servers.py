"""The client against servers that say things in their own way (protocol.md 15, "Client library" 1-3, and 4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import FORMAT, Peer, chunk, done, error, flush_done, timestamps
from test_context import collect, connected, options, pcm

import voxwire

if TYPE_CHECKING:
    from collections.abc import Callable

PCM = bytes(range(16))


def without(message: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in names}


LEAN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "as-documented": lambda message: message,
    "no-optional-fields": lambda message: without(message, "flush_id", "step_time", "status_code", "done"),
    "nulls": lambda message: message | {"flush_id": None, "step_time": None, "status_code": None},
    "integers": lambda message: message | {"step_time": 12, "status_code": 206},
    "integral-floats": lambda message: message | {"step_time": 12.0, "status_code": 206.0},
    "other-types": lambda message: message | {"step_time": "12", "status_code": "206"},
    "more-fields": lambda message: {"new": {"deep": [1, None, "x"]}} | message | {"zz": 1e3, "transcript": 5},
    "other-order": lambda message: {name: message[name] for name in reversed(message)},
}


@pytest.mark.parametrize("way", LEAN)
async def test_a_server_may_leave_out_and_add_fields(way: str) -> None:
    async with connected() as (client, peer), client.context("Hi you.", **options()) as context:
        await peer.receive()
        messages = [
            timestamps(context.id, ("Hi", 0, 1), ("you.", 1, 2)),
            chunk(context.id, PCM),
            {"type": "news", "context_id": context.id, "data": 5},
            chunk(context.id, PCM),
            done(context.id),
        ]
        peer.send(*(LEAN[way](message) for message in messages))
        events = await collect(context)
        assert b"".join(pcm(event) for event in events if isinstance(event, voxwire.Audio)) == PCM * 2
        assert [word.text for word in context.record.words] == ["Hi", "you."]
        assert (context.outcome, context.reason) == ("finished", None)


@pytest.mark.parametrize("indent", [None, 2])
async def test_any_whitespace_and_any_escapes(indent: int | None) -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        escaped = (
            json.dumps(chunk(context.id, PCM), indent=indent).replace("chunk", "\\u0063hunk").replace("=", "\\u003d")
        )
        peer.send_text(f" \r\n\t{escaped}\n ")
        peer.send(done(context.id))
        assert [pcm(event) for event in await collect(context)] == [PCM]


async def test_flush_done_with_empty_data_without_an_id_and_unasked() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(
            flush_done(context.id, 1) | {"data": ""},
            without(flush_done(context.id, 2), "flush_id", "flush_done", "status_code", "done"),
            chunk(context.id, b"") | {"data": ""},
            without(chunk(context.id, b""), "data"),
            chunk(context.id, b"") | {"data": None},
            done(context.id),
        )
        events = await collect(context)
        assert [event.flush_id for event in events if isinstance(event, voxwire.FlushDone)] == [1, None]
        assert len(events) == 2


BROKEN: dict[str, Any] = {
    "absent": None,
    "unequal": {"words": ["a", "b"], "start": [0], "end": [1]},
    "no-end": {"words": ["a"], "start": [0]},
    "no-array": {"words": "a", "start": 0, "end": 1},
    "null-arrays": {"words": None, "start": None, "end": None},
    "number-as-text": {"words": ["a"], "start": ["0"], "end": [1]},
    "word-no-text": {"words": [5], "start": [0], "end": [1]},
    "object": {"words": ["a"], "start": [{}], "end": [1]},
    "out-of-range": "1e400",
    "twenty-thousand-digits": "9" * 20_000,
}


@pytest.mark.parametrize("kind", ["word", "phoneme"])
@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_timestamps_are_dropped_and_counted_and_the_audio_plays_on(fault: str, kind: str) -> None:
    async with connected() as (client, peer), client.context("a b", **options()) as context:
        await peer.receive()
        link = client._fleet.open_link
        assert link is not None
        assert link.transport is not None
        name = "timestamps" if kind == "word" else "phoneme_timestamps"
        value = BROKEN[fault]
        number, value = (
            (value, {"words": ["a"], "start": [0], "end": [-77777]}) if isinstance(value, str) else ("", value)
        )
        if kind == "phoneme" and value is not None and "words" in value:
            value = {("phonemes" if key == "words" else key): each for key, each in value.items()}
        message = {"type": name, "context_id": context.id, f"{kind}_timestamps": value}
        peer.send(chunk(context.id, PCM))
        peer.send_text(json.dumps(message).replace("-77777", number or "-77777"))
        peer.send(timestamps(context.id, ("b", 0.5, 1)), chunk(context.id, PCM), done(context.id))
        events = await collect(context)
        assert b"".join(pcm(event) for event in events if isinstance(event, voxwire.Audio)) == PCM * 2
        assert [word.text for word in context.record.words] == ["b"]
        assert link.transport.connection.counters["dropped_timestamps"] == 1


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw"])
async def test_chunks_that_end_inside_a_sample_lose_nothing(encoding: str) -> None:
    given = options(output_format=voxwire.AudioFormat(encoding, 8000))
    audio = bytes(range(240))
    async with connected() as (client, peer), client.context("a", **given) as context:
        await peer.receive()
        at, size = 0, 1
        while at < len(audio):
            peer.send(chunk(context.id, audio[at : at + size]))
            at, size = at + size, size % 7 + 1
        peer.send(done(context.id))
        events = await collect(context)
        pieces = [pcm(event) for event in events]
        assert b"".join(pieces) == audio
        width = voxwire.AudioFormat(encoding, 8000).frame_bytes
        assert all(len(piece) % width == 0 for piece in pieces)
        assert context.outcome == "finished"


async def test_what_comes_late_is_dropped_and_never_brings_a_context_back() -> None:
    """faults.md E1, E2: after done, after a cancel, after an error, twice, for ids that never were."""
    async with connected() as (client, peer):
        contexts = []
        for end in ("done", "cancel", "error"):
            async with client.context("a", **options()) as context:
                await peer.receive()
                if end == "cancel":
                    await context.cancel()
                    await peer.receive()
                else:
                    peer.send(done(context.id) if end == "done" else error(context.id, error="x"))
                    try:
                        await collect(context)
                    except voxwire.ServerError:
                        assert end == "error"
            contexts.append(context)
        outcomes = [context.outcome for context in contexts]
        async with client.context("live", **options()) as live:
            await peer.receive()
            for context_id in [*(context.id for context in contexts), "never", ""]:
                peer.send(chunk(context_id, PCM), done(context_id), error(context_id, error="x"), done(context_id))
            peer.send(without(chunk("x", PCM), "context_id"), without(done("x"), "context_id"))
            peer.send(chunk(live.id, b"\1\0") | {"context_id": 5}, done(live.id) | {"context_id": [live.id]})
            peer.send(chunk(live.id, b"\2\0"), done(live.id), done(live.id))
            assert [pcm(event) for event in await collect(live)] == [b"\2\0"]
        assert [context.outcome for context in contexts] == outcomes == ["finished", "cancelled", "failed"]
        assert peer.pending == 0


async def test_an_error_without_a_context_fails_those_that_wait_and_spares_the_one_that_sent_nothing() -> None:
    async with (
        connected() as (client, peer),
        client.context(**options()) as unused,
        client.context("a", **options()) as waiting,
    ):
        await peer.receive()
        peer.send({"type": "error", "error": "legacy: all", "status_code": 503})
        with pytest.raises(voxwire.ServerError, match="legacy: all") as caught:
            await collect(waiting)
        assert (caught.value.status, caught.value.retryable) == (503, True)
        await unused.push("b")
        assert (await peer.receive())["context_id"] == unused.id


VIOLATIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "no-type": lambda context_id: {"context_id": context_id, "data": ""},
    "type-null": lambda context_id: chunk(context_id, PCM) | {"type": None},
    "type-number": lambda context_id: chunk(context_id, PCM) | {"type": 5},
    "data-number": lambda context_id: chunk(context_id, PCM) | {"data": 5},
    "data-list": lambda context_id: chunk(context_id, PCM) | {"data": ["AA=="]},
    "flush-id-text": lambda context_id: flush_done(context_id, 1) | {"flush_id": "one"},
}


@pytest.mark.parametrize("fault", VIOLATIONS)
async def test_c7_a_wrong_type_fails_that_context_alone(fault: str) -> None:
    async with (
        connected() as (client, peer),
        client.context("a", **options()) as bad,
        client.context("b", **options()) as good,
    ):
        await peer.receive()
        await peer.receive()
        peer.send(chunk(bad.id, PCM), VIOLATIONS[fault](bad.id), chunk(good.id, PCM), done(good.id))
        assert pcm(await anext(bad)) == PCM
        with pytest.raises(voxwire.ProtocolError) as caught:
            await anext(bad)
        assert (caught.value.code, caught.value.retryable) == ("invalid_message", False)
        assert await peer.receive() == {"context_id": bad.id, "cancel": True}
        assert [pcm(event) for event in await collect(good)] == [PCM]


UNREADABLE: dict[str, str] = {
    "empty": "",
    "blank": " \n",
    "cut-off": '{"type":"done"',
    "trailing-comma": '{"type":"done",}',
    "comment": '{"type":"done"}//',
    "two-documents": '{"type":"done"}{"type":"done"}',
    "mark": '\ufeff{"type":"done"}',
    "array": "[1]",
    "number": "5",
    "null": "null",
    "repeated": '{"type":"done","context_id":"a","context_id":"b"}',
    "repeated-when-unescaped": '{"type":"done","typ\\u0065":"done"}',
    "deep": '{"type":"x","a":' + "[" * 32 + "]" * 32 + "}",
    "brackets": "[" * 100_000,
    "lone-surrogate": '{"type":"x","a":"\\ud800"}',
    "not-a-number": '{"type":"x","a":NaN}',
}


@pytest.mark.parametrize("fault", UNREADABLE)
async def test_c1_what_cannot_be_read_fails_the_connection_after_what_came_before(fault: str) -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as context:
            await peer.receive()
            peer.send(chunk(context.id, PCM))
            peer.send_text(UNREADABLE[fault])
            peer.send(chunk(context.id, PCM), done(context.id))
            assert pcm(await anext(context)) == PCM
            with pytest.raises(voxwire.ProtocolError) as caught:
                await anext(context)
            assert (caught.value.code, caught.value.retryable) == ("protocol_error", False)
        # Leaving the block raised no second error.
        assert (await peer.wait_closed()).code == 1007


async def test_c2_the_deepest_message_that_is_read() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send_text('{"type":"x","a":' + "[" * 31 + "]" * 31 + "}")
        peer.send(done(context.id))
        assert await collect(context) == []


async def test_a_binary_message_is_unreadable() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.transport.connection.send_binary(json.dumps(done(context.id)).encode())
        peer.transport.flush()
        with pytest.raises(voxwire.ProtocolError) as caught:
            await collect(context)
        assert caught.value.code == "protocol_error"


async def test_messages_of_sixteen_mebibytes_are_taken_and_not_a_byte_more() -> None:
    limit = 16 * 1024 * 1024

    def padded(context_id: str, size: int) -> str:
        text = json.dumps(chunk(context_id, PCM) | {"pad": ""})
        return text[:-2] + "x" * (size - len(text)) + text[-2:]

    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        await send_in_turns(peer, padded(context.id, limit))
        assert pcm(await anext(context)) == PCM
        await send_in_turns(peer, padded(context.id, limit + 1))
        with pytest.raises(voxwire.VoxwireError) as caught:
            await anext(context)
        assert isinstance(caught.value, voxwire.ProtocolError)
        assert (await peer.wait_closed()).code == 1009


async def send_in_turns(peer: Peer, text: str) -> None:
    peer.send_text(text)
    await peer.transport.drain()


@pytest.mark.parametrize("given", ["v1", {"id": "v1"}, {"mode": "id", "id": "v1"}, {"id": "v1", "name": "x"}])
async def test_a_voice_is_always_sent_with_its_mode_and_its_id_alone(given: Any) -> None:
    async with connected() as (client, peer), client.context("a", voice=given, output_format=FORMAT):
        assert (await peer.receive())["voice"] == {"mode": "id", "id": "v1"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"mode": "embedding", "embedding": [0.1]}, ValueError),
        ({"mode": "embedding", "id": "v1"}, ValueError),
        ({"id": ""}, ValueError),
        ({"id": 5}, TypeError),
        ({}, ValueError),
    ],
)
def test_a_voice_without_an_id_is_refused(given: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="voice"):
        voxwire.Client("ws://h").context("a", voice=given)
