"""What stands around the samples: nothing, or a WAV header that is right after every write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from voxwire_file.wav import file_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxwire.audio import AudioFormat
    from voxwire_file.target import RegularFile, Stream

__all__ = ["BareFile", "Container", "SampleStream", "WavFile", "silence"]

#: The code of a zero sample where that is no zero byte.
_ZERO = {"pcm_mulaw": b"\xff", "pcm_alaw": b"\xd5"}


class Container(ABC):
    """Takes samples and puts them where they belong."""

    @abstractmethod
    def append(self, data: bytes) -> None:
        """Writes whole frames.

        Raises:
            OSError: They could not be written.
        """

    def behind(self) -> int:
        """Frames that ``append`` has returned for and that would be lost with the process."""
        return 0

    def held(self) -> int:
        """Frames that ``append`` has returned for and that the reader of a stream has not taken."""
        return 0

    def drain(self, until: Callable[[], bool]) -> None:  # noqa: B027 - only a stream has a reader
        """Waits until nothing is held, or until there is something better to do.

        Raises:
            OSError: The reader is gone without it.
        """

    def complete(self) -> None:  # noqa: B027 - of bare samples nothing is missing
        """Writes what belongs behind the samples.

        Raises:
            OSError: It could not be written.
        """

    def abandon(self) -> None:  # noqa: B027 - only an encoder writes by itself
        """Writes no more; to be called before the target is closed, also after ``complete``."""


class BareFile(Container):
    """A file of samples and nothing else."""

    def __init__(self, target: RegularFile) -> None:
        self._target = target

    def append(self, data: bytes) -> None:
        """Writes them."""
        self._target.append(data)
        self._target.check()


class SampleStream(Container):
    """Samples on their way to a reader, behind a header that is written once."""

    def __init__(self, target: Stream, audio_format: AudioFormat, header: bytes) -> None:
        self._target = target
        self._frame_bytes = audio_format.frame_bytes
        self._written_bytes = 0
        if header:
            target.append(header)

    def append(self, data: bytes) -> None:
        """Writes them, at the pace of the reader."""
        self._target.append(data)
        self._written_bytes += len(data)

    def held(self) -> int:
        """What waits in a pipe, without the header, which is read first."""
        unread = min(self._target.unread(), self._written_bytes)
        return -(-unread // self._frame_bytes)

    def drain(self, until: Callable[[], bool]) -> None:
        """Waits for the reader."""
        self._target.wait_read(until)


class WavFile(Container):
    """A WAV file that is whole at any moment: RIFF, and RF64 from 4 GiB on."""

    def __init__(self, target: RegularFile, audio_format: AudioFormat) -> None:
        self._target = target
        self._format = audio_format
        header = file_header(audio_format, 0)
        self._header_bytes = len(header)
        target.append(header)

    def append(self, data: bytes) -> None:
        """Writes the samples, then the header that counts them: killed in between, the file has the former size."""
        self._target.append(data)
        self._target.rewrite(file_header(self._format, self._data_bytes))
        self._target.check()

    def complete(self) -> None:
        """Pads a chunk of odd size."""
        if self._data_bytes % 2:
            self._target.append(b"\0")

    @property
    def _data_bytes(self) -> int:
        return self._target.size - self._header_bytes


def silence(audio_format: AudioFormat, frames: int) -> bytes:
    """Returns that much silence."""
    return _ZERO.get(audio_format.encoding, b"\0") * (frames * audio_format.frame_bytes)
