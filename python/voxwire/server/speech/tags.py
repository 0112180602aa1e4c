"""What a tag looks like (protocol.md 10), and which characters never reach an engine."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["LONGEST_TAG_CHARACTERS", "TAG", "cleaned"]

#: Any tag that section 10 knows, and nothing else: text that merely holds ``<`` stays text.
TAG = re.compile(
    r"<(?P<name>speed|volume|emotion|break)\b(?P<attributes>[^<>]{0,200})>"
    r"|<pause\b[^<>]{0,200}>"
    r"|<spell\s*>(?P<spelled>[^<>]{0,400})</spell\s*>"
    r"|</?(?:spell|speed|volume|emotion|break|pause)\s*/?>"
    r"|<<[^<>\s]{1,200}>>"
    r"|\[laughter\]",
    re.IGNORECASE,
)
#: Enough for any tag.
LONGEST_TAG_CHARACTERS = 420


def cleaned(text: str) -> str:
    """Replaces control characters, some of which are commands to an engine, by spaces."""
    if text.isprintable():
        return text
    return "".join(
        " " if character != "\n" and unicodedata.category(character) in {"Cc", "Cs"} else character
        for character in text
    )
