"""What a worker program and its host say to each other.

The host writes one JSON object a line to the program's standard input: ``id``, ``text``, ``ends_sentence``, ``voice``,
``speed``, ``volume``, ``emotion`` (null or one of the primary emotions), ``end_pause``, ``per_char``; a program skips
keys that it does not know. The program writes frames to its standard output, each a little-endian head (kind: 1 byte,
id: u32, length of the body: u32) and a body:

    R   ready: {"rate": 22050}, once, before anything else
    E   times: {"w": [[word, start_s, end_s], ...], "p": [[ipa, start_s, end_s], ...]}
    A   audio: mono PCM
    D   done: the last frame of a request that went well
    X   failed: the last frame of one that did not; the body is a text for people, without any of the transcript.
        With id 0 before R: the program cannot work here

It speaks one request at a time and ends at the end of its input.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import orjson

from voxwire.engines.contract import Piece, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FrameReader", "Joined", "encode_request", "parse_rate", "parse_reason"]

HEAD = struct.Struct("<cII")
#: A longer body than this is not a frame but garbage.
MAX_BODY_BYTES = 16 * 1024 * 1024
KINDS = frozenset((b"R", b"E", b"A", b"D", b"X"))


class FrameReader:
    """Cuts a program's output into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def read(self, data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Yields kind, id and body of each frame that is whole now.

        Raises:
            ValueError: This is not the output of a worker program.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= HEAD.size:
            kind, request_id, size_bytes = HEAD.unpack_from(buffer, position)
            if kind not in KINDS or size_bytes > MAX_BODY_BYTES:
                raise ValueError("not a frame")
            start, end = position + HEAD.size, position + HEAD.size + size_bytes
            if len(buffer) < end:
                break
            yield kind, request_id, bytes(memoryview(buffer)[start:end])
            position = end
        del buffer[:position]


class Joined:
    """Joins the frames of one read into one piece."""

    def __init__(self) -> None:
        self._audio: list[bytes] = []
        self._words: list[Span] = []
        self._phonemes: list[Span] = []

    def add_audio(self, body: bytes) -> None:
        """Adds the body of an ``A``."""
        self._audio.append(body)

    def add_times(self, body: bytes) -> None:
        """Adds the body of an ``E``.

        Raises:
            ValueError, TypeError, KeyError: It is not of that form.
        """
        times = orjson.loads(body)
        self._words.extend(_spans(times["w"]))
        self._phonemes.extend(_spans(times["p"]))

    def take(self) -> Piece | None:
        """Returns what was added since the last call, None for nothing."""
        if not (self._audio or self._words or self._phonemes):
            return None
        piece = Piece(b"".join(self._audio), tuple(self._words), tuple(self._phonemes))
        self._audio.clear()
        self._words.clear()
        self._phonemes.clear()
        return piece


def encode_request(request_id: int, fields: Mapping[str, Any]) -> bytes:
    """Returns the line of a request."""
    return orjson.dumps({"id": request_id, **fields}, option=orjson.OPT_APPEND_NEWLINE)


def parse_rate(body: bytes) -> int:
    """Returns the sample rate that an ``R`` tells."""
    return int(orjson.loads(body)["rate"])


def parse_reason(body: bytes) -> str:
    """Returns the text of an ``X`` as one short line."""
    return " ".join(body[:500].decode(errors="replace").split()) or "worker program gave no reason"


def _spans(items: Any) -> list[Span]:
    return [(str(text), float(start_s), float(end_s)) for text, start_s, end_s in items]
