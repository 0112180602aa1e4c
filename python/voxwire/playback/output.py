"""An output: one sink, opened by its host, with the audio of any number of playbacks following one another in it.

Everything happens in the turn of the loop that brings it: audio is written to the sink by the call that delivers it,
the sink's wake brings the rest, and a timer watches over what has no wake. There is no task.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from typing import TYPE_CHECKING, Self

from voxwire.exceptions import DrainTimeout, SinkClosed, SinkError, Unsupported, VoxwireError
from voxwire.playback.fade import fade_out
from voxwire.playback.host import CLOSE_TIMEOUT_S, SinkHost, make_sink
from voxwire.playback.track import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from voxwire.audio import AudioFormat
    from voxwire.playback.track import OnOver
    from voxwire.sinks import Capabilities, Opened, Position, Sink

__all__ = ["CLOSE_TIMEOUT_S", "STALL_TIMEOUT_S", "Output", "open_sink"]

STALL_TIMEOUT_S = 10.0
"""A sink that has audio and neither takes nor plays any for this long counts as lost."""

_SHORTEST_TIMER_S = 0.005
_LONGEST_TIMER_S = 0.5
# Sinks without a clock play as fast as they are written, so how much audio is left says nothing about the time.
_UNCLOCKED_TIMER_S = 0.02


def open_sink(address: str | Sink, *, prebuffer_ms: float = 0) -> Output:
    """Returns an output for a sink; use it with ``async with``.

    The sink's plugin is imported here and its address checked. The sink itself is opened by the first playback, which
    settles the format.

    Args:
        address: ``scheme:target?options``, or a sink made by hand.
        prebuffer_ms: Audio that is gathered before each playback begins, unless it ends before.

    Raises:
        ValueError: No scheme, an unknown or wrong option, a target that the sink cannot open, a negative prebuffer.
        PluginError: No sink of that scheme, or a broken one.
        TypeError: ``address`` is neither.
    """
    if not math.isfinite(prebuffer_ms) or prebuffer_ms < 0:
        raise ValueError(f"prebuffer_ms is {prebuffer_ms}, must be 0 or more")
    if isinstance(address, str):
        return Output(make_sink(address), prebuffer_ms=prebuffer_ms)
    if callable(getattr(address, "write", None)) and callable(getattr(address, "open", None)):
        return Output(address, prebuffer_ms=prebuffer_ms)
    raise TypeError(f"sink is {type(address).__name__}, must be an address or a sink")


class Output:
    """A sink with its host; made by :func:`open_sink`.

    Leaving ``async with`` normally waits for what is still being played, by an exception it stops at once; either way
    the sink is closed.
    """

    def __init__(self, sink: Sink, *, prebuffer_ms: float = 0) -> None:
        self._host = SinkHost(sink, self._woken)
        self._prebuffer_ms = prebuffer_ms
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost: VoxwireError | None = None
        self._tracks: list[Track] = []
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None
        self._pumping = False
        # Of the sink's present segment: frames handed over, and how many of them the last finish covered.
        self._segment_written = 0
        self._finished_at = -1
        self._blocked = False
        self._sink_paused = False
        self._progress: tuple[int, int, int] = (0, 0, 0)
        #: None while there is nothing to watch.
        self._progress_at: float | None = None

    @property
    def sink(self) -> Sink:
        """The sink."""
        return self._host.sink

    @property
    def name(self) -> str:
        """The sink and the distribution it comes from, for messages."""
        return self._host.name

    @property
    def format(self) -> AudioFormat | None:
        """The format that the sink was opened with; None before the first playback."""
        return None if self._host.opened is None else self._host.opened.format

    @property
    def capabilities(self) -> Capabilities:
        """What the sink can do."""
        return self._host.capabilities

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._idle is not None:
                for track in [track for track in self._tracks if track.paused or not track.ended]:
                    self.cut(track)
                    track.on_over(SinkClosed("the output was closed before its playback had ended"))
                await self._idle.wait()
        finally:
            # Also where the wait is cancelled: then it stops at once.
            self.start_close()
        failure = await self.close()
        if kind is None and failure is not None and self._lost is None:
            raise failure

    def enter(self) -> None:
        """Binds the output to the running loop.

        Raises:
            RuntimeError: It was entered before.
        """
        if self._loop is not None:
            raise RuntimeError("output was entered before, open another one")
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()

    # --- opening and closing ---

    async def open(self, formats: Sequence[AudioFormat]) -> Opened:
        """Opens the sink with the first of the formats that it can do; once, later calls return the same.

        Raises:
            SinkError: It cannot be opened, or not within 15 s.
            RuntimeError: The output is used outside its block or in another loop.
        """
        self.check()
        return await self._host.open(formats)

    def check(self) -> None:
        """Raises what keeps the output from being used: RuntimeError, SinkClosed, or the loss of the sink."""
        if self._loop is None:
            raise RuntimeError("output is used outside its block, write: async with voxwire.open_sink(...) as output")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("output is used in another event loop than the one it was entered in")
        if self._lost is not None:
            raise self._lost
        if self._host.closing:
            raise SinkClosed(f"{self.name} is closed")

    async def close(self) -> VoxwireError | None:
        """Stops everything and closes the sink, waiting at most 2 s; returns what went wrong in the close."""
        closing = self.start_close()
        done, _ = await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        if not done:
            return SinkError(f"{self.name} did not close within {CLOSE_TIMEOUT_S:g} s")
        error = closing.exception()
        return error if isinstance(error, VoxwireError) else None

    def start_close(self) -> asyncio.Future[None]:
        """Stops everything now and closes the sink on a thread; the future ends with the close."""
        self._disarm()
        tracks, self._tracks = self._tracks, []
        closing = self._host.close()
        for track in tracks:
            track.finish(SinkClosed(f"{self.name} is closed"))
        if self._idle is not None:
            self._idle.set()
        return closing

    # --- tracks ---

    def add(self, on_over: OnOver, make: Callable[[AudioFormat, OnOver], Track] = Track) -> Track:
        """Adds a track, made by ``make``, behind all others.

        Raises:
            SinkClosed: The sink is not open.
            SinkError: It was lost.
        """
        self.check()
        opened = self._host.opened
        if opened is None or self._idle is None:
            raise SinkClosed(f"{self.name} is not open")
        track = make(opened.format, on_over)
        self._tracks.append(track)
        self._idle.clear()
        return track

    def refresh(self, track: Track) -> None:
        """Brings the counts of a track up to date."""
        if track.over or not self._alive:
            return
        try:
            position = self._host.position()
        except VoxwireError as error:
            self._lose(error)
            return
        for other in self._tracks:
            other.update(position)
            if other is track:
                return

    def cut(self, track: Track, *, fade_ms: float = 0) -> asyncio.Future[None] | None:
        """Takes a track out, now: what was not played of it never will be, except for a short fade.

        Returns:
            What ends with the fade, at most 2 s later; None where there is none.
        """
        if track.over:
            return None
        faded: asyncio.Future[None] | None = None
        try:
            tail = self._clear(track, fade_ms) if track.written and self._lost is None else b""
            if tail:
                # Before the track goes: an output that is being left would take the moment between for its end.
                faded = self._play_tail(tail, track.format)
            self._drop(track)
            self._let_go()
        except VoxwireError as error:
            self._lose(error)
        track.drop()
        self.pump()
        return faded

    def pause(self, track: Track) -> None:
        """Holds a track; what the sink has already plays on unless it can pause."""
        if track.over or track.paused:
            return
        track.paused = True
        if self._tracks and self._tracks[0] is track and track.written:
            self._pause_sink()

    def resume(self, track: Track) -> None:
        """Goes on after ``pause``."""
        if track.over or not track.paused:
            return
        track.paused = False
        if self._sink_paused and self._tracks[0] is track:
            self._sink_paused = False
            try:
                self._host.call("resume")
            except VoxwireError as error:
                self._lose(error)
        self._progress_at = self._now()
        self.pump()

    def pump(self) -> None:
        """Hands over what the sink takes, ends what was played, and sets the timer for the rest."""
        if self._pumping or not self._alive:
            return
        self._pumping = True
        try:
            self._hand_over()
            self._settle()
        except VoxwireError as error:
            self._lose(error)
        finally:
            self._pumping = False

    def _hand_over(self) -> None:
        self._blocked = False
        for track in self._tracks:
            if track.paused:
                return
            if not track.started:
                gathered = track.total * 1000 >= self._prebuffer_ms * track.format.sample_rate
                if not (track.ended or (track.total and gathered)):
                    return
                track.started = True
            if not self._write(track) or not track.drained:
                return

    def _write(self, track: Track) -> bool:
        """Writes what waits; False once the sink takes no more."""
        frame_bytes = track.format.frame_bytes
        while (piece := track.next_piece()) is not None:
            offered = self._allowed(track.format, len(piece) // frame_bytes)
            if not offered:
                self._blocked = True
                return False
            first = self._host.position() if track.first_written_at is None else None
            taken = self._host.write(piece[: offered * frame_bytes], offered)
            if taken:
                if first is not None:
                    track.first_written_at = time.monotonic()
                    for other in self._tracks[: self._tracks.index(track)]:
                        other.follow(first)
                track.wrote(taken, self._segment_written, first)
                self._segment_written += taken
            if taken < offered:
                self._blocked = True
                return False
        return True

    def _allowed(self, audio_format: AudioFormat, frames: int) -> int:
        """How many frames may be handed over without getting too far ahead of the ear."""
        lead_ms = self.capabilities.max_lead_ms
        if not lead_ms:
            return frames
        ahead = self._segment_written - self._host.position().played
        return max(0, min(frames, audio_format.sample_rate * lead_ms // 1000 - ahead))

    def _settle(self) -> None:
        """Ends what was played, asks the sink to play out, and sets the timer."""
        if not self._tracks:
            self._disarm()
            return
        head = self._tracks[0]
        quiet = not self._blocked and not head.drained and head.limit is None and not head.paused
        if quiet and head.kept < head.format.sample_rate:
            # In the middle of speech there is nothing to watch: the next audio or the next wake brings us back.
            self._disarm()
            return
        position = self._host.position()
        while self._tracks and self._is_over(self._tracks[0], position):
            head = self._tracks.pop(0)
            self._end(head, None)
            if self._tracks and self._tracks[0].paused and self._tracks[0].written:
                self._pause_sink()
            self._let_go()
            self._hand_over()
            position = self._host.position()
        self._finish()
        self._watch(position)

    def _is_over(self, head: Track, position: Position) -> bool:
        """Looks whether the head has been played to its end."""
        head.update(position)
        if head.limit is not None and head.written > head.limit and head.played >= head.limit:
            # It was handed over before the limit was known: the rest is taken back.
            self._clear(head, 0)
            return True
        return head.drained and head.played >= head.total

    def _finish(self) -> None:
        """Calls ``finish`` where the last frame handed over ends a playback that nothing follows at once."""
        last: Track | None = None
        for track in self._tracks:
            if not track.drained:
                # Its audio follows at once, so the sink must not pad; unless it is held back.
                if track.written or (track.started and track.pending and not track.paused):
                    last = None
                break
            if track.written:
                last = track
        if last is not None and self._finished_at != self._segment_written:
            self._finished_at = self._segment_written
            self._host.call("finish")

    def _watch(self, position: Position) -> None:
        """Sets the timer: for the end of the head, for room under the lead, and against a sink that stands still."""
        if not self._tracks:
            self._disarm()
            return
        now = self._now()
        progress = (position.segment, position.written, position.played)
        if progress != self._progress or self._progress_at is None:
            self._progress = progress
            self._progress_at = now
        head = self._tracks[0]
        draining = head.drained and head.written > head.played
        limited = head.limit is not None and head.written > head.limit
        if self._sink_paused or not (self._blocked or draining or limited):
            self._disarm()
            return
        if now - self._progress_at >= STALL_TIMEOUT_S:
            raise DrainTimeout(f"{self.name} played nothing for {STALL_TIMEOUT_S:g} s")
        self._arm(self._delay_s(head, limited=limited, draining=draining))

    def _delay_s(self, head: Track, *, limited: bool, draining: bool) -> float:
        """When to look again; where the sink owes a wake, only to notice that it stands still."""
        delay_s = _LONGEST_TIMER_S
        # A finish tells when all has played, not when the head of several has.
        followed = self._finished_at != self._segment_written or any(track.written for track in self._tracks[1:])
        if limited or (draining and followed):
            end = head.total if head.limit is None else min(head.limit, head.total)
            delay_s = min(delay_s, max(0, end - head.played) / head.format.sample_rate)
            if self.capabilities.clock == "none":
                delay_s = min(delay_s, _UNCLOCKED_TIMER_S)
        if self._blocked and self.capabilities.max_lead_ms:
            delay_s = min(delay_s, self.capabilities.max_lead_ms / 2000)
        return max(delay_s, _SHORTEST_TIMER_S)

    def _clear(self, track: Track, fade_ms: float) -> bytes:
        """Clears the sink; the other tracks wait again, the audio of a fade is returned."""
        final = self._host.clear()
        for other in self._tracks:
            other.update(final)
        tail = b""
        # Only what sounds can fade: neither a track that waits for its turn nor one that is held.
        if fade_ms and final.discarded and track.played and not self._sink_paused:
            tail = fade_out(track.following(round(track.format.sample_rate * fade_ms / 1000)), track.format)
        for other in self._tracks:
            if other is not track:
                other.rewind()
        self._segment_written = 0
        self._finished_at = -1
        self._progress_at = self._now()
        return tail

    def _play_tail(self, tail: bytes, audio_format: AudioFormat) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        faded: asyncio.Future[None] = loop.create_future()

        def end(_: VoxwireError | None = None) -> None:
            if not faded.done():
                faded.set_result(None)

        fade = Track(audio_format, end)
        fade.feed(tail)
        fade.ended = True
        self._tracks.insert(0, fade)
        if self._idle is not None:
            self._idle.clear()
        timer = loop.call_later(CLOSE_TIMEOUT_S, end)
        faded.add_done_callback(lambda _: timer.cancel())
        return faded

    def _pause_sink(self) -> None:
        if self._sink_paused or not self.capabilities.can_pause:
            return
        try:
            self._host.call("pause")
        except Unsupported:
            # What it has plays on; what waits here is held all the same.
            return
        except VoxwireError as error:
            self._lose(error)
            return
        self._sink_paused = True

    def _let_go(self) -> None:
        """Ends the pause of a sink whose pausing track is gone."""
        if self._sink_paused and not (self._tracks and self._tracks[0].paused):
            self._sink_paused = False
            self._host.call("resume")

    def _drop(self, track: Track) -> None:
        if track in self._tracks:
            self._tracks.remove(track)
        if not self._tracks and self._idle is not None:
            self._idle.set()

    def _end(self, track: Track, error: VoxwireError | None) -> None:
        if not self._tracks and self._idle is not None:
            self._idle.set()
        track.finish(error)

    def _lose(self, error: VoxwireError) -> None:
        """The sink is gone, and with it everything that was to be played."""
        if self._lost is not None:
            return
        self._lost = error
        self._disarm()
        self._host.detach()
        tracks, self._tracks = self._tracks, []
        try:
            position = self._host.position()
        except VoxwireError:
            position = None
        for track in tracks:
            if position is not None:
                track.update(position)
            track.finish(_own(error))
        if self._idle is not None:
            self._idle.set()

    # --- timer and wake ---

    def _woken(self) -> None:
        if not self._alive:
            return
        try:
            # Takes nothing, and says whether the wake was for a loss.
            self._host.call("write", b"")
        except VoxwireError as error:
            self._lose(error)
            return
        self.pump()

    @property
    def _alive(self) -> bool:
        return self._host.opened is not None and self._lost is None and not self._host.closing

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._timed)

    def _disarm(self) -> None:
        self._progress_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed(self) -> None:
        self._timer = None
        self.pump()


def _own(error: VoxwireError) -> VoxwireError:
    """The same error for one of several contexts, which makes it its own by its id and its record."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
