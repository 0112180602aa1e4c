"""What a server must say, written from protocol.md 6 and 7 alone: a model that foretells every message.

The model hears what the clients send, and then judges what they got. It knows no buffering rules: text of an open
context may be spoken early or late, in order; what a flush, a close or custom mode released must be out.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from raw_client import audio_of, words_of
from strict_messages import check_message

EXPIRY_S = 60.0
QUEUE_WAIT_S = 1.0
REMEMBERED_S = 300.0
FAILED_S = 10.0
#: The tone engine is told to fail on this word.
FATAL = "boom"
#: What makes an input invalid: the words that its error must hold.
FLAWS = {
    "delay": "max_buffer_delay_ms",
    "speed": "generation_config.speed",
    "transcript": "transcript",
    "model": "model_not_found",
    "voice": "voice_not_found",
}
#: Fields that only the input that makes a context is asked for (protocol.md 3.5).
_OF_THE_FIRST = {"model", "voice"}

_PAUSES_MS = {".": 300, "!": 300, "?": 300, ",": 150, ";": 200, ":": 200}


def is_speakable(text: str) -> bool:
    """protocol.md 6.1."""
    return any(unicodedata.category(character)[0] in "LMN" for character in text)


@dataclass(frozen=True)
class Given:
    """One input. `continues` None: the field is absent; `flaw` is a name of FLAWS."""

    context_id: str
    text: str
    continues: bool | None
    flush: bool = False
    delay_ms: int | None = None
    speed: float | None = None
    flaw: str | None = None


@dataclass(frozen=True)
class Cancel:
    """A cancel request."""

    context_id: str


@dataclass(frozen=True)
class Junk:
    """An unusable message; its id is None where it cannot be read."""

    context_id: str | None
    continues: bool


@dataclass
class _Word:
    text: str
    speed: float
    #: It was released: quiet comes only after it.
    owed: bool

    @property
    def optional(self) -> bool:
        return not is_speakable(self.text)

    @property
    def samples(self) -> int:
        return int(Fraction(1440 * (sum(map(str.isalnum, self.text)) or 1)) / Fraction(self.speed))

    @property
    def pause_samples(self) -> int:
        return int(Fraction(24 * _PAUSES_MS.get(self.text[-1], 20)) / Fraction(self.speed))


_FLUSH = "flush"


@dataclass
class _Answer:
    """A message that stands alone. `needles` must all be in an error."""

    kind: str
    needles: tuple[str, ...] = ()
    status: int | None = None
    #: An error that comes once more.
    repeats: _Answer | None = None
    message: dict[str, Any] | None = None


@dataclass
class _Life:
    """A context from its first input to its end, and how much of it was received."""

    place: _Place
    socket: _Socket
    context_id: str
    granted: bool
    queued_at: float
    state: str = "open"
    refusal: _Answer | None = None
    script: deque[_Word | str] = field(default_factory=deque)
    flush_id: int = 1
    frames: int = 0
    heard: int = 0
    pause_samples: int = 0

    def add(self, given: Given) -> None:
        custom = given.delay_ms == 0
        speed = 1.0 if given.speed is None else given.speed
        self.script += [_Word(word, speed, owed=False) for word in given.text.split()]
        if given.flush or given.continues is not True or (custom and is_speakable(given.text)):
            self.release()
        if given.flush or (custom and is_speakable(given.text)):
            self.script.append(_FLUSH)
        if given.continues is not True:
            self.state = "draining"

    def release(self) -> None:
        for part in self.script:
            if isinstance(part, _Word):
                part.owed = True

    @property
    def owing(self) -> bool:
        return any(
            part == _FLUSH or (isinstance(part, _Word) and part.owed and not part.optional) for part in self.script
        )

    def hear(self, text: str, start: float, end: float) -> None:
        while self.script and isinstance(self.script[0], _Word) and self.script[0].text != text:
            assert self.script[0].optional, f"{self.script[0].text!r} was left out before {text!r}"
            self.script.popleft()
        assert self.script, f"{text!r} was never sent"
        word = self.script.popleft()
        assert isinstance(word, _Word), f"{text!r} came before a flush_done"
        assert word.text != FATAL
        if word.optional and start == end:
            # Told, not voiced.
            assert abs(start - self.frames / 24000) < 2e-6, text
            return
        first = self.frames + self.pause_samples
        self.frames = first + word.samples
        self.pause_samples = word.pause_samples
        assert abs(start - first / 24000) < 2e-6, text
        assert abs(end - self.frames / 24000) < 2e-6, text

    def pass_flush(self, flush_id: int) -> None:
        self._skip_optional()
        assert self.script, "a flush_done that nobody asked for"
        assert self.script[0] == _FLUSH, f"flush_done before {self.script[0]}"
        self.script.popleft()
        assert flush_id == self.flush_id
        assert self.heard == self.frames
        self.flush_id += 1

    def end_well(self) -> None:
        self._skip_optional()
        assert not self.script, f"ended before {self.script[0]}"
        assert self.heard == self.frames

    def end_by_engine(self) -> None:
        while self.script and isinstance(self.script[0], _Word) and self.script[0].optional:
            self.script.popleft()
        assert self.script, "the engine failed on nothing"
        assert isinstance(self.script[0], _Word)
        assert self.script[0].text == FATAL

    def _skip_optional(self) -> None:
        while self.script and isinstance(self.script[0], _Word) and self.script[0].optional:
            self.script.popleft()


class _Place:
    """Where contexts of one credential wait for their turn, longest first."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.running: list[_Life] = []
        self.waiting: deque[_Life] = deque()

    def enter(self, life: _Life) -> None:
        life.granted = self.limit is None or len(self.running) < self.limit
        if life.granted:
            self.running.append(life)
        else:
            self.waiting.append(life)

    def leave(self, life: _Life) -> None:
        if life in self.waiting:
            self.waiting.remove(life)
            return
        self.running.remove(life)
        if self.waiting:
            heir = self.waiting.popleft()
            heir.granted = True
            self.running.append(heir)


@dataclass
class _Memory:
    """A context without life."""

    state: str
    until: float
    error: _Answer | None = None


class _Socket:
    def __init__(self, *, labelled: bool) -> None:
        self.labelled = labelled
        self.lives: dict[str, _Life] = {}
        self.memories: dict[str, _Memory] = {}
        #: What is to come for each id, in order: answers, and the life that runs.
        self.queues: dict[str | None, deque[_Answer | _Life]] = {}

    def queue(self, context_id: str | None) -> deque[_Answer | _Life]:
        return self.queues.setdefault(context_id, deque())


class Model:
    """The tables of protocol.md 6.2, of all sockets of one server."""

    def __init__(self, labelled: list[bool], *, limit: int | None = None, cancel_done: bool = False) -> None:
        """Begins with nothing.

        Args:
            labelled: Of each socket: its version is one with `flush_id`.
            limit: Contexts at once.
            cancel_done: A cancel is answered.
        """
        self._sockets = [_Socket(labelled=each) for each in labelled]
        self._place = _Place(limit)
        self._cancel_done = cancel_done
        self._now = 0.0

    # --- what clients send

    def send(self, index: int, message: Given | Cancel | Junk) -> None:
        """A client sends something, and the server reads it before it does anything else."""
        socket = self._sockets[index]
        if isinstance(message, Given):
            self._input(socket, message)
        elif isinstance(message, Cancel):
            self._cancel(socket, message.context_id)
        elif message.context_id is None:
            socket.queue(None).append(_Answer("error", ("Invalid message",), 400))
        else:
            error = _Answer("error", ("Invalid message",), 400)
            self._invalid(socket, message.context_id, error, closes=not message.continues)

    def _state(self, socket: _Socket, context_id: str) -> str:
        if context_id in socket.lives:
            return socket.lives[context_id].state
        memory = socket.memories.get(context_id)
        if memory is None or self._now >= memory.until:
            return "none"
        return memory.state

    def _remember(self, socket: _Socket, context_id: str, state: str, error: _Answer | None = None) -> None:
        if state == "none":
            socket.memories.pop(context_id, None)
        else:
            lifetime_s = FAILED_S if state == "failed" else REMEMBERED_S
            socket.memories[context_id] = _Memory(state, self._now + lifetime_s, error)

    def _input(self, socket: _Socket, given: Given) -> None:
        context_id = given.context_id
        state = self._state(socket, context_id)
        closes = given.continues is not True
        speakable = is_speakable(given.text)
        creates = speakable and state in {"none", "ended", "expired", "cancelled"}
        flaw = given.flaw
        if (flaw in _OF_THE_FIRST and not creates) or (state == "failed" and flaw != "transcript"):
            flaw = None
        if flaw is not None:
            self._invalid(
                socket,
                context_id,
                _Answer("error", (FLAWS[flaw],), 404 if flaw == "voice" and socket.labelled else 400),
                closes=closes,
            )
        elif state == "failed":
            if closes and given.text and given.text.isspace():
                socket.queue(context_id).append(_Answer("error", repeats=socket.memories[context_id].error))
            self._swallow(socket, context_id, closes=closes)
        elif creates:
            life = _Life(self._place, socket, context_id, granted=False, queued_at=self._now)
            socket.memories.pop(context_id, None)
            socket.lives[context_id] = life
            socket.queue(context_id).append(life)
            self._place.enter(life)
            life.add(given)
        elif state == "open":
            socket.lives[context_id].add(given)
        elif state == "draining":
            life = socket.lives[context_id]
            if speakable and life.refusal is None:
                life.refusal = _Answer("error", ("Context closed",), 400)
        elif state == "none":
            needle = "first transcript for WS is empty or contains only punctuation"
            self._say_failed(socket, context_id, _Answer("error", (needle,), 400), "none" if closes else "failed")
        elif state == "expired" and closes:
            if given.text and given.text.isspace():
                socket.queue(context_id).append(_Answer("done"))
            self._remember(socket, context_id, "ended")

    def _invalid(self, socket: _Socket, context_id: str, error: _Answer, *, closes: bool) -> None:
        state = self._state(socket, context_id)
        if state == "failed":
            self._swallow(socket, context_id, closes=closes)
        elif state == "open":
            self._drop(socket.lives[context_id])
            self._say_failed(socket, context_id, error, "failed")
        elif state == "draining":
            life = socket.lives[context_id]
            life.refusal = life.refusal or error
        else:
            self._say_failed(socket, context_id, error, "none" if closes else "failed")

    def _say_failed(self, socket: _Socket, context_id: str, error: _Answer, state: str) -> None:
        socket.queue(context_id).append(error)
        self._remember(socket, context_id, state, error)

    def _swallow(self, socket: _Socket, context_id: str, *, closes: bool) -> None:
        self._remember(socket, context_id, "none" if closes else "failed", socket.memories[context_id].error)

    def _cancel(self, socket: _Socket, context_id: str) -> None:
        state = self._state(socket, context_id)
        if state in {"open", "draining"}:
            self._drop(socket.lives[context_id])
            self._remember(socket, context_id, "cancelled")
            if self._cancel_done:
                socket.queue(context_id).append(_Answer("done"))
        elif state == "failed":
            self._remember(socket, context_id, "none")

    def _drop(self, life: _Life) -> None:
        """A life ends without a word more."""
        life.socket.queue(life.context_id).remove(life)
        self._bury(life)

    def _bury(self, life: _Life) -> None:
        del life.socket.lives[life.context_id]
        self._place.leave(life)

    # --- time

    def elapse(self, seconds: float) -> None:
        """The clock moved, by more than `QUEUE_WAIT_S`: whoever waited for a place all that time gets none."""
        self._now += seconds
        for life in list(self._place.waiting):
            self._drop(life)
            error = _Answer("error", ("concurrency_limited",), 429)
            state = "failed" if life.state == "open" else "ended"
            self._say_failed(life.socket, life.context_id, error, state)

    def release_all(self) -> None:
        """The clock moved by more than any buffer delay: all text is to be out."""
        for socket in self._sockets:
            for life in socket.lives.values():
                life.release()

    def expire_all(self) -> None:
        """Every open context had its time."""
        for socket in self._sockets:
            for life in socket.lives.values():
                life.state = "expiring"

    # --- what clients got

    def receive(self, received: list[list[dict[str, Any]]]) -> None:
        """Judges what came on each socket until the server had nothing more to do."""
        waiting: dict[tuple[int, str | None], deque[dict[str, Any]]] = {}
        for index, messages in enumerate(received):
            for message in messages:
                check_message(message, labelled=self._sockets[index].labelled)
                waiting.setdefault((index, message.get("context_id")), deque()).append(message)
        moved = True
        while moved:
            moved = False
            for (index, context_id), messages in waiting.items():
                while messages and self._take(self._sockets[index], context_id, messages[0]):
                    messages.popleft()
                    moved = True
        for (index, context_id), messages in waiting.items():
            assert not messages, f"nobody asked for {messages[0]} of {context_id} on socket {index}"
        for socket in self._sockets:
            for context_id, queue in socket.queues.items():
                for due in queue:
                    assert isinstance(due, _Life), f"{due} of {context_id} did not come"
                    assert not due.granted or not due.owing, f"{due.script[0]} of {context_id} did not come"
                    assert not due.granted or due.state == "open", f"no end of {context_id} came"
                    assert due.heard == due.frames, f"audio and times of {context_id} differ"

    def _take(self, socket: _Socket, context_id: str | None, message: dict[str, Any]) -> bool:
        """Matches a message with what is due for its id; False where it is not its time."""
        queue = socket.queue(context_id)
        if not queue:
            return False
        due = queue[0]
        if isinstance(due, _Answer):
            self._match(due, message)
            queue.popleft()
            return True
        if not due.granted:
            return False
        kind = message["type"]
        if kind in {"chunk", "timestamps"} and socket.labelled:
            assert message["flush_id"] == due.flush_id
        if kind == "chunk":
            due.heard += len(audio_of([message])) // 2
        elif kind == "timestamps":
            for word in words_of([message]):
                due.hear(*word)
        elif kind == "flush_done":
            due.pass_flush(message["flush_id"])
        elif kind == "done":
            assert due.state in {"draining", "expiring"}, f"done of {context_id}, which was not closed"
            due.end_well()
            queue.popleft()
            self._bury(due)
            self._remember(socket, due.context_id, "ended" if due.state == "draining" else "expired")
            if due.refusal is not None:
                queue.appendleft(due.refusal)
                self._remember(socket, due.context_id, "failed", due.refusal)
        else:
            assert (kind, message["status_code"], message["error_code"]) == ("error", 500, "engine_failed")
            due.end_by_engine()
            queue.popleft()
            self._bury(due)
            state = "ended" if due.state == "draining" else "failed"
            self._remember(socket, due.context_id, state, _Answer("error", message=message))
        return True

    def _match(self, due: _Answer, message: dict[str, Any]) -> None:
        assert message["type"] == due.kind, (message, due)
        if due.kind == "done":
            return
        due.message = message
        if due.repeats is not None:
            assert message == due.repeats.message
            return
        assert message["status_code"] == due.status, (message, due)
        said = f"{message['error_code']} {message['error']}"
        assert all(needle in said for needle in due.needles), (message, due)
