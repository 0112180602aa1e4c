"""The continuation buffer of a context: when text that came in pieces is ready to be spoken (protocol.md 7).

Pure: no clock, no loop. Whoever adds text asks :meth:`ContinuationBuffer.take` what is ready, and again at
:attr:`ContinuationBuffer.due`.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from voxwire.server.requests import is_speakable, last_speakable
from voxwire.server.speech import sentences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voxwire.server.speech.markup import Manner

__all__ = ["ContinuationBuffer", "Release"]

#: A pause of this length after the mark of a sentence's end settles it.
_PAUSE_S = 0.150
#: Shorter sentences join the next one while enough audio is ahead.
_SHORT_SENTENCE_CHARACTERS = 20
_AMPLY_AHEAD_S = 1.0
#: Text that suffices to begin a context with a clause.
_EARLY_START_CHARACTERS = 40
#: So many releases are cut at once, so that a megabyte of short sentences holds nobody up.
_RELEASES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Release:
    """Text that is to be spoken now.

    Attributes:
        runs: Stretches of text, each in the manner of the input that it came with; words are whole.
        ends_sentence: False where the sentence goes on.
        final: Nothing to speak comes after it in the text that was there.
    """

    runs: tuple[tuple[str, Manner], ...]
    ends_sentence: bool
    final: bool

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(text for text, _ in self.runs)


@dataclass(frozen=True, slots=True)
class _Input:
    start: int
    arrived: float
    delay_s: float
    manner: Manner


class ContinuationBuffer:
    """Text of one context that is not spoken yet."""

    def __init__(self, max_characters: int = 500) -> None:
        """Makes an empty buffer.

        Args:
            max_characters: Longest release, in code points.
        """
        self._max_characters = max_characters
        self._text = ""
        self._inputs: list[_Input] = []
        self._last_speakable = -1
        self._begun = False
        self._more = False
        self._size_bytes = 0

    @property
    def speakable(self) -> bool:
        """Whether it holds something to speak."""
        return self._last_speakable >= 0

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of the text in it."""
        return self._size_bytes

    @property
    def due(self) -> float | None:
        """When :meth:`take` may find more without further text, on the clock of ``now``."""
        if not self.speakable:
            return None
        if self._more:
            return self._inputs[0].arrived
        newest = self._inputs[-1]
        due = min(part.arrived + part.delay_s for part in self._inputs)
        if sentences.ends_sentence(self._text) and not sentences.may_go_on(self._text):
            due = min(due, newest.arrived + min(newest.delay_s, _PAUSE_S))
        return due

    def add(self, text: str, manner: Manner, *, delay_s: float, now: float, separate: bool = False) -> None:
        """Appends the text of an input.

        Args:
            text: Verbatim.
            manner: How it is to be spoken.
            delay_s: Longest wait in here, in seconds.
            now: Present time.
            separate: It begins a word of its own (custom mode).
        """
        if not text:
            return
        if separate and self._text and not self._text[-1].isspace():
            text = " " + text
        last = last_speakable(text)
        if last >= 0:
            self._last_speakable = len(self._text) + last
        # What cannot be spoken alone waits for what comes next, however long.
        self._inputs.append(_Input(len(self._text), now, delay_s if last >= 0 else math.inf, manner))
        self._text += text
        self._size_bytes += len(text.encode())

    def take(self, now: float, *, ahead_s: float) -> list[Release]:
        """Returns what is ready, by the rules of managed mode.

        Args:
            now: Present time.
            ahead_s: Seconds of audio that were made and cannot have been heard yet.
        """
        releases: list[Release] = []
        position = 0
        self._more = True
        while len(releases) < _RELEASES_AT_ONCE:
            cut = self._next_cut(position, now, ahead_s)
            if cut is None:
                self._more = False
                break
            end, ends_sentence, at_deadline = cut
            releases.append(self._release(position, end, ends_sentence=ends_sentence))
            position = end
            if at_deadline:
                self._inputs = [replace(part, arrived=now) for part in self._inputs]
        self._drop(position)
        return releases

    def take_all(self) -> Iterator[Release]:
        """Empties the buffer, and returns all that is left, as whole sentences.

        They are cut one by one, as they are asked for. Text that cannot be spoken alone is dropped.
        """
        rest = copy(self)
        self._begun = self._begun or self.speakable
        self._drop(len(self._text))
        return rest._cut_all()  # noqa: SLF001 - one of us

    def _cut_all(self) -> Iterator[Release]:
        position = 0
        while position <= self._last_speakable:
            end = self._sentence(position)
            ends_sentence = end is not None
            if end is None and len(self._text) - position > self._max_characters:
                end = self._forced(position)
            if end is None:
                end, ends_sentence = len(self._text), True
            yield self._release(position, end, ends_sentence=ends_sentence)
            position = end

    def _next_cut(self, start: int, now: float, ahead_s: float) -> tuple[int, bool, bool] | None:
        """Returns where the next release ends, whether a sentence ends there, and whether the deadline made it."""
        text = self._text
        if start > self._last_speakable:
            return None
        end = self._sentence(start, shortest=_SHORT_SENTENCE_CHARACTERS if ahead_s > _AMPLY_AHEAD_S else 0)
        if end is not None:
            return end, True, False
        if len(text) - start > self._max_characters:
            return self._forced(start), False, False
        rest = text[start:]
        newest = self._inputs[-1]
        whole = sentences.ends_sentence(rest)
        if whole and not sentences.may_go_on(rest) and now >= newest.arrived + min(newest.delay_s, _PAUSE_S):
            return len(text), True, False
        if not self._begun and len(rest) >= _EARLY_START_CHARACTERS:
            end = sentences.cut_clause(text, start, len(text))
            if end is not None and is_speakable(text[start:end]):
                return end, False, False
        if now >= min(part.arrived + part.delay_s for part in self._inputs_from(start)):
            if whole:
                return len(text), True, True
            end = sentences.cut_blank(text, start, len(text))
            if end is None or not is_speakable(text[start:end]):
                end = sentences.cut_anywhere(text, start, len(text))
            return end, False, True
        return None

    def _sentence(self, start: int, shortest: int = 0) -> int | None:
        """Returns the end of the first settled sentence that can be spoken and is not too short alone."""
        stop = start + self._max_characters
        end = sentences.cut_sentence(self._text, start, stop)
        while end is not None and end <= stop:
            sentence = self._text[start:end]
            if len(sentence.rstrip()) >= shortest and is_speakable(sentence):
                return end
            end = sentences.cut_sentence(self._text, end, stop)
        return None

    def _forced(self, start: int) -> int:
        """Returns where too long a sentence is cut."""
        stop = start + self._max_characters
        for cut in (sentences.cut_clause, sentences.cut_blank):
            end = cut(self._text, start, stop)
            if end is not None and is_speakable(self._text[start:end]):
                return end
        return sentences.cut_anywhere(self._text, start, stop)

    def _release(self, start: int, end: int, *, ends_sentence: bool) -> Release:
        self._begun = True
        runs: list[tuple[str, Manner]] = []
        parts = self._inputs_from(start)
        position = start
        for index, part in enumerate(parts):
            # A word, or a tag, that came in two inputs is spoken in the manner of the first.
            stop = end
            if index + 1 < len(parts) and parts[index + 1].start < end:
                stop = min(end, sentences.next_blank(self._text, parts[index + 1].start))
            if stop <= position:
                continue
            text = self._text[position:stop]
            if runs and runs[-1][1] == part.manner:
                text = runs.pop()[0] + text
            runs.append((text, part.manner))
            position = stop
            if position >= end:
                break
        return Release(tuple(runs), ends_sentence, final=end > self._last_speakable)

    def _inputs_from(self, position: int) -> list[_Input]:
        """Returns the inputs of the text from ``position`` on."""
        first = 0
        for index, part in enumerate(self._inputs):
            if part.start > position:
                break
            first = index
        return self._inputs[first:]

    def _drop(self, position: int) -> None:
        if not position:
            return
        self._size_bytes -= len(self._text[:position].encode())
        self._inputs = [
            replace(part, start=max(0, part.start - position))
            for part in (self._inputs_from(position) if position < len(self._text) else [])
        ]
        self._text = self._text[position:]
        self._last_speakable = max(-1, self._last_speakable - position)
