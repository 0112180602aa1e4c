"""Peers that are not ours: ffmpeg hears every sample, tshark finds nothing wrong in what is on the wire."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from array import array
from itertools import pairwise
from pathlib import Path

import pytest
from rtp_wire import ALAW, ATTEMPTS, LINEAR, MULAW, PATIENCE_S, SILENCE, Receiver, Sending, await_true, bound_pair

from voxwire_rtp import address_from_answer, new_key, offer, pacer_statistics

FFMPEG_FORMATS = {"pcm_mulaw": "mulaw", "pcm_alaw": "alaw", "pcm_s16le": "s16be"}
SPEECH_S = 2


def require(program, package):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed, get it with: apt-get install -y --no-install-recommends {package}")


# --- ffmpeg


class Ffmpeg:
    """A receiver that is told of the stream in SDP, and writes what it gets to a file as it is."""

    def __init__(self, folder, name, audio_format, ptime=20, key=None):
        first, second = bound_pair()
        self.port = first.getsockname()[1]
        first.close()
        second.close()
        self.format, self.output = audio_format, folder / f"{name}.raw"
        # What we offer describes what we send; where, is for once the other's business.
        self.sdp = offer("127.0.0.1", self.port, formats=[audio_format], ptime=ptime, telephone_event=False, key=key)
        description = folder / f"{name}.sdp"
        description.write_text(self.sdp)
        command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error"]
        command += ["-protocol_whitelist", "file,udp,rtp,srtp", "-i", description, "-c:a", "copy"]
        command += ["-f", FFMPEG_FORMATS[audio_format.encoding], "-y", self.output]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wanted = f":{self.port + 1:04X} "
        await_true(lambda: wanted in Path("/proc/net/udp").read_text() or self.process.poll() is not None, "no port")

    def heard(self):
        """Waits for its end, which our goodbye brings about, and returns what it got, as it was written to the sink."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, errors
        data = self.output.read_bytes()
        if self.format.encoding == "pcm_s16le":
            samples = array("h", data)
            samples.byteswap()
            data = samples.tobytes()
        return data

    def close(self):
        self.process.kill()
        self.process.communicate()


CASES = {
    "pcmu": (MULAW, 20, None, "idle=silence"),
    "pcma": (ALAW, 30, None, "idle=gap"),
    "l16": (LINEAR, 20, None, "idle=gap"),
    "srtp": (MULAW, 20, new_key(), "idle=gap"),
}


@pytest.fixture(scope="module")
def heard_by_ffmpeg(tmp_path_factory):
    """What was sent and what was heard, for each case; all streams at once."""
    require("ffmpeg", "ffmpeg")
    folder = tmp_path_factory.mktemp("ffmpeg")
    with contextlib.ExitStack() as stack:
        sent, peers, lines = {}, {}, {}
        for name, (audio_format, ptime, key, _) in CASES.items():
            peers[name] = Ffmpeg(folder, name, audio_format, ptime, key)
            stack.callback(peers[name].close)
        for name, (audio_format, _, key, query) in CASES.items():
            address = address_from_answer(peers[name].sdp, key=key)
            lines[name] = stack.enter_context(Sending(f"{address}&{query}"))
            sent[name] = lines[name].count(SPEECH_S * audio_format.sample_rate)
            lines[name].sink.finish()
        for line in lines.values():
            line.drain()
        for line in lines.values():
            line.sink.close()
        return {name: (sent[name], peers[name].heard()) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_ffmpeg_hears_every_sample(heard_by_ffmpeg, name):
    sent, heard = heard_by_ffmpeg[name]
    assert len(sent) >= SPEECH_S * 8000
    assert heard[: len(sent)] == sent
    # The rest of the last packet, and silence where that is sent.
    assert heard[len(sent) :].replace(SILENCE[CASES[name][0].encoding], b"") == b""


# --- tshark


class Capture:
    """What is on the wire to and from some ports, captured by dumpcap and explained by tshark."""

    def __init__(self, folder, ports):
        self.path = folder / "wire.pcap"
        self._ports = ports
        self._probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._probe.bind(("127.0.0.1", 0))
        wanted = " or ".join(f"udp port {port}" for port in [*ports, self._probe.getsockname()[1]])
        self._process = subprocess.Popen(
            ["dumpcap", "-q", "-i", "lo", "-f", wanted, "-w", self.path], stderr=subprocess.PIPE, text=True
        )
        self._await_written(b"it begins")

    def _await_written(self, mark):
        def written():
            if self._process.poll() is not None:
                pytest.skip(f"nothing can be captured here: {self._process.stderr.read().strip()}")
            self._probe.sendto(mark, self._probe.getsockname())
            return self.path.exists() and mark in self.path.read_bytes()

        await_true(written, "nothing is captured")

    def stop(self):
        """Ends when all that came before this call is on the disk."""
        self._await_written(b"it is over")
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_S)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        self._process.stderr.close()
        self._probe.close()

    def explain(self, *arguments):
        """Runs tshark with the meaning of our ports and payload types."""
        command = ["tshark", "-r", self.path, "-d", "rtp.pt==101,rtpevent"]
        for rtp, rtcp in zip(self._ports[::2], self._ports[1::2], strict=True):
            command += ["-d", f"udp.port=={rtp},rtp", "-d", f"udp.port=={rtcp},rtcp"]
        result = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=50)
        return result.stdout

    def fields(self, display_filter, *names):
        """Rows of fields."""
        asked = [argument for name in names for argument in ("-e", name)]
        listed = self.explain("-Y", display_filter, "-T", "fields", *asked)
        return [dict(zip(names, line.split("\t"), strict=True)) for line in listed.splitlines()]

    def streams(self):
        """Packets, lost ones and mean jitter in ms of each stream by its SSRC."""
        row = re.compile(
            r"^ *[0-9.]+ +[0-9.]+ +127\.0\.0\.1 +\d+ +127\.0\.0\.1 +\d+ +(0x[0-9A-F]{8})"
            r" +\S.*? +(\d+) +(\d+) \([0-9.]+%\) +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +([0-9.]+) ",
            re.MULTILINE,
        )
        return {
            int(ssrc, 16): (int(packets), int(lost), float(mean))
            for ssrc, packets, lost, mean in row.findall(self.explain("-q", "-z", "rtp,streams"))
        }


RTP_FIELDS = ("frame.time_relative", "ip.dsfield.dscp", "rtp.ssrc", "rtp.seq", "rtp.timestamp", "rtp.marker")
RTP_FIELDS += ("rtp.p_type", "rtp.payload", "rtpevent.event_id", "rtpevent.end_of_event", "rtpevent.duration")


class Call:
    """Two streams as tshark saw them: one with a gap and digits, one with comfort noise."""

    def __init__(self, folder):
        with Receiver() as first, Receiver() as second, contextlib.ExitStack() as stack:
            ports = [first.port, first.port + 1, second.port, second.port + 1]
            capture = Capture(folder, ports)
            stack.callback(capture.close)
            with (
                Sending(f"rtp://{first.address}?ssrc=1&idle=gap&telephone_event=101&sequence=65500&realtime=1") as gap,
                Sending(f"rtp://{second.address}?ssrc=2&idle=cn&dscp=0&encoding=pcma&cname=line%207") as noise,
            ):
                for sending in (gap, noise):
                    sending.count(8000)
                    sending.sink.finish()
                gap.drain()
                gap.sink.send_digits("8", duration_ms=100, pause_ms=100)
                noise.drain()
                # What comes between the digit and the speech behind it is nothing.
                first.wait(lambda: sum(packet.payload[1] >> 7 for packet in first.packets[50:]) == 3, "no end comes")
                for sending in (gap, noise):
                    sending.count(4000)
                gap.drain()
                noise.drain()
                # A report in return, so that there is one of each kind.
                second.report(("127.0.0.1", noise.sink.local[2]), second.block(2))
                await_true(lambda: noise.sink.statistics().report, "the report is not read")
            first.wait_goodbye()
            second.wait_goodbye()
            capture.stop()
            self.streams = capture.streams()
            rows = capture.fields("rtp", *RTP_FIELDS)
            self.gap = [row for row in rows if row["rtp.ssrc"] == "0x00000001"]
            self.noise = [row for row in rows if row["rtp.ssrc"] == "0x00000002"]
            self.rtcp = capture.fields("rtcp", "rtcp.pt", "rtcp.senderssrc", "rtcp.sdes.text", "_ws.malformed")


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    require("tshark", "tshark")
    require("dumpcap", "tshark")
    for _ in range(ATTEMPTS):
        stalls = pacer_statistics().stalls
        made = Call(tmp_path_factory.mktemp("tshark"))
        # Else there are gaps that nobody asked for.
        if pacer_statistics().stalls == stalls:
            break
    return made


def numbers(rows, name):
    return [int(row[name]) for row in rows]


def test_tshark_finds_no_packet_lost_and_no_problem(call):
    assert set(call.streams) == {1, 2}
    for packets, lost, mean_jitter in call.streams.values():
        assert packets >= 75
        assert lost == 0
        # How exactly a machine that does other things keeps time is for the benches.
        assert mean_jitter < 20


def test_tshark_sees_timestamps_that_are_a_clock(call):
    """Over pauses too: a packet is never further from its time than a busy machine brings about."""
    for rows in (call.gap, call.noise):
        audio = [row for row in rows if row["rtp.p_type"] in {"0", "8"}]
        times_s = [float(row["frame.time_relative"]) for row in audio]
        timestamps = numbers(audio, "rtp.timestamp")
        for time_s, timestamp in zip(times_s, timestamps, strict=True):
            assert time_s - times_s[0] == pytest.approx((timestamp - timestamps[0]) % 2**32 / 8000, abs=0.1)


def test_tshark_sees_numbers_in_a_row(call):
    for rows in (call.gap, call.noise):
        sequence = numbers(rows, "rtp.seq")
        assert {(after - before) % 2**16 for before, after in pairwise(sequence)} == {1}


def test_tshark_sees_markers_where_speech_begins_and_nowhere_else(call):
    for rows in (call.gap, call.noise):
        audio = [row for row in rows if row["rtp.p_type"] in {"0", "8"}]
        marked = [index for index, row in enumerate(audio) if row["rtp.marker"] in {"1", "True"}]
        assert marked == [0, 50]
        timestamps = numbers(audio, "rtp.timestamp")
        moves = [(after - before) % 2**32 for before, after in pairwise(timestamps)]
        assert moves.pop(49) % 160 == 0
        assert set(moves) == {160}


def test_tshark_understands_the_digit(call):
    event = [row for row in call.gap if row["rtp.p_type"] == "101"]
    assert {row["rtpevent.event_id"] for row in event} == {"8"}
    assert len({row["rtp.timestamp"] for row in event}) == 1
    assert [row["rtp.marker"] in {"1", "True"} for row in event] == [True] + [False] * (len(event) - 1)
    ends = [row["rtpevent.duration"] for row in event if row["rtpevent.end_of_event"] in {"1", "True"}]
    assert ends == ["800"] * 3
    durations = numbers(event, "rtpevent.duration")
    assert durations == sorted(durations)
    assert durations[:4] == [160, 320, 480, 640]


def test_tshark_sees_comfort_noise(call):
    (noise, *more) = [row for row in call.noise if row["rtp.p_type"] == "13"]
    assert more == [] or len(more) == 1
    assert noise["rtp.payload"] == "3c"


def test_tshark_sees_the_class_of_the_packets(call):
    assert {row["ip.dsfield.dscp"] for row in call.gap} == {"46"}
    assert {row["ip.dsfield.dscp"] for row in call.noise} == {"0"}


def test_tshark_understands_the_reports(call):
    assert {row["_ws.malformed"] for row in call.rtcp} == {""}
    kinds = [tuple(row["rtcp.pt"].split(",")) for row in call.rtcp]
    # What the sender says, with its goodbye at the end, and the receiver's report.
    assert kinds.count(("200", "202", "203")) == 2
    assert ("201", "202") in kinds
    assert {"line 7", "peer"} <= {row["rtcp.sdes.text"] for row in call.rtcp}
