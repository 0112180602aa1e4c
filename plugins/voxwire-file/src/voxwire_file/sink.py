"""The two sinks: ``file:`` writes WAV, ``raw:`` writes bare samples."""

from __future__ import annotations

import contextlib
import errno
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from voxwire.exceptions import SinkError, SinkLost, Unsupported
from voxwire.sinks import Address, FormatPattern, Option, ThreadSink, flag
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
from voxwire_file.wav import MAX_BYTES, wav_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voxwire.audio import AudioFormat
    from voxwire.sinks import Opened, Wake

__all__ = ["FileSink", "RawSink"]

_WAV = (".wav", ".wave")
_LATER = (".flac", ".opus", ".ogg")


class _PathSink(ThreadSink):
    """What both sinks share: a path or ``-``, the temporary name, the file or the stream."""

    options: ClassVar[Mapping[str, Option]] = {
        "atomic": Option("write to NAME.part and rename it at the end (0 or 1)", default=False, parse=flag)
    }
    formats: tuple[AudioFormat | FormatPattern, ...] = (FormatPattern(channels=None),)
    clock = "none"
    quality = "written"
    # What the system has taken stays; what waits here is on its way.
    can_clear = False
    buffer_ms = 1_000
    piece_ms = 500

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._path = address.target
        self._atomic = bool(address.options.get("atomic", False))
        if not self._path:
            raise ValueError(f"sink {address.scheme!r} needs a path, or - for standard output")
        if self._path == "-" and self._atomic:
            raise ValueError(f"option 'atomic' of sink {address.scheme!r} needs a path, not standard output")
        self._target: RegularFile | Stream | None = None
        self._format: AudioFormat | None = None
        self._data_bytes = 0

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Opens the path; a stream gets a short queue, as nothing can be taken back from it."""
        if self._path == "-" or is_stream(self._path):
            self.buffer_ms = 100
            self.piece_ms = 20
        return super().open(formats, wake)

    def start(self, audio_format: AudioFormat) -> None:
        """Creates the file and writes its header."""
        self._format = audio_format
        self._target = self._open_target()
        try:
            if header := self._header(audio_format):
                if isinstance(self._target, RegularFile):
                    self._target.rewrite(header)
                else:
                    self._target.append(header, lambda: self.stopping)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._target.close()
            raise SinkError(f"cannot write to {self._where}: {reason(error)}") from error

    def send(self, data: bytes) -> None:
        """Writes samples, then the header that counts them: only after that are they played."""
        if isinstance(self._target, Stream):
            self._target.append(data, lambda: self.stopping)
        elif self._target is not None and self._format is not None:
            self._check_size(len(data))
            self._target.append(data)
            self._data_bytes += len(data)
            if header := self._header(self._format):
                self._target.rewrite(header)

    def stop(self) -> None:
        """Completes the file, and gives it its name where ``atomic`` is set."""
        target, self._target = self._target, None
        if target is None:
            return
        try:
            # After a loss the file stays as it is: what is in it is whole, what is missing was reported.
            if isinstance(target, RegularFile) and not self.lost:
                self._complete(target)
        finally:
            target.close()
        if self._atomic and not self.lost:
            Path(self._part).replace(self._path)

    @property
    def _where(self) -> str:
        return "standard output" if self._path == "-" else repr(self._path)

    @property
    def _part(self) -> str:
        return f"{self._path}.part"

    @abstractmethod
    def _header(self, audio_format: AudioFormat) -> bytes:
        """The bytes before the samples, now."""

    def _complete(self, target: RegularFile) -> None:
        """Writes what belongs behind the samples."""

    def _check_size(self, size_bytes: int) -> None:
        """Raises OSError where the container cannot hold that many further bytes."""

    def _open_target(self) -> RegularFile | Stream:
        if self._path == "-":
            return open_stdout()
        if is_directory(self._path):
            raise SinkError(f"cannot open {self._path!r}: is a directory")
        if is_stream(self._path):
            if self._atomic:
                raise SinkError(f"cannot open {self._path!r}: option 'atomic' needs a regular file")
            return open_stream(self._path)
        return open_file(self._part if self._atomic else self._path)

    def loss(self, error: BaseException) -> SinkLost:
        """Names the file and the system's reason."""
        if not isinstance(error, OSError):
            return super().loss(error)
        lost = SinkLost(f"cannot write to {self._where}: {reason(error)}", errno=error.errno)
        lost.__cause__ = error
        return lost


class FileSink(_PathSink):
    """``file:PATH`` with the container named by the suffix, and ``file:-``: WAV to standard output."""

    formats: tuple[AudioFormat | FormatPattern, ...] = (FormatPattern(), FormatPattern(channels=2))

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        suffix = Path(self._path).suffix.lower()
        # What stands there has no suffix to choose by: it gets what standard output gets.
        device = not suffix and self._path.startswith("/dev/")
        if self._path == "-" or device or suffix in _WAV:
            return
        choices = f"{' and '.join(_WAV)} (or raw:{self._path} for bare samples)"
        if suffix in _LATER:
            raise Unsupported(f"sink 'file' cannot write {suffix} yet, it writes {choices}")
        named = f"suffix {suffix!r}" if suffix else f"no suffix in {self._path!r}"
        raise ValueError(f"sink 'file' has {named}, it writes {choices}")

    def _header(self, audio_format: AudioFormat) -> bytes:
        size = self._data_bytes if isinstance(self._target, RegularFile) else None
        return wav_header(audio_format, size)

    def _complete(self, target: RegularFile) -> None:
        if self._data_bytes % 2:
            target.append(b"\0")

    def _check_size(self, size_bytes: int) -> None:
        # The header is at most 58 bytes, and one pad byte may follow.
        if self._data_bytes + size_bytes + 59 > MAX_BYTES:
            raise OSError(errno.EFBIG, "a WAV file ends at 4 GiB")


class RawSink(_PathSink):
    """``raw:PATH`` and ``raw:-``: the samples alone."""

    def _header(self, audio_format: AudioFormat) -> bytes:  # noqa: ARG002 - bare samples have none
        return b""
