"""WAV headers: RIFF with a ``fmt`` chunk, a ``fact`` chunk where the samples are no integer PCM, and ``data``."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat

__all__ = ["MAX_BYTES", "wav_header"]

#: WAVE_FORMAT_PCM, _IEEE_FLOAT, _MULAW, _ALAW of the RIFF registry.
_TAGS = {"pcm_s16le": 1, "pcm_f32le": 3, "pcm_mulaw": 7, "pcm_alaw": 6}
_UNKNOWN = 0xFFFF_FFFF

MAX_BYTES = 0xFFFF_FFFF - 8
"""Bytes of a whole WAV file at most: its sizes are 32 bits wide, and the largest stands for "unknown"."""


def wav_header(audio_format: AudioFormat, data_bytes: int | None) -> bytes:
    """Returns everything up to the first sample: 44 bytes for ``pcm_s16le``, 58 for the others.

    Args:
        audio_format: What follows; one or two channels.
        data_bytes: Size of the samples; None for a stream whose length is not known (all sizes are ``0xFFFFFFFF``,
            which players read to the end; 0 would be empty to some).
    """
    tag = _TAGS[audio_format.encoding]
    frame_bytes = audio_format.frame_bytes
    bits = 8 * frame_bytes // audio_format.channels
    chunk = struct.pack(
        "<HHIIHH",
        tag,
        audio_format.channels,
        audio_format.sample_rate,
        audio_format.sample_rate * frame_bytes,
        frame_bytes,
        bits,
    )
    # Anything but integer PCM carries the size of an (empty) extension and the number of frames.
    extension = b"" if tag == 1 else b"\0\0"
    fmt = b"fmt " + struct.pack("<I", len(chunk + extension)) + chunk + extension
    fact = b""
    if tag != 1:
        frames = _UNKNOWN if data_bytes is None else data_bytes // frame_bytes
        fact = b"fact" + struct.pack("<II", 4, frames)
    head = b"WAVE" + fmt + fact + b"data"
    if data_bytes is None:
        return b"RIFF" + struct.pack("<I", _UNKNOWN) + head + struct.pack("<I", _UNKNOWN)
    # A chunk of odd size is followed by a pad byte, which the outer size counts and the chunk's own does not.
    size = len(head) + 4 + data_bytes + data_bytes % 2
    return b"RIFF" + struct.pack("<I", size) + head + struct.pack("<I", data_bytes)
