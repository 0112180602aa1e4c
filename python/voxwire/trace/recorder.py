"""Collects what is seen of one playback, and makes a trace of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from voxwire.client.events import Audio, FlushDone
from voxwire.trace.model import Arrival, Gap, Moment, Push, Reading, TimedWord, Trace, Write
from voxwire.trace.playhead import Playhead

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat
    from voxwire.client import Context, Record
    from voxwire.client.events import Event
    from voxwire.playback.track import Track
    from voxwire.sinks import Position
    from voxwire.trace.model import State

__all__ = ["Recorder"]


class Recorder:
    """Watches the playback of one context, in its loop.

    Times are those of ``time.monotonic`` until :meth:`trace` counts them from the first push.
    """

    def __init__(self) -> None:
        self._context: Context | None = None
        self._pushes: list[Push] = []
        self._arrivals: list[Arrival] = []
        self._writes: list[Write] = []
        self._readings: list[Reading] = []
        self._moments: list[Moment] = []
        self._stalls: list[Gap] = []
        self._underruns: list[float] = []
        self._dry_at_s = 0.0
        self._format: AudioFormat | None = None

    def watch(self, context: Context) -> None:
        """Looks at the text of a context; its playback is to be made with this as its watcher."""
        self._context = context
        context.watch_text(self._handle_text)

    @property
    def began(self) -> bool:
        """There is something to make a trace of: text was pushed, and the sink was open."""
        return self._format is not None and self._context is not None and self._context.started_at_s is not None

    def note(self, name: str, at_s: float | None = None) -> None:
        """Something happened; None for now."""
        self._moments.append(Moment(name, time.monotonic() if at_s is None else at_s))

    def note_failure(self) -> None:
        """It has failed, unless that was seen before."""
        if all(moment.name != "failed" for moment in self._moments):
            self.note("failed")

    # --- what happens

    def _handle_text(self, text: str) -> None:
        self._pushes.append(Push(time.monotonic(), len(text)))

    def handle_events(self, events: list[Event]) -> None:
        """Notes audio and the ends of segments."""
        now_s = time.monotonic()
        for event in events:
            if isinstance(event, Audio):
                duration_s = event.format.duration_s(len(event.data))
                self._arrivals.append(Arrival(now_s, len(event.data), event.start_s, duration_s))
                # A listener who starts with the first audio is the measure, as for the stalls of the record.
                if now_s > self._dry_at_s:
                    if self._dry_at_s:
                        self._stalls.append(Gap(self._dry_at_s, now_s))
                    self._dry_at_s = now_s
                self._dry_at_s += duration_s
            elif isinstance(event, FlushDone):
                self.note("flush_done")

    def handle_end(self, error: Exception | None) -> None:
        """Notes how it ended."""
        if error is not None:
            self.note_failure()
        elif self._context is not None and self._context.outcome is None:
            self.note("done")

    def handle_written(self, frames: int) -> None:
        """Notes what the sink took."""
        self._writes.append(Write(time.monotonic(), frames))

    def handle_position(self, track: Track, position: Position) -> None:
        """Notes where the sink stood; of readings that are alike the first and the last."""
        self._format = track.format
        before = self._readings[-2:]
        # A sink may tell a moment of its own, though none from before the last reading or to come.
        time_s = max(min(position.at_ns / 1e9, time.monotonic()), before[-1].time_s if before else 0.0)
        reading = Reading(time_s, track.written, track.played, track.pending, track.xruns)
        if before and reading.xruns > before[-1].xruns:
            self._underruns += [time_s] * (reading.xruns - before[-1].xruns)
        if len(before) > 1 and all(replace(other, time_s=time_s) == reading for other in before):
            self._readings[-1] = reading
        else:
            self._readings.append(reading)

    # --- what was seen

    def trace(self, *, server: str, sink: str, voice: str | None, paced: bool) -> Trace:
        """Returns what was seen of the context, which has ended.

        Args:
            server: Name of the server, without secrets.
            sink: Name of the sink, without secrets.
            voice: The voice that was asked for.
            paced: The sink plays at the pace of speech.

        Raises:
            RuntimeError: Nothing began.
        """
        context, audio_format = self._context, self._format
        zero_s = None if context is None else context.started_at_s
        if context is None or audio_format is None or zero_s is None:
            raise RuntimeError("a trace of nothing, look whether it began")
        record = context.record
        pushes = tuple(replace(push, time_s=push.time_s - zero_s) for push in self._pushes)
        arrivals = tuple(replace(arrival, time_s=arrival.time_s - zero_s) for arrival in self._arrivals)
        writes = tuple(replace(write, time_s=write.time_s - zero_s) for write in self._writes)
        # Until the first push there was nothing to hear.
        readings = tuple(
            replace(reading, time_s=reading.time_s - zero_s) for reading in self._readings if reading.time_s >= zero_s
        )
        moments = [replace(moment, time_s=moment.time_s - zero_s) for moment in self._moments]
        for name, time_s in (("first_audio", record.first_audio_s), ("first_sound", record.first_sound_s)):
            if time_s is not None:
                moments.append(Moment(name, time_s))
        moments.sort(key=lambda moment: moment.time_s)
        last = (series[-1].time_s for series in (pushes, arrivals, writes, readings, moments) if series)
        return Trace(
            server=server,
            sink=sink,
            voice=voice,
            format=audio_format,
            paced=paced,
            end_s=max(last, default=0.0),
            pushes=pushes,
            arrivals=arrivals,
            writes=writes,
            readings=readings,
            words=_words(record, readings, audio_format),
            moments=tuple(moments),
            stalls=tuple(Gap(gap.start_s - zero_s, gap.end_s - zero_s) for gap in self._stalls),
            underruns=tuple(time_s - zero_s for time_s in self._underruns),
            record=record,
        )


def _words(record: Record, readings: tuple[Reading, ...], audio_format: AudioFormat) -> tuple[TimedWord, ...]:
    """The words of a record, each with when it was heard."""
    heard = record.heard
    if heard is None or not readings:
        return tuple(TimedWord(word.text, word.start_s, word.end_s, "unheard", None, None) for word in record.words)
    states: dict[int, State] = {id(word): "half_heard" for word in heard.half_heard}
    states |= {id(word): "heard" for word in heard.heard}
    # Between the first sound and the reading before it there was silence, whenever that reading was.
    begin_s = readings[0].time_s if record.first_sound_s is None else record.first_sound_s
    sounding = [reading for reading in readings if reading.played]
    playhead = Playhead(
        [begin_s, *(max(begin_s, reading.time_s) for reading in sounding)],
        [0.0, *(reading.played / audio_format.sample_rate for reading in sounding)],
    )
    words = []
    for word in record.words:
        state = states.get(id(word), "unheard")
        from_s = to_s = None
        if state != "unheard":
            from_s = playhead.left(word.start_s)
            to_s = max(from_s, playhead.reached(word.end_s))
        words.append(TimedWord(word.text, word.start_s, word.end_s, state, from_s, to_s))
    return tuple(words)
