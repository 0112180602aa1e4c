# SPDX-License-Identifier: GPL-3.0-or-later
"""One request: a text in one voice and manner, spoken into frames."""

from __future__ import annotations

import json
import sys
from array import array
from typing import TYPE_CHECKING, Any

from voxwire_espeak.expression import EXPRESSIONS, NEUTRAL
from voxwire_espeak.library import PHONEME
from voxwire_espeak.pace import find_rate, sample_of
from voxwire_espeak.spans import SpanBuilder, is_silence, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voxwire_espeak.library import Chunk, Event, Library
    from voxwire_espeak.output import FrameWriter
    from voxwire_espeak.spans import SampleSpan

__all__ = ["Utterance", "encode_json"]

#: Bytes of audio that are gathered before they are written: the first at once, then ever more, since each write costs
#: two switches of process. The last one goes on.
FLUSH_BYTES = (0, 4096, 20480, 65536)
CLAUSE_ENDS = (",", ";", ":")
#: Silence after a sentence at normal speed.
SENTENCE_PAUSE_S = 0.3
#: What is quieter is no sound any more: -50 dBFS where it is heard, since the host halves the samples.
AUDIBLE = 207


class Utterance:
    """Speaks one request.

    Every sample is kept to the end: the host bounds the text, and a minute takes less than 3 MB.
    """

    def __init__(self, library: Library, output: FrameWriter, request_id: int, request: dict[str, Any]) -> None:
        """Reads a request.

        Args:
            library: Speaks.
            output: Takes the frames.
            request_id: Number of the request.
            request: Its fields, as ``voxwire.engines.frames`` lists them; ``volume`` is left to the host.

        Raises:
            KeyError, TypeError, ValueError: It is not of that form.
        """
        self._library = library
        self._output = output
        self._id = request_id
        self._text = str(request["text"])
        self._ends_sentence = bool(request.get("ends_sentence", True))
        self._voice = str(request["voice"])
        self._speed = float(request.get("speed", 1.0))
        self._expression = EXPRESSIONS.get(str(request.get("emotion")), NEUTRAL)
        self._end_pause = bool(request.get("end_pause", False))
        self._spans = SpanBuilder(
            tokenize(self._text, per_char=bool(request.get("per_char", False))), self._find_last_audible
        )
        self._pcm = bytearray()
        self._sent_samples = 0
        self._silence_start: int | None = None
        self._flushes = 0
        self._gathered_bytes = 0

    def speak(self) -> None:
        """Speaks it; all frames except the last one are written."""
        text = self._text
        if not self._ends_sentence and not text.rstrip().endswith(CLAUSE_ENDS):
            # The pitch stays up as before any clause to come. The comma lies behind the last of the caller's tokens.
            text = f"{text.rstrip()},"
        sample = sample_of(text)
        rate = find_rate(lambda rate: self._library.measure(sample, voice=self._voice, rate=rate), self._speed)
        self._library.speak(
            text,
            voice=self._voice,
            rate=round(rate * self._expression.rate),
            pitch=self._expression.pitch,
            pitch_range=self._expression.pitch_range,
            end_pause=self._end_pause,
            handle=self._handle,
        )

    def _handle(self, chunk: Chunk) -> None:
        self._pcm += chunk.pcm or b""
        self._follow_silence(chunk.events)
        self._spans.handle(chunk.events)
        limit = len(self._pcm) // 2
        if self._end_pause and self._silence_start is not None:
            # The library's pause shrinks and grows far more than the speech does: its end is ours.
            pause_s = SENTENCE_PAUSE_S / (self._speed * self._expression.rate)
            pause_end = self._silence_start + round(pause_s * self._library.sample_rate)
            if chunk.pcm is None:
                self._pcm += bytes(2 * max(0, pause_end - limit))
                limit = pause_end
            limit = min(limit, pause_end)
        if chunk.pcm is None:
            self._spans.finish(limit)
        self._send(max(limit, self._sent_samples))

    def _follow_silence(self, events: Iterable[Event]) -> None:
        for kind, _, sample, name in events:
            if kind == PHONEME and not is_silence(name):
                self._silence_start = None
            elif kind == PHONEME and self._silence_start is None:
                self._silence_start = sample

    def _send(self, limit: int) -> None:
        """Sends the times that are known, and the samples before ``limit``."""
        words, phonemes = self._spans.take()
        if words or phonemes:
            times = {"w": self._times(words), "p": self._times(phonemes)}
            self._output.gather(b"E", self._id, encode_json(times))
        pcm = bytes(self._pcm[2 * self._sent_samples : 2 * limit])
        self._sent_samples = limit
        if pcm:
            self._output.gather(b"A", self._id, _little_endian(pcm))
            self._gathered_bytes += len(pcm)
        if self._gathered_bytes > FLUSH_BYTES[min(self._flushes, len(FLUSH_BYTES) - 1)]:
            self._output.flush()
            self._flushes += 1
            self._gathered_bytes = 0

    def _find_last_audible(self, start: int, end: int) -> int | None:
        """Returns the sample after the last one that is heard, None where none is."""
        samples = array("h", bytes(self._pcm[2 * start : 2 * end]))
        for index in range(len(samples) - 1, -1, -1):
            if abs(samples[index]) > AUDIBLE:
                return start + index + 1
        return None

    def _times(self, spans: list[SampleSpan]) -> list[tuple[str, float, float]]:
        rate = self._library.sample_rate
        return [(text, round(start / rate, 6), round(end / rate, 6)) for text, start, end in spans]


def _little_endian(pcm: bytes) -> bytes:
    if sys.byteorder == "little":
        return pcm
    samples = array("h", pcm)
    samples.byteswap()
    return samples.tobytes()


def encode_json(value: Any) -> bytes:
    """Returns the body of a frame."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
