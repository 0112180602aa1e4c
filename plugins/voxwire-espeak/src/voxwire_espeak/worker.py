# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker program: reads requests, speaks them with eSpeak NG, writes frames.

    voxwire-espeak-worker [VOICE ...]

Requests are lines of JSON on standard input, frames go to standard output; both are described in
``voxwire.engines.frames``. It speaks a word with each voice named on the command line before it says that it is ready,
so that dictionaries are loaded. It ends at the end of its input and together with the process that started it.

It imports nothing of voxwire, so that it is small, starts fast, and can be run by hand.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

from voxwire_espeak.library import Library, LibraryError
from voxwire_espeak.output import FrameWriter
from voxwire_espeak.pace import NORMAL_RATE
from voxwire_espeak.utterance import Utterance, encode_json

__all__ = ["main"]

PR_SET_PDEATHSIG = 1
MEMORY_BYTES = 512 * 1024 * 1024
OPEN_FILES = 64


def main() -> None:
    """Runs the worker until its input ends."""
    output = FrameWriter(_claim_standard_output())
    _confine()
    try:
        library = Library()
        for voice in sys.argv[1:]:
            # The name by which the host's command line tells what this process is.
            if voice != "voxwire-espeak-worker":
                library.measure("Ready.", voice=voice, rate=NORMAL_RATE)
    except LibraryError as error:
        output.write(b"X", 0, str(error).encode())
        return
    output.write(b"R", 0, encode_json({"rate": library.sample_rate}))
    try:
        for line in sys.stdin.buffer:
            _answer(library, output, line)
    except BrokenPipeError:
        return


def _answer(library: Library, output: FrameWriter, line: bytes) -> None:
    request_id = 0
    try:
        request = json.loads(line)
        request_id = int(request["id"])
        Utterance(library, output, request_id, request).speak()
    except BrokenPipeError:
        raise
    except LibraryError as error:
        output.write(b"X", request_id, str(error).encode())
    except Exception as error:  # noqa: BLE001 - one request fails, the program lives on
        # The kind only: its text may quote the transcript.
        output.write(b"X", request_id, f"request failed with {type(error).__name__}".encode())
    else:
        output.write(b"D", request_id)


def _claim_standard_output() -> int:
    """Returns a descriptor for frames alone; what C code prints goes to standard error from now on."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _confine() -> None:
    """Gives up what a worker does not need."""
    # Control-C at a terminal reaches the whole group: the host decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        for limit, value in (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            # A dump of a crash would hold the transcript.
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (value, value) if hard == resource.RLIM_INFINITY else (min(value, hard),) * 2)


if __name__ == "__main__":
    main()
