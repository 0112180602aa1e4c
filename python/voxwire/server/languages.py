"""Language codes and locales (protocol.md 3.2, 3.7)."""

from __future__ import annotations

import re

__all__ = ["base", "by_character", "normalised"]

_BY_CHARACTER = frozenset({"ja", "zh"})

_TAG = re.compile(r"([A-Za-z]{2})(?:-([A-Za-z]{2}))?", re.ASCII)


def normalised(tag: str) -> str:
    """Returns ``xx`` or ``xx-YY`` in its usual case.

    Raises:
        ValueError: It has another form.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError("must be a language like en or a locale like en-US")
    language, region = match.groups()
    return language.lower() if region is None else f"{language.lower()}-{region.upper()}"


def base(tag: str) -> str:
    """Returns the language of a normalised tag."""
    return tag[:2]


def by_character(tag: str | None) -> bool | None:
    """Says whether timestamps come one character each (protocol.md 8); None where no language is known."""
    return None if tag is None else base(tag) in _BY_CHARACTER
