"""``null:`` takes everything at once, counts it, and lets nobody hear it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from voxwire.exceptions import SinkClosed, Unsupported
from voxwire.sinks.contract import (
    Address,
    Capabilities,
    FormatPattern,
    Opened,
    Option,
    Position,
    Probe,
    Wake,
    choose_format,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

    from voxwire.audio import AudioFormat

__all__ = ["NullSink"]

_BUFFER_FRAMES = 1 << 30


class NullSink:
    """Counts what it takes; all of it counts as written the moment it is taken."""

    api_version: ClassVar[int] = 1
    options: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, address: Address) -> None:
        if address.target:
            raise ValueError(f"sink 'null' takes no target, got {address.target!r}")
        self._format: AudioFormat | None = None
        self._wake: Wake | None = None
        self._segment = 0
        self._written = 0

    @classmethod
    def probe(cls) -> Probe:
        """It can always be used."""
        return Probe(usable=True)

    def capabilities(self) -> Capabilities:
        """Any format, as fast as it is written; nothing can be taken back."""
        return Capabilities(
            formats=(FormatPattern(channels=None),),
            clock="none",
            position="written",
            can_clear=False,
            can_pause=False,
            max_lead_ms=0,
        )

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Takes the first format."""
        self._format = choose_format(formats, (FormatPattern(channels=None),), "sink 'null'")
        self._wake = wake
        return Opened(self._format, quantum=1, buffer=_BUFFER_FRAMES, latency=0)

    def write(self, data: Buffer, /) -> int:
        """Takes all frames."""
        audio_format, _ = self._open()
        size = memoryview(data).nbytes
        frames, rest = divmod(size, audio_format.frame_bytes)
        if rest:
            raise ValueError(f"buffer of {size} bytes ends inside a frame of {audio_format.frame_bytes} bytes")
        self._written += frames
        return frames

    def finish(self) -> None:
        """Wakes at once: everything is played already."""
        _, wake = self._open()
        wake()

    def clear(self) -> Position:
        """Ends the segment."""
        final = self.position()
        if final.written:
            self._segment += 1
            self._written = 0
        return final

    def position(self) -> Position:
        """Everything written is played."""
        return Position(
            segment=self._segment,
            written=self._written,
            played=self._written,
            discarded=0,
            xruns=0,
            at_ns=time.monotonic_ns(),
            bound=0,
            quality="written",
        )

    def pause(self) -> None:
        """Unsupported."""
        raise Unsupported("sink 'null' cannot pause")

    def resume(self) -> None:
        """Unsupported."""
        raise Unsupported("sink 'null' cannot pause")

    def close(self) -> None:
        """Takes no more."""
        self._format = self._wake = None

    def _open(self) -> tuple[AudioFormat, Wake]:
        if self._format is None or self._wake is None:
            raise SinkClosed("sink 'null' is not open")
        return self._format, self._wake
