"""The tags of a transcript: what the server does itself is done, the rest is dropped, none is read aloud.

protocol.md section 10. Speed, volume and emotion hold from their tag on, over segments and inputs, and beat what an
input says by itself.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

__all__ = ["TAG", "Break", "Manner", "Markup", "Speech", "Word"]

#: Any tag that section 10 knows, and nothing else: text that merely holds ``<`` stays text.
TAG = re.compile(
    r"<(?P<name>speed|volume|emotion|break)\b(?P<attributes>[^<>]{0,200})>"
    r"|<pause\s*/?>"
    r"|<spell>(?P<spelled>[^<>]{0,400})</spell>"
    r"|</?(?:spell|speed|volume|emotion|break)\s*/?>"
    r"|<<[^<>\s]{1,200}>>"
    r"|\[laughter\]",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""(ratio|value|time)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s)", re.ASCII | re.IGNORECASE)
_RATIO = re.compile(r"\d{1,3}(?:\.\d{1,6})?", re.ASCII)
_RANGES = {"speed": (0.6, 1.5), "volume": (0.5, 2.0)}
#: Longer breaks are cut to this, so that a few bytes cannot hold a place for hours.
_LONGEST_BREAK_S = 60.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a stretch of text is to be spoken, by its input."""

    speed: float = 1.0
    volume: float = 1.0
    emotion: str | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word as the client sent it, where the engine speaks something else for it.

    Attributes:
        text: As sent.
        spoken: The engine's words for it, in order.
    """

    text: str
    spoken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Speech:
    """Text for the engine, in one manner.

    Attributes:
        text: Without tags and control characters.
        manner: How.
        words: Those that stand for something else than themselves, in order.
    """

    text: str
    manner: Manner
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Break:
    """Silence of exactly this many seconds."""

    duration_s: float


class Markup:
    """Takes the tags out of the text of one context."""

    def __init__(self) -> None:
        self._speed: float | None = None
        self._volume: float | None = None
        self._emotion: str | None = None

    def parts(self, text: str, manner: Manner) -> list[Speech | Break]:
        """Returns what to do, in order, for text that was sent in one manner; no tag of it is cut."""
        parts: list[Speech | Break] = []
        spoken = _Spoken()
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
        if name == "emotion" and "value" in attributes:
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
    """Text for the engine as it gathers, and the words in it that are spelled."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._words: list[Word] = []
        self._sent = ""
        self._spoken = ""
        self._spelled = False

    def add(self, text: str) -> None:
        """Takes text between tags."""
        for run in re.findall(r"\s+|\S+", _clean(text)):
            if run.isspace():
                self._end_word()
                self._text.append(run)
            else:
                self._sent += run
                self._spoken += run

    def spell(self, tag: str, text: str) -> None:
        """Takes a tag whose text is spelled; it belongs to the word that it stands in."""
        self._sent += tag
        self._spoken += " ".join("".join(_clean(text).upper().split()))
        self._spelled = True

    def take(self, manner: Manner) -> list[Speech]:
        """Returns what has gathered, if there is anything to speak, and begins anew."""
        self._end_word()
        text = "".join(self._text)
        words = tuple(self._words)
        self._text.clear()
        self._words.clear()
        return [Speech(text, manner, words)] if text.strip() else []

    def _end_word(self) -> None:
        if self._spelled and self._spoken:
            self._words.append(Word(self._sent, tuple(self._spoken.split())))
        self._text.append(self._spoken)
        self._sent = self._spoken = ""
        self._spelled = False


def _clean(text: str) -> str:
    """Replaces control characters, some of which are commands to an engine, by spaces."""
    if text.isprintable():
        return text
    return "".join(
        " " if character != "\n" and unicodedata.category(character) in {"Cc", "Cs"} else character
        for character in text
    )
