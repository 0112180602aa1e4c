"""WAV headers: RIFF with a ``fmt`` chunk, a ``fact`` chunk where the samples are no integer PCM, and ``data``.

A file has room for the ``ds64`` chunk of RF64 (EBU Tech 3306) before ``fmt``: beyond 4 GiB the sizes of 32 bits give
way to sizes of 64, and no sample has to move.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxwire.audio import AudioFormat

__all__ = ["file_header", "stream_header"]

#: WAVE_FORMAT_PCM, _IEEE_FLOAT, _MULAW, _ALAW of the RIFF registry.
_TAGS = {"pcm_s16le": 1, "pcm_f32le": 3, "pcm_mulaw": 7, "pcm_alaw": 6}
#: In place of a size: not known, or too large for 32 bits and found in ``ds64``.
_UNKNOWN = 0xFFFF_FFFF
#: Three sizes of 64 bits, and the length of a table that stays empty.
_DS64_BYTES = 28


def stream_header(audio_format: AudioFormat) -> bytes:
    """Returns the header of a stream whose length is not known: 44 bytes for ``pcm_s16le``, 58 for the others.

    All sizes are ``0xFFFFFFFF``, which players read to the end; 0 would be empty to some.
    """
    head = b"WAVE" + _description(audio_format, _UNKNOWN) + b"data"
    return b"RIFF" + struct.pack("<I", _UNKNOWN) + head + struct.pack("<I", _UNKNOWN)


def file_header(audio_format: AudioFormat, data_bytes: int) -> bytes:
    """Returns everything in front of that many bytes of samples: 80 bytes for ``pcm_s16le``, 94 for the others.

    The length is the same for every size, so that one write of the header changes a file from RIFF to RF64.
    """
    frames = data_bytes // audio_format.frame_bytes
    description = _description(audio_format, min(frames, _UNKNOWN))
    # A chunk of odd size is followed by a pad byte, which the outer size counts and the chunk's own does not.
    size = 4 + 8 + _DS64_BYTES + len(description) + 8 + data_bytes + data_bytes % 2
    if size < _UNKNOWN:
        room = b"JUNK" + struct.pack(f"<I{_DS64_BYTES}x", _DS64_BYTES)
        head = b"RIFF" + struct.pack("<I", size) + b"WAVE" + room
        return head + description + b"data" + struct.pack("<I", data_bytes)
    sizes = b"ds64" + struct.pack("<IQQQI", _DS64_BYTES, size, data_bytes, frames, 0)
    head = b"RF64" + struct.pack("<I", _UNKNOWN) + b"WAVE" + sizes
    return head + description + b"data" + struct.pack("<I", _UNKNOWN)


def _description(audio_format: AudioFormat, frames: int) -> bytes:
    """The chunks that describe the samples."""
    tag = _TAGS[audio_format.encoding]
    frame_bytes = audio_format.frame_bytes
    body = struct.pack(
        "<HHIIHH",
        tag,
        audio_format.channels,
        audio_format.sample_rate,
        audio_format.sample_rate * frame_bytes,
        frame_bytes,
        8 * frame_bytes // audio_format.channels,
    )
    if tag == 1:
        return b"fmt " + struct.pack("<I", len(body)) + body
    # Anything but integer PCM carries the size of an (empty) extension and the number of frames.
    body += b"\0\0"
    return b"fmt " + struct.pack("<I", len(body)) + body + b"fact" + struct.pack("<II", 4, frames)
