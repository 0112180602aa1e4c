"""Pronunciation dictionaries: how the operator wants words to be spoken (protocol.md 10)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from voxwire.server.requests import is_speakable
from voxwire.server.speech.tags import TAG, cleaned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Dictionary", "DictionaryItem", "distinct"]

_LONGEST_CHARACTERS = 100
#: Scripts that put no blanks between words, so that no end of a word can be asked for.
_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


def _speakable(text: str) -> str:
    if not is_speakable(text):
        raise ValueError("must hold a letter or a digit")
    return text


Text = Annotated[str, Field(max_length=_LONGEST_CHARACTERS), AfterValidator(_speakable)]


class DictionaryItem(BaseModel):
    """One entry, as the configuration says it.

    Attributes:
        text: What is looked for, as whole words, at most 100 characters.
        alias: What is spoken in its place, at most 100 characters.
        pronunciation: Another name for ``alias``; exactly one of the two is given.
        case_sensitive: Whether the text must match letter by letter; None: only where it has a capital letter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    text: Text
    alias: Text | None = None
    pronunciation: Text | None = None
    case_sensitive: bool | None = None

    @model_validator(mode="after")
    def _check_one_form(self) -> DictionaryItem:
        if (self.alias is None) == (self.pronunciation is None):
            raise ValueError("takes either an alias or a pronunciation")
        return self

    @property
    def spoken(self) -> str:
        """What is spoken; empty where that is nothing but phonemes, which no engine is handed."""
        form = cleaned(TAG.sub(" ", self.alias or self.pronunciation or ""))
        return " ".join(form.split()) if is_speakable(form) else ""

    @property
    def exact(self) -> bool:
        """Whether case counts."""
        return self.text != self.text.lower() if self.case_sensitive is None else self.case_sensitive


def distinct(items: tuple[DictionaryItem, ...]) -> tuple[DictionaryItem, ...]:
    """Returns the items of a dictionary as they are.

    Raises:
        ValueError: Two of them match the same text.
    """
    seen: dict[tuple[str, bool], int] = {}
    for index, item in enumerate(items):
        key = (item.text if item.exact else item.text.lower(), item.exact)
        if key in seen:
            raise ValueError(f"item {index} has the text of item {seen[key]}")
        seen[key] = index
    return items


class Dictionary:
    """Finds entries in text: whole words, the longest first."""

    def __init__(self, items: Iterable[DictionaryItem]) -> None:
        """Makes a dictionary of items that are distinct."""
        # Of two equally long ones, the stricter goes first.
        known = sorted((item for item in items if item.spoken), key=lambda item: (-len(item.text), not item.exact))
        self._spoken = [item.spoken for item in known]
        self._pattern = re.compile("|".join(f"({_pattern(item)})" for item in known)) if known else None

    def matches(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yields where entries stand, as first position and position after the last, and what is spoken there."""
        if self._pattern is None:
            return
        for match in self._pattern.finditer(text):
            assert match.lastindex is not None  # noqa: S101 - each alternative is a group
            yield match.start(), match.end(), self._spoken[match.lastindex - 1]


def _pattern(item: DictionaryItem) -> str:
    words = item.text.split()
    pattern = r"\s+".join(map(re.escape, words))
    if _joins(words[0][0]):
        pattern = rf"(?<!\w){pattern}"
    if _joins(words[-1][-1]):
        pattern = rf"{pattern}(?!\w)"
    return pattern if item.exact else f"(?i:{pattern})"


def _joins(character: str) -> bool:
    """Says whether a letter beside this one would belong to the same word."""
    return (character.isalnum() or character == "_") and not _WITHOUT_BLANKS.match(character)
