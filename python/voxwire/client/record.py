"""The one truthful record of a context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from voxwire.protocol import AudioTally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxwire.client.events import Word
    from voxwire.playback import Heard

__all__ = ["Outcome", "Reason", "Record"]

Outcome = Literal["finished", "cancelled", "failed"]
Reason = Literal["expired", "interrupted"]


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a context, as far as is known when it is read.

    All times are seconds on one monotonic clock; those of a first event count from the first ``push``.

    Attributes:
        outcome: ``finished``, ``cancelled`` or ``failed``; None while the context is live.
        reason: ``expired`` (the server ended it first), ``interrupted`` (by its listener), or None.
        context_ids: Every id that it had on the wire, oldest first; more than one where it went on after an expiry.
        request_id: The server's id of the connection, for its operator's logs.
        characters: Code points pushed.
        audio_s: Seconds of audio received.
        words: Words whose times came, in order.
        heard: What the listener heard; None where nothing was played.
        queued_s: Seconds waited for a place among ``max_contexts``.
        connect_s: Seconds waited for the connection.
        first_audio_s: Seconds to the first audio; None where none came.
        first_sound_s: Seconds to the first sample heard; None where none was.
        stalls: How often the audio came later than a listener needed it, who started with the first of it.
        underruns: How often the sink ran dry.
        late_dropped: Messages that came for this context after its end, and were dropped.
    """

    outcome: Outcome | None
    reason: Reason | None
    context_ids: tuple[str, ...]
    request_id: str | None
    characters: int
    audio_s: float
    words: tuple[Word, ...]
    heard: Heard | None
    queued_s: float
    connect_s: float
    first_audio_s: float | None
    first_sound_s: float | None
    stalls: int
    underruns: int
    late_dropped: int


class Ledger:
    """Collects the figures of a record while its context lives.

    Times are those of ``time.monotonic``: a loop's own clock may count whole milliseconds.
    """

    __slots__ = (
        "audio",
        "characters",
        "connect_s",
        "context_ids",
        "first_sound_at_s",
        "heard",
        "late_dropped",
        "queued_s",
        "request_id",
        "started_at_s",
        "underruns",
        "words",
    )

    def __init__(self) -> None:
        self.context_ids: tuple[str, ...] = ()
        self.request_id: str | None = None
        self.characters = 0
        self.audio = AudioTally()
        # A list from the first word on.
        self.words: Sequence[Word] = ()
        self.heard: Heard | None = None
        self.queued_s = 0.0
        self.connect_s = 0.0
        self.started_at_s: float | None = None
        self.first_sound_at_s: float | None = None
        self.underruns = 0
        self.late_dropped = 0

    def add_words(self, words: tuple[Word, ...]) -> None:
        """Notes word times that came."""
        if isinstance(self.words, list):
            self.words.extend(words)
        else:
            self.words = list(words)

    def since_start(self, moment_s: float | None) -> float | None:
        """Seconds from the first push to ``moment_s``."""
        if moment_s is None or self.started_at_s is None:
            return None
        return moment_s - self.started_at_s

    def record(self, outcome: Outcome | None, reason: Reason | None) -> Record:
        """Returns the figures so far."""
        return Record(
            outcome=outcome,
            reason=reason,
            context_ids=self.context_ids,
            request_id=self.request_id,
            characters=self.characters,
            audio_s=self.audio.duration_s,
            words=tuple(self.words),
            heard=self.heard,
            queued_s=self.queued_s,
            connect_s=self.connect_s,
            first_audio_s=self.since_start(self.audio.first_at_s),
            first_sound_s=self.since_start(self.first_sound_at_s),
            stalls=self.audio.stalls,
            underruns=self.underruns,
            late_dropped=self.late_dropped,
        )
