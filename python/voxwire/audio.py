"""The door to the audio core: formats, strict base64, transcoding, resampling."""

from __future__ import annotations

from dataclasses import dataclass

from voxwire._core import (
    SAMPLE_RATES,
    SAMPLE_WIDTHS,
    Resampler,
    decode_base64,
    encode_base64,
    transcode,
)

__all__ = [
    "SAMPLE_RATES",
    "SAMPLE_WIDTHS",
    "AudioFormat",
    "Resampler",
    "decode_base64",
    "encode_base64",
    "transcode",
]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A format of PCM or G.711 audio, interleaved where there is more than one channel.

    Attributes:
        encoding: ``pcm_f32le``, ``pcm_s16le``, ``pcm_mulaw`` or ``pcm_alaw``.
        sample_rate: Frames per second, 1 to 768000; the protocol knows only ``SAMPLE_RATES``.
        channels: Samples per frame, 1 to 8; the protocol itself is mono.

    Raises:
        ValueError: A value is outside these.
        TypeError: A value is of another type.
    """

    encoding: str = "pcm_s16le"
    sample_rate: int = 24000
    channels: int = 1

    def __post_init__(self) -> None:
        for name, kind in (("encoding", str), ("sample_rate", int), ("channels", int)):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} must be of type {kind.__name__}, not {type(value).__name__}")
        if self.encoding not in SAMPLE_WIDTHS:
            raise ValueError(f"unknown encoding {self.encoding!r}, known are {', '.join(SAMPLE_WIDTHS)}")
        if not 1 <= self.sample_rate <= 768_000:
            raise ValueError(f"sample rate of {self.sample_rate} Hz, must be 1 to 768000")
        if not 1 <= self.channels <= 8:
            raise ValueError(f"{self.channels} channels, must be 1 to 8")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame: one sample of every channel."""
        return SAMPLE_WIDTHS[self.encoding] * self.channels

    def frames(self, size_bytes: int) -> int:
        """Whole frames in a buffer of this many bytes."""
        return size_bytes // self.frame_bytes

    def duration_s(self, size_bytes: int) -> float:
        """Seconds of audio in a buffer of this many bytes."""
        return self.frames(size_bytes) / self.sample_rate

    def __str__(self) -> str:
        channels = "" if self.channels == 1 else f", {self.channels} channels"
        return f"{self.encoding} at {self.sample_rate} Hz{channels}"
