"""Sockets: from where, with which class, over which family, and what is said where there is none."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from rtp_wire import Receiver, Sending, await_true, counter, free_range, sink_of

from voxwire.audio import AudioFormat
from voxwire.exceptions import SinkBusy, SinkClosed, SinkError
from voxwire_rtp import pacer_statistics

MULAW = AudioFormat("pcm_mulaw", 8000)


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def test_packets_come_from_the_port_that_was_agreed_on(receiver):
    port = free_range()
    with Sending(f"rtp://{receiver.address}?local_port={port}&bind=127.0.0.1") as sending:
        assert sending.sink.local == ("127.0.0.1", port, port + 1)
        sending.count(160)
        receiver.wait_packets(1)
        assert receiver.packets[0].source == ("127.0.0.1", port)


def test_any_port_is_even_with_rtcp_behind_it(receiver):
    with Sending(f"rtp://{receiver.address}") as sending, Sending(f"rtp://{receiver.address}?rtcp=mux") as shared:
        _, port, rtcp_port = sending.sink.local
        assert (port % 2, rtcp_port) == (0, port + 1)
        _, port, rtcp_port = shared.sink.local
        assert rtcp_port == port


def test_a_range_gives_a_port_to_each_until_none_is_left(receiver):
    first = free_range()
    address = f"rtp://{receiver.address}?local_port={first}-{first + 5}&bind=127.0.0.1"
    with Sending(address) as one, Sending(address) as two, Sending(address) as three:
        ports = {sending.sink.local[1] for sending in (one, two, three)}
        assert ports == {first, first + 2, first + 4}
        with pytest.raises(SinkBusy, match=str(first)):
            Sending(address)
        _, left, _ = two.sink.local
        two.sink.close()
        with Sending(address) as four:
            assert four.sink.local[1] == left


def test_a_port_of_another_program_is_busy(receiver):
    with pytest.raises(SinkBusy, match=f"{receiver.port}"):
        Sending(f"rtp://{receiver.address}?local_port={receiver.port}&bind=127.0.0.1")


def test_an_address_of_another_machine_is_refused(receiver):
    with pytest.raises(SinkError, match=r"192\.0\.2\.1"):
        Sending(f"rtp://{receiver.address}?bind=192.0.2.1")


def test_families_do_not_mix(receiver):
    with pytest.raises(ValueError, match="another version of IP"):
        Sending(f"rtp://{receiver.address}?bind=::1")


@pytest.mark.parametrize(("option", "expected"), [("", 46), ("&dscp=0", 0), ("&dscp=26", 26)])
def test_packets_have_their_class(option, expected):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        plain.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        plain.settimeout(10)
        with Sending(f"rtp://127.0.0.1:{plain.getsockname()[1]}?rtcp=off{option}") as sending:
            sending.count(160)
            _, ((_, _, service),), *_ = plain.recvmsg(2048, 64)
    assert service[0] >> 2 == expected


def test_a_stream_over_ipv6():
    try:
        receiver = Receiver("::1")
    except AssertionError:
        pytest.skip("no IPv6 on this machine")
    with receiver, Sending(f"rtp://{receiver.address}?idle=gap&bind=::1") as sending:
        sending.count(320)
        sending.drain()
        receiver.wait_packets(2)
        assert sending.sink.local[0] == "::1"
        assert receiver.packets[0].source == ("::1", sending.sink.local[1])
        assert receiver.packets[0].payload == counter("pcm_mulaw", 160)
        assert sending.sink.statistics().peer == ("::1", receiver.port)


def test_a_name_of_both_families_goes_over_ipv4(receiver):
    with Sending(f"rtp://localhost:{receiver.port}") as sending:
        sending.count(160)
        receiver.wait_packets(1)
        assert sending.sink.statistics().peer == ("127.0.0.1", receiver.port)


def test_no_way_to_the_peer_is_told_at_once(wake):
    # Nobody may send to all without asking to.
    sink = sink_of("rtp://255.255.255.255:4000")
    with pytest.raises(SinkError, match=r"^sink 'rtp:255.255.255.255:4000' cannot be opened: "):
        sink.open([MULAW], wake)
    with pytest.raises(SinkClosed):
        sink.statistics()


def test_a_sink_opens_once(receiver, wake):
    with Sending(f"rtp://{receiver.address}") as sending, pytest.raises(SinkError, match="was opened before"):
        sending.sink.open([MULAW], wake)
    with pytest.raises(SinkError, match="was opened before"):
        sending.sink.open([MULAW], wake)


def test_statistics_are_there_after_the_close(receiver):
    before = pacer_statistics().streams
    with Sending(f"rtp://{receiver.address}?idle=gap") as sending:
        sending.count(320)
        sending.drain()
    assert sending.sink.statistics().packets == 2
    assert pacer_statistics().streams == before


def test_nobody_listening_is_no_fault():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    with Sending(f"rtp://127.0.0.1:{port}?rtcp=off") as sending:
        sending.count(1600)
        assert sending.drain().played == 1600
        assert sending.sink.statistics().unsent == 0


def test_the_threads_end_with_the_last_stream(receiver):
    def threads():
        found = set()
        for name in Path("/proc/self/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                found.add(name.read_text().strip())
        return {name for name in found if name.startswith("voxwire-rt")}

    with Sending(f"rtp://{receiver.address}"):
        # A thread names itself.
        await_true(lambda: threads() == {"voxwire-rtp", "voxwire-rtcp"}, "no threads")
    await_true(lambda: not threads(), "threads are left")
