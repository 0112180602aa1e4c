# SPDX-License-Identifier: GPL-3.0-or-later
"""From the events of eSpeak NG to times of the caller's own words, and of phonemes.

Why not straight from its word events: they come up to 60 ms before the word (the closure before a plosive), their
lengths are unreliable, "42." gives two of them and a Korean particle none. So a word begins with the first named
phoneme after its event, and positions are mapped onto the tokens of the text as it was given. Measured against the
envelope of the audio, starts and ends are right within 16 ms.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from typing import TYPE_CHECKING

from voxwire_espeak.library import END, PHONEME, WORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from voxwire_espeak.library import Event

__all__ = ["SpanBuilder", "is_silence", "tokenize"]

#: Text, first and last sample.
SampleSpan = tuple[str, int, int]
#: Text, position of its first character, position after its last.
Token = tuple[str, int, int]
STRESS_MARKS = str.maketrans("", "", "ˈˌ")


def tokenize(text: str, *, per_char: bool) -> list[Token]:
    """Returns what times are reported for.

    Args:
        text: As the caller gave it.
        per_char: Each character that is no space, as is the way for Chinese and Japanese; otherwise each run of them
            that holds a letter, number or symbol.
    """
    tokens = [(match[0], match.start(), match.end()) for match in re.finditer(r"\S" if per_char else r"\S+", text)]
    if per_char:
        return tokens
    return [token for token in tokens if any(unicodedata.category(character)[0] in "LNS" for character in token[0])]


def is_silence(name: bytes) -> bool:
    """Says whether the name of a phoneme stands for no sound: a pause, or as ``(en)`` a switch of language."""
    return not name.decode(errors="ignore").translate(STRESS_MARKS) or name.startswith(b"(")


class SpanBuilder:
    """Follows the events of one text.

    A token is *pending* from its word event to its first phoneme, then *open* until the next one opens; only then is
    its span told, so a word may be told one chunk late.
    """

    def __init__(self, tokens: list[Token], find_last_audible: Callable[[int, int], int | None]) -> None:
        """Begins a text.

        Args:
            tokens: What times are reported for.
            find_last_audible: Returns the end of the sound between two samples, None where there is none. It decides
                where the last token ends: after it a voice may ring on, and some sounds fade before their event.
        """
        self._tokens = tokens
        self._find_last_audible = find_last_audible
        self._ends = [end for _, _, end in tokens]
        self._open: int | None = None
        self._open_start = 0
        self._open_end: int | None = None
        self._told = 0
        self._pending: int | None = None
        self._silence_start: int | None = None
        self._phoneme: tuple[str, int] | None = None
        self._words: list[SampleSpan] = []
        self._phonemes: list[SampleSpan] = []

    def handle(self, events: Iterable[Event]) -> None:
        """Takes the events of one chunk."""
        for kind, position, sample, name in events:
            if kind == WORD:
                self._handle_word(position)
            elif kind == PHONEME:
                self._handle_phoneme(name, sample)
            elif kind == END:
                self._close_phoneme(sample)
                if self._open_end is None:
                    self._open_end = self._silence_start
                self._silence_start = None

    def finish(self, sample: int) -> None:
        """Takes the end of the audio; what was not told yet shares the rest."""
        self._close_phoneme(sample)
        if (end := self._find_last_audible(self._open_start, sample)) is not None:
            self._open_end = end
        self._tell_open(sample, len(self._tokens))

    def take(self) -> tuple[list[SampleSpan], list[SampleSpan]]:
        """Returns the words and the phonemes that became complete since the last call."""
        complete = self._words, self._phonemes
        self._words, self._phonemes = [], []
        return complete

    def _handle_word(self, position: int) -> None:
        if not self._tokens:
            return
        token = min(bisect_right(self._ends, position - 1), len(self._tokens) - 1)
        if self._open is not None and token <= self._open:
            # One token of several events, as "42." and "a.b" are: it has not ended yet.
            self._open_end = None
        else:
            self._pending = token

    def _handle_phoneme(self, name: bytes, sample: int) -> None:
        self._close_phoneme(sample)
        # Eight bytes: longer IPA is cut, within a character perhaps.
        symbol = name.decode(errors="ignore").translate(STRESS_MARKS)
        if is_silence(name):
            if self._silence_start is None:
                self._silence_start = sample
            return
        if self._pending is not None:
            self._tell_open(sample, self._pending)
            self._open, self._open_start, self._open_end = self._pending, sample, None
            self._pending = None
        self._silence_start = None
        self._phoneme = (symbol, sample)

    def _close_phoneme(self, sample: int) -> None:
        if self._phoneme is not None:
            symbol, start = self._phoneme
            self._phonemes.append((symbol, start, sample))
            self._phoneme = None

    def _tell_open(self, sample: int, stop: int) -> None:
        """Tells the open token; those up to ``stop`` had no event of their own and share its span by length.

        Tokens before the very first event are told with the first token that opened.
        """
        if self._open is None and stop < len(self._tokens):
            return
        end = next((end for end in (self._open_end, self._silence_start) if end is not None), sample)
        sharing = self._tokens[self._told : stop]
        self._told = max(self._told, stop)
        start, length = self._open_start, end - self._open_start
        whole = sum(len(text) for text, _, _ in sharing)
        before = 0
        for text, _, _ in sharing:
            after = before + len(text)
            self._words.append((text, start + length * before // whole, start + length * after // whole))
            before = after
