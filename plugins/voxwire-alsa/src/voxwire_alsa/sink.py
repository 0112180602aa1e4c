"""``alsa:DEVICE``: a sound device, or the sound server that stands behind its name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

from voxwire.exceptions import SinkClosed, SinkError
from voxwire.sinks import Address, Capabilities, Opened, Option, Position, Probe, Wake, flag
from voxwire_alsa import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Buffer

    from voxwire.audio import AudioFormat

__all__ = ["AlsaSink"]

DEFAULT_DEVICE = "default"
OPEN_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 2.0

_logger = logging.getLogger(__name__)


def _milliseconds(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"value is {text!r}, must be a whole number from {least} to {most}")

    return parse


class AlsaSink:
    """Plays to one ALSA device, on a native thread of its own."""

    api_version: ClassVar[int] = 1
    #: No method blocks: a clear waits for a period, and for half a second where the device does not answer.
    inline: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "latency_ms": Option("audio in the device's buffer, 20 to 2000", 80, _milliseconds(20, 2000)),
        "period_ms": Option("audio that leaves together, 1 to 1000", 10, _milliseconds(1, 1000)),
        "preroll_ms": Option("silence before the first sound after a rest, 0 to 5000", 0, _milliseconds(0, 5000)),
        "keep_running": Option("1 plays silence where there is no audio", default=False, parse=flag),
    }

    def __init__(self, address: Address) -> None:
        self._name = f"sink {str(address)!r}"
        self._target = address.target or DEFAULT_DEVICE
        self._options = {name: address.options.get(name, option.default) for name, option in self.options.items()}
        self._device: _native.Device | None = None
        try:
            self._target.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"device of {self._name} is no UTF-8") from error
        if 2 * self._options["period_ms"] > self._options["latency_ms"]:
            raise ValueError(f"latency_ms of {self._name} must be at least twice its period_ms")

    @classmethod
    def probe(cls) -> Probe:
        """Opens the default device and closes it again."""
        reason = _native.probe(DEFAULT_DEVICE, PROBE_TIMEOUT_S)
        return Probe(usable=reason is None, reason=reason or "", address=f"alsa:{DEFAULT_DEVICE}")

    def capabilities(self) -> Capabilities:
        """The device paces, and tells where it is; which formats it does shows at the open."""
        return Capabilities(
            formats=None,
            clock="device",
            position="measured",
            can_clear=True,
            can_pause=True,
            max_lead_ms=0,
        )

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Opens the device with the first format that it does exactly, within 10 s.

        Raises:
            FormatRefused: It does none of them.
            SinkBusy: Another program uses it.
            SinkClosed: It was closed meanwhile.
            SinkError: libasound is missing, there is no such device, no sound server answers, or it was opened before.
        """
        if self._device is not None:
            raise SinkError(f"{self._name} was opened before, a sink opens once")
        device = self._device = _native.Device(self._name)
        try:
            index, period, capacity = device.open(
                self._target,
                [(offered.encoding, offered.sample_rate, offered.channels) for offered in formats],
                wake.fileno(),
                timeout_s=OPEN_TIMEOUT_S,
                **self._options,
            )
        except BaseException:
            self._device = None
            device.close()
            raise
        finally:
            _log(device)
        return Opened(formats[index], quantum=period, buffer=capacity, latency=0)

    def write(self, data: Buffer, /) -> int:
        """Takes what there is room for: the device's buffer and half a second."""
        return self._open().write(data)

    def finish(self) -> None:
        """Pads the last period and one more with silence, which is not counted."""
        self._open().finish()

    def clear(self) -> Position:
        """Stops the device just behind its next move, and takes back all that has not left it."""
        return Position(*self._open().clear())

    def position(self) -> Position:
        """What was measured at the device's last move."""
        return Position(*self._open().position())

    def pause(self) -> None:
        """Stops the device as a clear does; what was not heard is kept."""
        self._open().pause()

    def resume(self) -> None:
        """Goes on where it stopped."""
        self._open().resume()

    def close(self) -> None:
        """Closes at once, also while opening; a device that does not let go within 1 s is left behind."""
        device = self._device
        if device is None:
            return
        ended = device.close()
        _log(device)
        if not ended:
            _logger.warning("%s does not let go of its device, its thread is left behind", self._name)

    def _open(self) -> _native.Device:
        if self._device is None:
            raise SinkClosed(f"{self._name} is not open")
        return self._device


def _log(device: _native.Device) -> None:
    """Passes on what the library would have printed; what matters of it is in the error."""
    for line in device.take_messages():
        _logger.info("%s", line)
