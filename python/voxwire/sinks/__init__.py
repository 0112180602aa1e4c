"""Sinks: where audio goes. The contract, the addresses, and two adapters that spare most authors the contract."""

from __future__ import annotations

from voxwire.sinks.adapters import AsyncSink, ThreadSink
from voxwire.sinks.address import flag, parse_address, split_address
from voxwire.sinks.contract import (
    Address,
    Capabilities,
    Clock,
    FormatPattern,
    Opened,
    Option,
    Position,
    Probe,
    Quality,
    Sink,
    Wake,
    accepts,
    choose_format,
)
from voxwire.sinks.default import default_address

__all__ = [
    "Address",
    "AsyncSink",
    "Capabilities",
    "Clock",
    "FormatPattern",
    "Opened",
    "Option",
    "Position",
    "Probe",
    "Quality",
    "Sink",
    "ThreadSink",
    "Wake",
    "accepts",
    "choose_format",
    "default_address",
    "flag",
    "parse_address",
    "split_address",
]
