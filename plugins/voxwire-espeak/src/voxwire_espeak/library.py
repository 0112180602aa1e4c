# SPDX-License-Identifier: GPL-3.0-or-later
"""The binding to eSpeak NG 1.52.0.

All state of the library is global and some text crashes it: one instance a process, one call at a time, in a process
that may die.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import espeakng_loader  # type: ignore[import-untyped]  # it says no types

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["END", "LIST_END", "PHONEME", "WORD", "Chunk", "Event", "Library", "LibraryError"]

OUTPUT_SYNCHRONOUS = 2
BUFFER_MS = 60
PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 0x1, 0x2, 0x8000
CHARS_UTF8, END_PAUSE = 0x1, 0x1000
POSITION_CHARACTER = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
#: Louder than this the library compresses, so the samples reach full scale and no further.
NORMAL_VOLUME = 100
NORMAL_PITCH = 50
LIST_END, WORD, END, PHONEME = 0, 1, 5, 7


class LibraryError(Exception):
    """The library is missing, is not the one expected, or refused a call."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))

#: Type, position in the text (characters from 1), sample from the start of the text, name of a phoneme.
Event = tuple[int, int, int, bytes]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one callback of the library brings.

    Attributes:
        pcm: Mono s16 samples in the machine's byte order; None for the last one.
        events: In order.
    """

    pcm: bytes | None
    events: list[Event]


class Library:
    """eSpeak NG, loaded and initialised.

    Attributes:
        sample_rate: Samples per second of all voices.

    Raises:
        LibraryError: It or its data cannot be loaded.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            # The library wants the directory that holds espeak-ng-data.
            data = Path(espeakng_loader.get_data_path()).parent
        except (OSError, RuntimeError) as error:
            raise LibraryError(f"eSpeak NG cannot be loaded: {error}") from error
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_SetSynthCallback.argtypes = [_Callback]
        self.sample_rate: int = self._library.espeak_Initialize(
            OUTPUT_SYNCHRONOUS, BUFFER_MS, bytes(data), PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise LibraryError(f"eSpeak NG finds no data in {data}")
        self._handle: Callable[[Chunk], None] | None = None
        self._error: BaseException | None = None
        # Kept for the life of the library, which holds only its address.
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(
        self,
        text: str,
        *,
        voice: str,
        rate: int,
        pitch: int = NORMAL_PITCH,
        pitch_range: int = NORMAL_PITCH,
        end_pause: bool,
        handle: Callable[[Chunk], None],
    ) -> None:
        """Speaks a text; ``handle`` is called with each chunk as it comes, the last with ``pcm`` None.

        Args:
            text: Plain text.
            voice: File name of a voice, with ``+`` and that of a variant: from a list, since the library takes paths.
            rate: Words a minute; the library keeps it within 80 to 450.
            pitch: 0 to 99, 50 is the voice's own.
            pitch_range: 0 to 99, 50 is the voice's own.
            end_pause: Ends with the pause that follows a sentence.
            handle: What it raises ends the speech and is raised from here.

        Raises:
            LibraryError: The voice does not exist, or the library refused.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise LibraryError(f"eSpeak NG has no voice {voice}")
        self._library.espeak_ng_SetRandSeed(1)
        for parameter, value in ((RATE, rate), (VOLUME, NORMAL_VOLUME), (PITCH, pitch), (RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = clean(text).encode()
        self._handle, self._error = handle, None
        try:
            # The size counts the NUL that ctypes adds.
            status = self._library.espeak_Synth(
                data, len(data) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8 | (END_PAUSE if end_pause else 0), None, None
            )
        finally:
            self._handle = None
        # The status is 0 also where the callback ended the speech.
        if self._error is not None:
            raise self._error
        if status != 0:
            raise LibraryError(f"eSpeak NG failed with status {status}")

    def measure(self, text: str, *, voice: str, rate: int) -> int:
        """Returns how many samples :meth:`speak` would make of a text without its end pause."""
        sizes_bytes: list[int] = []
        self.speak(
            text,
            voice=voice,
            rate=rate,
            end_pause=False,
            handle=lambda chunk: sizes_bytes.append(len(chunk.pcm or b"")),
        )
        return sum(sizes_bytes) // 2

    def _receive(self, samples: int | None, count: int, events: Any) -> int:
        """The library's callback: 0 to go on, 1 to stop; nothing may be raised into C."""
        try:
            listed: list[Event] = []
            for event in events:
                if event.type == LIST_END:
                    break
                listed.append((event.type, event.text_position, event.sample, event.name))
            if self._handle is not None:
                self._handle(Chunk(None if samples is None else ctypes.string_at(samples, 2 * count), listed))
        except BaseException as error:  # noqa: BLE001 - raised again after the call
            self._error = error
            return 1
        return 0


#: Embedded commands begin with a control character and work in plain text too. One character in, one out, so that
#: positions hold; the format class stays, since emoji and Indic scripts need its joiners.
_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(text: str) -> str:
    """Replaces every control character except the line feed, and every lone surrogate, by a space."""
    return _COMMANDS.sub(" ", text)
