"""SRTP: what leaves is understood by libsrtp with our key, and what comes counts with the peer's key only."""

from __future__ import annotations

import struct

import pytest
from pylibsrtp import Policy, Session
from rtp_wire import LINEAR, MULAW, Goodbye, Receiver, SenderReport, Sending, await_true, counter, samples

from voxwire_rtp import new_key
from voxwire_rtp.keys import SUITES, Key

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}


def session(key, suite, direction):
    return Session(Policy(key=Key.parse(key).material, ssrc_type=direction, srtp_profile=PROFILES[suite]))


@pytest.fixture(params=SUITES)
def suite(request):
    return request.param


@pytest.fixture
def ours():
    return new_key()


@pytest.fixture
def peers():
    return new_key()


@pytest.fixture
def receiver(suite, ours, peers):
    inbound = session(ours, suite, Policy.SSRC_ANY_INBOUND)
    outbound = session(peers, suite, Policy.SSRC_ANY_OUTBOUND)
    with Receiver(session=inbound, answering=outbound) as made:
        yield made


@pytest.mark.parametrize("extra", ["", "&encoding=l16&rtcp=mux"])
def test_everything_is_unprotected_by_libsrtp(receiver, suite, ours, peers, extra):
    audio_format, payload_type = (LINEAR, 96) if "l16" in extra else (MULAW, 0)
    query = f"srtp={suite}&key={ours}&peer_key={peers}&idle=gap{extra}"
    with Sending(f"rtp://{receiver.address}?{query}") as sending:
        data = sending.count(audio_format.sample_rate // 5)
        sending.drain()
        receiver.wait_packets(10)
        _, rtp_port, rtcp_port = sending.sink.local
        ssrc = receiver.packets[0].ssrc
        shared = rtp_port == rtcp_port
        target = ("127.0.0.1", rtcp_port)
        # A report without protection is nobody's.
        receiver.report(target, receiver.block(ssrc, lost=7), shared=shared, protected=False)
        receiver.report(target, receiver.block(ssrc, lost=3), shared=shared)
        report = await_true(lambda: sending.sink.statistics().report, "the report is not read")
        assert report.lost == 3
    receiver.wait_goodbye()
    assert receiver.of(Goodbye)[0].ssrcs == (ssrc,)
    assert receiver.of(SenderReport)[-1].packets == 10
    assert samples(receiver.packets, audio_format, payload_type) == data


def test_the_number_of_rounds_is_counted(receiver, suite, ours):
    """Sequence numbers that begin anew are part of what is protected (RFC 3711, 3.3.1)."""
    with Sending(f"rtp://{receiver.address}?srtp={suite}&key={ours}&sequence=65533&rtcp=off") as sending:
        data = sending.count(1600)
        sending.drain()
        receiver.wait_packets(10)
    assert [packet.sequence for packet in receiver.packets[:5]] == [65533, 65534, 65535, 0, 1]
    assert samples(receiver.packets[:10], MULAW, 0) == data


def test_random_numbers_begin_where_the_first_round_is_plain(receiver, suite, ours):
    """RFC 3711, 3.3.1: below 2^15, so that a receiver that loses the first packets counts the rounds right."""
    streams = 12
    for _ in range(streams):
        with Sending(f"rtp://{receiver.address}?srtp={suite}&key={ours}&rtcp=off") as sending:
            sending.count(160)
            sending.drain()
    receiver.wait(lambda: len({packet.ssrc for packet in receiver.packets}) == streams, "a stream does not come")
    begins = {packet.ssrc: packet for packet in reversed(receiver.packets)}
    assert all(packet.sequence < 2**15 for packet in begins.values())


def test_what_leaves_is_longer_by_the_tag_and_no_audio_to_see(suite, ours):
    tag = 10 if suite.endswith("80") else 4
    with (
        Receiver(session=_Raw()) as plain,
        Sending(f"rtp://{plain.address}?srtp={suite}&key={ours}&rtcp=off") as sending,
    ):
        sending.count(320)
        plain.wait_packets(2)
        for index, packet in enumerate(plain.packets[:2]):
            assert len(packet.payload) == 160 + tag
            assert packet.payload_type == 0
            assert counter("pcm_mulaw", 8, 160 * index) not in packet.payload


def test_only_the_peers_key_tells_where_it_is(receiver, suite, ours, peers):
    voice = struct.pack(">BBHII", 0x80, 0, 1, 160, 0x1234) + bytes(160)
    inbound = session(ours, suite, Policy.SSRC_ANY_INBOUND)
    query = f"srtp={suite}&key={ours}&peer_key={peers}&rtcp=off&latch=1"
    with Receiver(session=inbound) as real, Sending(f"rtp://{receiver.address}?{query}") as sending:
        sending.count(160)
        target = ("127.0.0.1", sending.sink.local[1])
        stranger = session(new_key(), suite, Policy.SSRC_ANY_OUTBOUND)
        for data in (voice, stranger.protect(voice)):
            real.rtp.sendto(data, target)
        receiver.wait_packets(3)
        assert sending.sink.statistics().peer == ("127.0.0.1", receiver.port)
        real.rtp.sendto(session(peers, suite, Policy.SSRC_ANY_OUTBOUND).protect(voice), target)
        real.wait_packets(2)
        assert sending.sink.statistics().peer == ("127.0.0.1", real.port)


class _Raw:
    """Takes packets as they are."""

    def unprotect(self, data):
        return data

    unprotect_rtcp = unprotect
