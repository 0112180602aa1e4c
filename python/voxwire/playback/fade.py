"""A short fade to silence, made of audio that was about to be played."""

from __future__ import annotations

import sys
from array import array

from voxwire.audio import AudioFormat, transcode

__all__ = ["fade_out"]


def fade_out(data: bytes, audio_format: AudioFormat) -> bytes:
    """Returns the audio falling linearly from full level to silence, in the same format."""
    linear = AudioFormat("pcm_s16le", audio_format.sample_rate, audio_format.channels)
    plain = data if audio_format == linear else transcode(data, audio_format, linear)
    samples = array("h", plain)
    if sys.byteorder == "big":
        samples.byteswap()
    channels = audio_format.channels
    frames = len(samples) // channels
    for index in range(frames * channels):
        samples[index] = samples[index] * (frames - 1 - index // channels) // frames
    if sys.byteorder == "big":
        samples.byteswap()
    faded = samples.tobytes()
    return faded if audio_format == linear else transcode(faded, linear, audio_format)
