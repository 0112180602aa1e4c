"""What was heard: the position of the sink joined with the times of the words. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxwire.client.events import Word

__all__ = ["Certainty", "Heard", "join_heard", "sentence_end", "word_end"]


@dataclass(frozen=True, slots=True)
class Certainty:
    """How far ``Heard.played_s`` can be trusted.

    Attributes:
        quality: What "played" means at this sink: "measured" at the device, "estimated" from a clock, "sent" to the
            far end, "written" to a file.
        bound_s: Seconds by which ``played_s`` may be off; 0.0 is exact in that sense.
    """

    quality: str
    bound_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What the listener heard of a context.

    ``text + rest`` is the text that was pushed. The three tuples hold every word whose times are known, in order. Less
    than a frame of the audio decides nothing, as no time of a word is exact to that: a word that ends so little behind
    ``played_s``, or begins so little before it, is given ``played_s`` itself as that time.

    Attributes:
        text: The pushed text up to the end of the last heard word.
        rest: All that follows, the blank in front of it included.
        heard: Words that ended by ``played_s``.
        half_heard: Words that had begun and not ended.
        unheard: Words that had not begun.
        played_s: Seconds of audio that were played.
        certainty: How far to trust ``played_s``.
    """

    text: str
    rest: str
    heard: tuple[Word, ...]
    half_heard: tuple[Word, ...]
    unheard: tuple[Word, ...]
    played_s: float
    certainty: Certainty


def join_heard(
    pushed_text: str,
    words: Sequence[Word],
    played_s: float,
    certainty: Certainty,
    *,
    complete: bool = False,
    slack_s: float = 0.0,
) -> Heard:
    """Returns what was heard of a text.

    Args:
        pushed_text: Everything that was pushed.
        words: All words whose times are known, in order.
        played_s: Seconds that were played.
        certainty: How far to trust them.
        complete: All of the text was spoken and its times are known, so no word is still to come.
        slack_s: Less than this missing at the end of a word, or played of its beginning, is nothing: under a frame.
    """
    heard: list[Word] = []
    half_heard: list[Word] = []
    unheard: list[Word] = []
    last = -1
    for index, word in enumerate(words):
        if word.end_s - slack_s <= played_s:
            heard.append(word if word.end_s <= played_s else replace(word, end_s=played_s))
            last = index
        elif word.start_s + slack_s >= played_s:
            unheard.append(word if word.start_s >= played_s else replace(word, start_s=played_s))
        else:
            half_heard.append(word)
    end = _text_end(pushed_text, words, last, complete=complete)
    return Heard(
        text=pushed_text[:end],
        rest=pushed_text[end:],
        heard=tuple(heard),
        half_heard=tuple(half_heard),
        unheard=tuple(unheard),
        played_s=played_s,
        certainty=certainty,
    )


def _text_end(pushed_text: str, words: Sequence[Word], last: int, *, complete: bool) -> int:
    """Where in the pushed text the word at ``last`` ends.

    A word that normalisation has changed has no span. Its text lies between its neighbours that have one; where only
    some of the words in that gap were heard, none of the gap counts, as it cannot be divided.
    """
    before = last
    while before >= 0 and words[before].span is None:
        before -= 1
    known_end = _span(words[before])[1] if before >= 0 else 0
    if before == last:
        return known_end
    after = last + 1
    if after < len(words):
        following = words[after].span
        if following is None:
            return known_end
        gap_end = following[0]
    elif complete:
        gap_end = len(pushed_text)
    else:
        return known_end
    return max(known_end, len(pushed_text[:gap_end].rstrip()))


def _span(word: Word) -> tuple[int, int]:
    return (0, 0) if word.span is None else word.span


def word_end(words: Sequence[Word], played_s: float) -> float:
    """Returns the time at which the word that sounds at ``played_s`` ends; between words that time itself."""
    return max((word.end_s for word in words if word.start_s < played_s < word.end_s), default=played_s)


def sentence_end(words: Sequence[Word], played_s: float) -> float | None:
    """Returns the time at which the sentence that sounds at ``played_s`` ends.

    Between two sentences, or before the first word, that is ``played_s`` itself; None where no known word ends it.
    """
    begun = [word for word in words if word.start_s < played_s]
    if not begun or (begun[-1].end_s <= played_s and _ends_sentence(begun[-1].text)):
        return played_s
    for word in words:
        if word.end_s > played_s and _ends_sentence(word.text):
            return word.end_s
    return None


def _ends_sentence(text: str) -> bool:
    return text.rstrip("\"')]}\u00bb\u2019\u201d\u300d\u300f").endswith(
        (".", "!", "?", *"\u2026\u3002\uff01\uff1f\u061f\u0964")
    )
