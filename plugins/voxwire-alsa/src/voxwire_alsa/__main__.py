"""``python -m voxwire_alsa``: lists the devices, each with its address."""

from __future__ import annotations

import os
import sys

from voxwire.exceptions import SinkError
from voxwire_alsa import devices


def main() -> int:
    """Prints one line a device."""
    try:
        found = devices()
    except SinkError as error:
        sys.stderr.write(f"voxwire_alsa: {error}\n")
        return 6
    if not found:
        sys.stderr.write("voxwire_alsa: no devices, ALSA's configuration lists none\n")
    width = max((len(device.address) for device in found), default=0)
    try:
        for device in found:
            sys.stdout.write(f"{device.address:{width}}  {device.description}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough; what is still buffered can go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
