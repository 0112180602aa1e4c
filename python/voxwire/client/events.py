"""What a context delivers: audio, word and phoneme times, ends of segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from voxwire.protocol import LIMITS, Audio, FlushDone, Inbox

__all__ = ["Audio", "Event", "FlushDone", "Phonemes", "Word", "Words", "joined", "size_bytes_of"]


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


def size_bytes_of(event: Event) -> int:
    """What one event counts while it waits."""
    if isinstance(event, Audio):
        return Inbox.EVENT_BYTES + len(event.data)
    return Inbox.EVENT_BYTES * (1 + len(event.items)) if isinstance(event, Words | Phonemes) else Inbox.EVENT_BYTES


def joined(events: list[Event]) -> list[Event]:
    """Returns the events with neighbouring small audio of one segment in one piece."""
    result: list[Event] = []
    run: list[Audio] = []
    for event in events:
        small = type(event) is Audio and len(event.data) < LIMITS["joined_chunk_bytes"]
        if run and not (small and run[-1].flush_id == cast("Audio", event).flush_id):
            result.append(_one(run))
            run = []
        if small:
            run.append(cast("Audio", event))
        else:
            result.append(event)
    if run:
        result.append(_one(run))
    return result


def _one(run: list[Audio]) -> Audio:
    first = run[0]
    if len(run) == 1:
        return first
    data = b"".join([audio.data for audio in run])
    return Audio(data, first.format, first.start_s, first.flush_id, first.context)
