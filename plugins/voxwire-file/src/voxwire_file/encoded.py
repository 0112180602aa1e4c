"""FLAC and Ogg Opus by libsndfile, of which ``soundfile`` is the binding: the extra ``voxwire-file[soundfile]``."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import struct
import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from voxwire.exceptions import PluginError, SinkError
from voxwire.sinks import FormatPattern
from voxwire_file.container import Container

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.audio import AudioFormat
    from voxwire_file.target import RegularFile

__all__ = ["FLAC", "OPUS", "Codec", "EncodedFile", "require_soundfile"]

_GRANULES_PER_SECOND = 48_000
#: Where the rate, the channels, the bits and the length stand in a FLAC file: in STREAMINFO, behind four sizes.
_FLAC_LENGTH_AT = 18


class Progress(Protocol):
    """Counts the frames that can be decoded from what was written so far."""

    frames: int

    def add(self, data: bytes) -> tuple[int, bytes] | None:
        """Takes in what was written behind everything before; what is returned belongs at that place of the file."""


class FlacProgress:
    """Counts FLAC frames, each of which libFLAC writes in one piece (RFC 9639, section 9.1).

    The count is written into the header, so that a file whose writer was killed has a length as any other.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.frames = 0
        self._format = audio_format

    def add(self, data: bytes) -> tuple[int, bytes] | None:
        """Reads the block size in the header of a frame; metadata begin with other bytes."""
        if len(data) < 4 or data[0] != 0xFF or data[1] & 0xFE != 0xF8:
            return None
        code = data[2] >> 4
        if code >= 8:
            self.frames += 256 << code - 8
        elif 2 <= code <= 5:
            self.frames += 576 << code - 2
        elif code == 1:
            self.frames += 192
        # A size outside this table is that of the last block, with which libFLAC writes the header itself.
        return _FLAC_LENGTH_AT, _flac_length(self._format, self.frames)


class OpusProgress:
    """Reads the positions of whole Ogg pages (RFC 3533, section 6; RFC 7845, section 4)."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.frames = 0
        self._granules_per_frame = _GRANULES_PER_SECOND // audio_format.sample_rate
        self._pre_skip = 0
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """Header and body of a page come one after the other; nothing in front tells of a length."""
        self._data += data
        while (size := self._page_bytes()) is not None and len(self._data) >= size:
            body = 27 + self._data[26]
            granule = int.from_bytes(self._data[6:14], "little", signed=True)
            if self._data[body : body + 8] == b"OpusHead":
                self._pre_skip = int.from_bytes(self._data[body + 10 : body + 12], "little")
            self.frames = max(self.frames, (granule - self._pre_skip) // self._granules_per_frame)
            del self._data[:size]

    def _page_bytes(self) -> int | None:
        if len(self._data) < 27 or len(self._data) < 27 + self._data[26]:
            return None
        segments = self._data[26]
        return 27 + segments + sum(self._data[27 : 27 + segments])


@dataclass(frozen=True, slots=True)
class Codec:
    """A container that libsndfile writes.

    Attributes:
        name: For messages.
        container: libsndfile's name of the container.
        subtype: libsndfile's name of what is in it.
        formats: What it takes.
        takes_rate: Which of the rates that the formats leave open.
        progress: Counts what is in the file.
    """

    name: str
    container: str
    subtype: str
    formats: tuple[FormatPattern, ...]
    takes_rate: Callable[[int], bool]
    progress: Callable[[AudioFormat], Progress]


def _is_flac_rate(sample_rate: int) -> bool:
    """True for what fits in the header of a frame (RFC 9639, section 9.1.4), as libFLAC wants it."""
    return sample_rate < 1 << 16 or (sample_rate <= 655_350 and sample_rate % 10 == 0)


#: The server's own rate comes first, then the ones that lose nothing.
_OPUS_RATES = (24000, 48000, 16000, 12000, 8000)

FLAC = Codec(
    name="FLAC",
    container="FLAC",
    subtype="PCM_16",
    formats=tuple(FormatPattern("pcm_s16le", channels=channels) for channels in (1, 2)),
    takes_rate=_is_flac_rate,
    progress=FlacProgress,
)
OPUS = Codec(
    name="Opus",
    container="OGG",
    subtype="OPUS",
    formats=tuple(FormatPattern("pcm_s16le", rate, channels) for rate in _OPUS_RATES for channels in (1, 2)),
    takes_rate=_OPUS_RATES.__contains__,
    progress=OpusProgress,
)


def require_soundfile(suffix: str) -> None:
    """Raises PluginError, with what to install, where ``soundfile`` is missing."""
    if importlib.util.find_spec("soundfile") is None:
        raise PluginError(f"sink 'file' cannot write {suffix} here: pip install 'voxwire-file[soundfile]'")


class EncodedFile(Container):
    """A file in which an encoder puts the samples, a block at a time.

    Raises:
        OSError: The header could not be written.
        SinkError: There is no libsndfile, or it does not know the codec.
    """

    def __init__(self, target: RegularFile, audio_format: AudioFormat, codec: Codec) -> None:
        try:
            soundfile = importlib.import_module("soundfile")
        except (ImportError, OSError) as error:
            raise SinkError(f"cannot write {codec.name}: soundfile does not load: {error}") from error
        self._target = target
        self._format = audio_format
        self._progress = codec.progress(audio_format)
        self._file = _EncoderFile(target, self._progress)
        self._taken = 0
        try:
            self._encoder: Any = soundfile.SoundFile(
                self._file,
                "w",
                samplerate=audio_format.sample_rate,
                channels=audio_format.channels,
                format=codec.container,
                subtype=codec.subtype,
            )
        except Exception as error:
            if self._file.error is not None:
                raise self._file.error from error
            raise SinkError(f"cannot write {codec.name}: {error}") from error

    def append(self, data: bytes) -> None:
        """Encodes them; what fills no block waits in the encoder."""
        self._call(lambda: self._encoder.buffer_write(_native(data), dtype="int16"))
        self._taken += self._format.frames(len(data))
        self._target.check()

    def behind(self) -> int:
        """What the encoder has and the file has not."""
        return max(0, self._taken - self._progress.frames)

    def complete(self) -> None:
        """Writes the last block and the final header."""
        self._call(self._encoder.close)
        if not self._target.size:
            # Of FLAC without audio libsndfile writes nothing at all.
            self._target.append(_empty_flac(self._format))

    def abandon(self) -> None:
        """Closes the encoder without a further write."""
        self._file.end()
        # Whatever it says about a file that takes nothing more is known already.
        with contextlib.suppress(Exception):
            self._encoder.close()

    def _call(self, call: Callable[[], None]) -> None:
        """Calls libsndfile, which says little or nothing about a file that fails."""
        try:
            call()
        except Exception as error:
            raise self._file.error or OSError(errno.EIO, f"encoder failed: {error}") from error
        if self._file.error is not None:
            raise self._file.error


def _empty_flac(audio_format: AudioFormat) -> bytes:
    """A FLAC file without audio: the STREAMINFO block alone (RFC 9639, section 8.2), with 0 for sizes of frames."""
    sizes = struct.pack(">HH6x", 4096, 4096)
    return b"fLaC\x80\0\0\x22" + sizes + _flac_length(audio_format, 0) + hashlib.md5(usedforsecurity=False).digest()


def _flac_length(audio_format: AudioFormat, frames: int) -> bytes:
    """20 bits of rate, 3 of channels less 1, 5 of bits less 1, 36 of length, where 0 means that it is not known."""
    length = frames if frames < 1 << 36 else 0
    packed = audio_format.sample_rate << 44 | audio_format.channels - 1 << 41 | 16 - 1 << 36 | length
    return packed.to_bytes(8, "big")


def _native(data: bytes) -> bytes | array[int]:
    """16 bits in the order of this machine."""
    if sys.byteorder == "little":
        return data
    samples = array("h", data)
    samples.byteswap()
    return samples


class _EncoderFile:
    """The file as libsndfile sees it: exceptions would be lost on their way, so the first one is kept."""

    def __init__(self, target: RegularFile, progress: Progress) -> None:
        self._target = target
        self._progress = progress
        self._at = 0
        self._ended = False
        self.error: OSError | None = None

    def end(self) -> None:
        """Takes no more."""
        self._ended = True

    def write(self, data: bytes) -> int:
        """Returns the number of bytes written: all or 0."""
        if self._ended or self.error is not None:
            return 0
        try:
            if self._at < self._target.size:
                self._target.rewrite(data, self._at)
            else:
                self._target.append(data)
                if (patch := self._progress.add(data)) is not None:
                    self._target.rewrite(patch[1], patch[0])
        except OSError as error:
            self.error = error
            return 0
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        """As of any file."""
        self._at = offset + (0, self._at, self._target.size)[whence]
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at
