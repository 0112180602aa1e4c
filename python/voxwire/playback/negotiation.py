"""Which formats are offered to a sink, and which one is asked of the server. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxwire.audio import SAMPLE_RATES, AudioFormat
from voxwire.sinks import FormatPattern, accepts

if TYPE_CHECKING:
    from voxwire.sinks import Capabilities

__all__ = ["format_to_request", "formats_to_offer"]

# 16 bits are what most devices and files want; the server's own rate comes first, then the ones that lose nothing.
_ENCODINGS = ("pcm_s16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw")
_RATES = (24000, *(rate for rate in sorted(SAMPLE_RATES, reverse=True) if rate != 24000))


def formats_to_offer(capabilities: Capabilities, wanted: AudioFormat | None) -> list[AudioFormat]:
    """Returns what to offer to ``Sink.open``, best first.

    Args:
        capabilities: Of the sink.
        wanted: The format that the caller asked for, or that the context already has; offered first, unchanged.
    """
    protocol = [AudioFormat(encoding, rate) for encoding in _ENCODINGS for rate in _RATES]
    offered = [] if wanted is None else [wanted]
    if capabilities.formats is None:
        offered += protocol
    else:
        for pattern in capabilities.formats:
            offered += [known for known in protocol if accepts(pattern, known)] or _outside(pattern)
    return list(dict.fromkeys(offered))


def _outside(pattern: AudioFormat | FormatPattern) -> list[AudioFormat]:
    """A mono format outside the protocol: it is reached by transcoding."""
    if pattern.channels not in {None, 1}:
        return []
    encodings = _ENCODINGS if pattern.encoding is None else (pattern.encoding,)
    rate = _RATES[0] if pattern.sample_rate is None else pattern.sample_rate
    return [AudioFormat(encoding, rate) for encoding in encodings]


def format_to_request(opened: AudioFormat) -> AudioFormat:
    """Returns what to ask of the server for a sink that was opened with this format: the same, where it can."""
    if opened.channels == 1 and opened.sample_rate in SAMPLE_RATES:
        return opened
    enough = [rate for rate in SAMPLE_RATES if rate >= opened.sample_rate]
    return AudioFormat("pcm_s16le", min(enough, default=max(SAMPLE_RATES)))
