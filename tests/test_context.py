"""A context against a server that says anything: one outcome, true audio, nothing waits for ever."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import FORMAT, REQUEST_ID, Peer, ScriptedServer, chunk, done, error, flush_done, timestamps

import voxwire
from voxwire.audio import AudioFormat, Resampler
from voxwire.client.events import Audio, FlushDone, Phonemes, Word, Words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VOICE = "v1"
PCM = bytes(range(64))


@asynccontextmanager
async def connected(**settings: Any) -> AsyncIterator[tuple[voxwire.Client, Peer]]:
    async with ScriptedServer() as server, voxwire.Client(server.url, **settings) as client:
        await client.connect()
        yield client, await server.accept()


def options(**extra: Any) -> dict[str, Any]:
    return {"voice": VOICE, "output_format": FORMAT} | extra


async def collect(context: voxwire.Context) -> list[Any]:
    return [event async for event in context]


def ending(context: voxwire.Context) -> tuple[str | None, str | None]:
    return (context.outcome, context.reason)


def pcm(event: Any) -> bytes:
    assert isinstance(event, Audio)
    return event.data


# --- what is sent


async def test_text_of_a_context_is_one_closing_request_with_every_option() -> None:
    async with connected() as (client, peer):
        given = options(
            model="sonic-3",
            language="en",
            generation_config={"speed": 1.2},
            add_timestamps=True,
            add_phoneme_timestamps=False,
            max_buffer_delay_ms=0,
            pronunciation_dict_id="d1",
            use_normalized_timestamps=False,
        )
        async with client.context("Hello.", **given) as context:
            message = await peer.receive()
            assert message == {
                "context_id": context.id,
                "transcript": "Hello.",
                "continue": False,
                "model_id": "sonic-3",
                "voice": {"mode": "id", "id": VOICE},
                "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
                "language": "en",
                "generation_config": {"speed": 1.2},
                "add_timestamps": True,
                "add_phoneme_timestamps": False,
                "max_buffer_delay_ms": 0,
                "pronunciation_dict_id": "d1",
                "use_normalized_timestamps": False,
            }
            peer.send(done(context.id))
            assert await collect(context) == []
            assert ending(context) == ("finished", None)


async def test_pushes_are_verbatim_and_in_order_and_finish_closes() -> None:
    async with connected() as (client, peer):
        async with client.context(**options()) as context:
            await context.push("Hello ")
            await context.push("world", flush=True)
            await context.push("!", generation_config={"volume": 1.5}, max_buffer_delay_ms=100)
            await context.flush()
            await context.finish()
            await context.finish()
            messages = [await peer.receive() for _ in range(5)]
            assert [m["transcript"] for m in messages] == ["Hello ", "world", "!", "", ""]
            assert [m["continue"] for m in messages] == [True, True, True, True, False]
            assert [m.get("flush", False) for m in messages] == [False, True, False, True, False]
            assert messages[2]["generation_config"] == {"volume": 1.5}
            assert messages[2]["max_buffer_delay_ms"] == 100
            assert "generation_config" not in messages[1]
            assert {m["context_id"] for m in messages} == {context.id}
            with pytest.raises(RuntimeError, match="push after finish"):
                await context.push("more")
            peer.send(done(context.id))
            await collect(context)
            assert context.pushed_text == "Hello world!"
            with pytest.raises(RuntimeError, match="push after finish"):
                await context.push("more")
        assert peer.pending == 0


async def test_concurrent_pushes_before_the_connection_keep_their_order() -> None:
    async with (
        ScriptedServer() as server,
        voxwire.Client(server.url) as client,
        client.context(**options()) as context,
    ):
        await asyncio.gather(*(context.push(f"{n} ") for n in range(5)), context.finish())
        peer = await server.accept()
        assert [(await peer.receive())["transcript"] for _ in range(6)] == ["0 ", "1 ", "2 ", "3 ", "4 ", ""]


async def test_finish_without_text_ends_it_without_a_message() -> None:
    async with connected() as (client, peer):
        async with client.context(**options()) as context:
            await context.finish()
            assert await collect(context) == []
            assert context.outcome == "finished"
        assert peer.pending == 0


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"voice": 3}, TypeError),
        ({"voice": ""}, ValueError),
        ({"language": 1}, TypeError),
        ({"add_timestamps": 1}, TypeError),
        ({"max_buffer_delay_ms": "1"}, TypeError),
        ({"max_buffer_delay_ms": True}, TypeError),
        ({"generation_config": 5}, TypeError),
        ({"generation_config": {"x": object()}}, TypeError),
        ({"model": "a", "model_id": "b"}, TypeError),
        ({"nonsense": 1}, TypeError),
        ({"output_format": "raw"}, TypeError),
        ({"output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 8000}}, ValueError),
        ({"output_format": {"encoding": "pcm_s16le"}}, ValueError),
        ({"output_format": {"encoding": "mp3", "sample_rate": 8000}}, ValueError),
        ({"output_format": {"encoding": "pcm_s16le", "sample_rate": "8000"}}, TypeError),
        ({"output_format": voxwire.AudioFormat("pcm_s16le", 11025)}, ValueError),
        ({"output_format": voxwire.AudioFormat("pcm_s16le", 8000, 2)}, ValueError),
    ],
)
async def test_a_wrong_option_is_refused_before_any_io(wrong: dict[str, Any], kind: type[Exception]) -> None:
    client = voxwire.Client("ws://127.0.0.1:9")
    with pytest.raises(kind):
        client.context("Hello.", **wrong)


async def test_wrong_types_of_text_and_input_options() -> None:
    client = voxwire.Client("ws://127.0.0.1:9")
    for text in (5, b"bytes", {"a": 1}):
        with pytest.raises(TypeError, match="text must be"):
            client.context(text)  # type: ignore[arg-type]
    async with client, client.context(**options()) as context:
        with pytest.raises(TypeError, match="type str"):
            await context.push(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unknown option 'voice'"):
            await context.push("a", voice="b")
        with pytest.raises(RuntimeError, match="flush before any text"):
            await context.flush()


# --- what comes


async def test_every_shape_with_unknown_fields_and_types() -> None:
    async with connected() as (client, peer):
        async with client.context("Hello big world.", **options(add_timestamps=True)) as context:
            await peer.receive()
            peer.send(
                {"type": "news", "context_id": context.id, "done": True},
                timestamps(context.id, ("Hello", 0, 0.25), extra={"a": [1]}),
                chunk(context.id, PCM, extra=[{"b": None}], done=True),
                {"type": "chunk", "context_id": context.id, "data": chunk(context.id, PCM)["data"]},
                {"type": "chunk", "context_id": context.id, "data": "", "flush_id": None, "step_time": 1},
                flush_done(context.id, 1) | {"data": ""},
                {
                    "type": "phoneme_timestamps",
                    "context_id": context.id,
                    "phoneme_timestamps": {"phonemes": ["h"], "start": [0], "end": [1]},
                },
                {"type": "timestamps", "context_id": context.id, "word_timestamps": None},
                {"type": "timestamps", "context_id": context.id, "word_timestamps": {"words": ["x"], "start": []}},
                timestamps(context.id, ("world.", 0.5, 0.75)),
                chunk("someone else", PCM),
                {"type": "done", "context_id": context.id},
            )
            events = await collect(context)
        audio = [event for event in events if isinstance(event, Audio)]
        assert b"".join(event.data for event in audio) == PCM + PCM
        assert audio[0].start_s == 0.0
        assert all(event.format == FORMAT for event in audio)
        others = [event for event in events if not isinstance(event, Audio)]
        assert others[0] == Words((Word("Hello", 0.0, 0.25, (0, 5)),))
        assert isinstance(others[1], FlushDone)
        assert others[1].flush_id == 1
        assert others[2:] == [
            Phonemes((Word("h", 0.0, 1.0, None),)),
            Words((Word("world.", 0.5, 0.75, (10, 16)),)),
        ]
        record = context.record
        assert record.outcome == "finished"
        assert record.audio_s == len(PCM) / FORMAT.sample_rate
        assert record.characters == len("Hello big world.")
        assert [word.text for word in record.words] == ["Hello", "world."]
        assert record.context_ids == (context.id,)
        assert record.request_id == REQUEST_ID
        assert record.first_audio_s is not None
        assert record.first_audio_s >= 0


async def test_contexts_on_one_socket_do_not_mix() -> None:
    async with (
        connected() as (client, peer),
        client.context("a", **options()) as first,
        client.context("b", **options()) as second,
    ):
        await peer.receive()
        await peer.receive()
        for n in range(8):
            peer.send(chunk(first.id, bytes([n, 1])), chunk(second.id, bytes([n, 2])))
        peer.send(done(second.id), done(first.id))
        one, two = await asyncio.gather(collect(first), collect(second))
    assert b"".join(event.data for event in one) == b"".join(bytes([n, 1]) for n in range(8))
    assert b"".join(event.data for event in two) == b"".join(bytes([n, 2]) for n in range(8))


async def test_batches_are_non_empty_and_join_only_within_a_segment() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(
            chunk(context.id, b"\1\0", flush_id=1),
            flush_done(context.id, 1),
            chunk(context.id, b"\2\0", flush_id=2),
            timestamps(context.id, ("a", 0, 1)),
            chunk(context.id, b"\3\0", flush_id=2),
            chunk(context.id, b"\4\0", flush_id=3),
            done(context.id),
        )
        batches = [batch async for batch in context.batches(join=True)]
    assert all(batches)
    events = [event for batch in batches for event in batch]
    assert [getattr(event, "data", type(event).__name__) for event in events] == [
        b"\1\0",
        "FlushDone",
        b"\2\0",
        "Words",
        b"\3\0",
        b"\4\0",
    ]


async def test_join_makes_one_piece_of_neighbours_read_apart() -> None:
    async with (
        connected() as (client, peer),
        client.context("a", **options()) as context,
        client.context("b", **options()) as marker,
    ):
        await peer.receive()
        await peer.receive()
        peer.send(chunk(context.id, b"\1\0"))
        peer.send(chunk(marker.id, b"\0\0"))
        await anext(marker)
        peer.send(chunk(context.id, b"\2\0"))
        peer.send(done(context.id), done(marker.id))
        await collect(marker)
        batches = [batch async for batch in context.batches(join=True)]
    assert [pcm(event) for batch in batches for event in batch] == [b"\1\0\2\0"]


@pytest.mark.parametrize("when", ["before the push", "after it"])
async def test_join_makes_one_piece_of_neighbours_in_one_read(when: str) -> None:
    small, large = b"\1\0", b"\2\0" * 2048
    async with connected() as (client, peer), client.context(**options()) as context:
        batches = context.batches(join=True) if when == "before the push" else None
        await context.push("a")
        batches = batches or context.batches(join=True)
        await peer.receive()
        peer.send(*[chunk(context.id, small)] * 5, chunk(context.id, large), chunk(context.id, small), done(context.id))
        events = [event async for batch in batches for event in batch]
    assert [pcm(event) for event in events] == [small * 5, large, small]
    assert [round(event.start_s * FORMAT.sample_rate) for event in events] == [0, 5, 5 + 2048]


async def test_audio_is_delivered_in_another_format() -> None:
    target = AudioFormat("pcm_mulaw", 8000)
    source = bytes(range(256)) * 75
    wide = AudioFormat("pcm_s16le", 24000)
    formats = options(output_format=wide, deliver_format=target)
    async with connected() as (client, peer), client.context("a", **formats) as context:
        assert (await peer.receive())["output_format"]["sample_rate"] == 24000
        peer.send(*[chunk(context.id, source[at : at + 1001]) for at in range(0, len(source), 1001)])
        peer.send(done(context.id))
        events = await collect(context)
    resampler = Resampler(wide, target)
    assert b"".join(map(pcm, events)) == resampler.process(source) + resampler.finish()
    assert {event.format for event in events} == {target}
    assert context.format == target
    assert context.record.audio_s == pytest.approx(len(source) / 2 / 24000)


def test_the_format_of_delivery_is_checked() -> None:
    client = voxwire.Client("ws://127.0.0.1:1")
    with pytest.raises(TypeError, match="deliver_format must be an AudioFormat, not str"):
        client.context(voice="v", deliver_format="pcm_mulaw")
    with pytest.raises(ValueError, match="deliver_format with 2 channels, the protocol is mono"):
        client.context(voice="v", deliver_format=AudioFormat(channels=2))


# --- cancel, late messages, expiry


async def test_cancel_is_sent_before_its_first_suspension_and_late_messages_are_dropped() -> None:
    async with connected() as (client, peer):
        async with client.context("Hello.", **options()) as context:
            await peer.receive()
            peer.send(chunk(context.id, PCM))
            assert isinstance(await anext(context), Audio)
            cancelling = context.cancel()
            with pytest.raises(StopIteration):
                while True:
                    # Driven by hand: whatever it waits for, the cancel is already done.
                    cancelling.send(None)
                    break
                raise StopIteration
            cancelling.close()
            assert context.outcome == "cancelled"
            assert await peer.receive() == {"context_id": context.id, "cancel": True}
            peer.send(
                chunk(context.id, PCM),
                timestamps(context.id, ("Hello.", 0, 1)),
                flush_done(context.id, 1),
                error(context.id, status_code=500, message="late"),
                done(context.id),
                done(context.id),
            )
            async with client.context("b", **options()) as other:
                await peer.receive()
                peer.send(chunk(other.id, b"\7\0"), done(other.id))
                assert [event.data for event in await collect(other)] == [b"\7\0"]
            assert await collect(context) == []
            with pytest.raises(voxwire.ContextEnded):
                await context.push("more")
            await context.cancel()
            await context.finish()
            assert ending(context) == ("cancelled", None)
        assert peer.pending == 0


async def test_cancel_before_any_text_sends_nothing() -> None:
    async with connected() as (client, peer):
        async with client.context(**options()) as context:
            await context.cancel()
            assert context.outcome == "cancelled"
        assert peer.pending == 0


async def test_a_cancel_ends_a_push_that_waits_for_the_connection() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.silent = True
        async with client.context(**options()) as context:
            push = asyncio.create_task(context.push("Hello."))
            await server.arrival()
            await context.cancel()
            with pytest.raises(voxwire.ContextEnded):
                await push


async def test_done_before_own_close_expires_a_pushed_context() -> None:
    async with connected() as (client, peer):
        async with client.context(**options()) as context:
            await context.push("Hello.")
            await peer.receive()
            peer.send(chunk(context.id, PCM), done(context.id))
            assert len(await collect(context)) == 1
            assert ending(context) == ("finished", "expired")
            with pytest.raises(voxwire.ContextExpired) as caught:
                await context.push("more")
            assert caught.value.code == "context_expired"
            assert caught.value.retryable
            await context.finish()
        assert peer.pending == 0


# --- failures


@pytest.mark.parametrize(
    ("fields", "kind", "code", "text"),
    [
        (
            {"status_code": 400, "error_code": "model_not_found", "title": "Invalid model", "message": "No."},
            voxwire.InvalidRequest,
            "model_not_found",
            "Invalid model: No. (400, model_not_found)",
        ),
        ({"status_code": 401, "error": "Denied: key"}, voxwire.AuthenticationError, None, "Denied: key (401)"),
        (
            {"status_code": 402, "error_code": "quota_exceeded", "title": "t", "message": "m"},
            voxwire.PermissionDenied,
            "quota_exceeded",
            "t: m (402, quota_exceeded)",
        ),
        (
            {"status_code": 404, "error_code": "voice_not_found", "title": "t", "message": "m", "error": "t: m"},
            voxwire.NotFound,
            "voice_not_found",
            "t: m (404, voice_not_found)",
        ),
        (
            {"status_code": 429, "error_code": "concurrency_limited", "title": "t", "message": "m"},
            voxwire.RateLimited,
            "concurrency_limited",
            "t: m (429, concurrency_limited)",
        ),
        ({"status_code": 500, "title": "t", "message": "m", "done": False}, voxwire.ServerError, None, "t: m (500)"),
        ({"error": "legacy"}, voxwire.ServerError, None, "legacy"),
    ],
)
async def test_error_shapes(fields: dict[str, Any], kind: type[voxwire.VoxwireError], code: str, text: str) -> None:
    async with connected() as (client, peer):
        async with client.context("Hello.", **options()) as context:
            await peer.receive()
            peer.send(chunk(context.id, PCM), error(context.id, **fields, request_id="r1"), done(context.id))
            assert isinstance(await anext(context), Audio)
            with pytest.raises(kind) as caught:
                await anext(context)
            failure = caught.value
            assert type(failure) is kind
            assert str(failure) == text
            assert failure.code == code
            assert failure.retryable == (kind in {voxwire.RateLimited, voxwire.ServerError})
            assert failure.context_id == context.id
            assert failure.request_id == "r1"
            assert failure.record.outcome == "failed"
            assert failure.record.audio_s == context.record.audio_s > 0
            assert context.outcome == "failed"
            assert await collect(context) == []
            with pytest.raises(RuntimeError):
                await context.push("more")
        assert peer.pending == 0


async def test_an_error_without_context_fails_every_waiting_context_and_keeps_the_socket() -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as first, client.context("b", **options()) as second:
            await peer.receive()
            await peer.receive()
            peer.send(error(None, status_code=500, message="all"))
            for context in (first, second):
                with pytest.raises(voxwire.ServerError) as caught:
                    await collect(context)
                assert caught.value.context_id == context.id
        async with client.context("c", **options()) as third:
            await peer.receive()
            peer.send(done(third.id))
            assert await collect(third) == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"data": "AAA"}, "invalid_audio"),
        ({"data": "AA AA"}, "invalid_audio"),
        ({"data": 5}, "invalid_message"),
        ({"type": 5}, "invalid_message"),
    ],
)
async def test_damage_fails_that_context_alone_and_cancels_it(message: dict[str, Any], code: str) -> None:
    async with (
        connected() as (client, peer),
        client.context("a", **options()) as context,
        client.context("b", **options()) as other,
    ):
        await peer.receive()
        await peer.receive()
        peer.send(chunk(context.id, PCM), chunk(context.id, PCM) | message)
        assert isinstance(await anext(context), Audio)
        with pytest.raises(voxwire.ProtocolError) as caught:
            await anext(context)
        assert caught.value.code == code
        assert not caught.value.retryable
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        peer.send(done(other.id))
        assert await collect(other) == []


async def test_half_a_sample_at_the_end_is_invalid_audio() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(chunk(context.id, b"\1\0\2"), chunk(context.id, b"\0\3"), done(context.id))
        data = b""
        with pytest.raises(voxwire.ProtocolError) as caught:
            async for event in context:
                data += pcm(event)
        assert data == b"\1\0\2\0"
        assert caught.value.code == "invalid_audio"


@pytest.mark.parametrize("raw", ["not json", "[1]", '{"type":"done","type":"done"}', ""])
async def test_a_message_that_cannot_be_read_fails_the_connection_after_what_came_before(raw: str) -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(chunk(context.id, PCM))
        peer.send_text(raw)
        assert isinstance(await anext(context), Audio)
        with pytest.raises(voxwire.ProtocolError) as caught:
            await anext(context)
        assert caught.value.code == "protocol_error"
        assert (await peer.wait_closed()).code == 1007


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_a_close_in_mid_stream_fails_every_live_context(code: int) -> None:
    async with (
        connected() as (client, peer),
        client.context("a", **options()) as first,
        client.context(**options()) as second,
    ):
        await second.push("b")
        await peer.receive()
        await peer.receive()
        peer.send(chunk(first.id, PCM))
        peer.close(code, "bye")
        assert isinstance(await anext(first), Audio)
        with pytest.raises(voxwire.ConnectionLost, match=f"{code}: bye") as caught:
            await anext(first)
        assert caught.value.code == "connection_lost"
        assert caught.value.retryable
        assert caught.value.request_id == REQUEST_ID
        # Nobody consumes the second: the push tells.
        with pytest.raises(voxwire.ConnectionLost):
            await second.push("more")
        with pytest.raises(voxwire.ConnectionLost):
            await second.feed(["more"])
        assert first.outcome == second.outcome == "failed"


async def test_a_reset_fails_the_context() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.reset()
        with pytest.raises(voxwire.ConnectionLost):
            await collect(context)


async def test_inactivity_fails_the_context_and_cancels_it() -> None:
    async with connected(inactivity_timeout_s=0.05) as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(chunk(context.id, PCM))
        assert isinstance(await anext(context), Audio)
        with pytest.raises(voxwire.InactivityTimeout) as caught:
            await anext(context)
        assert caught.value.code == "inactivity"
        assert caught.value.retryable
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        assert context.outcome == "failed"


async def test_a_slow_consumer_fails_alone_and_gets_what_came_before() -> None:
    async with (
        connected(max_buffered_bytes=4096) as (client, peer),
        client.context("a", **options()) as slow,
        client.context("b", **options()) as good,
    ):
        await peer.receive()
        await peer.receive()
        for n in range(16):
            peer.send(chunk(slow.id, bytes(1000)), chunk(good.id, bytes([n, 0])))
            assert pcm(await anext(good)) == bytes([n, 0])
        assert await peer.receive() == {"context_id": slow.id, "cancel": True}
        size = 0
        with pytest.raises(voxwire.VoxwireError) as caught:
            async for event in slow:
                size += len(pcm(event))
        assert caught.value.code == "consumer_too_slow"
        assert not caught.value.retryable
        assert 3000 <= size <= 5000
        peer.send(done(good.id))
        assert await collect(good) == []


# --- leaving, cancelling, misuse


async def test_leaving_by_an_exception_cancels_and_keeps_the_exception() -> None:
    async with connected() as (client, peer):
        with pytest.raises(ZeroDivisionError):
            async with client.context("a", **options()) as context:
                await peer.receive()
                raise ZeroDivisionError
        assert context.outcome == "cancelled"
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        with pytest.raises(RuntimeError, match="after its block"):
            await context.push("a")
        with pytest.raises(RuntimeError, match="after its block"):
            await anext(context)


async def test_leaving_normally_cancels_an_unfinished_context() -> None:
    async with connected() as (client, peer):
        async with client.context(**options()) as context:
            await context.push("a")
            await peer.receive()
        assert context.outcome == "cancelled"
        assert await peer.receive() == {"context_id": context.id, "cancel": True}


async def test_leaving_after_a_failure_raises_no_second_time() -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as context:
            await peer.receive()
            peer.send(error(context.id, status_code=500, message="m"))
            with pytest.raises(voxwire.ServerError):
                await collect(context)
        async with client.context("b", **options()) as unseen:
            await peer.receive()
            peer.send(error(unseen.id, status_code=500, message="m"))
            async with client.context("c", **options()) as marker:
                await peer.receive()
                peer.send(done(marker.id))
                await collect(marker)
        assert context.outcome == unseen.outcome == "failed"


async def test_a_cancelled_anext_loses_no_event() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        data, cancelled = b"", 0
        for n in range(20):
            step = asyncio.create_task(anext(context))
            await asyncio.sleep(0)
            peer.send(chunk(context.id, bytes([n, 0])))
            step.cancel()
            try:
                data += pcm(await step)
            except asyncio.CancelledError:
                cancelled += 1
        assert cancelled
        peer.send(done(context.id))
        data += b"".join([pcm(event) async for event in context])
    assert data == b"".join(bytes([n, 0]) for n in range(20))


async def test_a_wait_that_was_given_up_does_not_bar_the_next() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        iterator = aiter(context)
        other = asyncio.get_running_loop().create_future()
        step = asyncio.ensure_future(anext(iterator))
        await asyncio.sleep(0)
        peer.send(chunk(context.id, b"\1\0"))
        other.set_result(None)
        # The idiom of whoever waits for several things: the first that is done ends the wait, the rest is cancelled.
        await asyncio.wait({step, other}, return_when=asyncio.FIRST_COMPLETED)
        heard = b""
        if not step.done():
            step.cancel()
        elif not step.cancelled():
            heard = pcm(await step)
        peer.send(chunk(context.id, b"\2\0"))
        while len(heard) < 4:
            heard += pcm(await anext(iterator))
        assert heard == b"\1\0\2\0"


@pytest.mark.parametrize("ended", [False, True])
async def test_an_iterator_gives_nothing_after_its_block(ended: bool) -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as context:
            await peer.receive()
            iterator = aiter(context)
            peer.send(*[chunk(context.id, bytes([n, 0])) for n in range(4)], *([done(context.id)] if ended else []))
            assert pcm(await anext(iterator)) == b"\0\0"
        with pytest.raises(RuntimeError, match="after its block"):
            await anext(iterator)


async def test_a_step_that_a_cancel_overtakes_finds_the_end() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        iterator = aiter(context)
        peer.send(*[chunk(context.id, bytes([n, 0])) for n in range(4)])
        assert pcm(await anext(iterator)) == b"\0\0"
        step = asyncio.ensure_future(anext(iterator))
        await context.cancel()
        with pytest.raises(StopAsyncIteration):
            await step


async def test_a_cancelled_push_has_sent_nothing() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.silent = True
        async with client.context(**options()) as context:
            push = asyncio.create_task(context.push("lost"))
            await server.arrival()
            push.cancel()
            with pytest.raises(asyncio.CancelledError):
                await push
            assert context.outcome is None
            server.silent = False
            await context.push("kept")
            peer = await server.accept()
            assert (await peer.receive())["transcript"] == "kept"
            assert context.pushed_text == "kept"


async def test_a_push_waits_while_the_socket_is_full_and_a_cancel_of_it_sends_nothing() -> None:
    async with connected() as (client, peer):
        peer.stop_reading()
        async with client.context(**options()) as context:
            big = "word " * 200_000
            pushed = 0
            while True:
                push = asyncio.create_task(context.push(big))
                for _ in range(3):
                    await asyncio.sleep(0)
                if not push.done():
                    break
                pushed += 1
                assert pushed < 100, "no back-pressure at all"
            push.cancel()
            with pytest.raises(asyncio.CancelledError):
                await push
            peer.go_on_reading()
            await context.finish()
            transcripts = [(await peer.receive())["transcript"] for _ in range(pushed + 1)]
            assert transcripts == [big] * pushed + [""]


@pytest.mark.parametrize("way", ["async for", "anext", "batches", "joined"])
async def test_who_waits_when_the_block_is_left_finds_the_end(way: str) -> None:
    """A consumer in a task of its own, which the block does not wait for."""

    async def consume(context: voxwire.Context) -> list[Any]:
        if way == "async for":
            return [event async for event in context]
        if way == "anext":
            return [await anext(context, None)]
        return [events async for events in context.batches(join=way == "joined")]

    async with connected() as (client, peer):
        async with client.context("a", **options()) as context:
            await peer.receive()
            task = asyncio.create_task(consume(context))
            await asyncio.sleep(0)
        assert await task == ([None] if way == "anext" else [])
        with pytest.raises(RuntimeError, match="after its block"):
            await anext(context)


async def test_who_waits_when_the_context_fails_gets_its_failure() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        task = asyncio.create_task(anext(context))
        await asyncio.sleep(0)
        peer.send(error(context.id, status_code=500))
        with pytest.raises(voxwire.ServerError):
            await task


async def test_a_limit_of_waiting_bytes_may_be_beyond_all_memory() -> None:
    async with connected(max_buffered_bytes=2**70) as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(chunk(context.id, PCM), done(context.id))
        assert pcm(await anext(context)) == PCM


async def test_second_consumers_are_refused() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        first = asyncio.create_task(anext(context))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="second consumer"):
            await anext(context)
        with pytest.raises(RuntimeError, match="second consumer"):
            await context.take_batch()
        with pytest.raises(RuntimeError, match="second consumer"):
            context.attach(Recorder())
        peer.send(chunk(context.id, PCM), done(context.id))
        assert pcm(await first) == PCM


class Recorder:
    def __init__(self, buffered_bytes: int = 0) -> None:
        self.buffered_bytes = buffered_bytes
        self.events: list[Any] = []
        self.ended = asyncio.get_running_loop().create_future()

    def handle_events(self, events: list[Any]) -> None:
        self.events += events

    def handle_end(self, error: Exception | None) -> None:
        self.ended.set_result(error)


async def test_an_attached_consumer_gets_what_waited_then_all_the_rest_and_the_end() -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as context, client.context("b", **options()) as marker:
            await peer.receive()
            await peer.receive()
            peer.send(chunk(context.id, b"\1\0"), chunk(marker.id, b"\0\0"))
            await anext(marker)
            recorder = Recorder()
            context.attach(recorder)
            with pytest.raises(RuntimeError, match="second consumer"):
                await anext(context)
            peer.send(chunk(context.id, b"\2\0"), done(context.id))
            assert await recorder.ended is None
            assert [event.data for event in recorder.events] == [b"\1\0", b"\2\0"]
            assert context.complete
            assert ending(context)[0] is None
            context.end_interrupted()
            context.end_played()
            assert ending(context) == ("cancelled", "interrupted")
            with pytest.raises(voxwire.ContextEnded):
                await context.push("more")
        assert (await peer.receive())["context_id"] == marker.id


@pytest.mark.parametrize("kind", ["phonemes", "words"])
async def test_times_count_by_their_number(kind: str) -> None:
    # Few bytes on the wire, many objects here: what waits is bounded, and so are the words that a record keeps.
    many = [("a", 0.0, 0.0)] * 100
    event = timestamps("", *many)
    columns = event.pop("word_timestamps")
    async with connected(max_buffered_bytes=8192) as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        event["context_id"] = context.id
        if kind == "words":
            peer.send(event | {"word_timestamps": columns})
        else:
            sounds = {"phonemes": columns["words"], "start": columns["start"], "end": columns["end"]}
            peer.send(event | {"type": "phoneme_timestamps", "phoneme_timestamps": sounds})
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        with pytest.raises(voxwire.VoxwireError) as caught:
            await collect(context)
        assert caught.value.code == {"phonemes": "consumer_too_slow", "words": "invalid_message"}[kind]


async def test_a_consumer_that_holds_too_much_fails_its_context() -> None:
    async with connected(max_buffered_bytes=100) as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        recorder = Recorder(buffered_bytes=101)
        context.attach(recorder)
        peer.send(chunk(context.id, PCM))
        failure = await recorder.ended
        assert failure.code == "consumer_too_slow"
        assert await peer.receive() == {"context_id": context.id, "cancel": True}


async def test_an_interruption_cancels_and_refuses_text() -> None:
    async with connected() as (client, peer), client.context(**options()) as context:
        recorder = Recorder()
        context.attach(recorder)
        await context.push("a")
        await peer.receive()
        feed = asyncio.create_task(context.feed(never()))
        await asyncio.sleep(0)
        context.refuse_input()
        await feed
        with pytest.raises(voxwire.ContextEnded):
            await context.push("b")
        assert context.outcome is None
        context.end_interrupted()
        assert await recorder.ended is None
        assert ending(context) == ("cancelled", "interrupted")
        assert await peer.receive() == {"context_id": context.id, "cancel": True}


async def test_a_sink_that_fails_ends_the_context_as_failed() -> None:
    async with connected() as (client, peer), client.context(**options()) as context:
        context.attach(Recorder())
        await context.push("a")
        await peer.receive()
        lost = voxwire.SinkLost("disk full", errno=28)
        context.end_failed(lost)
        context.end_failed(voxwire.SinkLost("again"))
        context.end_interrupted()
        assert context.outcome == "failed"
        assert lost.record.outcome == "failed"
        assert lost.context_id == context.id
        assert await peer.receive() == {"context_id": context.id, "cancel": True}
        with pytest.raises(voxwire.SinkLost):
            await context.push("b")


async def test_a_finished_context_can_still_be_played() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        async with client.context("marker", **options()) as marker:
            await peer.receive()
            await peer.receive()
            peer.send(chunk(context.id, PCM), done(context.id), done(marker.id))
            await collect(marker)
        assert context.outcome == "finished"
        recorder = Recorder()
        context.attach(recorder)
        assert await recorder.ended is None
        assert [pcm(event) for event in recorder.events] == [PCM]
        assert ending(context)[0] is None
        context.end_played()
        assert repr(context) == f"<voxwire.Context {context.id} finished>"


async def test_a_finish_that_waits_when_the_context_ends_is_no_fault() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        server.silent = True
        async with client.context(**options()) as context:
            push = asyncio.create_task(context.push("a"))
            finish = asyncio.create_task(context.finish())
            await server.arrival()
            await context.cancel()
            await finish
            with pytest.raises(voxwire.ContextEnded):
                await push


async def never() -> AsyncIterator[str]:
    await asyncio.get_running_loop().create_future()
    yield ""


async def test_held_inputs_carry_the_negotiated_format() -> None:
    async with connected() as (client, peer), client.context("Hello.", voice=VOICE) as context:
        assert context.format is None
        assert context.requested_format is None
        context.hold_input()
        context.request_timestamps()
        async with client.context("b", **options()) as marker:
            assert (await peer.receive())["context_id"] == marker.id
        await peer.receive()
        assert peer.pending == 0
        context.fix_format(voxwire.AudioFormat("pcm_mulaw", 8000))
        context.release_input()
        message = await peer.receive()
        assert message["output_format"]["encoding"] == "pcm_mulaw"
        assert message["add_timestamps"] is True
        with pytest.raises(RuntimeError, match="fixed"):
            context.fix_format(FORMAT)


async def test_misuse_is_a_runtime_error() -> None:
    async with connected() as (client, peer):
        context = client.context(**options())
        with pytest.raises(RuntimeError, match="outside of its block"):
            await context.push("a")
        with pytest.raises(RuntimeError, match="outside of its block"):
            await anext(context)
        async with context:
            with pytest.raises(RuntimeError, match="entered once"):
                await context.__aenter__()
            await context.push("a")
            await peer.receive()
            failures: list[BaseException] = []

            def elsewhere() -> None:
                for call in (lambda: context.push("a"), lambda: anext(context), context.cancel, client.connect):
                    try:
                        asyncio.run(_await(call))
                    except RuntimeError as failure:
                        failures.append(failure)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join, 10)
            assert ["another loop" in str(failure) for failure in failures] == [True] * 4
            assert context.outcome is None


async def _await(call: Any) -> None:
    await call()


async def test_the_place_of_an_ended_context_is_free_again() -> None:
    async with connected(max_contexts=1, admission_timeout_s=5) as (client, peer):
        for ending in ("done", "error", "cancel"):
            async with client.context("a", **options()) as context:
                message = await peer.receive()
                assert message["context_id"] == context.id
                if ending == "done":
                    peer.send(done(context.id))
                    await collect(context)
                elif ending == "error":
                    peer.send(error(context.id, status_code=500))
                    with pytest.raises(voxwire.ServerError):
                        await collect(context)
                else:
                    await context.cancel()
                    await peer.receive()
                async with client.context("b", **options()) as after:
                    assert (await peer.receive())["context_id"] == after.id
                    peer.send(done(after.id))
                    await collect(after)
