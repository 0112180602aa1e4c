"""From the times of an engine's words to those of the caller's own (protocol.md 8)."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from voxwire.engines import Span
    from voxwire.server.speech.markup import Word

__all__ = ["WordTimes", "estimated", "shifted"]

#: Words that an engine may pass over before one of its own is not looked for any further.
_PASSED_OVER = 8
_TOKEN = re.compile(r"\S+")


@dataclass(slots=True)
class _Open:
    """A word of which some was spoken, in seconds."""

    start: float
    end: float


class WordTimes:
    """The words of one text, as its engine speaks it.

    Every word is told once and in order: with the last of what is spoken for it, or, where the engine passed over it,
    without length, once a later one begins.
    """

    def __init__(self, text: str, words: Sequence[Word], origin_s: float) -> None:
        """Begins.

        Args:
            text: What the engine is given, in one piece or more.
            words: The caller's words and where they stand in it.
            origin_s: Where it begins, in seconds.
        """
        self._text = text
        self._left = deque(words)
        self._open: _Open | None = None
        self._place = 0
        self._told_s = origin_s

    def take(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Takes the engine's words, in seconds, and returns the caller's that are complete."""
        for spoken, start_s, end_s in spans:
            place = self._find(spoken)
            if place is None:
                continue
            first, self._place = place
            size = self._size(first, self._place)
            while self._left and self._left[0].start < self._place:
                word = self._left[0]
                if word.end > first:
                    before = self._size(first, max(first, word.start))
                    after = self._size(first, min(self._place, word.end))
                    if self._open is None:
                        self._open = _Open(start_s + (end_s - start_s) * before / size, 0.0)
                    self._open.end = start_s + (end_s - start_s) * after / size
                if word.end > self._place:
                    break
                yield from self._tell()

    def rest(self) -> Iterator[Span]:
        """Returns what is left at the end of the text."""
        while self._left:
            yield from self._tell()

    def _tell(self) -> Iterator[Span]:
        word = self._left.popleft()
        times = self._open or _Open(self._told_s, self._told_s)
        self._open = None
        self._told_s = times.end
        total = sum(map(len, word.told))
        position = 0
        for text in word.told:
            start_s = times.start + (times.end - times.start) * position / total
            position += len(text)
            yield text, start_s, times.start + (times.end - times.start) * position / total

    def _find(self, spoken: str) -> tuple[int, int] | None:
        """Returns where a word of the engine stands; one that does not stand there takes the place of the next."""
        following = None
        for index, token in enumerate(_TOKEN.finditer(self._text, self._place)):
            if spoken and self._text.startswith(spoken, token.start()):
                return token.start(), token.start() + len(spoken)
            following = following or token
            if index == _PASSED_OVER:
                break
        return None if following is None else following.span()

    def _size(self, start: int, end: int) -> int:
        """Returns how many characters of a stretch are no blanks."""
        return sum(map(len, self._text[start:end].split()))


def shifted(spans: Iterable[Span], origin_s: float) -> Iterator[Span]:
    """Yields spans that were counted from the start of a segment, in seconds from that of the context."""
    for text, start_s, end_s in spans:
        yield text, origin_s + start_s, origin_s + end_s


def estimated(text: str, first_frame: int, last_frame: int, sample_rate: int) -> Iterator[Span]:
    """Spreads the words of a segment over its audio by their length, for an engine that times none."""
    found = _TOKEN.findall(text)
    total = sum(map(len, found))
    position = 0
    for word in found:
        start = (first_frame + (last_frame - first_frame) * position / total) / sample_rate
        position += len(word)
        yield word, start, (first_frame + (last_frame - first_frame) * position / total) / sample_rate
