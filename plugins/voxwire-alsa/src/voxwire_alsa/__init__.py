"""Sound devices of Linux as sinks of voxwire, through ALSA."""

from __future__ import annotations

from voxwire_alsa.devices import Device, devices
from voxwire_alsa.sink import AlsaSink

__all__ = ["AlsaSink", "Device", "devices"]
