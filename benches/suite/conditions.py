"""What is compared: the stacks, the conditions, how many messages each run takes. The method is performance.md 3.

Streams of RTP, whose direction is the other one, stand at the end.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

SIZES = (160, 1920, 9600, 38400)
SHAPES = ("usual", "reordered", "flush_id", "fractional", "timestamps")
# Messages of a run by size, as many as take a slow, a middling and a fast stack some tenths of a second.
SLOW = (8000, 8000, 4000, 1500)
MIDDLING = (30_000, 25_000, 12_000, 4000)
FAST = (300_000, 150_000, 60_000, 16_000)
# Of a short suite: enough to see that all runs, and roughly how fast.
SHORT_DIVISOR = 4
SHORT_CONDITIONS = {"160 B", "9600 B", "1 x 20", "50 x 20", "1920 B, reordered", "1920 B, timestamps"}
REPETITIONS, REPETITIONS_SHORT = 6, 1
PACED_MESSAGES, PACED_MESSAGES_SHORT = 1500, 400
# Of each of the contexts that share sockets, at a cadence of 20 ms: two seconds.
SOCKET_MESSAGES, SOCKET_MESSAGES_SHORT = 100, 25
CHECK_MESSAGES = 40
CONTEXTS_PER_SOCKET = 20
CADENCE_US = 20_000


@dataclasses.dataclass(frozen=True)
class Stack:
    """Who receives: a file of ``rivals/`` or the native ``floor``, and one of its ways."""

    name: str
    program: str
    way: str
    counts: tuple[int, int, int, int]
    joins: bool = False
    is_checked: bool = True
    environment: dict[str, str] = dataclasses.field(default_factory=dict, hash=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Condition:
    """What is sent, and how."""

    tls: bool
    mode: Literal["saturated", "paced"]
    size: int
    connections: int = 1
    contexts: int = 1
    interval_us: int = 0
    shape: str = "usual"

    @property
    def label(self) -> str:
        if self.contexts > 1:
            return f"{self.connections} x {self.contexts}"
        return f"{self.size} B" if self.shape == "usual" else f"{self.size} B, {self.shape}"


BATCHES = Stack("voxwire, batches", "ours", "batches", FAST)
EACH = Stack("voxwire, async for", "ours", "each", FAST)
JOINED = Stack("voxwire, batches joined", "ours", "joined", FAST, joins=True)
SDK = Stack("official SDK", "sdk", "", SLOW)
WEBSOCKETS = Stack("websockets + orjson + pybase64", "websockets_orjson", "", SLOW)
AIOHTTP = Stack("aiohttp + orjson + pybase64", "aiohttp_orjson", "", MIDDLING)
PICOWS_ORJSON = Stack("picows + orjson + pybase64", "picows_orjson", "aiofastnet", MIDDLING)
PICOWS_ORJSON_SSL = Stack("picows + orjson + pybase64, Python's ssl", "picows_orjson", "python_ssl", MIDDLING)
PICOWS_JITER = Stack("picows + jiter + pybase64", "picows_jiter", "aiofastnet", MIDDLING)
# Beside TLS, in the runs of that group.
PICOWS_PLAIN = Stack("picows + orjson + pybase64, over plain ws", "picows_orjson", "aiofastnet", MIDDLING)
DECODE = Stack("floor: epoll + voxwire's core, no Python", "floor", "decode", FAST)
DISCARD = Stack("floor: epoll, received and discarded", "floor", "discard", FAST, is_checked=False)

PYTHON = (BATCHES, EACH, SDK, WEBSOCKETS, AIOHTTP, PICOWS_ORJSON, PICOWS_JITER)


@dataclasses.dataclass(frozen=True)
class Group:
    """Conditions and stacks that share runs: every pair of them in every repetition.

    Attributes:
        title: What is measured, the mode named.
        note: What a reader has to know of it.
        conditions: In the order of the table's columns.
        stacks: In the order of its rows.
        plain_stacks: Receive over plain ws, whatever the conditions say.
    """

    title: str
    note: str
    conditions: tuple[Condition, ...]
    stacks: tuple[Stack, ...]
    plain_stacks: tuple[Stack, ...] = ()

    def pairs(self, *, short: bool) -> list[tuple[Stack, Condition]]:
        """What runs in each repetition."""
        conditions = [condition for condition in self.conditions if not short or condition.label in SHORT_CONDITIONS]
        plain = [dataclasses.replace(condition, tls=False) for condition in conditions]
        return [
            *((stack, condition) for condition in conditions for stack in self.stacks),
            *((stack, condition) for condition in plain for stack in self.plain_stacks),
        ]

    def messages(self, stack: Stack, condition: Condition, *, short: bool) -> int:
        """Chunks of each context in one run."""
        if condition.contexts > 1:
            return SOCKET_MESSAGES_SHORT if short else SOCKET_MESSAGES
        if condition.mode == "paced":
            return PACED_MESSAGES_SHORT if short else PACED_MESSAGES
        count = stack.counts[SIZES.index(condition.size)] // (2 if condition.tls else 1)
        return count // SHORT_DIVISOR if short else count


GROUPS = {
    "saturated": Group(
        "Plain ws, saturated, one socket",
        "Frames come as fast as the client takes them, so one read brings many. Never read these ratios as those of "
        "one real-time stream. The joined row hands out fewer, larger pieces; rivals never join.",
        tuple(Condition(tls=False, mode="saturated", size=size) for size in SIZES),
        (BATCHES, EACH, JOINED, *PYTHON[2:], DECODE, DISCARD),
    ),
    "tls": Group(
        "wss, saturated, one socket",
        "TLS 1.3 with AES-256-GCM on both sides, from a native server. The joined row hands out fewer, larger pieces; "
        "rivals never join.",
        tuple(Condition(tls=True, mode="saturated", size=size) for size in SIZES),
        (BATCHES, EACH, JOINED, SDK, WEBSOCKETS, AIOHTTP, PICOWS_ORJSON, PICOWS_ORJSON_SSL, PICOWS_JITER),
        (PICOWS_PLAIN,),
    ),
    "paced": Group(
        "Plain ws, one message per wake-up, one socket",
        "1000 messages a second, each sent alone: the wake-up dominates, as in one real-time stream.",
        tuple(Condition(tls=False, mode="paced", size=size, interval_us=1000) for size in SIZES),
        (*PYTHON, DECODE, DISCARD),
    ),
    "sockets": Group(
        "Plain ws, many sockets, 20 contexts on each",
        "160 B every 20 ms for each context, phases spread: 1000, 10 000 and 50 000 messages a second in one process.",
        tuple(
            Condition(
                tls=False,
                mode="paced",
                size=160,
                connections=connections,
                contexts=CONTEXTS_PER_SOCKET,
                interval_us=CADENCE_US,
            )
            for connections in (1, 10, 50)
        ),
        (BATCHES, EACH, AIOHTTP, PICOWS_ORJSON),
    ),
    "shapes": Group(
        "Plain ws, saturated, messages of other shapes",
        "1920 B; other key orders, members and times, so that a way made for one shape would show. Words' times are "
        "counted to the chunk that follows them.",
        tuple(Condition(tls=False, mode="saturated", size=1920, shape=shape) for shape in SHAPES),
        (BATCHES, EACH, SDK, PICOWS_ORJSON, PICOWS_JITER),
    ),
}


@dataclasses.dataclass(frozen=True)
class Sender:
    """Who sends streams of RTP: a file of ``rivals/``, the native ``rtp_floor`` or ``ffmpeg``, and one of its ways.

    Attributes:
        from_wire: Its audio comes from the load server, as what; else it has all of it at the start.
        realtime: What of it runs under SCHED_FIFO; it is left out where that is not allowed.
    """

    name: str
    program: str
    way: str = ""
    from_wire: Literal["", "mu-law", "s16"] = ""
    realtime: Literal["", "pacer", "process"] = ""
    #: Beforehand: the audio is checked in every run instead.
    is_checked: bool = False


@dataclasses.dataclass(frozen=True)
class Streams:
    """How many streams, and for how long."""

    count: int
    seconds: int
    mode: Literal["paced"] = "paced"

    @property
    def label(self) -> str:
        seconds = "" if self.seconds == STREAM_S else f", {self.seconds} s"
        return f"{self.count} stream{'s' if self.count > 1 else ''}{seconds}"


STREAM_S, STREAM_S_SHORT, STREAM_S_LONG = 5, 3, 60
PACKETS_PER_S = 50
# What is reported of a sender; each is a figure of one run of all its streams.
RTP_QUANTITIES = {
    "streams_per_core": "Streams of 20 ms for each core that the sender uses",
    "packet_cpu_us": "CPU time of the sender per packet, us",
    "pacer_cpu_us": "CPU time of the pacing thread per packet, us",
    "jitter_max_us": "Worst jitter (RFC 3550) of any stream at any time, us",
    "wake_max_us": "Worst wake of the machine itself on the sender's core meanwhile, us",
    "wakes_late": "Such wakes that were over 1 ms late",
    "jitter_p99_us": "Worst jitter of a stream, 99th percentile of the streams, us",
    "jitter_mean_us": "Jitter, mean of all streams and packets, us",
    "late_p50_us": "Lateness of a packet, median, us",
    "late_p99_us": "Lateness of a packet, 99th percentile, us",
    "late_max_us": "Lateness of a packet, worst, us",
    "delta_max_us": "Longest time between two packets of a stream, us",
    "skipped": "Slots that were skipped",
    "others_percent": "What other programs took of the sender's core meanwhile, per cent",
}

FIFO = Sender("voxwire, SCHED_FIFO", "rtp_ours", "fifo", realtime="pacer")
ORDINARY = Sender("voxwire, ordinary scheduler", "rtp_ours", "ordinary")
ONE_PORT = Sender("voxwire, all from one port, SCHED_FIFO", "rtp_ours", "fifo, one port", realtime="pacer")
WIRE = Sender("voxwire from the wire, SCHED_FIFO", "rtp_wire", "fifo", from_wire="mu-law", realtime="pacer")
WIRE_ORDINARY = Sender("voxwire from the wire, ordinary scheduler", "rtp_wire", "ordinary", from_wire="mu-law")
RESAMPLED = dataclasses.replace(WIRE, name="voxwire from the wire (s16), SCHED_FIFO", way="fifo, s16", from_wire="s16")
WHEEL = Sender("asyncio, slots of 1 ms", "rtp_asyncio", "wheel")
WHEEL_FIFO = Sender("asyncio, slots of 1 ms, SCHED_FIFO", "rtp_asyncio", "wheel", realtime="process")
WIRE_WHEEL = Sender("asyncio, slots of 1 ms, from the wire", "rtp_wire_asyncio", from_wire="mu-law")
TASKS = Sender("asyncio, a task for each stream", "rtp_asyncio", "tasks")
AIORTP = Sender("aiortp, paced", "rtp_aiortp")
FFMPEG = Sender("ffmpeg -re", "ffmpeg")
RTP_FLOOR = Sender("floor: a native loop, ordinary scheduler", "rtp_floor")
RTP_FLOOR_FIFO = Sender("floor: a native loop, SCHED_FIFO", "rtp_floor", realtime="process")

ONE, HUNDRED, THOUSAND, TWO_THOUSAND = (Streams(count, STREAM_S) for count in (1, 100, 1000, 2000))
LONG = Streams(1000, STREAM_S_LONG)


@dataclasses.dataclass(frozen=True)
class StreamGroup:
    """Numbers of streams, and who sends so many: every pair of them in every repetition."""

    title: str
    note: str
    senders: dict[Streams, tuple[Sender, ...]]

    @property
    def conditions(self) -> tuple[Streams, ...]:
        return tuple(self.senders)

    def pairs(self, *, short: bool) -> list[tuple[Sender, Streams]]:
        """What runs in each repetition."""
        conditions = [HUNDRED] if short else self.conditions
        return [(sender, condition) for condition in conditions for sender in self.senders[condition]]

    def messages(self, sender: Sender, condition: Streams, *, short: bool) -> int:  # noqa: ARG002 - as its sibling
        """Packets of each stream in one run."""
        return (STREAM_S_SHORT if short else condition.seconds) * PACKETS_PER_S


_MANY = (FIFO, ORDINARY, ONE_PORT, WIRE, WIRE_ORDINARY, RESAMPLED)
_MANY += (WHEEL, WHEEL_FIFO, WIRE_WHEEL, TASKS, AIORTP, RTP_FLOOR, RTP_FLOOR_FIFO)
# 2000 are more than they can do on the one core that a sender has.
_TOO_MANY = (RESAMPLED, AIORTP)
RTP = StreamGroup(
    "RTP: streams of 20 ms of mu-law from one process",
    "Every stream has a socket of its own, but in the row that says otherwise. CPU is that of the sender's process, "
    "kernel and loopback included; in the rows from the wire also that of receiving the audio over WebSocket, in "
    "chunks of 200 ms: as mu-law, which the server is asked for, or as s16 at 24 kHz, decoded, resampled and encoded "
    "here. Times are the kernel's, at the receiver, which compared all audio. Lateness is against the "
    "earliest packet of the stream. Slots are skipped after a stall, and where no audio was there. On the "
    "sender's core a thread above it that only wakes each millisecond tells what the machine itself held up: a pause "
    "is in every sender's jitter with about an eighth of its length.",
    {
        HUNDRED: _MANY,
        THOUSAND: _MANY,
        TWO_THOUSAND: tuple(sender for sender in _MANY if sender not in _TOO_MANY),
        LONG: (FIFO, RTP_FLOOR_FIFO),
        ONE: (FIFO, ORDINARY, WHEEL, AIORTP, FFMPEG, RTP_FLOOR_FIFO),
    },
)
