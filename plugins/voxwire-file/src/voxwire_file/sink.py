"""The two sinks: ``file:`` writes WAV, FLAC or Ogg Opus, ``raw:`` writes bare samples."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from voxwire.exceptions import FormatRefused, SinkError, SinkLost
from voxwire.sinks import Address, FormatPattern, Option, ThreadSink, flag
from voxwire_file.container import BareFile, Container, SampleStream, WavFile, silence
from voxwire_file.encoded import FLAC, OPUS, Codec, EncodedFile, require_soundfile
from voxwire_file.pace import Pace
from voxwire_file.target import (
    RegularFile,
    Stream,
    is_directory,
    is_stream,
    open_file,
    open_stdout,
    open_stream,
    reason,
)
from voxwire_file.wav import stream_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voxwire.audio import AudioFormat
    from voxwire.sinks import Capabilities, Clock, Opened, Quality, Wake

__all__ = ["FileSink", "RawSink"]

_WAV = (".wav", ".wave")
_CODECS = {".flac": FLAC, ".opus": OPUS}

#: What may wait in a pipe: with the piece that is on its way in, an interruption is heard 80 ms later at most.
_PIPE_MS = 70


class _PathSink(ThreadSink):
    """What both sinks share: a path or ``-``, the temporary name, the file or the stream, the pace."""

    #: Nothing here waits for the file: that is the thread's.
    inline: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "atomic": Option("write to NAME.part and rename it at the end (0 or 1)", default=False, parse=flag),
        "keep_gaps": Option("with realtime: write the silence between utterances (0 or 1)", default=False, parse=flag),
        "realtime": Option("take audio no faster than it would be heard (0 or 1)", default=False, parse=flag),
    }
    formats: tuple[AudioFormat | FormatPattern, ...] = (FormatPattern(channels=None),)
    clock: Clock = "none"
    quality: Quality = "written"
    # What is in a file stays there, and what waits here is on its way.
    can_clear = False
    buffer_ms = 1_000
    piece_ms = 500

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._path = address.target
        self._atomic = bool(address.options.get("atomic", False))
        self._realtime = bool(address.options.get("realtime", False))
        self._keep_gaps = bool(address.options.get("keep_gaps", False))
        if not self._path:
            raise ValueError(f"sink {address.scheme!r} needs a path, or - for standard output")
        if self._path == "-" and (option := self._option_of_files):
            raise ValueError(f"option {option!r} of sink {address.scheme!r} needs a path, not standard output")
        if self._keep_gaps and not self._realtime:
            raise ValueError(f"option 'keep_gaps' of sink {address.scheme!r} needs realtime=1")
        self._settled = False
        self._target: RegularFile | Stream | None = None
        self._container: Container | None = None
        self._format: AudioFormat | None = None
        self._file_path = ""
        self._pace: Pace | None = None
        self._segment = 0
        self._starved = False
        self._expects_more = False

    # --- before the open ---

    def capabilities(self) -> Capabilities:
        """Made of the options, and of what stands at the path when it is first asked."""
        self._settle()
        return super().capabilities()

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Opens the path."""
        self._settle()
        return super().open(formats, wake)

    def _settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        if self._path == "-" or is_stream(self._path):
            # "sent": the reader has taken it, and may keep it waiting for its own listener.
            self.quality = "sent"
            self.can_clear = True
            self.buffer_ms = 100
            self.piece_ms = 10
        if self._realtime:
            self.clock = "timer"
            self.can_clear = True
            self.piece_ms = min(self.piece_ms, 20)
            self.idle_ms = 100 if self._keep_gaps else 0

    @property
    def _option_of_files(self) -> str:
        """The option that only a regular file can fulfil, where one is set."""
        return "atomic" if self._atomic else "keep_gaps" if self._keep_gaps else ""

    # --- the hooks ---

    def start(self, audio_format: AudioFormat) -> None:
        """Creates the file and writes its header."""
        target = self._open_target(audio_format)
        try:
            self._container = self._contain(target, audio_format)
        except OSError as error:
            with contextlib.suppress(OSError):
                target.close()
            raise SinkError(f"cannot write to {self._where}: {reason(error)}") from error
        except BaseException:
            target.close()
            raise
        self._target = target
        self._format = audio_format
        self._pace = Pace(audio_format.sample_rate) if self._realtime else None

    def send(self, data: bytes) -> None:
        """Writes samples and what counts them: only after that are they played; with ``realtime`` when they end."""
        if self._container is None or self._format is None:
            return
        if self._pace is None:
            self._append(data)
            return
        if self.segment != self._segment:
            # A clear has dropped what was to follow.
            self._segment = self.segment
            self._starved, self._expects_more = True, False
        # A thread that was late with audio at hand makes up for it; only audio that was late leaves a gap.
        if self._starved and self._rest() and self._expects_more:
            self.xruns += 1
        self._expects_more = True
        self._append(data)
        self._pace.play(self._format.frames(len(data)))
        self._starved = self.pending == 0

    def idle(self) -> None:
        """Writes the silence of a gap while it lasts."""
        self._rest()

    def held(self) -> int:
        """What a pipe keeps for its reader."""
        return 0 if self._container is None else self._container.held()

    def drained(self) -> None:
        """Waits for the reader of a pipe; nothing need follow."""
        self._expects_more = False
        if self._container is not None:
            self._container.drain(lambda: self.stopping or self.pending > 0)

    def stop(self) -> None:
        """Completes the file, and gives it its name where ``atomic`` is set."""
        target, container = self._target, self._container
        if target is None or container is None:
            return
        try:
            # After a loss the file stays as it is: what is in it is whole, what is missing was reported.
            if isinstance(target, RegularFile) and not self.lost:
                container.complete()
                self.bound = 0
                if self._atomic:
                    target.publish(self._part, self._file_path)
        finally:
            container.abandon()
            target.close()

    def loss(self, error: BaseException) -> SinkLost:
        """Names the file and the system's reason."""
        if not isinstance(error, OSError):
            return super().loss(error)
        lost = SinkLost(f"cannot write to {self._where}: {reason(error)}", errno=error.errno)
        lost.__cause__ = error
        return lost

    # --- parts ---

    def _append(self, data: bytes) -> None:
        if self._container is not None:
            self._container.append(data)
            self.bound = self._container.behind()

    def _rest(self) -> int:
        """Lets the time of a gap pass, keeps the gap where that is asked for, and returns its frames."""
        if self._pace is None or self._format is None:
            return 0
        gap = self._pace.rest()
        if gap and self._keep_gaps:
            self._append(silence(self._format, gap))
        return gap

    @abstractmethod
    def _contain(self, target: RegularFile | Stream, audio_format: AudioFormat) -> Container:
        """Returns what is written into, its header written."""

    @property
    def _where(self) -> str:
        return "standard output" if self._path == "-" else repr(self._path)

    @property
    def _part(self) -> str:
        return f"{self._file_path}.part"

    def _open_target(self, audio_format: AudioFormat) -> RegularFile | Stream:
        ahead_bytes = audio_format.sample_rate * _PIPE_MS // 1000 * audio_format.frame_bytes
        if self._path == "-":
            return Stream(open_stdout(), ahead_bytes, lambda: self.stopping)
        if is_directory(self._path):
            raise SinkError(f"cannot open {self._path!r}: is a directory")
        if is_stream(self._path):
            if option := self._option_of_files:
                raise SinkError(f"cannot open {self._path!r}: option {option!r} needs a regular file")
            return Stream(open_stream(self._path), ahead_bytes, lambda: self.stopping)
        if not self._atomic:
            return RegularFile(open_file(self._path))
        # The file that it is now: neither a changed working directory nor a changed link leads the end elsewhere.
        self._file_path = os.path.realpath(self._path)
        return RegularFile(open_file(self._part), durable=True)


class FileSink(_PathSink):
    """``file:PATH`` with the container named by the suffix, and ``file:-``: WAV to standard output."""

    formats: tuple[AudioFormat | FormatPattern, ...] = (FormatPattern(), FormatPattern(channels=2))

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        suffix = Path(self._path).suffix.lower()
        self._codec: Codec | None = _CODECS.get(suffix)
        # What stands there has no suffix to choose by: it gets what standard output gets.
        device = not suffix and self._path.startswith("/dev/")
        if self._codec is not None:
            self.formats = self._codec.formats
            require_soundfile(suffix)
        elif not (self._path == "-" or device or suffix in _WAV):
            named = f"suffix {suffix!r}" if suffix else f"no suffix in {self._path!r}"
            choices = f"{', '.join((*_WAV, *_CODECS))} (or raw:{self._path} for bare samples)"
            raise ValueError(f"sink 'file' has {named}, it writes {choices}")

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Opens the path, with a format that the container can hold."""
        if self._codec is not None:
            possible = [audio_format for audio_format in formats if self._codec.takes_rate(audio_format.sample_rate)]
            if formats and not possible:
                raise FormatRefused(f"{self._codec.name} holds none of the sample rates that were offered")
            formats = possible
        return super().open(formats, wake)

    def _contain(self, target: RegularFile | Stream, audio_format: AudioFormat) -> Container:
        if isinstance(target, Stream):
            if self._codec is not None:
                raise SinkError(f"cannot open {self._path!r}: {self._codec.name} needs a regular file")
            return SampleStream(target, audio_format, stream_header(audio_format))
        if self._codec is not None:
            return EncodedFile(target, audio_format, self._codec)
        return WavFile(target, audio_format)


class RawSink(_PathSink):
    """``raw:PATH`` and ``raw:-``: the samples alone."""

    def _contain(self, target: RegularFile | Stream, audio_format: AudioFormat) -> Container:
        return SampleStream(target, audio_format, b"") if isinstance(target, Stream) else BareFile(target)
