"""What leaves: numbers, markers, what is between speech, digits, and what a clear and a pause do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rtp_wire import (
    ALAW,
    LINEAR,
    MULAW,
    SILENCE,
    Receiver,
    SenderReport,
    Sending,
    await_true,
    break_socket,
    counter,
    samples,
    steps,
    undisturbed,
    utterances,
)

from voxwire.exceptions import SinkClosed, SinkLost, Unsupported
from voxwire_rtp import pacer_statistics

FORMATS = {"pcmu": (MULAW, 0), "pcma": (ALAW, 8), "l16": (LINEAR, 96)}


@pytest.fixture
def receiver():
    """Nothing of RTCP is looked at here, and without it a close waits for nothing."""
    with Receiver() as made:
        yield made


def audio_of(packets, payload_type=0):
    return b"".join(packet.payload for packet in packets if packet.payload_type == payload_type)


def wait_spoken(receiver, count):
    """Waits for so many packets of mu-law that are not silence, and returns all that came."""

    def spoken():
        return [packet for packet in receiver.packets if packet.payload_type == 0 and set(packet.payload) != {0xFF}]

    receiver.wait(lambda: len(spoken()) >= count, f"{count} packets of speech do not come")
    return list(receiver.packets)


# --- numbers and markers


@undisturbed
def test_numbers_go_on_over_their_end_and_only_the_first_packet_has_a_marker(receiver):
    first_timestamp = 2**32 - 1000
    query = f"ssrc=0xdeadbeef&sequence=65530&timestamp={first_timestamp}"
    with Sending(f"rtp://{receiver.address}?rtcp=off&{query}") as sending:
        data = sending.count(1600)
        sending.drain()
        receiver.wait_packets(15)
        packets = receiver.packets[:15]
    assert (packets[0].sequence, packets[0].timestamp) == (65530, first_timestamp)
    assert steps(packets) == [(1, 160)] * 14
    assert {(packet.ssrc, packet.payload_type) for packet in packets} == {(0xDEADBEEF, 0)}
    assert [packet.marker for packet in packets] == [True] + [False] * 14
    # Behind the speech comes silence, without a marker.
    assert audio_of(packets) == data + SILENCE["pcm_mulaw"] * 800


def test_each_stream_begins_somewhere_else(receiver):
    streams = []
    for _ in range(3):
        with Sending(f"rtp://{receiver.address}?rtcp=off") as sending:
            sending.count(160)
            sending.drain()
            streams.append(sending.sink.statistics().ssrc)
    assert len(set(streams)) == 3
    receiver.wait(lambda: len({packet.ssrc for packet in receiver.packets}) == 3, "a stream does not come")
    begins = {packet.ssrc: packet for packet in reversed(receiver.packets)}
    assert set(begins) == set(streams)
    assert len({packet.sequence for packet in begins.values()}) == 3
    assert len({packet.timestamp for packet in begins.values()}) == 3


@undisturbed
def test_nothing_leaves_before_the_first_audio(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off") as sending:
        assert not threading.Event().wait(0.2)
        assert sending.sink.statistics().packets == 0
        sending.count(160)
        sending.drain()
        receiver.wait_packets(1)
        assert receiver.packets[0].marker
        assert receiver.packets[0].payload == counter("pcm_mulaw", 160)


@pytest.mark.parametrize("encoding", FORMATS)
def test_every_sample_arrives_and_the_last_packet_is_padded(receiver, encoding):
    audio_format, payload_type = FORMATS[encoding]
    quantum = audio_format.sample_rate // 50
    with Sending(f"rtp://{receiver.address}?rtcp=off&encoding={encoding}&idle=gap") as sending:
        assert (sending.opened.format, sending.opened.quantum) == (audio_format, quantum)
        assert sending.opened.buffer == 2 * audio_format.sample_rate
        data = sending.count(4 * quantum + 1)
        assert sending.drain().played == 4 * quantum + 1
        receiver.wait_packets(5)
    heard = samples(receiver.packets, audio_format, payload_type)
    assert heard == data + SILENCE[audio_format.encoding] * (quantum - 1)
    assert len(receiver.packets) == 5


@undisturbed
def test_packets_are_as_long_as_they_should_be(receiver):
    """All at once, so that packets of six lengths share the pacer."""
    with contextlib.ExitStack() as stack:
        pairs = []
        for ptime in range(10, 61, 10):
            receiver = stack.enter_context(Receiver())
            pairs.append(
                (ptime, receiver, stack.enter_context(Sending(f"rtp://{receiver.address}?rtcp=off&ptime={ptime}")))
            )
        for _, _, sending in pairs:
            sending.count(4800)
            sending.sink.finish()
        for ptime, receiver, sending in pairs:
            frames = 8 * ptime
            assert sending.opened.quantum == frames
            receiver.wait_packets(4800 // frames)
            packets = receiver.packets[: 4800 // frames]
            assert {len(packet.payload) for packet in packets} == {frames}
            assert set(steps(packets)) == {(1, frames)}
            assert audio_of(packets) == counter("pcm_mulaw", 4800)


# --- between speech


def in_two_parts(receiver, query, quiet_s=0.2):
    """Two utterances of 800 and 480 frames; returns the packets and how long the pause was, in seconds."""
    with Sending(f"rtp://{receiver.address}?rtcp=off&{query}") as sending:
        sending.count(800)
        sending.drain()
        began = time.monotonic()
        assert not threading.Event().wait(quiet_s)
        sending.count(480)
        sending.drain()
        took_s = time.monotonic() - began
        return wait_spoken(receiver, 8), took_s


@undisturbed
def test_a_gap_moves_the_clock_and_sets_a_marker(receiver):
    packets, took_s = in_two_parts(receiver, "idle=gap")
    assert audio_of(packets) == counter("pcm_mulaw", 800) + counter("pcm_mulaw", 480)
    assert [index for index, packet in enumerate(packets) if packet.marker] == [0, 5]
    assert {sequence for sequence, _ in steps(packets)} == {1}
    timestamps = [timestamp for _, timestamp in steps(packets)]
    over = timestamps.pop(4)
    assert set(timestamps) == {160}
    # Whole packets, and as many as there was time.
    assert over % 160 == 0
    assert 0.1 <= over / 8000 <= took_s + 0.5


@undisturbed
def test_silence_is_sent_in_packets_like_the_others(receiver):
    packets, _ = in_two_parts(receiver, "idle=silence")
    assert utterances(audio_of(packets), "pcm_mulaw", 160) == [counter("pcm_mulaw", 800), counter("pcm_mulaw", 480)]
    assert [index for index, packet in enumerate(packets) if packet.marker] == [0]
    assert set(steps(packets)) == {(1, 160)}
    assert {len(packet.payload) for packet in packets} == {160}


@undisturbed
def test_comfort_noise_begins_a_silence(receiver):
    packets, _ = in_two_parts(receiver, "idle=cn")
    assert [packet.payload_type for packet in packets] == [0] * 5 + [13] + [0] * 3
    noise = packets[5]
    # -60 dBov, as one byte (RFC 3389, 3).
    assert (noise.payload, noise.marker) == (bytes([60]), False)
    assert [index for index, packet in enumerate(packets) if packet.marker] == [0, 6]
    assert {sequence for sequence, _ in steps(packets)} == {1}
    timestamps = [timestamp for _, timestamp in steps(packets)]
    assert timestamps[:5] == [160] * 5
    assert timestamps[5] % 160 == 0
    assert timestamps[5] >= 800


@undisturbed
def test_comfort_noise_has_the_type_that_was_agreed_on(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off&encoding=l16&idle=cn&cn_payload_type=105") as sending:
        sending.count(480)
        sending.drain()
        receiver.wait_packets(2)
    assert [packet.payload_type for packet in receiver.packets[:2]] == [96, 105]


@undisturbed
def test_audio_that_runs_dry_is_an_underrun_and_loses_nothing(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off") as sending:
        sending.count(800)
        sending.wait_played(800)
        assert not threading.Event().wait(0.1)
        sending.count(800, 800)
        assert sending.drain().xruns == 1
        assert sending.sink.statistics().xruns == 1
        packets = wait_spoken(receiver, 10)
    assert audio_of(packets).replace(SILENCE["pcm_mulaw"], b"") == counter("pcm_mulaw", 1600)


# --- digits

DIGITS = "0123456789*#ABCD"


def events(packets):
    """Packets of telephone events, in a list for each event."""
    found = {}
    for packet in packets:
        if packet.payload_type == 101:
            found.setdefault(packet.timestamp, []).append(packet)
    return list(found.values())


def parse_event(packet):
    """Code, end, volume and duration (RFC 4733, 2.3)."""
    code, flags = packet.payload[:2]
    assert not flags & 0x40
    return code, bool(flags & 0x80), flags & 0x3F, int.from_bytes(packet.payload[2:], "big")


@pytest.mark.parametrize(("duration_ms", "pause_ms"), [(100, 80), (40, 20), (50, 0)])
@undisturbed
def test_a_digit_has_its_duration_and_three_ends(receiver, duration_ms, pause_ms):
    with Sending(f"rtp://{receiver.address}?rtcp=off&telephone_event=101") as sending:
        before = sending.count(800)
        sending.drain()
        sending.sink.send_digits("5#", duration_ms=duration_ms, pause_ms=pause_ms)
        after = sending.count(480)
        sending.drain()
        packets = wait_spoken(receiver, 8)
    assert {sequence for sequence, _ in steps(packets)} == {1}
    assert audio_of(packets).replace(SILENCE["pcm_mulaw"], b"") == before + after
    found = events(packets)
    frames = -(-duration_ms // 20) * 160
    for code, event in zip((5, 11), found, strict=True):
        told = [parse_event(packet) for packet in event]
        assert {(one[0], one[2]) for one in told} == {(code, 10)}
        assert [packet.marker for packet in event] == [True] + [False] * (len(event) - 1)
        durations = [duration for _, end, _, duration in told if not end]
        ends = [duration for _, end, _, duration in told if end]
        assert ends == [frames] * 3
        assert durations == list(range(160, durations[-1] + 1, 160))
        assert frames - durations[-1] in {0, 160}
    # The clock of the audio has gone on, and the second digit begins when the first is over.
    between = found[1][0].timestamp - found[0][0].timestamp
    assert between >= frames + pause_ms * 8
    audio = [packet for packet in packets if packet.payload_type == 0]
    assert {timestamp % 160 for _, timestamp in steps(audio)} == {0}
    # What was sent all the while is no silence.
    assert [packet.marker for packet in audio] == [True] + [False] * (len(audio) - 1)


@undisturbed
def test_every_digit_has_its_number(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off&telephone_event=101&ptime=10&idle=gap") as sending:
        sending.sink.send_digits(DIGITS, duration_ms=20, pause_ms=30)
        receiver.wait(lambda: len(events(receiver.packets)) == 16, "digits do not come")
    assert [parse_event(event[0])[0] for event in events(receiver.packets)] == list(range(16))


@pytest.mark.parametrize("idle", ["silence", "gap"])
@undisturbed
def test_a_close_ends_the_digit_that_is_being_sent(receiver, idle):
    with Sending(f"rtp://{receiver.address}?telephone_event=101&idle={idle}") as sending:
        sending.sink.send_digits("59", duration_ms=5000)
        receiver.wait_packets(4)
        sending.count(800)
    receiver.wait_goodbye()
    packets = receiver.packets
    # Neither the second digit nor audio.
    (event,) = events(packets)
    assert event == packets
    assert {sequence for sequence, _ in steps(packets)} == {1}
    assert [packet.marker for packet in packets] == [True] + [False] * (len(packets) - 1)
    told = [parse_event(packet) for packet in packets]
    assert {code for code, *_ in told} == {5}
    assert [end for _, end, *_ in told] == [False] * (len(told) - 3) + [True] * 3
    # It has lasted for one packet more than was told before.
    durations = [duration for *_, duration in told]
    assert durations == [*range(160, 160 * (len(told) - 2) + 1, 160), durations[-1], durations[-1]]
    (report,) = receiver.of(SenderReport)
    assert report.packets == len(packets)
    # The goodbye: 0.3 s behind the last packet, which began a slot after what it says it lasted.
    passed = (report.timestamp - packets[0].timestamp) % 2**32
    assert passed >= durations[-1] + 160 + 0.28 * 8000


def test_a_wrong_digit_says_what_is_right(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off&telephone_event=101") as sending:
        with pytest.raises(ValueError, match="digit"):
            sending.sink.send_digits("12x")
        for name, value in (("duration_ms", 0), ("duration_ms", 10_001), ("pause_ms", -1), ("pause_ms", 2**64)):
            with pytest.raises(ValueError, match=f"{name} is {value}, must be [01] to 10000"):
                sending.sink.send_digits("1", **{name: value})
        with pytest.raises(ValueError, match="duration_ms is 8181, must be 1 to 8180 at this clock rate"):
            sending.sink.send_digits("1", duration_ms=8181)
        assert not threading.Event().wait(0.1)
        assert sending.sink.statistics().packets == 0
    with pytest.raises(SinkClosed):
        sending.sink.send_digits("1")


def test_digits_that_were_not_agreed_on_are_refused(receiver):
    with (
        Sending(f"rtp://{receiver.address}?rtcp=off") as sending,
        pytest.raises(Unsupported, match="cannot send digits without a telephone_event"),
    ):
        sending.sink.send_digits("1")


def test_a_name_of_several_addresses_is_asked_for_once(receiver, monkeypatch):
    hosts = iter(["127.0.0.1", "127.0.0.2"])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, port, *__: [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (next(hosts), port))]
    )
    with Sending(f"rtp://calls.example:{receiver.port}") as sending:
        sending.count(160)
        receiver.wait_packets(1)
    receiver.wait_goodbye()


# --- taking back, holding, failing


@pytest.mark.parametrize("encoding", FORMATS)
def test_a_clear_counts_what_is_heard(receiver, encoding):
    audio_format, payload_type = FORMATS[encoding]
    with Sending(f"rtp://{receiver.address}?encoding={encoding}&idle=gap") as sending:
        sending.count(audio_format.sample_rate)
        receiver.wait_packets(4)
        began = time.monotonic()
        final = sending.sink.clear()
        assert time.monotonic() - began < 0.05
        assert (final.written, final.bound, final.quality) == (audio_format.sample_rate, 0, "sent")
        assert final.played + final.discarded == final.written
        after = sending.count(1)
        sending.drain()
    receiver.wait_goodbye()
    quantum = sending.opened.quantum
    silence = SILENCE[audio_format.encoding] * (quantum - 1)
    heard = samples(receiver.packets, audio_format, payload_type)
    # Not one packet more than was counted, then the next segment.
    assert heard == counter(audio_format.encoding, final.played) + after + silence


@undisturbed
def test_a_pause_holds_the_audio_and_loses_none(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off") as sending:
        sending.count(2400)
        sending.wait_played(640)
        sending.sink.pause()
        held = sending.sink.position().played
        assert not threading.Event().wait(0.1)
        assert sending.sink.position().played in {held, held + 160}
        sending.sink.resume()
        sending.drain()
        packets = wait_spoken(receiver, 15)
    assert audio_of(packets).replace(SILENCE["pcm_mulaw"], b"") == counter("pcm_mulaw", 2400)
    assert len(utterances(audio_of(packets), "pcm_mulaw", 320)) == 2
    assert [packet.marker for packet in packets] == [True] + [False] * (len(packets) - 1)


def test_a_socket_that_sends_nothing_more_is_a_loss(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off") as sending:
        sending.count(16000)
        sending.wait_played(320)
        sending.wake.forget()
        break_socket(sending.sink)
        assert sending.wake.wait(10)
        with pytest.raises(SinkLost, match=r"^sink 'rtp:127.0.0.1:\d+'") as caught:
            await_true(lambda: sending.sink.write(b"") < 0, "it is not lost")
        assert caught.value.errno
        final = sending.sink.clear()
        assert final.played + final.discarded == final.written
        # What did not leave is what is uncertain, and nothing else.
        arrived = len(audio_of(receiver.packets))
        assert final.played - final.bound <= arrived <= final.played
        assert sending.sink.statistics().unsent > 0


# --- a machine that stands still

CHILD = """
import dataclasses, json, sys
from rtp_wire import Sending
with Sending(sys.argv[1]) as sending:
    sending.count(12000)
    sending.drain()
    print(json.dumps(dataclasses.asdict(sending.sink.statistics())))
"""


def test_a_stall_is_a_gap_and_never_a_burst(receiver):
    """A process that was stopped for 0.4 s catches up with two packets at most, and loses no audio."""
    address = f"rtp://{receiver.address}?rtcp=off"
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "error", "-c", CHILD, address]
    environment = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        receiver.wait_packets(20)
        child.send_signal(signal.SIGSTOP)
        assert not threading.Event().wait(0.4)
        child.send_signal(signal.SIGCONT)
        told, _ = child.communicate(timeout=20)
    packets = wait_spoken(receiver, 75)
    statistics = json.loads(told)
    assert audio_of(packets).replace(SILENCE["pcm_mulaw"], b"") == counter("pcm_mulaw", 12000)
    assert {sequence for sequence, _ in steps(packets)} == {1}
    moves = [timestamp for _, timestamp in steps(packets)]
    over = [index for index, move in enumerate(moves) if move != 160]
    # A busy machine may bring about more gaps than ours.
    assert all(moves[index] % 160 == 0 for index in over)
    assert max(moves) >= 0.4 * 8000 - 3 * 160
    assert [index for index, packet in enumerate(packets) if packet.marker] == [0, *(index + 1 for index in over)]
    # What moved on without a packet is what is told.
    assert statistics["skipped"] == sum(move // 160 - 1 for move in moves)


# --- what is counted


def test_the_pacer_counts_for_all(receiver):
    before = pacer_statistics()
    with (
        Sending(f"rtp://{receiver.address}?rtcp=off&idle=gap") as first,
        Sending(f"rtp://{receiver.address}?rtcp=off") as second,
    ):
        for sending in (first, second):
            sending.count(1600)
        for sending in (first, second):
            sending.drain()
        during = pacer_statistics()
        of_streams = [sending.sink.statistics() for sending in (first, second)]
    assert during.streams == before.streams + 2
    assert during.packets - before.packets >= 20
    assert sum(count for _, count in during.lateness) > sum(count for _, count in before.lateness)
    assert [bound for bound, _ in during.lateness][-1] is None
    assert sum(count for _, count in during.jitter_histogram) - sum(count for _, count in before.jitter_histogram) >= 18
    assert (during.skipped, during.unsent) == (before.skipped, before.unsent)
    assert during.xruns >= before.xruns
    assert during.cpu_s >= before.cpu_s
    assert during.scheduler in {"fifo", "ordinary"}
    for statistics in of_streams:
        assert statistics.packets >= 10
        assert statistics.octets == 160 * statistics.packets
        assert 0 <= statistics.jitter_ms <= statistics.worst_jitter_ms
        # One is read after the other, and the stream goes on.
        assert abs(sum(count for _, count in statistics.jitter_histogram) - statistics.packets) <= 2
        assert (statistics.unsent, statistics.collisions, statistics.report) == (0, 0, None)
        assert statistics.peer == ("127.0.0.1", receiver.port)
    await_true(lambda: pacer_statistics().streams == before.streams, "streams are left")


def test_a_stream_in_real_time_says_where_it_is_not(receiver, caplog):
    with Sending(f"rtp://{receiver.address}?rtcp=off&realtime=1") as sending:
        sending.count(320)
        sending.drain()
        statistics = pacer_statistics()
    if statistics.scheduler == "fifo":
        assert caplog.text == ""
    else:
        assert statistics.refusal
        assert f"is paced without SCHED_FIFO: {statistics.refusal}" in caplog.text
