"""Where text may be cut: after sentences, at clauses, at blanks; never inside tags, URLs, numbers or graphemes.

Positions are code points of the text as it was sent, so that nothing is lost between two cuts: libraries that split
sentences strip and rewrite what they return.
"""

# ruff: noqa: RUF001 - quotation marks and full stops of many scripts are meant as they stand

from __future__ import annotations

import re
import unicodedata

from voxwire.server.speech.tags import LONGEST_TAG_CHARACTERS, TAG

__all__ = [
    "cut_anywhere",
    "cut_blank",
    "cut_clause",
    "cut_sentence",
    "ends_sentence",
    "may_go_on",
    "next_blank",
]

_WIDE = "。！？｡"
_CLOSERS = "\"'”’»)\\]}」』）》】〕〉"
_TAG = re.sub(r"\?P<\w+>", "?:", TAG.pattern)
_URL = r"(?:https?://|www\.)\S*[^\s.!?…,;:'\")\]}]"
_KEPT = re.compile(f"{_TAG}|{_URL}", re.IGNORECASE)
_SCAN = re.compile(
    f"(?P<kept>{_TAG}|{_URL})|(?P<end>(?P<wide>[{_WIDE}…]*[{_WIDE}][{_WIDE}…]*)|[.!?…؟۔।॥]+)[{_CLOSERS}]*",
    re.IGNORECASE,
)
_GAP = re.compile(rf"(?:\s|{_TAG})*", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:\-–—،؛](?=\s)|[、，；：]|\n")
_TAIL = re.compile(rf"[.!?…؟۔।॥{_WIDE}][{_CLOSERS}]*(?:\s|{_TAG})*\Z", re.IGNORECASE)
_LAST_WORD = re.compile(rf"(\S+?)[{_CLOSERS}]*\s*\Z")
#: Never the end of a sentence.
_TITLES = frozenset(
    {"dr", "mr", "mrs", "ms", "prof", "st", "sr", "jr", "rev", "sgt", "capt", "nr", "vs", "e.g", "i.e", "z.b", "d.h"}
)
#: The end of one only before a capital letter.
_OTHERS = frozenset({"etc", "inc", "ltd", "co", "corp", "usw", "bzw", "approx", "dept", "est", "fig", "vol"})
#: Enough to hold what a sentence can end with, and any tag but the longest spelling.
_TAIL_CHARACTERS = 300
_UNFINISHED = re.compile(r"<spell\s*>[^<]*(?:<[^<>]*)?\Z|<(?:[A-Za-z/<][^<>]*)?\Z", re.IGNORECASE)


def cut_sentence(text: str, start: int, stop: int) -> int | None:
    """Returns where the first settled sentence from ``start`` ends, its trailing blanks included.

    A sentence is settled once the first character of the next one is there. None where there is no such end up to
    ``stop``.
    """
    unfinished = _unfinished(text)
    # Looking no further keeps the work linear, however long the text behind it is.
    for match in _SCAN.finditer(text, start, stop + LONGEST_TAG_CHARACTERS):
        end = match.end()
        if match.start() >= min(stop, unfinished):
            return None
        if match["kept"]:
            continue
        gap = _GAP.match(text, end)
        following = gap.end() if gap is not None else end
        if following >= len(text):
            return None
        if following == end and not match["wide"]:
            continue
        if match["end"].startswith(".") and _is_abbreviation(text, start, match.start(), text[following]):
            continue
        while end < len(text) and text[end].isspace():
            end += 1
        return end
    return None


def cut_clause(text: str, start: int, stop: int) -> int | None:
    """Returns the position after the last clause mark between ``start`` and ``stop``, its blanks included."""
    kept = _kept(text, start, stop)
    best = None
    for match in _CLAUSE.finditer(text, start, stop):
        end = match.end()
        while end < stop and text[end].isspace():
            end += 1
        if not _inside(kept, match.start()) and not _inside(kept, end):
            best = end
    return best


def cut_blank(text: str, start: int, stop: int) -> int | None:
    """Returns the position after the last blank between ``start`` and ``stop``."""
    kept = _kept(text, start, stop)
    for position in range(stop - 1, start, -1):
        if text[position].isspace() and not _inside(kept, position):
            return position + 1
    return None


def cut_anywhere(text: str, start: int, stop: int) -> int:
    """Returns the last position up to ``stop`` that splits no tag, URL or grapheme; ``stop`` where all of it is one."""
    kept = _kept(text, start, stop)
    for position in range(min(stop, len(text)), start, -1):
        if not _inside(kept, position) and not _inside_grapheme(text, position):
            return position
    return stop


def next_blank(text: str, position: int) -> int:
    """Returns the first position from ``position`` on that lies in no word and in no tag."""
    # A tag that began before the position is found from its opening bracket.
    opening = text.rfind("<", max(0, position - _TAIL_CHARACTERS), position)
    tag = _KEPT.match(text, opening) if opening >= 0 else None
    if tag is not None:
        position = max(position, tag.end())
    while 0 < position < len(text) and not text[position].isspace() and not text[position - 1].isspace():
        position += 1
    return position


def ends_sentence(text: str) -> bool:
    """Says whether text ends like a sentence: a mark, then nothing but closing quotes, blanks and tags."""
    return _TAIL.search(text[-_TAIL_CHARACTERS:]) is not None


def may_go_on(text: str) -> bool:
    """Says whether the mark at the end may yet turn out to be inside a number, a URL or an abbreviation."""
    match = _LAST_WORD.search(text[-_TAIL_CHARACTERS:])
    if match is None or not match[1].endswith("."):
        return False
    word = match[1]
    stem = word.rstrip(".")
    if stem[-1:].isdigit() or stem.lower().startswith(("http://", "https://", "www.")):
        return True
    return _is_abbreviation(word, 0, len(stem), "a")


def _is_abbreviation(text: str, start: int, dot: int, following: str) -> bool:
    """Says whether the full stop at ``dot`` belongs to the word before it."""
    begin = dot
    while begin > start and not text[begin - 1].isspace():
        begin -= 1
    word = text[begin:dot].strip(_CLOSERS + "([{“‘«")
    if len(word) == 1 and word.isupper():
        return True
    if word.isdigit() and not text[start:begin].strip():
        # The number of a list's item.
        return True
    lowered = word.lower()
    if lowered in _TITLES or re.fullmatch(r"(?:\w\.)+\w", word):
        return not (following.isupper() and lowered not in _TITLES)
    return lowered in _OTHERS and not following.isupper()


def _kept(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Returns the spans that no cut may fall into: tags and URLs, also a tag that has only begun."""
    reach = min(len(text), stop + _TAIL_CHARACTERS)
    spans = [match.span() for match in _KEPT.finditer(text, start, reach)]
    unfinished = _unfinished(text)
    if unfinished < stop:
        spans.append((unfinished, len(text) + 1))
    return spans


def _unfinished(text: str) -> int:
    """Returns where a tag begins whose end has not come yet; the length of the text where there is none."""
    offset = max(0, len(text) - LONGEST_TAG_CHARACTERS)
    match = _UNFINISHED.search(text, offset)
    return len(text) if match is None else match.start()


def _inside(spans: list[tuple[int, int]], position: int) -> bool:
    return any(first < position < last for first, last in spans)


def _inside_grapheme(text: str, position: int) -> bool:
    """Says whether a cut at ``position`` would split what is read as one character."""
    if position >= len(text):
        return False
    following, before = text[position], text[position - 1]
    joins = unicodedata.category(following)[0] == "M" or following in "\u200c\u200d"
    tones = "\U0001f3fb" <= following <= "\U0001f3ff"
    flags = "\U0001f1e6" <= following <= "\U0001f1ff" and "\U0001f1e6" <= before <= "\U0001f1ff"
    return joins or tones or flags or before == "\u200d" or (before == "\r" and following == "\n")
