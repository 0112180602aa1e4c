"""The names that programs are written against: arguments, defaults, fields, and when each call acts."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from scripted_server import chunk
from test_context import connected, options

import voxwire
import voxwire.sync
from voxwire import audio, protocol, server, testing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def arguments(function: Callable[..., Any]) -> str:
    """The arguments with their kinds and defaults, without types."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            voxwire.Client.__init__,
            (
                "(url=None, *, api_key=None, access_token=None, version='2026-03-01', ssl_context=None, "
                "max_contexts=None, admission_timeout_s=30, connect_timeout_s=10, inactivity_timeout_s=10, "
                "ping_interval_s=20, ping_timeout_s=20, close_timeout_s=2, max_buffered_bytes=67108864)"
            ),
        ),
        (voxwire.Client.connect, "()"),
        (voxwire.Client.close, "()"),
        (voxwire.Client.voices, "()"),
        (voxwire.Client.say, "(text, *, sink=None, **options)"),
        (voxwire.Client.context, "(text=None, /, **options)"),
        (voxwire.Context.push, "(text, *, flush=False, **per_input)"),
        (voxwire.Context.feed, "(text, *, finish=True)"),
        (voxwire.Context.flush, "()"),
        (voxwire.Context.finish, "()"),
        (voxwire.Context.cancel, "()"),
        (voxwire.Context.batches, "(*, join=False)"),
        (voxwire.Context.play, "(sink)"),
        (voxwire.open_sink, "(address, *, prebuffer_ms=0)"),
        (voxwire.Playback.wait, "()"),
        (voxwire.Playback.interrupt, "(*, fade_ms=0, at='now')"),
        (voxwire.Playback.pause, "()"),
        (voxwire.Playback.resume, "()"),
        (audio.transcode, "(data, source, target)"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_arguments_and_defaults(function: Callable[..., Any], expected: str) -> None:
    assert arguments(function) == expected


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (voxwire.Word, "text start_s end_s span"),
        (voxwire.Words, "items"),
        (voxwire.Phonemes, "items"),
        (voxwire.Heard, "text rest heard half_heard unheard played_s certainty"),
        (voxwire.Certainty, "quality bound_s"),
        (voxwire.AudioFormat, "encoding sample_rate channels"),
        (
            voxwire.Record,
            (
                "outcome reason context_ids request_id characters audio_s words heard queued_s connect_s first_audio_s "
                "first_sound_s stalls underruns late_dropped"
            ),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fields_of_what_is_given(kind: Any, fields: str) -> None:
    assert [field.name for field in dataclasses.fields(kind)] == fields.split()
    assert kind.__dataclass_params__.frozen


def test_events_of_the_core_have_their_attributes() -> None:
    sound = voxwire.Audio(b"\1\0", voxwire.AudioFormat(), 0.5, 2)
    assert (sound.data, sound.format, sound.start_s, sound.flush_id) == (b"\1\0", voxwire.AudioFormat(), 0.5, 2)
    assert voxwire.FlushDone(3).flush_id == 3
    assert voxwire.AudioFormat() == voxwire.AudioFormat("pcm_s16le", 24000, 1)


def test_the_blocking_face_has_the_same_names() -> None:
    for blocking, asynchronous in (
        (voxwire.sync.Client, ("connect", "close", "voices", "say", "context")),
        (
            voxwire.sync.Context,
            ("id", "outcome", "reason", "record", "push", "feed", "flush", "finish", "cancel", "batches", "play"),
        ),
        (voxwire.sync.SyncPlayback, ("wait", "interrupt", "pause", "resume", "heard", "played_s")),
    ):
        for name in asynchronous:
            assert hasattr(blocking, name), name
    with pytest.raises(TypeError):
        voxwire.sync.Client("ws://h", no_such_setting=1)


def test_rooms_have_their_names() -> None:
    assert {"decode_base64", "encode_base64", "transcode", "Resampler"} <= set(audio.__all__)
    assert {"SinkConformance", "EngineConformance", "connected_pair"} == set(testing.__all__)
    connection = protocol.Connection("client")
    connection.handle_data(b"")
    assert connection.poll_events() == []
    assert connection.poll_transmit() == b""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "anyio", "anyio+uvloop"])
def test_works_under_every_loop(loop: str) -> None:
    async def speak() -> str | None:
        async with server.serve(engine="tone", port=0) as running, voxwire.Client(running.url) as client:
            async with client.context("Hi.") as context:
                assert [event async for event in context]
            if loop.startswith("anyio"):
                # A cancel scope reaches through every wait.
                async with client.context() as context:
                    with anyio.move_on_after(0.01) as scope:
                        await anext(context)
                    assert scope.cancelled_caught
            record = await client.say("Hi.", sink="null:")
            return record.outcome

    if loop.startswith("anyio"):
        outcome = anyio.run(speak, backend="asyncio", backend_options={"use_uvloop": "uvloop" in loop})
    elif loop == "uvloop":
        import uvloop

        outcome = uvloop.run(speak())
    else:
        outcome = asyncio.run(speak())
    assert outcome == "finished"


async def _cancel(client: voxwire.Client, context: voxwire.Context) -> None:
    await context.cancel()


async def _close(client: voxwire.Client, context: voxwire.Context) -> None:
    await client.close()


async def _leave(client: voxwire.Client, context: voxwire.Context) -> None:
    await context.__aexit__(None, None, None)


async def _leave_by_an_exception(client: voxwire.Client, context: voxwire.Context) -> None:
    await context.__aexit__(RuntimeError, RuntimeError(), None)


async def _interrupt(client: voxwire.Client, context: voxwire.Context) -> None:
    assert context.playback is not None
    await context.playback.interrupt()


@pytest.mark.parametrize(
    "call", [_cancel, _close, _leave, _leave_by_an_exception, _interrupt], ids=lambda f: f.__name__[1:]
)
async def test_what_ends_a_context_acts_before_its_first_suspension(
    call: Callable[[voxwire.Client, voxwire.Context], Awaitable[None]],
) -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        if call is _interrupt:
            await context.play("null:")
        assert (await peer.receive())["context_id"] == context.id
        peer.send(chunk(context.id, b"\1\0"))

        async def act() -> None:
            await call(client, context)

        acting = asyncio.create_task(act())
        await asyncio.sleep(0)
        assert context.outcome == "cancelled"
        # Even if the caller gives up waiting, it has been done.
        acting.cancel()
        await asyncio.wait({acting})
        assert await peer.receive() == {"context_id": context.id, "cancel": True}


async def test_a_context_that_was_closed_with_its_client_ends_its_iteration_quietly() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()

        async def iterate() -> list[Any]:
            return [event async for event in context]

        iterating = asyncio.create_task(iterate())
        await asyncio.sleep(0)
        await client.close()
        assert await iterating == []
        assert context.outcome == "cancelled"
