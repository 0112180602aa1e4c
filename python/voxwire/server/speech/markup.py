"""The tags of a transcript: what the server does itself is done, the rest is dropped, none is read aloud.

protocol.md section 10. Speed, volume and emotion hold from their tag on, over segments and inputs, and beat what an
input says by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxwire.server.requests import SPEED_RANGE, VOLUME_RANGE
from voxwire.server.speech.numbers import DIGITS
from voxwire.server.speech.tags import TAG, cleaned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voxwire.server.speech.dictionaries import Dictionary
    from voxwire.server.speech.numbers import Numbers

__all__ = ["Break", "Manner", "Markup", "Speech", "Word"]

_ATTRIBUTE = re.compile(r"""(ratio|value|time)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s)", re.ASCII | re.IGNORECASE)
_RATIO = re.compile(r"\d{1,3}(?:\.\d{1,6})?", re.ASCII)
_RANGES = {"speed": SPEED_RANGE, "volume": VOLUME_RANGE}
#: Longer breaks are cut to this, so that a few bytes cannot hold a place for hours.
_LONGEST_BREAK_S = 60.0
_HAN_OR_KANA = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a stretch of text is to be spoken, by its input."""

    speed: float = 1.0
    volume: float = 1.0
    emotion: str | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the client, and where what is spoken for it stands in the text for the engine.

    Attributes:
        told: What its timestamps say, mostly one: the word as sent, its characters, or its spoken form.
        start: Position of its first character.
        end: Position after its last.
    """

    told: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Speech:
    """Text for the engine, in one manner.

    Attributes:
        text: Without tags and control characters, with the pronunciations of the dictionary.
        manner: How.
        words: All of its words, in order.
    """

    text: str
    manner: Manner
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Break:
    """Silence of exactly this many seconds."""

    duration_s: float


class Markup:
    """Takes the tags out of the text of one context, and puts the dictionary's pronunciations in."""

    def __init__(
        self,
        *,
        dictionary: Dictionary | None = None,
        numbers: Numbers | None = None,
        by_character: bool | None = False,
    ) -> None:
        """Begins with the manner of the inputs.

        Args:
            dictionary: How some words are spoken.
            numbers: How numbers are told, for timestamps in spoken form; the engine gets the text as sent anyway.
            by_character: Each character is a word of its own; None: those of words that hold Chinese or Japanese.
        """
        self._dictionary = dictionary
        self._numbers = numbers
        self._by_character = by_character
        self._speed: float | None = None
        self._volume: float | None = None
        self._emotion: str | None = None

    def parts(self, text: str, manner: Manner) -> list[Speech | Break]:
        """Returns what to do, in order, for text that was sent in one manner; no tag of it is cut."""
        parts: list[Speech | Break] = []
        spoken = _Spoken(self._dictionary, self._numbers, by_character=self._by_character)
        position = 0
        for tag in TAG.finditer(text):
            spoken.add(text[position : tag.start()])
            position = tag.end()
            if tag["spelled"] is not None:
                spoken.spell(tag.group(), tag["spelled"])
                continue
            # A tag may be all that stands between two words.
            spoken.add(" ")
            before = self._effective(manner)
            silence = self._apply(tag)
            if silence is not None or self._effective(manner) != before:
                parts += spoken.take(before)
            if silence is not None:
                parts.append(silence)
        spoken.add(text[position:])
        parts += spoken.take(self._effective(manner))
        return parts

    def _apply(self, tag: re.Match[str]) -> Break | None:
        """Returns the silence that a tag asks for, or notes the manner that it sets; other tags are dropped."""
        name = (tag["name"] or "").lower()
        attributes = {
            key.lower(): (double or single).strip()
            for key, double, single in _ATTRIBUTE.findall(tag["attributes"] or "")
        }
        if name == "break" and (time := _TIME.fullmatch(attributes.get("time", ""))):
            seconds = float(time[1]) / (1000 if time[2].lower() == "ms" else 1)
            return Break(min(seconds, _LONGEST_BREAK_S))
        if name == "emotion" and attributes.get("value"):
            self._emotion = attributes["value"].lower()
        if name in _RANGES and _RATIO.fullmatch(attributes.get("ratio", "")):
            ratio = float(attributes["ratio"])
            lowest, highest = _RANGES[name]
            if lowest <= ratio <= highest:
                if name == "speed":
                    self._speed = ratio
                else:
                    self._volume = ratio
        return None

    def _effective(self, manner: Manner) -> Manner:
        return Manner(
            manner.speed if self._speed is None else self._speed,
            manner.volume if self._volume is None else self._volume,
            manner.emotion if self._emotion is None else self._emotion,
        )


class _Spoken:
    """Text for the engine as it gathers, and the words in it."""

    def __init__(self, dictionary: Dictionary | None, numbers: Numbers | None, *, by_character: bool | None) -> None:
        self._dictionary = dictionary
        self._numbers = numbers
        self._by_character = by_character
        self._text: list[str] = []
        self._length = 0
        self._words: list[Word] = []
        # The word that goes on: as it was sent, where it begins, and whether something else is spoken for it.
        self._sent: list[str] = []
        self._start = 0
        self._replaced = False

    def add(self, text: str) -> None:
        """Takes text between tags."""
        text = cleaned(text)
        position = 0
        for start, end, spoken in self._dictionary.matches(text) if self._dictionary is not None else ():
            self._add_plain(text[position:start])
            self._replace(text[start:end], spoken)
            position = end
        self._add_plain(text[position:])

    def spell(self, tag: str, text: str) -> None:
        """Takes a tag whose text is spelled; it belongs to the word that it stands in."""
        spoken = " ".join("".join(cleaned(text).upper().split()))
        if spoken:
            # Its letters are none of the word before it.
            self._replace(tag, f" {spoken}" if self._text and self._text[-1][-1:].isalnum() else spoken)

    def take(self, manner: Manner) -> list[Speech]:
        """Returns what has gathered, if there is any word, and begins anew."""
        self._end_word()
        text, words = "".join(self._text), tuple(self._words)
        self._text.clear()
        self._length = 0
        self._words.clear()
        return [Speech(text, manner, words)] if words else []

    def _add_plain(self, text: str) -> None:
        for run in re.findall(r"\s+|\S+", text):
            if run.isspace():
                self._end_word()
            else:
                self._go_on(run)
            self._put(run)

    def _replace(self, sent: str, spoken: str) -> None:
        self._go_on(sent)
        self._replaced = True
        self._put(spoken)
        if self._by_character:
            self._end_word()

    def _go_on(self, sent: str) -> None:
        if self._by_character and self._sent:
            self._end_word()
        if not self._sent:
            self._start = self._length
        self._sent.append(sent)

    def _put(self, text: str) -> None:
        self._text.append(text)
        self._length += len(text)

    def _end_word(self) -> None:
        if self._sent:
            sent = "".join(self._sent)
            self._words += (
                [Word(tuple(self._split(sent)), self._start, self._length)]
                if self._replaced
                else self._plain_words(sent, self._start)
            )
        self._sent.clear()
        self._replaced = False

    def _plain_words(self, word: str, start: int) -> Iterator[Word]:
        if not self._is_by_character(word):
            told = [word] if self._numbers is None else self._numbers.words(word)
            yield Word(tuple(told), start, start + len(word))
            return
        position = 0
        for number in DIGITS.finditer(word) if self._numbers is not None else ():
            yield from _characters(word, position, number.start(), start)
            assert self._numbers is not None  # noqa: S101 - else there were none
            told = list("".join(self._numbers.words(number.group())))
            yield Word(tuple(told), start + number.start(), start + number.end())
            position = number.end()
        yield from _characters(word, position, len(word), start)

    def _split(self, sent: str) -> list[str]:
        """Returns the words of what something else is spoken for; a tag is one, with what adheres to it."""
        if TAG.search(sent):
            return [sent]
        return list("".join(sent.split())) if self._is_by_character(sent) else sent.split()

    def _is_by_character(self, word: str) -> bool:
        return _HAN_OR_KANA.search(word) is not None if self._by_character is None else self._by_character


def _characters(word: str, first: int, last: int, start: int) -> Iterator[Word]:
    for index in range(first, last):
        yield Word((word[index],), start + index, start + index + 1)
