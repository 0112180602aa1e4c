# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine class: it knows voices and starts workers, which alone load eSpeak NG."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

from voxwire.engines import EngineError, Info, Settings, Voice, WorkerEngine, WorkerVoice
from voxwire_espeak.voices import DEFAULT_VOICE, LANGUAGES, VOICES, find_language

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EspeakEngine"]


class EspeakEngine(WorkerEngine):
    """eSpeak NG: 43 languages, exact word and phoneme times, first audio within milliseconds.

    A voice speaks every language: its variant is kept, the language is the context's. Emotion changes pitch, its range
    and the rate. Text is spoken as the library normalises it.
    """

    info: ClassVar[Info] = Info(
        name="espeak",
        sample_rate=22_050,
        languages=LANGUAGES,
        words=True,
        phonemes=True,
        speed_range=(0.5, 2.5),
        # The loudest voices reach full scale, and a request may double the volume.
        gain=0.5,
        emotion=True,
        max_parallel=256,
        max_segment_chars=500,
    )

    def command(self) -> Sequence[str]:
        """The worker of this installation, with the default voice to warm up."""
        # -E and -P: neither the environment nor the working directory decides what is imported.
        return [
            sys.executable,
            "-E",
            "-P",
            "-m",
            "voxwire_espeak.worker",
            "voxwire-espeak-worker",
            DEFAULT_VOICE.file_name(),
        ]

    def voices(self) -> list[Voice]:
        """Sixteen variants of each language."""
        return list({choice.voice.id: choice.voice for choice in VOICES.values()}.values())

    def select(self, settings: Settings) -> WorkerVoice:
        """Joins the variant of the voice with the language of the context."""
        choice = DEFAULT_VOICE if settings.voice is None else VOICES.get(settings.voice)
        if choice is None:
            raise EngineError("unknown voice, see the list of voices", code="voice_not_found")
        language = choice.language if settings.language is None else find_language(settings.language)
        if language is None:
            raise EngineError(
                f"engine espeak does not speak that language, it speaks {', '.join(LANGUAGES)}",
                code="language_not_supported",
            )
        return WorkerVoice(name=choice.file_name(language), per_char=language.per_char)
