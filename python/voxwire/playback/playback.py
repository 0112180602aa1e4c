"""A playback: one context, played into an output."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Literal, Protocol

from voxwire.audio import Resampler, transcode
from voxwire.client.events import Audio
from voxwire.exceptions import FormatRefused, SinkError, VoxwireError
from voxwire.playback.heard import Certainty, Heard, join_heard, sentence_end, word_end
from voxwire.playback.negotiation import format_to_request, formats_to_offer
from voxwire.playback.output import CLOSE_TIMEOUT_S, Output, open_sink
from voxwire.playback.track import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voxwire.audio import AudioFormat
    from voxwire.client.events import Event, Word
    from voxwire.playback.track import OnOver

__all__ = ["Playable", "Playback", "play"]

_INTERRUPT_TIMEOUT_S = 2.0
_STARVING_LOOK_S = 0.1
_LONGEST_FADE_MS = 1000
# Times of words are no whole frames: resampling rounds audio to half a frame, and servers round what they tell.
_SLACK_FRAMES = 0.75


# ruff: noqa: D102 - the members of the protocol below are described where the context has them
class Playable(Protocol):
    """What a playback needs of a context; all of it in the loop's thread, none of it waits."""

    @property
    def playback(self) -> Playback | None: ...
    @property
    def outcome(self) -> str | None: ...
    @property
    def format(self) -> AudioFormat | None: ...
    @property
    def requested_format(self) -> AudioFormat | None: ...
    @property
    def pushed_text(self) -> str: ...
    @property
    def words(self) -> Sequence[Word]: ...
    @property
    def complete(self) -> bool: ...
    def request_timestamps(self) -> None: ...
    def hold_input(self) -> None: ...
    def release_input(self) -> None: ...
    def refuse_input(self) -> None: ...
    def fix_format(self, audio_format: AudioFormat, /) -> None: ...
    def attach(self, consumer: Any, /) -> None: ...
    def set_heard(self, heard: Heard, /, *, first_sound_at_s: float | None = ..., underruns: int = ...) -> None: ...
    def note_raised(self) -> None: ...
    def end_played(self) -> None: ...
    def end_interrupted(self) -> None: ...
    def end_failed(self, error: VoxwireError, /) -> None: ...


async def play(context: Playable, sink: str | Output, *, make: Callable[..., Playback] | None = None) -> Playback:
    """Plays a context; ``Context.play`` is this.

    Before the first push the sink is asked what it can do and the server for that; after it the audio is transcoded.

    Args:
        context: The context.
        sink: An address, or an output inside its block.
        make: What makes the playback, with the arguments of ``Playback``; None for that itself.

    Raises:
        RuntimeError: The context has a consumer, or the output is used outside its block.
        SinkError: The sink cannot be opened.
        ValueError: The address is wrong.
        PluginError: There is no usable sink of that name.
    """
    if context.playback is not None:
        raise RuntimeError("context is played already")
    owned = not isinstance(sink, Output)
    output = sink if isinstance(sink, Output) else open_sink(sink)
    if owned:
        output.enter()
    output.check()
    if context.format is None:
        context.request_timestamps()
    # Text that is fed meanwhile would fix the format before the sink has had its say.
    context.hold_input()
    playing = False
    try:
        wanted = context.format or context.requested_format
        opened = await output.open(formats_to_offer(output.capabilities, wanted))
        if context.format is None:
            context.fix_format(context.requested_format or format_to_request(opened.format))
        playback = (make or Playback)(context, output, owned=owned)
        try:
            context.attach(playback)
        except BaseException:
            playback.withdraw()
            raise
        playing = True
    finally:
        if owned and not playing:
            # Also while it is still opening: then it is closed as soon as it is open.
            output.start_close()
        context.release_input()
    return playback


class Playback:
    """A context being played; made by ``Context.play``.

    Times are seconds of the context's own audio, from its first sample.
    """

    def __init__(
        self,
        context: Playable,
        output: Output,
        *,
        owned: bool,
        make_track: Callable[[AudioFormat, OnOver], Track] = Track,
    ) -> None:
        self._context = context
        self._output = output
        self._owned = owned
        self._loop = asyncio.get_running_loop()
        self._converter = _converter(context, output)
        self._track = output.add(self._track_over, make_track)
        self._target = self._track.format
        self._input_ended = False
        self._interrupted = False
        self._abandoned = False
        self._starving: asyncio.TimerHandle | None = None
        self._moved: tuple[int, int] | None = None
        self._moved_at = 0.0
        #: Where in the audio the end of a sentence was asked for that is still to be found.
        self._sentence_from_s: float | None = None
        self._error: Exception | None = None
        self._final: Heard | None = None
        #: Done once all is over and a sink of our own is closed; never holds an exception, so that nobody has to look.
        self._over = self._loop.create_future()
        self._tail: asyncio.Future[None] | None = None

    # --- the user's side ---

    @property
    def over(self) -> bool:
        """The playback has ended, and a sink that it opened itself is closed."""
        return self._over.done()

    @property
    def played_s(self) -> float:
        """Seconds that were played: frames / rate of the opened format, unrounded."""
        if self._final is not None:
            return self._final.played_s
        self._output.refresh(self._track)
        return self._track.played / self._target.sample_rate

    @property
    def heard(self) -> Heard:
        """What was heard so far; final once the playback is over."""
        return self._final if self._final is not None else self._measure()

    async def wait(self) -> Heard:
        """Waits until all was played, or the playback was interrupted; a cancelled wait lets it play.

        Raises:
            VoxwireError: The context or the sink failed; what came before a failure of the context was played.
        """
        self._check_loop()
        await asyncio.shield(self._over)
        if self._error is not None:
            self._context.note_raised()
            raise self._error
        return self.heard

    async def interrupt(self, *, fade_ms: float = 0, at: Literal["now", "word", "sentence"] = "now") -> Heard:
        """Stops the context and its sound, and returns what was heard.

        At a later time than the end of the playback, or a second time, it returns the same and does nothing.

        Args:
            fade_ms: Length of a fade to silence made of what would have followed, 0 to 1000; it is not counted as
                played, and only where the sink can take back what it has.
            at: "now"; or at the end of the word or sentence that sounds, and no later than 2 s after its audio ran dry.

        Raises:
            ValueError: A wrong argument.
        """
        self._check_loop()
        if not math.isfinite(fade_ms) or not 0 <= fade_ms <= _LONGEST_FADE_MS:
            raise ValueError(f"fade_ms is {fade_ms}, must be 0 to {_LONGEST_FADE_MS}")
        if at not in {"now", "word", "sentence"}:
            raise ValueError(f"at is {at!r}, must be 'now', 'word' or 'sentence'")
        if self._final is None:
            if at == "now":
                self._stop(fade_ms)
            else:
                self._stop_at(at)
        await asyncio.shield(self._over)
        return self.heard

    def pause(self) -> None:
        """Holds the sound. A sink that cannot pause plays what it has; a no-op once over."""
        self._check_loop()
        if self._final is None:
            self._output.pause(self._track)

    def resume(self) -> None:
        """Goes on after ``pause``; a no-op where it plays."""
        self._check_loop()
        if self._final is None:
            self._output.resume(self._track)

    # --- the context's side ---

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait for the sink."""
        return self._track.pending * self._target.frame_bytes

    def handle_events(self, events: list[Event]) -> None:
        """Takes what one read brought for the context, in its turn."""
        for event in events:
            if not isinstance(event, Audio):
                if self._final is None:
                    self._look_for_sentence()
            elif not self._input_ended:
                self._track.feed(event.data if event.format == self._target else self._convert(event))
        self._output.pump()
        if self._interrupted and self._track.ended and not self._input_ended:
            self._input_over()

    def handle_end(self, error: Exception | None) -> None:
        """Learns that no more audio comes."""
        if self._input_ended:
            return
        self._input_ended = True
        if self._error is None:
            self._error = error
        if self._context.outcome == "cancelled":
            # By its owner, or because the source of its text failed.
            self.abandon()
            return
        if self._converter is not None:
            self._track.feed(self._converter.finish())
        self._track.ended = True
        self._output.pump()

    def abandon(self) -> None:
        """Stops at once, without telling the context and without waiting."""
        self._abandoned = self._input_ended = True
        self._finish_now(0)

    def withdraw(self) -> None:
        """Takes back a playback that never began: the context had another consumer."""
        self._output.cut(self._track)
        self._over.set_result(None)

    async def settle(self) -> None:
        """Waits at most 2 s until a playback that was stopped is over."""
        await asyncio.wait({self._over}, timeout=CLOSE_TIMEOUT_S)

    # --- the way of the audio ---

    def _convert(self, event: Audio) -> bytes:
        if self._converter is not None:
            return self._converter.process(event.data)
        return transcode(event.data, event.format, self._target)

    def _track_over(self, error: VoxwireError | None) -> None:
        """The output is through with our track: all was played, or the sink is gone."""
        if self._final is not None:
            return
        self._settle_heard()
        if error is not None:
            self._error = self._error or error
            self._input_ended = True
            self._context.end_failed(error)
        self._conclude()

    def _stop(self, fade_ms: float) -> None:
        """Interrupts now: the server, then the sink, in this turn."""
        self._interrupted = True
        self._input_ended = True
        self._context.end_interrupted()
        self._finish_now(fade_ms)

    def _finish_now(self, fade_ms: float) -> None:
        if self._final is not None:
            return
        self._tail = self._output.cut(self._track, fade_ms=fade_ms)
        if self._final is None:
            self._settle_heard()
            self._conclude()

    def _settle_heard(self) -> None:
        if self._starving is not None:
            self._starving.cancel()
        self._final = self._measure()
        self._context.set_heard(self._final, first_sound_at_s=self._track.first_played_at, underruns=self._track.xruns)

    def _measure(self) -> Heard:
        played_s = self.played_s
        quality = self._track.quality or self._output.capabilities.position
        rate = self._target.sample_rate
        return join_heard(
            self._context.pushed_text,
            self._context.words,
            played_s,
            Certainty(quality, self._track.bound / rate),
            complete=self._context.complete,
            slack_s=_SLACK_FRAMES / rate,
        )

    def _conclude(self) -> None:
        """Closes a sink of our own, behind a fade, then declares the end."""
        if self._tail is not None and not self._tail.done():
            self._tail.add_done_callback(lambda _: self._conclude())
            return
        if not self._owned:
            self._declare(None)
            return
        closing = self._output.start_close()
        late = SinkError(f"{self._output.name} did not close within {CLOSE_TIMEOUT_S:g} s")
        timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._declare, late)

        def closed(future: asyncio.Future[None]) -> None:
            timer.cancel()
            error = future.exception()
            self._declare(error if isinstance(error, VoxwireError) else None)

        closing.add_done_callback(closed)

    def _declare(self, error: VoxwireError | None) -> None:
        if self._over.done():
            return
        if error is not None and self._error is None:
            # The close of the sink failed: not all that was played is stored.
            self._error = error
            self._context.end_failed(error)
        elif self._interrupted:
            self._context.end_interrupted()
        elif self._error is None and not self._abandoned:
            self._context.end_played()
        self._over.set_result(None)

    # --- interruption at a word or a sentence ---

    def _stop_at(self, at: str) -> None:
        if self._interrupted:
            return
        self._interrupted = True
        self._context.refuse_input()
        played_s = self.played_s
        if at == "word":
            self._limit(word_end(self._context.words, played_s))
        else:
            self._sentence_from_s = played_s
            self._look_for_sentence()
        if self._final is None:
            self._watch_starving()

    def _look_for_sentence(self) -> None:
        if self._sentence_from_s is None:
            return
        # The sentence that sounded when it was asked for: by the time its words come another may sound.
        end_s = sentence_end(self._context.words, self._sentence_from_s)
        if end_s is not None:
            self._sentence_from_s = None
            self._limit(end_s)
        elif self._input_ended:
            # No known word ends it, and no more will come: its end is the end of the audio.
            self._sentence_from_s = None
            self._input_over()

    def _limit(self, end_s: float) -> None:
        limit = round(end_s * self._target.sample_rate)
        if limit <= self._track.played:
            self._stop(0)
            return
        self._track.stop_at(limit)
        if self._track.ended:
            self._input_over()
        self._output.pump()

    def _input_over(self) -> None:
        """All audio up to the limit is here: the server is told now, the sound goes on to the limit."""
        self._input_ended = True
        self._context.end_interrupted()

    def _watch_starving(self) -> None:
        """Stops once nothing has come and nothing was played for 2 s."""
        self._output.refresh(self._track)
        if self._final is not None:
            return
        now = self._loop.time()
        standing = (self._track.total, self._track.played)
        if standing != self._moved:
            self._moved, self._moved_at = standing, now
        if now - self._moved_at >= _INTERRUPT_TIMEOUT_S:
            self._stop(0)
            return
        self._starving = self._loop.call_later(min(_STARVING_LOOK_S, _INTERRUPT_TIMEOUT_S), self._watch_starving)

    def _check_loop(self) -> None:
        running: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):
            running = asyncio.get_running_loop()
        if running is not self._loop:
            raise RuntimeError("playback is used outside the event loop it was started in")


def _converter(context: Playable, output: Output) -> Resampler | None:
    """What brings the audio of a context to the rate of the sink, where the server cannot.

    Raises:
        FormatRefused: Nothing does.
    """
    source, target = context.format, output.format
    if source is None or target is None or source.sample_rate == target.sample_rate:
        return None
    try:
        return Resampler(source, target)
    except ValueError as error:
        raise FormatRefused(f"{output.name} plays {target}, to which {source} cannot be converted: {error}") from error
