"""RTCP: what is told of the stream, what of the peer's reports becomes statistics, and who the peer is."""

from __future__ import annotations

import random
import re
import struct
import time
from itertools import pairwise

import pytest
from rtp_wire import (
    MULAW,
    Description,
    Goodbye,
    Receiver,
    Relay,
    SenderReport,
    Sending,
    await_true,
    counter,
    free_range,
    samples,
    steps,
    undisturbed,
)

from voxwire.exceptions import SinkError

#: From 1900, when NTP begins, to 1970.
NTP_OFFSET_S = 2_208_988_800


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def seconds(ntp):
    """Seconds since 1970."""
    return ntp / 2**32 - NTP_OFFSET_S


def target_of(sending):
    host, _, port = sending.sink.local
    return host, port


# --- what is told


REPORTED = {"port": "", "mux": "rtcp=mux&cname=line%207", "gap": "idle=gap"}


class Reported:
    """A stream from its begin over its first report to its goodbye."""

    def __init__(self, query):
        self.receiver = Receiver()
        self.sending = Sending(f"rtp://{self.receiver.address}?{query}")
        self.sending.count(1600)
        self.sending.sink.finish()

    def wait_report(self):
        # Half of 2.5 to 7.5 s.
        self.receiver.wait(lambda: self.receiver.compounds, "no report comes", 6)
        (self.report,) = self.receiver.of(SenderReport)
        # What the peer says of a report that has just come: the way there and back.
        middle = (self.report.ntp >> 16) & 0xFFFFFFFF
        delay = round((time.time_ns() - self.report.at_ns) / 1e9 * 65536)
        block = self.receiver.block(self.report.ssrc, last_sr=middle, delay=delay)
        _, port, rtcp_port = self.sending.sink.local
        self.receiver.report(("127.0.0.1", rtcp_port), block, shared=port == rtcp_port)
        await_true(lambda: self.sending.sink.statistics().report, "the report is not read")
        self.statistics = self.sending.sink.statistics()

    def wait_goodbye(self):
        self.sending.__exit__()
        self.receiver.wait_goodbye()
        self.receiver.close()
        self.packets = self.receiver.packets
        self.last = next(compound for compound in self.receiver.compounds if isinstance(compound[-1], Goodbye))


@pytest.fixture(scope="module")
def reported():
    """All at once, as they take their time."""
    streams = {name: Reported(query) for name, query in REPORTED.items()}
    for stream in streams.values():
        stream.wait_report()
    for stream in streams.values():
        stream.wait_goodbye()
    return streams


@pytest.fixture(params=REPORTED)
def stream(request, reported):
    return reported[request.param]


def test_a_report_counts_what_was_sent_before_it(stream):
    report = stream.report
    assert {packet.ssrc for packet in stream.packets} == {report.ssrc}
    # The last of them may still have been on the way.
    assert abs(report.packets - sum(packet.timestamp <= report.timestamp for packet in stream.packets)) <= 1
    assert report.octets == 160 * report.packets


def test_the_two_times_of_a_report_are_of_one_instant(stream):
    report, first = stream.report, stream.packets[0]
    assert seconds(report.ntp) == pytest.approx(report.at_ns / 1e9, abs=1)
    # The first one comes after 1.25 to 3.75 s.
    assert 1 < ((report.timestamp - first.timestamp) % 2**32) / 8000 < 5
    last = stream.last[0]
    if isinstance(last, SenderReport):
        passed_s = ((last.timestamp - report.timestamp) % 2**32) / 8000
        assert seconds(last.ntp) - seconds(report.ntp) == pytest.approx(passed_s, abs=0.002)


def test_a_name_goes_with_every_report(stream, reported):
    (cname,) = {part.items[1] for part in stream.receiver.of(Description)}
    if stream is reported["mux"]:
        assert cname == "line 7"
    else:
        # 96 bits (RFC 7022, 4.2).
        assert re.fullmatch(r"[A-Za-z0-9+/]{16}", cname)
    assert len({part.items[1] for one in reported.values() for part in one.receiver.of(Description)}) == 3


def test_a_goodbye_comes_behind_the_last_packet(stream):
    assert stream.last[-1].ssrcs == (stream.report.ssrc,)
    last = stream.last[0]
    if isinstance(last, SenderReport):
        assert last.packets == len(stream.packets)
        # Receivers drop what they have not yet read when it comes.
        assert ((last.timestamp - stream.packets[-1].timestamp) % 2**32) / 8000 >= 0.28


def test_the_way_there_and_back_is_measured(stream):
    assert 0 <= stream.statistics.report.round_trip_ms < 1000
    assert stream.statistics.report.lost == 0


def test_without_rtcp_there_is_none(receiver):
    with Sending(f"rtp://{receiver.address}?rtcp=off") as sending:
        sending.count(320)
        sending.drain()
        assert sending.sink.local[2] is None
    assert receiver.compounds == []


def test_a_stream_that_sent_nothing_says_nothing(receiver):
    with Sending(f"rtp://{receiver.address}"):
        pass
    assert (receiver.compounds, receiver.packets) == ([], [])


def test_rtcp_goes_to_the_port_that_was_agreed_on(receiver):
    with Receiver() as other, Sending(f"rtp://{receiver.address}?rtcp={other.port}") as sending:
        sending.count(160)
        sending.drain()
        sending.sink.close()
        other.wait_goodbye()
        assert receiver.compounds == []


# --- what is read


def test_loss_and_disorder_on_the_way_are_told_by_the_peer(receiver):
    chance = random.Random(3)
    fates = [None if chance.random() < 0.15 else chance.choice([0, 0, 0, 1, 2]) for _ in range(50)]
    fates[0] = fates[-1] = fates[-2] = fates[-3] = 0
    lost = fates.count(None)
    with Relay(receiver, lambda number: fates[number]) as relay:
        query = f"ptime=10&idle=gap&sequence=1000&rtcp={receiver.port + 1}"
        with Sending(f"rtp://{relay.address}?{query}") as sending:
            sending.count(4000)
            sending.drain()
            receiver.wait_packets(50 - lost)
            numbers = [packet.sequence for packet in receiver.packets]
            receiver.report(target_of(sending), receiver.block(receiver.packets[0].ssrc, jitter=80))
            report = await_true(lambda: sending.sink.statistics().report, "the report is not read")
            assert sending.sink.statistics().packets == 50
    assert lost > 3
    assert sum(after < before for before, after in pairwise(numbers)) > 3
    assert (report.lost, report.received, report.highest_sequence) == (lost, 50 - lost, 1049)
    assert report.fraction_lost == pytest.approx(lost / 50, abs=1 / 256)
    assert report.jitter_ms == pytest.approx(10.0)
    assert report.round_trip_ms is None
    assert 0 < time.monotonic_ns() - report.at_ns < 5e9


def test_a_report_on_somebody_else_is_none_of_ours(receiver):
    with Sending(f"rtp://{receiver.address}") as sending:
        sending.count(160)
        receiver.wait_packets(2)
        ssrc = receiver.packets[0].ssrc
        other = receiver.block(ssrc)
        receiver.report(target_of(sending), struct.pack(">I", ssrc ^ 1) + other[4:])
        # What comes behind it is read, so it was too.
        receiver.report(target_of(sending), struct.pack(">I", ssrc ^ 2) + other[4:], receiver.block(ssrc, jitter=160))
        await_true(lambda: sending.sink.statistics().report, "the report is not read")
        assert sending.sink.statistics().report.jitter_ms == pytest.approx(20.0)


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\xc9\x00\x07" + bytes(10), bytes(1500), b"\xff" * 64])
def test_nonsense_changes_nothing(receiver, data):
    with Sending(f"rtp://{receiver.address}") as sending:
        sending.count(320)
        receiver.wait_packets(1)
        receiver.rtcp.sendto(data, target_of(sending))
        receiver.report(target_of(sending), receiver.block(receiver.packets[0].ssrc))
        await_true(lambda: sending.sink.statistics().report, "the report is not read")
        assert sending.sink.statistics().collisions == 0


def test_a_report_from_another_host_is_not_the_peers(receiver):
    with Receiver("127.0.0.2") as other, Sending(f"rtp://{receiver.address}?ssrc=4711") as sending:
        sending.count(160)
        receiver.wait_packets(2)
        block = receiver.block(4711)
        other.report(target_of(sending), block, goodbye=True)
        other.report(target_of(sending), ssrc=4711)
        receiver.report(target_of(sending), receiver.block(4711, jitter=160))
        report = await_true(lambda: sending.sink.statistics().report, "the report is not read")
        statistics = sending.sink.statistics()
        assert (report.jitter_ms, statistics.collisions, statistics.peer_left) == (20.0, 0, False)


def test_a_goodbye_of_the_peer_is_told(receiver):
    with Sending(f"rtp://{receiver.address}") as sending:
        sending.count(160)
        receiver.wait_packets(1)
        assert not sending.sink.statistics().peer_left
        receiver.report(target_of(sending), receiver.block(receiver.packets[0].ssrc), goodbye=True)
        await_true(lambda: sending.sink.statistics().peer_left, "the goodbye is not read")


# --- who is who


def voice(number):
    """A packet of the caller's voice."""
    return struct.pack(">BBHII", 0x80, 0, number, 160 * number, 0x1234) + bytes(160)


@undisturbed
def test_the_peer_is_where_its_packets_come_from(receiver):
    with Receiver() as real, Sending(f"rtp://{receiver.address}?latch=1&idle=gap") as sending:
        sending.count(1600)
        receiver.wait_packets(2)
        _, port, _ = sending.sink.local
        real.rtp.sendto(voice(1), ("127.0.0.1", port))
        sending.drain()
        await_true(lambda: len(receiver.packets) + len(real.packets) == 10, "packets are lost")
        assert len(real.packets) >= 2
        assert sending.sink.statistics().peer == ("127.0.0.1", real.port)
        both = receiver.packets + real.packets
    assert samples(both, MULAW, 0) == counter("pcm_mulaw", 1600)
    assert {sequence for sequence, _ in steps(both)} == {1}


def test_a_peer_at_another_address_has_to_send_on(receiver):
    with Receiver("127.0.0.2") as real, Sending(f"rtp://{receiver.address}?latch=1&rtcp=off") as sending:
        sending.count(160)
        target = ("127.0.0.1", sending.sink.local[1])
        # A few packets that strayed turn nothing away, and neither do those that are not in a row.
        for number in (1, 2, 3, 5, 6, 7):
            real.rtp.sendto(voice(number), target)
        receiver.wait_packets(len(receiver.packets) + 3)
        assert sending.sink.statistics().peer == ("127.0.0.1", receiver.port)
        for number in (8, 9):
            real.rtp.sendto(voice(number), target)
        real.wait_packets(2)
        assert sending.sink.statistics().peer == ("127.0.0.2", real.port)


def test_without_latch_the_voice_of_anybody_changes_nothing(receiver):
    with Receiver() as other, Sending(f"rtp://{receiver.address}?idle=gap") as sending:
        sending.count(1600)
        receiver.wait_packets(2)
        for _ in range(50):
            other.rtp.sendto(voice(1), ("127.0.0.1", sending.sink.local[1]))
        sending.drain()
        receiver.wait_packets(10)
        assert sending.sink.statistics().peer == ("127.0.0.1", receiver.port)
        assert other.packets == []


@undisturbed
def test_a_collision_of_ssrcs_ends_with_another_one(receiver):
    with Sending(f"rtp://{receiver.address}?ssrc=4711&idle=gap") as sending:
        sending.count(1600)
        receiver.wait_packets(2)
        receiver.report(target_of(sending), ssrc=4711)
        receiver.wait(lambda: receiver.packets[-1].ssrc != 4711, "the SSRC does not change")
        sending.drain()
        receiver.wait_goodbye()
        receiver.wait_packets(10)
        assert sending.sink.statistics().collisions == 1
        assert sending.sink.statistics().ssrc == receiver.packets[-1].ssrc
        assert receiver.of(Goodbye)[0].ssrcs == (4711,)
        packets = list(receiver.packets)
    begins = [index for index, packet in enumerate(packets) if packet.marker]
    change = next(index for index, packet in enumerate(packets) if packet.ssrc != 4711)
    assert begins == [0, change]
    # Each source has a sequence of its own.
    both = samples(packets[:change], MULAW, 0) + samples(packets[change:], MULAW, 0)
    assert both == counter("pcm_mulaw", 1600)


def test_streams_on_one_port_are_told_apart_by_their_reports():
    with Receiver() as first, Receiver() as second:
        port = free_range()
        with (
            Sending(f"rtp://{first.address}?local_port={port}&bind=127.0.0.1") as one,
            Sending(f"rtp://{second.address}?local_port={port}&bind=127.0.0.1") as two,
        ):
            assert one.sink.local == two.sink.local == ("127.0.0.1", port, port + 1)
            for sending in (one, two):
                sending.count(320)
            for lost, receiver, sending in ((3, first, one), (5, second, two)):
                receiver.wait_packets(2)
                assert {packet.source for packet in receiver.packets} == {("127.0.0.1", port)}
                receiver.report(target_of(sending), receiver.block(receiver.packets[0].ssrc, lost=lost))
            for lost, sending in ((3, one), (5, two)):
                await_true(lambda sending=sending: sending.sink.statistics().report, "the report is not read")
                assert sending.sink.statistics().report.lost == lost
            assert one.sink.statistics().ssrc != two.sink.statistics().ssrc


def test_one_port_cannot_have_the_same_ssrc_twice():
    with Receiver() as receiver:
        port = free_range()
        query = f"local_port={port}&bind=127.0.0.1&ssrc=1"
        with (
            Sending(f"rtp://{receiver.address}?{query}"),
            pytest.raises(SinkError, match="0x00000001 is in use at that port"),
        ):
            Sending(f"rtp://{receiver.address}?{query}")
