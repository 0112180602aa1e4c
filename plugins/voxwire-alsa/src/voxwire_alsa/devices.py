"""The devices that ALSA knows."""

from __future__ import annotations

from dataclasses import dataclass

from voxwire_alsa import _native

__all__ = ["Device", "devices"]


@dataclass(frozen=True, slots=True)
class Device:
    """A device that plays.

    Attributes:
        name: ALSA's name of it.
        description: For people, in one line.
    """

    name: str
    description: str

    @property
    def address(self) -> str:
        """The address of the sink that plays there."""
        return "alsa:" + self.name.replace("%", "%25").replace("?", "%3F")


def devices() -> list[Device]:
    """Lists the devices that play, in the order of ALSA's configuration; opens none of them.

    Raises:
        SinkError: The library is missing, or says that it cannot list them.
    """
    return [Device(name, "; ".join(description.splitlines())) for name, description in _native.devices()]
