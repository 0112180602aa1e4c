"""RTP streams as sinks of voxwire: paced by one native thread, with RTCP, SRTP, digits and SDP."""

from __future__ import annotations

from voxwire_rtp.keys import new_key
from voxwire_rtp.sdp import address_from_answer, offer
from voxwire_rtp.sink import RtpSink
from voxwire_rtp.statistics import PacerStatistics, Report, Statistics, pacer_statistics

__all__ = [
    "PacerStatistics",
    "Report",
    "RtpSink",
    "Statistics",
    "address_from_answer",
    "new_key",
    "offer",
    "pacer_statistics",
]
