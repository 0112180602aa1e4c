"""What a context delivers: audio, word and phoneme times, ends of segments."""

from __future__ import annotations

from dataclasses import dataclass

from voxwire.protocol import Audio, FlushDone

__all__ = ["Audio", "Event", "FlushDone", "Phonemes", "Word", "Words"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word, character (Chinese, Japanese) or phoneme, and when it sounds.

    Attributes:
        text: As the server sent it.
        start_s: Seconds from the start of the context's audio.
        end_s: Seconds from the start of the context's audio.
        span: Start and end of the word in code points of the pushed text; None where normalisation changed the word,
            and for phonemes.
    """

    text: str
    start_s: float
    end_s: float
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """Times of the next words, in the order of the text."""

    items: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Phonemes:
    """Times of the next phonemes (IPA symbols)."""

    items: tuple[Word, ...]


Event = Audio | Words | Phonemes | FlushDone
"""What the iteration of a context gives."""
