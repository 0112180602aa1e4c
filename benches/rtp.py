"""Streams of RTP from one process: what one costs, and how steady it is.

``python benches/run.py --only rtp`` measures all senders, as a part of the suite; this program makes one run of one of
them and prints all that its receiver saw. The sender has a core of its own, the receiver and the load server share the
other one. The receiver compares the sequence, timestamp and audio of every packet; a run in which one is lost or wrong
has no figures.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import conditions
from suite.conditions import FFMPEG, PACKETS_PER_S, RTP, RTP_QUANTITIES, Sender, Streams
from suite.plots import number
from suite.programs import (
    BENCHES,
    CLIENT_CORE,
    QUIET_WAIT_S,
    SERVER_CORE,
    RunFailed,
    build,
    core_times,
    cores,
    pin,
    program,
    wait_for_quiet,
)
from suite.runner import measure as measure_group
from suite.summary import quantile, spread

from voxwire.audio import AudioFormat, Resampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIRST_SSRC = 0x5EED0000
FRAMES = 160
CLOCK_RATE = 8000
SILENCE = 0xFF
PACKET_US = FRAMES * 1_000_000 / CLOCK_RATE
# Ports of the receiver: enough that their queues hold a tenth of a second of 2000 streams where the system limits them.
PORTS = 64
BLOCKS, BLOCK_BYTES = 16, CLOCK_RATE
# From the wire: chunks of 200 ms, a quarter faster than they are played.
CHUNK_BYTES, CHUNKS_PER_S, CHUNK_INTERVAL_US = {"mu-law": 1600, "s16": 9600}, 5, 160_000
CONTEXTS_PER_SOCKET = 20
# As the pacing thread asks for.
PACER_PRIORITY = 50
# Above every sender, below what the kernel runs there for itself.
WITNESS_PRIORITY = PACER_PRIORITY + 10
# The worst of a run is spoilt by whatever else runs for a moment.
RTP_QUIET_WAIT_S = 10.0
# What takes longer than twice its time, or hangs, is ended.
SLACK_S = 60


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run; times in microseconds.

    Attributes:
        packet_cpu_us: CPU time of the sender's process, user and system, per packet.
        pacer_cpu_us: Of its pacing thread; None where there is none.
        jitter_max_us: The worst interarrival jitter (RFC 3550 section 6.4.1) of any stream at any time.
        jitter_p99_us: Of a hundred streams 99 never had a worse one.
        jitter_mean_us: The mean over all streams and packets.
        late_p50_us: Half of all packets came no later than this behind the earliest of their stream.
        late_p99_us: Of a hundred packets 99 did.
        late_max_us: All did.
        delta_max_us: The longest time between two packets of a stream.
        wake_max_us: How late the machine itself woke a thread on the sender's core, at worst; None where none that runs
            before every sender is allowed.
        wakes_late: How often that was over a millisecond.
        skipped: Timestamps that went on by more than one packet, as after a stall.
        others_percent: Of the sender's core, what other programs took meanwhile.
    """

    packet_cpu_us: float
    pacer_cpu_us: float | None
    jitter_max_us: float
    jitter_p99_us: float
    jitter_mean_us: float
    late_p50_us: float
    late_p99_us: float
    late_max_us: float
    delta_max_us: float
    wake_max_us: float | None
    wakes_late: int | None
    skipped: int
    others_percent: float

    @property
    def streams_per_core(self) -> float:
        return PACKET_US / self.packet_cpu_us


def measure(*, short: bool, repetitions: int | None) -> dict[str, Any]:
    """Returns the section of the report."""
    build(["load", "rtp_floor", "rtp_receiver"])
    instrument = subprocess.run([program("rtp_receiver"), "--self"], capture_output=True, text=True, check=False)
    if instrument.returncode:
        raise RunFailed(f"the receiver finds otherwise than was sent: {instrument.stderr.strip()}")
    with stage() as made:
        missing = [sender.name for sender, _ in RTP.pairs(short=short) if not is_possible(sender)]
        group = dataclasses.replace(
            RTP,
            senders={
                condition: tuple(sender for sender in senders if is_possible(sender))
                for condition, senders in RTP.senders.items()
            },
        )
        quiet_s = QUIET_WAIT_S if short else RTP_QUIET_WAIT_S
        section = measure_group(
            made,
            group,
            short=short,
            repetitions=repetitions,
            before_run=lambda: wait_for_quiet(quiet_s),
            summarise=cell,
        )
    if missing:
        section["note"] += f" Not possible on this machine: {'; '.join(dict.fromkeys(missing))}."
    if any(cell["wake_max_us"] is None for cell in section["cells"]):
        section["note"] += (
            f" What the machine itself held up is not known, since SCHED_FIFO with priority {WITNESS_PRIORITY} is not "
            "allowed here: a disturbed run does not show."
        )
    return section


def is_possible(sender: Sender) -> bool:
    """True where the machine lets a sender run."""
    return (not sender.realtime or is_realtime_allowed()) and (sender != FFMPEG or bool(shutil.which("ffmpeg")))


def is_realtime_allowed() -> bool:
    """True where this process may use SCHED_FIFO."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PACER_PRIORITY))
    except PermissionError:
        return False
    os.sched_setscheduler(0, policy, parameter)
    return True


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as folder:
        yield Stage(Path(folder))


class Stage:
    """A folder with what the runs share: the source of the audio."""

    def __init__(self, folder: Path) -> None:
        self._source = folder / "source.ul"
        self._source.write_bytes(random.Random(1).randbytes(BLOCKS * BLOCK_BYTES))
        self._wire_source = folder / "wire.raw"
        self._resampled = folder / "resampled.ul"
        self._single = folder / "single.ul"
        #: What the receiver and the sender of the last run said.
        self.report: dict[str, Any] = {}
        self.figures: dict[str, Any] = {}

    def run(self, sender: Sender, condition: Streams, packets: int, *, check: bool = False) -> Sample:  # noqa: ARG002
        """Runs a sender once, in fresh processes.

        Args:
            sender: Who sends.
            condition: How many streams.
            packets: Of each stream.
            check: Every run is checked.

        Raises:
            RunFailed: Something went wrong, or a packet is missing or wrong.
        """
        limit_s = 2 * packets // PACKETS_PER_S + SLACK_S
        order: dict[str, Any] = {"way": sender.way, "first_ssrc": FIRST_SSRC, "streams": condition.count}
        order |= {"packets": packets, "source": str(self._source), "block_bytes": BLOCK_BYTES}
        with contextlib.ExitStack() as programs:
            if sender.from_wire:
                order |= self._start_load(sender, condition, packets, limit_s, programs)
            plan = {"streams": condition.count, "first_ssrc": FIRST_SSRC, "ports": min(PORTS, condition.count)}
            plan |= {"payload_type": 0, "step": FRAMES, "clock_rate": CLOCK_RATE, "silence": SILENCE}
            plan |= {"source": order["source"], "block_bytes": order["block_bytes"], "limit_s": limit_s}
            plan |= {"cores": cores(), "priority": WITNESS_PRIORITY}
            receiver = programs.enter_context(running("rtp_receiver", plan))
            order["ports"] = answer(receiver)["ports"]
            (busy, ticks), spent_s = core_times()[-1], children_s()
            self.figures = self._send(sender, order, limit_s)
            (busy_then, ticks_then), spent_s = core_times()[-1], children_s() - spent_s
            busy_s = (busy_then - busy) / os.sysconf("SC_CLK_TCK")
            elapsed_s = (ticks_then - ticks) / os.sysconf("SC_CLK_TCK")
            self.figures["others_percent"] = 100 * max(busy_s - spent_s, 0) / elapsed_s
            receiver.stdin.close()
            self.report = answer(receiver)
        check_report(self.report, packets)
        return sample(self.report, self.figures)

    def _start_load(
        self, sender: Sender, condition: Streams, packets: int, limit_s: int, programs: contextlib.ExitStack
    ) -> dict[str, Any]:
        """Starts the load server and returns where it is, and what of its audio has to arrive."""
        size = CHUNK_BYTES[sender.from_wire]
        chunks = packets * CHUNKS_PER_S // PACKETS_PER_S
        connections = -(-condition.count // CONTEXTS_PER_SOCKET)
        plan = {"mode": "steady", "size": size, "shape": "usual", "interval_us": CHUNK_INTERVAL_US, "messages": chunks}
        plan |= {"connections": connections, "contexts": condition.count // connections, "limit_s": limit_s}
        load = programs.enter_context(running("load", plan | {"source": str(self._wire_source)}))
        url = f"ws://127.0.0.1:{answer(load)['port']}/tts/websocket"
        source = self._wire_source
        if sender.from_wire == "s16":
            source = self._resampled
            rotation = self._wire_source.read_bytes()
            whole = (rotation * (-(-chunks * size // len(rotation))))[: chunks * size]
            resampler = Resampler(AudioFormat(), AudioFormat("pcm_mulaw", CLOCK_RATE))
            source.write_bytes(resampler.process(whole) + resampler.finish())
        return {
            "url": url,
            "connections": connections,
            "source": str(source),
            "block_bytes": source.stat().st_size,
        }

    def _send(self, sender: Sender, order: dict[str, Any], limit_s: float) -> dict[str, Any]:
        if sender == FFMPEG:
            return self._send_by_ffmpeg(order, limit_s)
        script = [sys.executable, str(BENCHES / "rivals" / f"{sender.program}.py")]
        command = [*([program("rtp_floor")] if sender.program == "rtp_floor" else script), json.dumps(order)]
        lines = run_sender(sender, command, limit_s).splitlines()
        try:
            figures: dict[str, Any] = json.loads(lines[-1])
        except (IndexError, ValueError) as error:
            raise RunFailed(f"{sender.name} printed no figures") from error
        return figures

    def _send_by_ffmpeg(self, order: dict[str, Any], limit_s: float) -> dict[str, Any]:
        turns = -(-order["packets"] * FRAMES // BLOCK_BYTES)
        self._single.write_bytes((self._source.read_bytes()[:BLOCK_BYTES] * turns)[: order["packets"] * FRAMES])
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-re", "-f", "mulaw", "-ar", str(CLOCK_RATE)]
        command += ["-i", str(self._single), "-c:a", "copy", "-f", "rtp", "-ssrc", str(FIRST_SSRC)]
        # A packet of 20 ms; by default it sends 180 ms at once.
        command.append(f"rtp://127.0.0.1:{order['ports'][0]}?pkt_size={FRAMES + 12}")
        before_s = children_s()
        run_sender(FFMPEG, command, limit_s)
        return {"cpu_s": children_s() - before_s}


def children_s() -> float:
    """CPU time of all programs that were started here and have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def running(name: str, plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Starts a native program on the core that is not the sender's, and ends it."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    place = pin(SERVER_CORE)
    command = [program(name), json.dumps(plan)]
    with subprocess.Popen(command, text=True, preexec_fn=place, **pipes) as process:  # noqa: PLW1509 - no threads here
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Returns the next line of a native program."""
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError as error:
        process.kill()
        raise RunFailed(f"a native program failed: {process.communicate()[1].strip()}") from error
    return found


def run_sender(sender: Sender, command: Sequence[str], limit_s: float) -> str:
    """Runs a sender on its core, and returns what it printed."""
    pin_sender = pin(CLIENT_CORE)

    def place() -> None:
        pin_sender()
        if sender.realtime == "process":
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PACER_PRIORITY))

    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, preexec_fn=place)
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{sender.name} did not end within {limit_s:g} s") from error
    if ran.returncode:
        raise RunFailed(f"{sender.name} failed: {' | '.join(ran.stderr.strip().splitlines()[-3:])}")
    return ran.stdout


def check_report(report: dict[str, Any], packets: int) -> None:
    """Raises RunFailed where not every packet of every stream came, or one is wrong."""
    streams = report["streams"]
    faults = {
        "belong to no stream": report["strangers"],
        "were dropped by the receiver": report["dropped"],
        **{
            words: sum(stream[name] for stream in streams)
            for name, words in (
                ("lost", "were lost"),
                ("duplicates", "came twice"),
                ("reordered", "came out of order"),
                ("wrong_steps", "have a wrong timestamp"),
                ("wrong_audio", "have other audio than was sent"),
            )
        },
    }
    found = [f"{count} packets {words}" for words, count in faults.items() if count]
    if missing := sum(packets * FRAMES - stream["audio_bytes"] for stream in streams):
        found.append(f"{missing} bytes of audio did not come")
    if found:
        raise RunFailed(", ".join(found))


def sample(report: dict[str, Any], figures: dict[str, Any]) -> Sample:
    """Returns what counts of a run."""
    streams, late = report["streams"], report["late_us"]
    packets = figures.get("packets") or sum(stream["packets"] for stream in streams)
    pacer_s = figures.get("pacer_cpu_s")
    jitters = sorted(stream["jitter_max_us"] for stream in streams)
    # The sender's core comes last.
    wakes = (report["wakes"] or [{"worst_us": None, "late": None}])[-1]
    return Sample(
        packet_cpu_us=figures["cpu_s"] / packets * 1e6,
        pacer_cpu_us=None if pacer_s is None else pacer_s / packets * 1e6,
        jitter_max_us=jitters[-1],
        jitter_p99_us=quantile(jitters, 0.99),
        jitter_mean_us=statistics.fmean(stream["jitter_mean_us"] for stream in streams),
        late_p50_us=late["p50"],
        late_p99_us=late["p99"],
        late_max_us=late["max"],
        delta_max_us=max(stream["delta_max_us"] for stream in streams),
        wake_max_us=wakes["worst_us"],
        wakes_late=wakes["late"],
        skipped=sum(stream["skipped"] for stream in streams),
        others_percent=figures["others_percent"],
    )


def cell(sender: Sender, condition: Streams, samples: Sequence[Sample]) -> dict[str, Any]:
    """Returns what is reported of a pair, for the names of ``RTP_QUANTITIES``; None of what was not measured.

    ``runs`` has each run by itself, so that one that was disturbed can be told from the others.
    """
    figures: dict[str, Any] = {"stack": sender.name, "condition": condition.label, "n": len(samples)}
    figures["runs"] = [dataclasses.asdict(sample) for sample in samples]
    for name in RTP_QUANTITIES:
        values = [getattr(sample, name) for sample in samples]
        figures[name] = None if None in values else spread(values)
    return figures


def main() -> None:
    names = {sender.name: sender for senders in RTP.senders.values() for sender in senders}
    parser = argparse.ArgumentParser(description="One run of one sender of RTP; prints what its receiver saw")
    parser.add_argument("--sender", choices=names, default=conditions.ORDINARY.name)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=conditions.STREAM_S)
    arguments = parser.parse_args()
    build(["load", "rtp_floor", "rtp_receiver"])
    sender, condition = names[arguments.sender], Streams(arguments.streams, arguments.seconds)
    with stage() as made:
        try:
            found = made.run(sender, condition, arguments.seconds * PACKETS_PER_S)
        except RunFailed as error:
            tell_report(made)
            sys.exit(str(error))
    tell_report(made)
    for name, title in RTP_QUANTITIES.items():
        value = getattr(found, name)
        print(f"{title}: {'not measured' if value is None else number(value)}")


def tell_report(made: Stage) -> None:
    """Prints what the receiver and the sender said, whether or not it is a figure."""
    if not made.report:
        return
    streams = made.report["streams"]
    counts = [name for name, value in streams[0].items() if type(value) is int]
    print(", ".join(f"{name} {sum(stream[name] for stream in streams)}" for name in counts))
    jitters = sorted(stream["jitter_max_us"] for stream in streams)
    shares = (f"{share:.0%} {number(quantile(jitters, share))}" for share in (0.5, 0.9, 0.99, 1))
    print(f"worst jitter of each stream, us: {', '.join(shares)}")
    print(f"lateness of all packets, us: {made.report['late_us']}; reports {made.report['reports']}")
    print(f"wakes of the machine itself, by core: {made.report['wakes']}")
    print(f"sender: {made.figures}")


if __name__ == "__main__":
    main()
