"""What a packet carries: encodings, their names in SDP, their payload types and sizes."""

from __future__ import annotations

from voxwire.audio import AudioFormat

__all__ = [
    "COMFORT_NOISE",
    "COMFORT_NOISE_RATE",
    "COMFORT_NOISE_TYPES",
    "ENCODING_NAMES",
    "FIRST_DYNAMIC",
    "LARGEST_PAYLOAD",
    "PTIMES",
    "STATIC_TYPES",
    "check_payload_type",
    "check_ptime",
    "default_payload_type",
    "possible_ptimes",
]

ENCODING_NAMES = {"pcm_mulaw": "PCMU", "pcm_alaw": "PCMA", "pcm_s16le": "L16"}
"""Names in SDP (RFC 3551, 4.5) of the encodings that RTP carries here; L16 leaves in network byte order."""
STATIC_TYPES = {
    AudioFormat("pcm_mulaw", 8000): 0,
    AudioFormat("pcm_alaw", 8000): 8,
    AudioFormat("pcm_s16le", 44100): 11,
}
"""Payload types that need no agreement (RFC 3551, table 4), mono."""
COMFORT_NOISE = 13
"""The payload type of comfort noise that needs no agreement (RFC 3389, 4)."""
COMFORT_NOISE_TYPES = (COMFORT_NOISE, 19)
"""With the one that it had in drafts, which gateways still use."""
COMFORT_NOISE_RATE = 8000
"""The one clock for which they stand."""
FIRST_DYNAMIC = 96
PTIMES = range(10, 61, 10)
"""Milliseconds of audio in a packet."""
LARGEST_PAYLOAD = 1400
"""Bytes of audio that leave room for every header in an Ethernet frame."""


def default_payload_type(audio_format: AudioFormat) -> int:
    """Returns the static payload type of a format, else the first dynamic one."""
    return STATIC_TYPES.get(audio_format, FIRST_DYNAMIC)


def check_payload_type(payload_type: int, name: str, *, static: tuple[int, ...], multiplexed: bool) -> None:
    """Checks a payload type against RFC 3551, 6 and RFC 5761, 4.

    Args:
        payload_type: 0 to 127.
        name: Of the option, for the message.
        static: The payload types below 35 that mean this format.
        multiplexed: RTCP shares the port.

    Raises:
        ValueError: It means another format, or would be taken for RTCP.
    """
    if payload_type < 35 and payload_type not in static:
        raise ValueError(f"{name} {payload_type} stands for another format, use 96 to 127")
    if 72 <= payload_type <= 76:
        raise ValueError(f"{name} {payload_type} is reserved, it looks like RTCP, use 96 to 127")
    if multiplexed and 64 <= payload_type <= 95:
        raise ValueError(f"{name} {payload_type} looks like RTCP on a shared port, use 96 to 127")


def possible_ptimes(audio_format: AudioFormat) -> list[int]:
    """Returns the packet lengths, in milliseconds, of whole frames that are not too large, shortest first."""
    return [
        ptime_ms
        for ptime_ms in PTIMES
        if not audio_format.sample_rate * ptime_ms % 1000
        and audio_format.sample_rate * ptime_ms // 1000 * audio_format.frame_bytes <= LARGEST_PAYLOAD
    ]


def check_ptime(audio_format: AudioFormat, ptime_ms: int) -> None:
    """Checks that packets of this length hold whole frames and are not too large.

    Raises:
        ValueError: They do not, or are.
    """
    possible = possible_ptimes(audio_format)
    if ptime_ms in possible:
        return
    frames, rest = divmod(audio_format.sample_rate * ptime_ms, 1000)
    advice = f"use {'another' if rest else 'a lower'} sample rate"
    if possible:
        advice = f"use ptime {' or '.join(map(str, possible))}"
    if rest:
        raise ValueError(f"ptime {ptime_ms} is no whole number of frames at {audio_format.sample_rate} Hz, {advice}")
    size = frames * audio_format.frame_bytes
    raise ValueError(f"ptime {ptime_ms} makes packets of {size} bytes, {LARGEST_PAYLOAD} is the most, {advice}")
