"""The record of a context: figures that follow from what happened, and nothing else."""

from __future__ import annotations

import pytest
from scripted_server import FORMAT, REQUEST_ID, ScriptedServer, chunk, done, error, timestamps
from test_context import Recorder, collect, connected, options

import voxwire
from voxwire.client.record import Ledger


async def test_a_finished_context() -> None:
    async with ScriptedServer() as server, voxwire.Client(server.url) as client:
        async with client.context(**options()) as context:
            live = context.record
            assert live.outcome is None
            assert live.context_ids == ()
            assert (live.first_audio_s, live.heard, live.first_sound_s) == (None, None, None)
            await context.push("Grüße ")
            await context.push("👍🏽!")
            await context.finish()
            peer = await server.accept()
            peer.send(
                timestamps(context.id, ("Grüße", 0, 0.5)),
                chunk(context.id, bytes(8000)),
                chunk(context.id, bytes(4000)),
                done(context.id),
            )
            await collect(context)
        record = context.record
    assert (record.outcome, record.reason) == ("finished", None)
    assert record.context_ids == (context.id,)
    assert record.request_id == REQUEST_ID
    assert record.characters == len("Grüße 👍🏽!") == 9
    assert record.audio_s == 0.75
    assert record.words == (voxwire.Word("Grüße", 0.0, 0.5, (0, 5)),)
    assert record.connect_s >= 0
    assert record.queued_s >= 0
    assert record.first_audio_s is not None
    assert record.first_audio_s >= record.connect_s
    assert (record.stalls, record.underruns, record.late_dropped) == (0, 0, 0)
    assert context.record == record


@pytest.mark.parametrize("ending", ["cancelled", "failed"])
async def test_an_ending_is_in_the_record_and_in_the_error(ending: str) -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as context:
            await peer.receive()
            if ending == "cancelled":
                await context.cancel()
            else:
                peer.send(chunk(context.id, bytes(1600)), error(context.id, status_code=500))
                with pytest.raises(voxwire.ServerError) as caught:
                    await collect(context)
                assert caught.value.record == context.record
                assert context.record.audio_s == 0.1
        assert context.record.outcome == ending


async def test_messages_after_a_cancel_in_the_same_read_are_counted() -> None:
    async with connected() as (client, peer):
        async with client.context("a", **options()) as context, client.context("b", **options()) as other:
            await peer.receive()
            await peer.receive()

            class Canceller(Recorder):
                def handle_events(self, events: list[object]) -> None:
                    super().handle_events(events)
                    other.abandon()

            context.attach(Canceller())
            peer.send(chunk(context.id, b"\1\0"), chunk(other.id, b"\2\0"), done(other.id), done(context.id))
            assert await collect(other) == []
        assert other.record.late_dropped == 2


async def test_what_the_listener_heard_joins_the_record() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        recorder = Recorder()
        context.attach(recorder)
        peer.send(chunk(context.id, b"\1\0"), done(context.id))
        await recorder.ended
        assert context.record.outcome is None
        heard = object()
        started = context.record.first_audio_s
        assert started is not None
        context.set_heard(heard, first_sound_at_s=1e12, underruns=3)  # type: ignore[arg-type]
        context.end_played()
        record = context.record
        assert record.outcome == "finished"
        assert record.heard is heard
        assert record.underruns == 3
        assert record.stalls == 0
        assert record.first_sound_s is not None
        assert record.first_sound_s > started
        context.set_heard(heard, stalls=2)  # type: ignore[arg-type]
        assert context.record.stalls == 2


def test_a_stall_is_audio_that_came_after_the_listener_had_run_dry() -> None:
    ledger = Ledger()
    ledger.started_at_s = 9.0
    ledger.audio.bytes_per_s = rate = 2 * FORMAT.sample_rate
    ledger.audio.add(rate, 10.0)
    ledger.audio.add(rate, 10.5)
    assert ledger.audio.stalls == 0
    ledger.audio.add(rate, 12.5)
    assert ledger.audio.stalls == 1
    ledger.audio.add(rate, 13.5)
    assert ledger.audio.stalls == 1
    ledger.audio.add(rate, 14.6)
    assert ledger.audio.stalls == 2
    assert ledger.since_start(ledger.audio.first_at_s) == 1.0
    assert ledger.audio.duration_s == 5.0
