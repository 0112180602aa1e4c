# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker program: reads requests, speaks them with eSpeak NG, writes frames.

    voxwire-espeak-worker [VOICE ...]

Requests are lines of JSON on standard input, frames go to standard output; both are described in
``voxwire.engines.frames``. It speaks a word with each voice named on the command line before it says that it is ready,
so that dictionaries are loaded. It ends at the end of its input and together with the process that started it.

It imports nothing of voxwire, so that it is small, starts fast, and can be run by hand.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from voxwire_espeak.library import Library, LibraryError
from voxwire_espeak.spans import SpanBuilder, tokenize

if TYPE_CHECKING:
    from voxwire_espeak.library import Chunk
    from voxwire_espeak.spans import SampleSpan

__all__ = ["main"]

HEAD = struct.Struct("<cII")
#: Bytes of audio that are gathered before they are written: the first at once, then ever more, since each write costs
#: two switches of process. The last one goes on.
FLUSH_BYTES = (0, 4096, 20480, 65536)
PR_SET_PDEATHSIG = 1
MEMORY_BYTES = 512 * 1024 * 1024
OPEN_FILES = 64
CLAUSE_ENDS = (",", ";", ":")


def main() -> None:
    """Runs the worker until its input ends."""
    output = FrameWriter(_claim_standard_output())
    _confine()
    try:
        library = Library()
        for voice in sys.argv[1:]:
            # The name by which the host's command line tells what this process is.
            if voice != "voxwire-espeak-worker":
                library.speak("Ready.", voice=voice, speed=1.0, end_pause=False, handle=_ignore)
    except LibraryError as error:
        output.write(b"X", 0, str(error).encode())
        return
    output.write(b"R", 0, _json({"rate": library.sample_rate}))
    try:
        for line in sys.stdin.buffer:
            _answer(library, output, line)
    except BrokenPipeError:
        return


def _answer(library: Library, output: FrameWriter, line: bytes) -> None:
    request_id = 0
    try:
        request = json.loads(line)
        request_id = int(request["id"])
        Utterance(library, output, request_id, request).speak()
    except BrokenPipeError:
        raise
    except LibraryError as error:
        output.write(b"X", request_id, str(error).encode())
    except Exception as error:  # noqa: BLE001 - one request fails, the program lives on
        # The kind only: its text may quote the transcript.
        output.write(b"X", request_id, f"request failed with {type(error).__name__}".encode())
    else:
        output.write(b"D", request_id)


class Utterance:
    """One request."""

    def __init__(self, library: Library, output: FrameWriter, request_id: int, request: dict[str, Any]) -> None:
        self._library = library
        self._output = output
        self._id = request_id
        self._text = str(request["text"])
        self._ends_sentence = bool(request.get("ends_sentence", True))
        self._voice = str(request["voice"])
        self._speed = float(request.get("speed", 1.0))
        self._volume = float(request.get("volume", 1.0))
        self._end_pause = bool(request.get("end_pause", False))
        self._spans = SpanBuilder(tokenize(self._text, per_char=bool(request.get("per_char", False))))
        self._samples = 0
        self._flushes = 0
        self._gathered_bytes = 0

    def speak(self) -> None:
        """Speaks it; all frames except the last one are written."""
        text = self._text
        if not self._ends_sentence and not text.rstrip().endswith(CLAUSE_ENDS):
            # The pitch stays up as before any clause to come. The comma lies behind the last of the caller's tokens.
            text = f"{text.rstrip()},"
        self._library.speak(text, voice=self._voice, speed=self._speed, end_pause=self._end_pause, handle=self._handle)

    def _handle(self, chunk: Chunk) -> None:
        self._spans.handle(chunk.events)
        if chunk.pcm is None:
            self._spans.finish(self._samples)
        else:
            self._samples += len(chunk.pcm) // 2
        words, phonemes = self._spans.take()
        if words or phonemes:
            self._output.gather(b"E", self._id, _json({"w": self._times(words), "p": self._times(phonemes)}))
        if chunk.pcm:
            self._output.gather(b"A", self._id, _little_endian(amplify(chunk.pcm, self._volume)))
            self._gathered_bytes += len(chunk.pcm)
        if self._gathered_bytes > FLUSH_BYTES[min(self._flushes, len(FLUSH_BYTES) - 1)]:
            self._output.flush()
            self._flushes += 1
            self._gathered_bytes = 0

    def _times(self, spans: list[SampleSpan]) -> list[tuple[str, float, float]]:
        rate = self._library.sample_rate
        return [(text, round(start / rate, 6), round(end / rate, 6)) for text, start, end in spans]


class FrameWriter:
    """Writes frames to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._gathered = bytearray()

    def gather(self, kind: bytes, request_id: int, body: bytes = b"") -> None:
        """Keeps a frame for the next write."""
        self._gathered += HEAD.pack(kind, request_id, len(body))
        self._gathered += body

    def flush(self) -> None:
        """Writes all kept frames; waits while the pipe is full."""
        with memoryview(self._gathered) as rest:
            written = 0
            while written < len(rest):
                written += os.write(self._descriptor, rest[written:])
        self._gathered.clear()

    def write(self, kind: bytes, request_id: int, body: bytes = b"") -> None:
        """Writes a frame at once, after those that were kept."""
        self.gather(kind, request_id, body)
        self.flush()


def amplify(pcm: bytes, volume: float) -> bytes:
    """Returns s16 samples times ``volume``, rounded, held at full scale where they would leave it.

    Done here, since the library's own volume compresses near full scale: 2.0 becomes 1.91.
    """
    if volume == 1.0:
        return pcm
    gains = _gains(volume)
    return array("h", [gains[sample] for sample in array("h", pcm)]).tobytes()


# A list and not an array, since its numbers are there already when they are asked for; two megabytes each.
@lru_cache(maxsize=4)
def _gains(volume: float) -> list[int]:
    """What each sample becomes: 0 to 32767, then -32768 to -1, so that a negative sample indexes from the end."""
    rise = [min(round(sample * volume), 32768) for sample in range(32769)]
    return [*(min(sample, 32767) for sample in rise[:-1]), *(-sample for sample in reversed(rise[1:]))]


def _little_endian(pcm: bytes) -> bytes:
    if sys.byteorder == "little":
        return pcm
    samples = array("h", pcm)
    samples.byteswap()
    return samples.tobytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _ignore(chunk: Chunk) -> None:
    del chunk


def _claim_standard_output() -> int:
    """Returns a descriptor for frames alone; what C code prints goes to standard error from now on."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _confine() -> None:
    """Gives up what a worker does not need."""
    # Control-C at a terminal reaches the whole group: the host decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        for limit, value in (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            # A dump of a crash would hold the transcript.
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (value, value) if hard == resource.RLIM_INFINITY else (min(value, hard),) * 2)


if __name__ == "__main__":
    main()
