"""A peer that writes WebSocket frames by hand, and the cases it plays (RFC 6455), for both roles of the echo programs.

Nothing here uses voxwire: frames, masks and the upgrade are written from the RFC alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from dataclasses import dataclass, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_MESSAGE = 16 * 1024 * 1024
WAIT_S = 10.0


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0
    # What a well-behaved peer never does.
    length_bytes: int | None = None
    declared: int | None = None
    wrong_mask: bool = False
    withhold: int = 0

    def encode(self, *, masked: bool) -> bytes:
        masked ^= self.wrong_mask
        length = len(self.payload) if self.declared is None else self.declared
        width = self.length_bytes
        if width is None:
            width = 0 if length < 126 else 2 if length < 65536 else 8
        head = bytes([self.fin << 7 | self.reserved << 4 | self.opcode])
        marker = length if width == 0 else 126 if width == 2 else 127
        head += bytes([masked << 7 | marker])
        if width:
            head += length.to_bytes(width, "big")
        payload = self.payload
        if masked:
            key = os.urandom(4)
            head += key
            stream = key * (len(payload) // 4 + 1)
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream[: len(payload)], "big")).to_bytes(
                len(payload), "big"
            )
        wire = head + payload
        return wire[: len(wire) - self.withhold]


@dataclass(frozen=True)
class Case:
    name: str
    frames: list[Frame]
    # What comes back before the end: (opcode, payload) of whole messages and control frames.
    echoed: list[tuple[int, bytes]] = field(default_factory=list)
    close: int | None = 1000
    chop: int = 0
    # The case itself starts no closing handshake: the program must end the connection by itself.
    fails: bool = False


@dataclass
class Outcome:
    received: list[tuple[int, bytes]] = field(default_factory=list)
    close: int | None = None
    closed: bool = False
    ended: bool = False
    masked_right: bool = True


async def play(case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, masked: bool) -> Outcome:
    """Plays one case over an upgraded connection and returns what the other side did."""
    outcome = Outcome()
    receiving = asyncio.ensure_future(receive(reader, outcome, masked=not masked))
    wire = b"".join(frame.encode(masked=masked) for frame in case.frames)
    if not case.fails and (not case.frames or case.frames[-1].opcode != CLOSE):
        wire += Frame(CLOSE, struct.pack("!H", 1000)).encode(masked=masked)
    try:
        if case.chop:
            for start in range(0, len(wire), case.chop):
                writer.write(wire[start : start + case.chop])
                await writer.drain()
        else:
            writer.write(wire)
            await writer.drain()
    except ConnectionError:
        pass
    try:
        await asyncio.wait_for(receiving, WAIT_S)
        outcome.ended = True
    except TimeoutError:
        pass
    except (asyncio.IncompleteReadError, ConnectionError):
        outcome.ended = True
    writer.close()
    return outcome


async def receive(reader: asyncio.StreamReader, outcome: Outcome, *, masked: bool) -> None:
    message: list[bytes] = []
    opening = 0
    while True:
        first, second = await reader.readexactly(2)
        length = second & 127
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        if bool(second & 128) != masked:
            outcome.masked_right = False
        key = await reader.readexactly(4) if second & 128 else b""
        payload = await reader.readexactly(length)
        if key:
            stream = key * (length // 4 + 1)
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream[:length], "big")).to_bytes(length, "big")
        opcode = first & 15
        if opcode == CLOSE:
            outcome.closed = True
            outcome.close = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None
        elif opcode in (PING, PONG):
            outcome.received.append((opcode, payload))
        else:
            opening = opcode or opening
            message.append(payload)
            if first & 128:
                outcome.received.append((opening, b"".join(message)))
                message = []


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    return lines[0], {name.lower(): value for name, value in headers.items()}


def accept_value(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def close(code: int, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, struct.pack("!H", code) + reason)


def _cases() -> list[Case]:
    cases: list[Case] = []
    for opcode, kind in ((TEXT, "text"), (BINARY, "binary")):
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536):
            body = (b"*" if opcode == TEXT else b"\xfe") * size
            cases.append(Case(f"{kind}-{size}", [Frame(opcode, body)], [(opcode, body)]))
        body = (b"*" if opcode == TEXT else b"\xfe") * 65536
        cases.append(Case(f"{kind}-65536-chopped", [Frame(opcode, body)], [(opcode, body)], chop=997))
        large = (b"x" if opcode == TEXT else b"\x80") * MAX_MESSAGE
        cases.append(Case(f"{kind}-at-the-limit", [Frame(opcode, large)], [(opcode, large)]))
        pieces = [large[start : start + 1024 * 1024] for start in range(0, MAX_MESSAGE, 1024 * 1024)]
        fragments = [Frame(opcode if i == 0 else 0, piece, fin=i == 15) for i, piece in enumerate(pieces)]
        cases.append(Case(f"{kind}-at-the-limit-fragmented", fragments, [(opcode, large)]))
        cases.append(Case(f"{kind}-over-the-limit", [Frame(opcode, declared=MAX_MESSAGE + 1)], close=1009, fails=True))
        cases.append(
            Case(
                f"{kind}-over-the-limit-by-fragments",
                [Frame(opcode, b"abc", fin=False), Frame(0, declared=2**63 - 1)],
                close=1009,
                fails=True,
            )
        )
    for size in (0, 5, 125):
        body = bytes(range(size))
        cases.append(Case(f"ping-{size}", [Frame(PING, body)], [(PONG, body)]))
    cases.append(Case("ping-chopped", [Frame(PING, b"p" * 125)], [(PONG, b"p" * 125)], chop=1))
    cases.append(
        Case("ten-pings", [Frame(PING, bytes([i])) for i in range(10)], [(PONG, bytes([i])) for i in range(10)])
    )
    cases.append(Case("unsolicited-pong", [Frame(PONG, b"x"), Frame(TEXT, b"y")], [(TEXT, b"y")]))
    for opcode in (PING, PONG):
        cases.append(Case(f"control-{opcode}-126", [Frame(opcode, b"x" * 126)], close=1002, fails=True))
        cases.append(
            Case(
                f"control-{opcode}-fragmented", [Frame(opcode, b"x", fin=False), Frame(0, b"y")], close=1002, fails=True
            )
        )
    for reserved in range(1, 8):
        cases.append(
            Case(
                f"reserved-bits-{reserved}",
                [Frame(TEXT, b"first"), Frame(TEXT, b"second", reserved=reserved), Frame(PING)],
                [(TEXT, b"first")],
                close=1002,
                fails=True,
            )
        )
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        cases.append(
            Case(f"opcode-{opcode}", [Frame(TEXT, b"first"), Frame(opcode, b"x")], [(TEXT, b"first")], 1002, fails=True)
        )
    cases += [
        Case("two-fragments", [Frame(TEXT, b"ab", fin=False), Frame(0, b"cd")], [(TEXT, b"abcd")]),
        Case("empty-fragments", [Frame(TEXT, fin=False), Frame(0, fin=False), Frame(0)], [(TEXT, b"")]),
        Case(
            "ping-between-fragments",
            [Frame(TEXT, b"ab", fin=False), Frame(PING, b"p"), Frame(0, b"cd")],
            [(PONG, b"p"), (TEXT, b"abcd")],
        ),
        Case(
            "pings-between-chopped-fragments",
            [
                Frame(TEXT, b"a" * 300, fin=False),
                Frame(PING, b"1"),
                Frame(0, b"b" * 300, fin=False),
                Frame(PING, b"2"),
                Frame(0, b"c"),
            ],
            [(PONG, b"1"), (PONG, b"2"), (TEXT, b"a" * 300 + b"b" * 300 + b"c")],
            chop=1,
        ),
        Case("continuation-first", [Frame(0, b"x")], close=1002, fails=True),
        Case("continuation-first-unfinished", [Frame(0, b"x", fin=False), Frame(TEXT, b"y")], close=1002, fails=True),
        Case("text-inside-a-message", [Frame(TEXT, b"x", fin=False), Frame(TEXT, b"y")], close=1002, fails=True),
        Case(
            "continuation-after-the-end",
            [Frame(TEXT, b"a", fin=False), Frame(0, b"b"), Frame(0, b"c")],
            [(TEXT, b"ab")],
            1002,
            fails=True,
        ),
        Case("wrong-mask", [Frame(TEXT, b"x", wrong_mask=True)], close=1002, fails=True),
        Case("length-126-not-minimal", [Frame(TEXT, b"x", length_bytes=2)], close=1002, fails=True),
        Case("length-127-not-minimal", [Frame(TEXT, b"x" * 200, length_bytes=8)], close=1002, fails=True),
        Case("length-high-bit", [Frame(BINARY, declared=2**63, length_bytes=8)], close=1002, fails=True),
        Case(
            "empty-fragments-without-end",
            [Frame(TEXT, fin=False), *[Frame(0, fin=False)] * 5000],
            close=1008,
            fails=True,
        ),
    ]
    text = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 𐀀 \U0010ffff \ufffe \x00".encode()
    cases.append(Case("utf8", [Frame(TEXT, text)], [(TEXT, text)]))
    cases.append(Case("utf8-bytewise", [Frame(TEXT, text)], [(TEXT, text)], chop=1))
    bytewise = [Frame(TEXT if i == 0 else 0, text[i : i + 1], fin=i == len(text) - 1) for i in range(len(text))]
    cases.append(Case("utf8-a-byte-a-fragment", bytewise, [(TEXT, text)]))
    bad = {
        "lone-continuation": b"\x80",
        "overlong-2": b"\xc0\xaf",
        "overlong-3": b"\xe0\x80\xaf",
        "overlong-4": b"\xf0\x80\x80\xaf",
        "overlong-max": b"\xc1\xbf",
        "surrogate": b"\xed\xa0\x80",
        "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
        "above-maximum": b"\xf4\x90\x80\x80",
        "five-bytes": b"\xf8\x88\x80\x80\x80",
        "fe": b"\xfe",
        "latin-1": "\xe4\xf6".encode("latin-1"),
    }
    for name, sequence in bad.items():
        cases.append(Case(f"not-utf8-{name}", [Frame(TEXT, b"abc" + sequence + b"def")], close=1007, fails=True))
        cases.append(
            Case(f"not-utf8-{name}-chopped", [Frame(TEXT, b"abc" + sequence + b"def")], close=1007, fails=True, chop=1)
        )
        # The first bad byte fails the connection, although the rest of the frame or message never comes.
        frame = Frame(TEXT, b"abc" + sequence + b"def" * 100, withhold=250)
        cases.append(Case(f"not-utf8-{name}-in-mid-frame", [frame], close=1007, fails=True))
        frames = [Frame(TEXT, b"abc" + sequence, fin=False)]
        if name != "lone-continuation":
            frames.append(Frame(0, b"d", fin=False))
        cases.append(Case(f"not-utf8-{name}-in-mid-message", frames, close=1007, fails=True))
    for cut in (b"\xce", b"\xe2\x82", b"\xf0\x9f\x98"):
        cases.append(Case(f"utf8-cut-{cut.hex()}", [Frame(TEXT, b"x" + cut)], close=1007, fails=True))
        cases.append(
            Case(
                f"utf8-cut-{cut.hex()}-in-fragments",
                [Frame(TEXT, b"x" + cut[:1], fin=False), Frame(0, cut[1:])],
                close=1007,
                fails=True,
            )
        )
    cases += [
        Case("close-empty", [Frame(CLOSE)], close=None),
        Case("close-one-byte", [Frame(CLOSE, b"\x03")], close=1002, fails=True),
        Case("close-reason", [close(1000, "schön".encode())]),
        Case("close-reason-123", [close(1000, b"*" * 123)]),
        Case("close-reason-124", [close(1000, b"*" * 124)], close=1002, fails=True),
        Case(
            "close-reason-not-utf8", [close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")], close=1007, fails=True
        ),
        Case("close-fragmented", [Frame(CLOSE, struct.pack("!H", 1000), fin=False)], close=1002, fails=True),
        Case("ping-after-close", [close(1000), Frame(PING, b"late")], fails=True),
        Case("text-after-close", [close(1000), Frame(TEXT, b"late")], fails=True),
        Case("close-twice", [close(1000), close(1001)], fails=True),
        Case("violation-after-close", [close(1000), Frame(3, b"x", reserved=7)], fails=True),
        Case("close-inside-a-message", [Frame(TEXT, b"x", fin=False), close(1000)], fails=True),
    ]
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        cases.append(Case(f"close-code-{code}", [close(code)], close=code))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        cases.append(Case(f"close-code-{code}", [close(code)], close=1002, fails=True))
    return cases


CASES = _cases()
