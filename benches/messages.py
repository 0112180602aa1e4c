"""The messages that the benches decode: one unmasked text frame each, in the shapes that servers send.

PCM is two sines plus noise; 16 different chunks rotate, so that neither caches nor branch predictors see one string.
"""

from __future__ import annotations

import base64
import json
import math
import random
import struct

# 160 B = 20 ms of mu-law at 8 kHz; the others are 40, 200 and 800 ms of s16 at 24 kHz.
SIZES = (160, 1920, 9600, 38400)
ROTATION = 16
CONTEXT_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def pcm(size: int, seed: int) -> bytes:
    """Returns ``size`` bytes of s16 PCM: two sines plus Gaussian noise."""
    noise = random.Random(seed)
    samples = (
        round(6000 * math.sin(0.051 * n + seed) + 3000 * math.sin(0.173 * n) + noise.gauss(0, 300))
        for n in range(size // 2)
    )
    return struct.pack(f"<{size // 2}h", *samples)


def frame(payload: bytes) -> bytes:
    """Returns one whole unmasked text frame (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes([0x81, length])
    elif length < 65536:
        head = bytes([0x81, 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x81, 127]) + length.to_bytes(8, "big")
    return head + payload


def message(data: bytes, step_time: float) -> bytes:
    """Returns a ``chunk`` in the usual key order."""
    fields = {
        "type": "chunk",
        "data": base64.b64encode(data).decode(),
        "done": False,
        "status_code": 206,
        "step_time": step_time,
        "context_id": CONTEXT_ID,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def reordered(data: bytes, step_time: float) -> bytes:
    """Returns a ``chunk`` with other keys first, a ``flush_id`` and a fractional time."""
    fields = {
        "context_id": CONTEXT_ID,
        "flush_id": 1,
        "step_time": step_time + 0.25,
        "status_code": 206,
        "data": base64.b64encode(data).decode(),
        "done": False,
        "type": "chunk",
    }
    return json.dumps(fields, separators=(", ", ": ")).encode()


SHAPES = {"usual": message, "reordered": reordered}


def stream(size: int, shape: str) -> tuple[list[bytes], list[bytes]]:
    """Returns the frames of a rotation and the PCM that each of them carries."""
    source = [pcm(size, seed) for seed in range(ROTATION)]
    return [frame(SHAPES[shape](data, 12.0 + seed)) for seed, data in enumerate(source)], source
