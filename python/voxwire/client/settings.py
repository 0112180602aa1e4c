"""Numbers that a client is set to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Settings"]

_WHOLE = frozenset({"max_buffered_bytes", "max_contexts"})
_OPTIONAL = frozenset({"max_contexts", "inactivity_timeout_s", "ping_interval_s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Numbers that a client is set to; ``Client`` describes each.

    Raises:
        TypeError: A value is no number.
        ValueError: A value is not above 0.
    """

    max_contexts: int | None = None
    admission_timeout_s: float = 30
    connect_timeout_s: float = 10
    inactivity_timeout_s: float | None = 10
    ping_interval_s: float | None = 20
    ping_timeout_s: float = 20
    close_timeout_s: float = 2
    max_buffered_bytes: int = 67_108_864

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, not {type(value).__name__}")
            if name in _WHOLE and not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
            if not value > 0:
                raise ValueError(f"{name} is {value}, must be more than 0")
