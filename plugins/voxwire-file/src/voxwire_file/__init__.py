"""Files and standard output as sinks of voxwire."""

from __future__ import annotations

from voxwire_file.sink import FileSink, RawSink

__all__ = ["FileSink", "RawSink"]
