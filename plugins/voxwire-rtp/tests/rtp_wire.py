"""The other end of the wire, in Python: receives, takes packets apart, reports, loses and reorders."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import random
import selectors
import socket
import struct
import threading
import time
from array import array
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from voxwire.audio import AudioFormat
from voxwire.sinks import parse_address
from voxwire.testing.sinks import RecordingWake
from voxwire_rtp import RtpSink, pacer_statistics

PATIENCE_S = 20
MULAW, ALAW = AudioFormat("pcm_mulaw", 8000), AudioFormat("pcm_alaw", 8000)
LINEAR = AudioFormat("pcm_s16le", 24000)
SILENCE = {"pcm_mulaw": b"\xff", "pcm_alaw": b"\xd5", "pcm_s16le": b"\0\0"}
# The other zero of mu-law becomes silence when it is decoded and encoded again.
CODES = {
    "pcm_mulaw": bytes(code for code in range(256) if code not in {0x7F, 0xFF}),
    "pcm_alaw": bytes(code for code in range(256) if code != 0xD5),
}


def sink_of(address):
    return RtpSink(parse_address(address, RtpSink.options))


def counter(encoding, frames, first=0):
    """Samples that tell where they belong and are never silence: any loss, doubling or silence shows."""
    if encoding == "pcm_s16le":
        return array("h", [k % 32000 + 1 for k in range(first, first + frames)]).tobytes()
    codes = CODES[encoding]
    return bytes(codes[k % len(codes)] for k in range(first, first + frames))


def await_true(condition, what, patience_s=PATIENCE_S):
    """Polls for what tells nobody."""
    deadline = time.monotonic() + patience_s
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.002)
    return result


class Sending:
    """An open sink with its wake."""

    def __init__(self, address):
        self.sink = sink_of(address)
        (self.format,) = self.sink.capabilities().formats
        self.wake = RecordingWake()
        try:
            self.opened = self.sink.open([self.format], self.wake)
        except BaseException:
            self.wake.close()
            raise

    def write(self, data):
        """Writes all of it, as fast as it is taken."""
        view = memoryview(data)
        while view:
            view = view[self.sink.write(view) * self.format.frame_bytes :]
            if view:
                assert self.wake.wait(PATIENCE_S), "no wake for the rest"

    def count(self, frames, first=0):
        """Writes so much of the counter, and returns it."""
        data = counter(self.format.encoding, frames, first)
        self.write(data)
        return data

    def drain(self):
        """Finishes, and waits for the wake when all has been sent."""
        self.sink.finish()
        while (position := self.sink.position()).played < position.written:
            assert self.wake.wait(PATIENCE_S), f"no wake after finish: {position}"
        return position

    def wait_played(self, frames):
        """Waits for what no wake is owed for."""
        await_true(lambda: self.sink.position().played >= frames, f"{frames} frames are not sent")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sink.close()
        self.wake.close()


class Packet(NamedTuple):
    """One packet of RTP, its payload in the order of this machine's samples, whatever it was on the wire."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    source: tuple[str, int]

    @classmethod
    def parse(cls, data, source):
        first, second, sequence, timestamp, ssrc = struct.unpack_from(">BBHII", data)
        # Version 2 without padding, extension or contributors (RFC 3550, 5.1).
        assert first == 0x80
        return cls(bool(second & 0x80), second & 0x7F, sequence, timestamp, ssrc, data[12:], source)


class SenderReport(NamedTuple):
    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    at_ns: int


class ReceiverReport(NamedTuple):
    ssrc: int


class Description(NamedTuple):
    ssrc: int
    items: dict


class Goodbye(NamedTuple):
    ssrcs: tuple[int, ...]


def parse_compound(data, at_ns):
    """Takes a compound packet apart; what RFC 3550, 6.1 asks of one is asserted."""
    found = []
    while data:
        first, kind, words = struct.unpack_from(">BBH", data)
        assert first >> 6 == 2
        size = 4 * (words + 1)
        assert size <= len(data)
        assert not first & 0x20
        body, data = data[4:size], data[size:]
        if kind == 200:
            assert not first & 0x1F
            found.append(SenderReport(*struct.unpack(">IQIII", body), at_ns))
        elif kind == 202:
            assert first & 0x1F == 1
            (ssrc,), items, rest = struct.unpack_from(">I", body), {}, body[4:]
            while rest[0]:
                items[rest[0]] = rest[2 : 2 + rest[1]].decode()
                rest = rest[2 + rest[1] :]
            assert not any(rest)
            found.append(Description(ssrc, items))
        elif kind == 203:
            found.append(Goodbye(struct.unpack_from(f">{first & 0x1F}I", body)))
        else:
            assert kind == 201
            assert not first & 0x1F
            found.append(ReceiverReport(*struct.unpack(">I", body)))
    # Of one who has sent nothing of late, a report is a receiver's.
    assert isinstance(found[0], SenderReport | ReceiverReport)
    assert isinstance(found[1], Description)
    return found


def bound_pair(host="127.0.0.1"):
    """Sockets on an even port and the one behind it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        with contextlib.suppress(OSError):
            first.bind((host, random.randrange(20000, 32000, 2)))
            second.bind((host, first.getsockname()[1] + 1))
            return first, second
        first.close()
        second.close()
    raise AssertionError("no pair of free ports")


def free_range(ports=8):
    """The first of some ports in a row of which none is in use."""
    while True:
        first = random.randrange(12000, 19000, 2)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + ports):
                    stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


class Receiver:
    """Takes what comes to a pair of ports, or to one that RTCP shares, and answers with receiver reports.

    Args:
        host: Where it listens.
        session: Of SRTP; unprotects what comes.
        answering: Of SRTP; protects the reports.
    """

    ssrc = 0x00C0FFEE

    def __init__(self, host="127.0.0.1", session=None, answering=None):
        self.host = host
        self.rtp, self.rtcp = bound_pair(host)
        self.port = self.rtp.getsockname()[1]
        self.packets = []
        self.compounds = []
        self._session, self._answering = session, answering
        self._changed = threading.Condition()
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    @property
    def address(self):
        """Where it listens, as an address of a sink has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _receive(self):
        with selectors.DefaultSelector() as selector:
            for one in (self.rtp, self.rtcp, self._stop_reader):
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stop_reader:
                        return
                    data, source = key.fileobj.recvfrom(2048)
                    self._take(data, source[:2])

    def _take(self, data, source):
        # Packet types of RTCP, where they share a port (RFC 5761, 4).
        is_rtcp = 192 <= data[1] <= 223
        if self._session is not None:
            data = self._session.unprotect_rtcp(data) if is_rtcp else self._session.unprotect(data)
        with self._changed:
            if is_rtcp:
                self.compounds.append(parse_compound(data, time.time_ns()))
            else:
                self.packets.append(Packet.parse(data, source))
            self._changed.notify_all()

    def wait(self, condition, what, patience_s=PATIENCE_S):
        """Waits until a condition holds, which is looked at when something came."""
        with self._changed:
            assert self._changed.wait_for(condition, patience_s), what

    def wait_packets(self, count):
        """Waits until so many packets came in all."""
        self.wait(lambda: len(self.packets) >= count, f"{count} packets do not come")

    def wait_goodbye(self):
        self.wait(lambda: any(isinstance(part, Goodbye) for part in self.parts()), "no goodbye comes")

    def parts(self):
        """What the compound packets so far had in them."""
        return [part for compound in self.compounds for part in compound]

    def of(self, kind):
        return [part for part in self.parts() if isinstance(part, kind)]

    def block(self, ssrc, **changes):
        """A report block on what came from a sender (RFC 3550, 6.4.1 and A.3)."""
        came = [packet for packet in self.packets if packet.ssrc == ssrc]
        extended = [came[0].sequence]
        for packet in came[1:]:
            step = (packet.sequence - extended[-1] + 0x8000) % 0x10000 - 0x8000
            extended.append(extended[-1] + step)
        lost = max(extended) - min(extended) + 1 - len(set(extended))
        numbers = {
            "fraction": lost * 256 // (lost + len(came)),
            "lost": lost,
            "highest": max(extended),
            "jitter": 0,
            "last_sr": 0,
            "delay": 0,
        } | changes
        return struct.pack(
            ">IB3sIIII",
            ssrc,
            numbers["fraction"],
            numbers["lost"].to_bytes(3, "big", signed=True),
            numbers["highest"],
            numbers["jitter"],
            numbers["last_sr"],
            numbers["delay"],
        )

    def report(self, target, *blocks, ssrc=None, goodbye=False, shared=False, protected=True):
        """Sends a receiver report with SDES to the sender's RTCP port."""
        ssrc = self.ssrc if ssrc is None else ssrc
        data = struct.pack(">BBHI", 0x80 | len(blocks), 201, 1 + 6 * len(blocks), ssrc) + b"".join(blocks)
        data += struct.pack(">BBHIBB4s2x", 0x81, 202, 3, ssrc, 1, 4, b"peer")
        if goodbye:
            data += struct.pack(">BBHI", 0x81, 203, 1, ssrc)
        if self._answering is not None and protected:
            data = self._answering.protect_rtcp(data)
        (self.rtp if shared else self.rtcp).sendto(data, target)

    def close(self):
        self._stop_writer.send(b"\0")
        self._thread.join()
        for one in (self.rtp, self.rtcp, self._stop_reader, self._stop_writer):
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Relay:
    """Stands between sender and receiver, and decides for each packet of RTP how often and when it goes on.

    Args:
        receiver: Where packets go on to.
        deal: Gets the number of a packet and returns how many packets later it goes on, or None where it is lost.
    """

    def __init__(self, receiver, deal):
        self._receiver, self._deal = receiver, deal
        self._socket, self._unused = bound_pair()
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._held = []
        self._thread = threading.Thread(target=self._pass_on)
        self._thread.start()

    def _pass_on(self):
        number = 0
        while data := self._socket.recv(2048):
            delay = self._deal(number)
            if delay is not None:
                self._held.append((number + delay, number, data))
            self._send(lambda due, now=number: due <= now)
            number += 1
        self._send(lambda _: True)

    def _send(self, is_due):
        due = sorted(one for one in self._held if is_due(one[0]))
        self._held = [one for one in self._held if not is_due(one[0])]
        for _, _, data in due:
            self._socket.sendto(data, (self._receiver.host, self._receiver.port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # An empty datagram ends it, behind all that was sent.
        self._unused.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()
        self._unused.close()


ATTEMPTS = 5


def undisturbed(test):
    """Gives a test its receiver, and a new one each time that it failed while the machine kept packets from leaving.

    Where slots are skipped there are gaps, with markers, that a test of markers did not ask for.
    """

    @functools.wraps(test)
    def run(**arguments):
        for attempt in range(ATTEMPTS):
            stalls = pacer_statistics().stalls
            with Receiver() as receiver:
                try:
                    test(receiver=receiver, **arguments)
                    break
                except AssertionError:
                    if attempt == ATTEMPTS - 1 or pacer_statistics().stalls == stalls:
                        raise

    signature = inspect.signature(test)
    others = [parameter for name, parameter in signature.parameters.items() if name != "receiver"]
    run.__signature__ = signature.replace(parameters=others)
    return run


def samples(packets, audio_format, payload_type):
    """The audio of packets, in the order of their numbers."""
    ordered = sorted(packets, key=lambda packet: (packet.sequence - packets[0].sequence + 0x8000) % 0x10000)
    data = b"".join(packet.payload for packet in ordered if packet.payload_type == payload_type)
    if audio_format.encoding == "pcm_s16le":
        swapped = array("h", data)
        swapped.byteswap()
        data = swapped.tobytes()
    return data


def utterances(data, encoding, quiet_frames):
    """What stands between stretches of silence."""
    width = len(SILENCE[encoding])
    frames = [data[index : index + width] for index in range(0, len(data), width)]
    found, quiet = [], quiet_frames
    for frame in frames:
        if frame == SILENCE[encoding]:
            quiet += 1
            continue
        if quiet >= quiet_frames:
            found.append(bytearray())
        quiet = 0
        found[-1] += frame
    return [bytes(one) for one in found]


def steps(packets):
    """Differences of numbers and of timestamps from each packet to the next."""
    return [
        ((after.sequence - before.sequence) % 2**16, (after.timestamp - before.timestamp) % 2**32)
        for before, after in pairwise(packets)
    ]


def descriptor_of(sink):
    """The descriptor of the socket from which a sink of this process sends."""
    _, port, _ = sink.local
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if not entry.is_socket():
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as one:
                if one.family in {socket.AF_INET, socket.AF_INET6} and one.getsockname()[1] == port:
                    return int(entry.name)
    raise AssertionError("no such socket")


def break_socket(sink):
    """Lets every further send of a sink fail."""
    with socket.socket(fileno=os.dup(descriptor_of(sink))) as one, contextlib.suppress(OSError):
        # It says that it is not connected, and shuts it down nevertheless.
        one.shutdown(socket.SHUT_WR)
