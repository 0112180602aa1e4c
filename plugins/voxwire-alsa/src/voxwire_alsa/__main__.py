"""``python -m voxwire_alsa``: lists the devices, each with its address."""

from __future__ import annotations

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
    width = max((len(device.address) for device in found), default=0)
    for device in found:
        sys.stdout.write(f"{device.address:{width}}  {device.description}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
