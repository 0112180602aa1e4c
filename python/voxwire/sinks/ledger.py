"""The counted, bounded queue between ``write`` and whoever sends: all rules of counting, in one place, with one lock.

The two adapters differ only in who takes steps from it: a thread or a coroutine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from voxwire.exceptions import SinkClosed, SinkLost
from voxwire.sinks.contract import Position, Quality, Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from voxwire.audio import AudioFormat

__all__ = ["Ledger", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What the sender has to do next: send ``data``, carry out a finish, note that nothing came, or stop."""

    kind: Literal["send", "drain", "idle", "stop"]
    data: bytes = b""


class Ledger:
    """Takes frames, hands them to one sender, and knows how many were sent.

    Args:
        name: The sink, for messages.
        audio_format: The opened format.
        buffer_frames: Frames held at most, the piece being sent included.
        piece_frames: Frames handed to the sender at once at most.
        can_clear: A clear drops what was not yet taken by the sender.
        quality: What sent frames count as.
        wake: The host's wake.
        ready: Called, without the lock, when there may be a step to take.
        held: How many of the frames sent last have not been heard yet; called with the lock, from any thread.
    """

    def __init__(
        self,
        name: str,
        audio_format: AudioFormat,
        *,
        buffer_frames: int,
        piece_frames: int,
        can_clear: bool,
        quality: Quality,
        wake: Wake,
        ready: Callable[[], None] | None = None,
        held: Callable[[], int] | None = None,
    ) -> None:
        self._name = name
        self._frame_bytes = audio_format.frame_bytes
        self._buffer_frames = max(1, buffer_frames)
        self._piece_frames = max(1, piece_frames)
        self._can_clear = can_clear
        self._quality = quality
        self._wake = wake
        self._ready = ready
        self._held = held
        self._changed = threading.Condition()
        #: What waits for the sender; None marks the place of a finish.
        self._queue: deque[bytes | None] = deque()
        self._queued = 0
        self._in_flight = 0
        #: Frames at the head of the queue (or in flight) that belong to earlier segments.
        self._stale = 0
        self._segment = 0
        self._written = 0
        self._sent = 0
        self._played = 0
        self._discarded = 0
        self._short = False
        #: The sender carries out a finish that no clear has ended.
        self._finishing = False
        self._closed = False
        self._aborted = False
        self._error: SinkLost | None = None

    # --- the host's side ---

    def offer(self, data: Buffer) -> int:
        """Takes as many whole frames as fit; see ``Sink.write``."""
        view = memoryview(data)
        if not view.c_contiguous:
            raise ValueError("buffer is not contiguous")
        frames, rest = divmod(view.nbytes, self._frame_bytes)
        if rest:
            raise ValueError(f"buffer of {view.nbytes} bytes ends inside a frame of {self._frame_bytes} bytes")
        with self._changed:
            self._check()
            taken = min(frames, self._buffer_frames - self._queued - self._in_flight)
            if taken < frames:
                self._short = True
            if not taken:
                return 0
            whole = type(data) is bytes and taken == frames
            # Only bytes can be kept without a copy: nobody can change them.
            piece = data if whole else bytes(view.cast("B")[: taken * self._frame_bytes])
            self._queue.append(piece)  # type: ignore[arg-type]
            self._queued += taken
            self._written += taken
            self._changed.notify()
        self._announce()
        return taken

    def finish(self) -> None:
        """See ``Sink.finish``."""
        with self._changed:
            self._check()
            if not self._queue or self._queue[-1] is not None:
                self._queue.append(None)
            self._changed.notify()
        self._announce()

    def clear(self) -> Position:
        """See ``Sink.clear``."""
        with self._changed:
            if not self._written:
                return self._read()
            self._hear()
            if self._error is not None:
                self._discarded = self._written - self._played
            elif self._can_clear:
                self._discard()
                self._stale = self._in_flight
                self._short = False
            else:
                # It will all be sent: nothing can be taken back. Only the finishes behind it are over.
                self._queue = deque(piece for piece in self._queue if piece is not None)
                self._stale = self._queued + self._in_flight
            self._played = self._written - self._discarded
            final = self._read()
            self._segment += 1
            self._written = self._sent = self._played = self._discarded = 0
            self._finishing = False
            return final

    def position(self) -> Position:
        """See ``Sink.position``."""
        with self._changed:
            self._hear()
            return self._read()

    def close(self) -> bool:
        """Takes no more from the host; False if it was closed already. The last step will be ``stop``."""
        with self._changed:
            if self._closed:
                return False
            self._closed = True
            if self._can_clear:
                self._discard()
            self._changed.notify_all()
        self._announce()
        return True

    def _discard(self) -> None:
        """Drops what the sender has not taken; all of it belongs to this segment, as nothing survives a clear."""
        self._queue.clear()
        self._discarded += self._queued
        self._queued = 0

    def _hear(self) -> None:
        """Counts as played what was sent and is held no more."""
        held = 0 if self._held is None else self._held()
        # What is held are the frames sent last, some of an earlier segment perhaps; a reading may come a moment late.
        self._played = max(self._played, self._sent - held)

    def _announce(self) -> None:
        if self._ready is not None:
            self._ready()

    def _check(self) -> None:
        if self._error is not None:
            raise SinkLost(self._error.message, errno=self._error.errno) from self._error
        if self._closed:
            raise SinkClosed(f"{self._name} is closed")

    def _read(self) -> Position:
        return Position(
            segment=self._segment,
            written=self._written,
            played=self._played,
            discarded=self._discarded,
            xruns=0,
            at_ns=time.monotonic_ns(),
            bound=0,
            quality=self._quality,
        )

    # --- the sender's side ---

    @property
    def error(self) -> SinkLost | None:
        """Why the sender failed, if it did."""
        return self._error

    @property
    def segment(self) -> int:
        """Number of the present segment."""
        return self._segment

    @property
    def queued(self) -> int:
        """Frames that wait for the sender."""
        return self._queued

    @property
    def aborted(self) -> bool:
        """The sender failed in the middle of a piece after ``close``: what a close at once is about."""
        return self._aborted

    def wait_step(self, timeout_s: float | None = None) -> Step:
        """Blocks until there is a step, which after that time is ``idle``; ``close`` ends the wait."""
        with self._changed:
            while (step := self._step()) is None:
                if not self._changed.wait(timeout_s):
                    return Step("idle")
            return step

    def next_step(self) -> Step | None:
        """The step to take now, if there is one."""
        with self._changed:
            return self._step()

    def sent(self) -> None:
        """The data of the last step has been sent."""
        with self._changed:
            stale = min(self._in_flight, self._stale)
            self._stale -= stale
            self._sent += self._in_flight - stale
            self._in_flight = 0
            free = self._buffer_frames - self._queued
            owed = self._short and 2 * free >= self._buffer_frames
            if owed:
                self._short = False
        if owed:
            self._wake()

    def drained(self) -> None:
        """The finish of the last step has been carried out."""
        with self._changed:
            # False where a clear has ended the finish meanwhile.
            owed, self._finishing = self._finishing, False
        if owed:
            self._wake()

    def lose(self, error: SinkLost) -> None:
        """The sender failed: nothing more will be sent."""
        with self._changed:
            if self._error is not None:
                return
            self._error = error
            self._aborted = self._closed and self._in_flight > 0
            self._queue.clear()
            self._queued = self._in_flight = self._stale = 0
            self._changed.notify_all()
        self._wake()

    def _step(self) -> Step | None:
        if self._error is not None:
            return Step("stop")
        if not self._queue:
            return Step("stop") if self._closed else None
        if self._queue[0] is None:
            self._queue.popleft()
            self._finishing = True
            return Step("drain")
        return Step("send", self._take())

    def _take(self) -> bytes:
        """Joins small pieces and cuts a large one, up to the size of a piece."""
        limit = self._piece_frames * self._frame_bytes
        pieces: list[bytes] = []
        size = 0
        while self._queue and (piece := self._queue[0]) is not None and (not pieces or size + len(piece) <= limit):
            pieces.append(piece)
            size += len(piece)
            self._queue.popleft()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if size > limit:
            self._queue.appendleft(data[limit:])
            data = data[:limit]
        self._in_flight = len(data) // self._frame_bytes
        self._queued -= self._in_flight
        return data
