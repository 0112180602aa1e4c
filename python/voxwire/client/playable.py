"""A context as its playback sees it. All of it is synchronous, in the loop's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxwire.audio import AudioFormat
from voxwire.client.stream import Stream
from voxwire.exceptions import VoxwireError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voxwire.client.events import Word
    from voxwire.client.stream import Consumer
    from voxwire.playback import Heard

__all__ = ["Playable"]


class Playable(Stream):
    """A stream that may be played: its format is negotiated, its input held and refused, its listener has a say."""

    __slots__ = ()

    @property
    def format(self) -> AudioFormat | None:
        """The format of the audio; None before the first input fixed it."""
        return self._wire.format and (self._options.deliver_format or self._wire.format)

    @property
    def requested_format(self) -> AudioFormat | None:
        """The ``deliver_format`` or else ``output_format`` that was asked for, or None."""
        return self._options.deliver_format or self._options.output_format

    @property
    def pushed_text(self) -> str:
        """All text so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def words(self) -> Sequence[Word]:
        """All word times so far."""
        return self._ledger.words

    @property
    def started_at_s(self) -> float | None:
        """Moment of the first push, on ``time.monotonic``: the zero of the record's times. None before."""
        return self._ledger.started_at_s

    @property
    def complete(self) -> bool:
        """All pushed text was spoken: the server answered our close."""
        return self._complete

    def watch_text(self, watcher: Callable[[str], None]) -> None:
        """Has ``watcher`` called with each piece of text from now on, in the turn that sends it."""
        self._text_watcher = watcher

    def fix_format(self, audio_format: AudioFormat) -> None:
        """Fixes the format, before the first input."""
        if self._wire.format is not None:
            raise RuntimeError("the format is fixed by the first input")
        if self._options.deliver_format is not None:
            audio_format = self._options.output_format or AudioFormat()
        self._wire.format = audio_format

    def request_timestamps(self) -> None:
        """Turns word times on; too late after the first input."""
        if not self._wire.used:
            self._options.request_timestamps()

    def hold_input(self) -> None:
        """Makes inputs wait, so that the first carries the negotiated format."""
        self._wire.hold()

    def release_input(self) -> None:
        """Lets held inputs go."""
        self._wire.release()

    def refuse_input(self) -> None:
        """Takes no more text: ``push`` raises ``ContextEnded`` and a running ``feed`` returns; audio goes on."""
        self._refusing = True
        self._wire.wake()

    def attach(self, consumer: Consumer) -> None:
        """Makes ``consumer`` the one consumer, and hands it what waits."""
        self._check_inside()
        if self._consumer is not None or self._iterating:
            raise RuntimeError("a second consumer of one context: it is iterated or played")
        self._consumer = consumer
        if self._outcome == "finished":
            self._outcome = None
        self.inbox.close()
        while self.inbox:
            consumer.handle_events(self.inbox.take())
        if self._ended:
            consumer.handle_end(self._error)

    def set_heard(
        self, heard: Heard, *, first_sound_at_s: float | None = None, stalls: int | None = None, underruns: int = 0
    ) -> None:
        """Takes the listener's side of the record: a moment on ``time.monotonic``; stalls None keeps our own count."""
        self._ledger.heard = heard
        self._ledger.first_sound_at_s = first_sound_at_s
        if stalls is not None:
            self._ledger.audio.stalls = stalls
        self._ledger.underruns = underruns
        if self._error is not None and isinstance(self._error, VoxwireError):
            self._error.record = self.record

    def note_raised(self) -> None:
        """The playback has raised the failure of the context."""
        self._raised = True

    def end_played(self) -> None:
        """All was heard."""
        if self._ended:
            self._set_outcome("finished")

    def end_interrupted(self) -> None:
        """The listener interrupted it; also after the server's ``done``."""
        if self._outcome is not None:
            return
        if self._ended:
            self._set_outcome("cancelled", "interrupted")
        else:
            self._end("cancelled", reason="interrupted", how="cancel")

    def end_failed(self, error: VoxwireError) -> None:
        """The sink failed."""
        if self._outcome is not None:
            return
        self._error = error
        self._set_outcome("failed")
        self._describe(error)
        if not self._ended:
            self._ended = True
            self._wire.leave("cancel")
