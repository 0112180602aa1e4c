"""What must become of contexts, whatever a server does: the client's table (protocol.md 6.5) and the audio."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Expected", "Model"]

FRAME_BYTES = 2


@dataclass
class Expected:
    """One context.

    Attributes:
        socket: Which connection it lives on; None before its first input.
        state: ``new``, or a state of the table.
        error: Code of the failure, or the name of its class where it has none.
        audio: What must be delivered: the chunks before its end, in whole samples.
    """

    socket: int | None = None
    state: str = "new"
    error: str | None = None
    audio: bytearray = field(default_factory=bytearray)
    cut: bytes = b""

    @property
    def live(self) -> bool:
        return self.state in {"open", "closing"}

    @property
    def ending(self) -> tuple[str | None, str | None]:
        endings: dict[str, tuple[str | None, str | None]] = {
            "ended": ("finished", None),
            "expired": ("finished", "expired"),
            "failed": ("failed", None),
            "cancelled": ("cancelled", None),
        }
        return endings.get(self.state, (None, None))


class Model:
    """All contexts of a client, and which of its sockets is the present one."""

    def __init__(self) -> None:
        self.contexts: list[Expected] = []
        self.socket = 0

    def reached(self, number: int) -> Expected | None:
        """The context, where a message of the present socket reaches it."""
        context = self.contexts[number]
        return context if context.live and context.socket == self.socket else None

    # --- the application

    def open(self) -> None:
        self.contexts.append(Expected())

    def push(self, number: int) -> None:
        context = self.contexts[number]
        if context.state == "new":
            context.state, context.socket = "open", self.socket

    def finish(self, number: int) -> None:
        context = self.contexts[number]
        # Closed before anything was sent, there is nothing to wait for.
        context.state = {"open": "closing", "new": "ended"}.get(context.state, context.state)

    def cancel(self, number: int) -> None:
        context = self.contexts[number]
        if context.live or context.state == "new":
            context.state = "cancelled"

    # --- the server

    def chunk(self, number: int, data: bytes) -> None:
        if (context := self.reached(number)) is not None:
            whole = context.cut + data
            size = len(whole) - len(whole) % FRAME_BYTES
            context.audio += whole[:size]
            context.cut = whole[size:]

    def done(self, number: int) -> None:
        if (context := self.reached(number)) is None:
            return
        if context.cut:
            self.fail(number, "invalid_audio")
        else:
            context.state = {"open": "expired", "closing": "ended"}[context.state]

    def fail(self, number: int, error: str) -> None:
        if (context := self.reached(number)) is not None:
            context.state, context.error = "failed", error

    def fail_all(self, error: str) -> None:
        for number in range(len(self.contexts)):
            self.fail(number, error)

    def lose(self, error: str) -> None:
        self.fail_all(error)
        self.socket += 1
