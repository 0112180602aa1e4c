"""What the load sends: chunks of audio and the frames that carry them.

PCM is two sines plus Gaussian noise; 16 different chunks rotate, so that neither caches nor branch predictors see one
string. Both processes make the same chunks, so that the receiver can compare.
"""

from __future__ import annotations

import array
import functools
import math
import random
import sys

import orjson

from voxwire.audio import AudioFormat, encode_base64, transcode
from voxwire.protocol import Connection

__all__ = [
    "CHUNK_BYTES",
    "PLACEHOLDER",
    "ROTATION",
    "SPEECH",
    "TELEPHONY",
    "chunks",
    "done_frame",
    "format_of",
    "frames",
]

#: 20 ms of mu-law at 8 kHz; 40, 200 and 800 ms of s16 at 24 kHz.
CHUNK_BYTES = (160, 1920, 9600, 38400)
ROTATION = 16
#: Stands where the id of the context comes, and is as long as the client's ids.
PLACEHOLDER = b"00000000-0000-4000-8000-000000000000"
SPEECH = AudioFormat()
TELEPHONY = AudioFormat("pcm_mulaw", 8000)

#: Between the starts of two chunks of a rotation, in samples: far enough that no base64 text comes twice.
_STEP = 977


def format_of(chunk_bytes: int) -> AudioFormat:
    """Returns the format of the chunks of a size."""
    return TELEPHONY if chunk_bytes == CHUNK_BYTES[0] else SPEECH


@functools.cache
def chunks(chunk_bytes: int) -> tuple[bytes, ...]:
    """Returns the chunks of one rotation."""
    audio_format = format_of(chunk_bytes)
    samples = chunk_bytes // audio_format.frame_bytes
    pcm = [_stretch()[_STEP * number :][:samples].tobytes() for number in range(ROTATION)]
    return tuple(transcode(data, AudioFormat("pcm_s16le", audio_format.sample_rate), audio_format) for data in pcm)


@functools.cache
def _stretch() -> array.array[int]:
    noise = random.Random(0)  # noqa: S311 - the same noise in both processes is what is wanted
    count = CHUNK_BYTES[-1] // 2 + _STEP * ROTATION
    stretch = array.array(
        "h",
        (round(6000 * math.sin(0.051 * n) + 3000 * math.sin(0.173 * n) + noise.gauss(0, 300)) for n in range(count)),
    )
    if sys.byteorder == "big":
        stretch.byteswap()
    return stretch


@functools.cache
def frames(chunk_bytes: int) -> tuple[bytes, ...]:
    """Returns one whole frame for each chunk, in the key order of the usual message (performance.md 3)."""
    return tuple(
        _frame(
            {
                "type": "chunk",
                "data": encode_base64(data),
                "done": False,
                "status_code": 206,
                "step_time": 123,
                "context_id": PLACEHOLDER.decode(),
            }
        )
        for data in chunks(chunk_bytes)
    )


@functools.cache
def done_frame() -> bytes:
    """Returns the frame that ends a context."""
    return _frame({"type": "done", "done": True, "status_code": 200, "context_id": PLACEHOLDER.decode()})


def _frame(message: dict[str, object]) -> bytes:
    connection = Connection("server", ping_interval_s=None)
    connection.send_text(orjson.dumps(message))
    return connection.poll_transmit()
