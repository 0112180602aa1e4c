"""A load of talkers for a server: many contexts over few sockets, every sample compared with the engine's own.

One thread, one selector, no event loop: what the load costs lies on another core than the server's. A word of one
letter at a speed of 0.8 is 75 ms of tone and 25 ms of pause, so that the tone engine gives chunks of 100 ms, 4800 B.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import selectors
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from voxwire.audio import AudioFormat
from voxwire.engines.contract import Segment, Settings
from voxwire.engines.tone import ToneEngine
from voxwire.protocol import Audio, ClientHandshake, Closed, Connection, Failed, Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHUNK_S = 0.1
BYTES_PER_S = 48_000
VOICE = "tone-1"
SPEED = 0.8
#: Different texts, which rotate.
TEXTS = 16
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_READ_BYTES = 256 * 1024
_TARGET = "/tts/websocket?cartesia_version=2026-03-01&api_key=bench"
_SETTINGS = orjson.dumps(
    {
        "model_id": "sonic-3",
        "voice": {"mode": "id", "id": VOICE},
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000},
        "generation_config": {"speed": SPEED},
    }
)


class WrongAudio(Exception):
    """What came is not what the engine made: then no time counts."""


def text_of(number: int, words: int) -> str:
    """Returns a text of words of one letter: 100 ms of audio each, but for the pause after the last."""
    return " ".join(_LETTERS[(number * 7 + index * 5) % len(_LETTERS)] for index in range(words))


def sources(words: int) -> list[tuple[str, bytes]]:
    """Returns the texts that rotate, each with its audio as the engine itself makes it."""

    async def speak(text: str) -> bytes:
        engine = ToneEngine()
        await engine.start({})
        session = await engine.open(Settings(voice=VOICE))
        segment = Segment(text=text, ends_sentence=True, last=True, speed=SPEED)
        pcm = [piece.pcm async for piece in session.speak(segment)]
        await engine.stop()
        return b"".join(pcm)

    texts = [text_of(number, words) for number in range(TEXTS)]
    return [(text, asyncio.run(speak(text))) for text in texts]


@dataclass(slots=True)
class Talker:
    """One context as its listener sees it; times in seconds of ``time.perf_counter``."""

    id: str
    text: str
    source: bytes
    asked_at: float = 0.0
    heard_at: float = 0.0
    last_at: float = 0.0
    longest_gap_s: float = 0.0
    latest_s: float = 0.0
    taken_bytes: int = 0
    chunks: int = 0

    def take(self, data: bytes, now: float) -> None:
        """Takes a chunk, and compares it with what the engine made."""
        end = self.taken_bytes + len(data)
        if data != self.source[self.taken_bytes : end]:
            raise WrongAudio(f"the audio of context {self.id} differs from its source behind byte {self.taken_bytes}")
        if self.chunks:
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_at)
        else:
            self.heard_at = now
        # How far behind the clock of a player that began with the first chunk.
        self.latest_s = max(self.latest_s, now - self.heard_at - self.taken_bytes / BYTES_PER_S)
        self.last_at = now
        self.taken_bytes = end
        self.chunks += 1

    def finish(self) -> None:
        """Takes the end."""
        if self.taken_bytes != len(self.source):
            raise WrongAudio(
                f"context {self.id} ended after {self.taken_bytes} bytes of audio, expected {len(self.source)}"
            )


@dataclass(slots=True)
class _Line:
    sock: socket.socket
    connection: Connection


class Load:
    """Sockets to one server, and what talks over them."""

    def __init__(self, port: int, sockets: int, *, timeout_s: float) -> None:
        """Connects.

        Args:
            port: Of the server, on loopback.
            sockets: How many.
            timeout_s: For every wait: the time without any byte after which the server counts as dead.
        """
        self._timeout_s = timeout_s
        self._selector = selectors.DefaultSelector()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._ids = itertools.count()
        self.live = 0
        self.lines = [self._connect(port) for _ in range(sockets)]

    def _connect(self, port: int) -> _Line:
        sock = socket.create_connection(("127.0.0.1", port), timeout=self._timeout_s)
        handshake = ClientHandshake(host=f"127.0.0.1:{port}", target=_TARGET, key=os.urandom(16))
        sock.sendall(handshake.poll_transmit())
        while not handshake.handle_data(sock.recv(65_536) or b"\0"):
            pass
        if not handshake.accepted:
            raise OSError(f"the server refused the upgrade with status {handshake.status}")
        connection = Connection("client", inactivity_timeout_s=None, ping_interval_s=None)
        line = _Line(sock, connection)
        self._selector.register(sock, selectors.EVENT_READ, line)
        return line

    def ask(self, source: tuple[str, bytes], line: int) -> Talker:
        """Opens a context over one of the sockets; :meth:`send` lets the request go."""
        context_id = f"{next(self._ids):08x}-7425-40de-944b-e07fc1f90ae7"
        talker = Talker(context_id, *source)
        chosen = self.lines[line % len(self.lines)]
        chosen.connection.open_context(context_id, talker, AudioFormat())
        chosen.connection.send_input(context_id, talker.text, continues=False, settings=_SETTINGS)
        talker.asked_at = time.perf_counter()
        self.live += 1
        return talker

    def send(self) -> None:
        """Sends what was asked for."""
        for line in self.lines:
            if line.connection.transmit_size:
                line.sock.sendall(line.connection.poll_transmit())

    def receive(self, handle_end: Callable[[Talker, int], None] | None = None) -> None:
        """Takes what comes until no context is live.

        Args:
            handle_end: Told of each context that ended, with the number of its socket; it may ask for another.
        """
        while self.live:
            ready = self._selector.select(self._timeout_s)
            if not ready:
                raise TimeoutError(f"nothing came for {self._timeout_s:g} s while {self.live} contexts are live")
            for key, _ in ready:
                self._read(key.data, handle_end)

    def receive_for(self, duration_s: float) -> None:
        """Takes what comes for so long."""
        end = time.perf_counter() + duration_s
        while (left_s := end - time.perf_counter()) > 0:
            for key, _ in self._selector.select(left_s):
                self._read(key.data, None)

    def _read(self, line: _Line, handle_end: Callable[[Talker, int], None] | None) -> None:
        size = line.sock.recv_into(self._buffer)
        if not size:
            raise OSError("the server closed a connection")
        line.connection.handle_data(self._buffer[:size])
        now = time.perf_counter()
        for event in line.connection.poll_events():
            if isinstance(event, Audio):
                event.context.take(event.data, now)
            elif isinstance(event, Finished):
                event.context.finish()
                self.live -= 1
                if handle_end is not None:
                    handle_end(event.context, self.lines.index(line))
            elif isinstance(event, Failed | Closed):
                raise OSError(f"the server ended a context or a connection: {event}")
        if line.connection.transmit_size:
            line.sock.sendall(line.connection.poll_transmit())

    def close(self) -> None:
        """Drops the sockets."""
        self._selector.close()
        for line in self.lines:
            line.sock.close()


def audio_s(talkers: Sequence[Talker]) -> float:
    """Returns the seconds of audio that came."""
    return sum(talker.taken_bytes for talker in talkers) / BYTES_PER_S
