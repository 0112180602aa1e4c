"""Finds each timed word in the pushed text.

Words come in the order of the text and mostly in its spelling, each a token between blanks or, in Chinese and Japanese,
one character. A normaliser may have changed some ("4" came back as "four"): these are found nowhere, and the next word
that is found sets the place again.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["Aligner"]

# protocol.md 10: tags that the server speaks nothing for. <spell> stays part of its word.
_SILENT = re.compile(r"(?:\s+|<(?:break|speed|volume|emotion|pause)\b[^<>]*>)*")
# How far a word may lie beyond the last one found. A normalised number or date is short; a common word far away is not
# the one that was spoken.
_REACH_CHARACTERS = 160
# Text before the last word found is let go in pieces of this size: work stays linear in the length of the text.
_COMPACT_CHARACTERS = 4096


class Aligner:
    """Keeps the text from about the last word found to its end."""

    __slots__ = ("_base", "_cursor", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._base = 0
        self._cursor = 0

    def push(self, text: str) -> None:
        """Appends text."""
        if self._cursor > _COMPACT_CHARACTERS:
            self._text = self._text[self._cursor :]
            self._base += self._cursor
            self._cursor = 0
        self._text += text

    def find(self, word: str) -> tuple[int, int] | None:
        """Returns start and end of the next occurrence of ``word``, in code points of the whole text, or None."""
        start = self._search(word) if word else None
        if start is None:
            return None
        self._cursor = start + len(word)
        return (self._base + start, self._base + self._cursor)

    def _search(self, word: str) -> int | None:
        text = self._text
        silent = _SILENT.match(text, self._cursor)
        begin = silent.end() if silent is not None else self._cursor
        if text.startswith(word, begin):
            return begin
        reach = begin + _REACH_CHARACTERS + len(word)
        position = text.find(word, begin, reach)
        while position >= 0:
            if self._stands_free(word, position):
                return position
            position = text.find(word, position + 1, reach)
        return None

    def _stands_free(self, word: str, position: int) -> bool:
        """Neither the inside of a longer word nor of a tag."""
        text = self._text
        end = position + len(word)
        if position and _continues(text[position - 1], word[0]):
            return False
        if end < len(text) and _continues(word[-1], text[end]):
            return False
        return text.rfind("<", self._cursor, position) <= text.rfind(">", self._cursor, position)


def _continues(left: str, right: str) -> bool:
    """Both characters belong to one word; ideographs and kana are words of their own."""
    return left.isalnum() and right.isalnum() and "W" not in map(unicodedata.east_asian_width, (left, right))
