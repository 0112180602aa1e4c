"""An ALSA device, driven by a thread that never needs the interpreter."""

from collections.abc import Sequence
from typing import TypeAlias, final

from typing_extensions import Buffer

__all__ = ["Device", "devices", "probe"]

#: Segment, written, played, discarded, underruns, time of the reading, bound, quality.
_Numbers: TypeAlias = tuple[int, int, int, int, int, int, int, str]

@final
class Device:
    """One device, from its opening to its close; every method may be called from any thread."""

    def __new__(cls, name: str) -> Device: ...
    def open(
        self,
        device: str,
        formats: Sequence[tuple[str, int, int]],
        wake: int,
        *,
        latency_ms: int,
        period_ms: int,
        preroll_ms: int,
        keep_running: bool,
        timeout_s: float,
    ) -> tuple[int, int, int]:
        """Opens a device, once; returns which format it was, its period and the frames held at most."""

    def write(self, data: Buffer) -> int:
        """Takes whole frames and returns how many."""

    def finish(self) -> None:
        """Has the host woken when all that was written has been heard."""

    def clear(self) -> _Numbers:
        """Drops what can still be dropped and returns the segment's final numbers."""

    def position(self) -> _Numbers:
        """Where the device stands."""

    def pause(self) -> None:
        """Stops the device at its next move; what was not heard is kept."""

    def resume(self) -> None:
        """Goes on where it stopped."""

    def close(self) -> bool:
        """Closes at once; False where the thread does not end and is left behind."""

    def take_messages(self) -> list[str]:
        """What the library said since the last call."""

def probe(device: str, timeout_s: float) -> str | None:
    """Says why a device cannot be used, or None where it can."""

def devices() -> list[tuple[str, str]]:
    """Names and descriptions of all devices that play."""
