# SPDX-License-Identifier: GPL-3.0-or-later
"""Languages and voices: the only names that ever reach eSpeak NG.

Its own names are files, and it takes paths for variants: what a request says is looked up here, never handed on.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxwire.engines import Voice

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_VOICE", "LANGUAGES", "VOICES", "VoiceChoice", "find_language"]

#: Language codes with the name of their file in eSpeak NG 1.52.0 and their name for people. Tagalog (``tl``) is missing
#: there. Kanji are not read (kana are); Hebrew and Arabic guess at vowels that are not written.
_LANGUAGES = {
    "en": ("en-us", "English"),
    "fr": ("fr", "French"),
    "de": ("de", "German"),
    "es": ("es", "Spanish"),
    "pt": ("pt", "Portuguese"),
    "zh": ("cmn", "Chinese"),
    "ja": ("ja", "Japanese"),
    "hi": ("hi", "Hindi"),
    "it": ("it", "Italian"),
    "ko": ("ko", "Korean"),
    "nl": ("nl", "Dutch"),
    "pl": ("pl", "Polish"),
    "ru": ("ru", "Russian"),
    "sv": ("sv", "Swedish"),
    "tr": ("tr", "Turkish"),
    "bg": ("bg", "Bulgarian"),
    "ro": ("ro", "Romanian"),
    "ar": ("ar", "Arabic"),
    "cs": ("cs", "Czech"),
    "el": ("el", "Greek"),
    "fi": ("fi", "Finnish"),
    "hr": ("hr", "Croatian"),
    "ms": ("ms", "Malay"),
    "sk": ("sk", "Slovak"),
    "da": ("da", "Danish"),
    "ta": ("ta", "Tamil"),
    "uk": ("uk", "Ukrainian"),
    "hu": ("hu", "Hungarian"),
    "no": ("nb", "Norwegian"),
    "vi": ("vi", "Vietnamese"),
    "bn": ("bn", "Bengali"),
    "th": ("th", "Thai"),
    "he": ("he", "Hebrew"),
    "ka": ("ka", "Georgian"),
    "id": ("id", "Indonesian"),
    "te": ("te", "Telugu"),
    "gu": ("gu", "Gujarati"),
    "kn": ("kn", "Kannada"),
    "ml": ("ml", "Malayalam"),
    "mr": ("mr", "Marathi"),
    "pa": ("pa", "Punjabi"),
    "or": ("or", "Odia"),
    "ur": ("ur", "Urdu"),
}

#: Locales that have a file of their own; any other is spoken as its language.
_LOCALES = {
    "en-gb": "en",
    "en-029": "en-029",
    "es-419": "es-419",
    "es-mx": "es-419",
    "fr-be": "fr-be",
    "fr-ch": "fr-ch",
    "pt-br": "pt-br",
    "zh-hk": "yue",
}

_VARIANTS = {
    "": ("", "masculine"),
    **{f"f{number}": (f"female {number}", "feminine") for number in range(1, 6)},
    **{f"m{number}": (f"male {number}", "masculine") for number in range(1, 9)},
    "klatt": ("Klatt", "masculine"),
    "whisper": ("whisper", "gender_neutral"),
}

_PER_CHAR = frozenset({"zh", "ja"})

LANGUAGES = tuple(_LANGUAGES)


@dataclass(frozen=True, slots=True)
class Language:
    """A language or locale as the library knows it."""

    file: str
    per_char: bool


@dataclass(frozen=True, slots=True)
class VoiceChoice:
    """A voice with what it is made of."""

    voice: Voice
    language: Language
    variant: str

    def file_name(self, language: Language | None = None) -> str:
        """What the library is told, for the voice's own language or another."""
        file = (language or self.language).file
        return f"{file}+{self.variant}" if self.variant else file


def find_language(code: str) -> Language | None:
    """Returns the language of a code or locale (``pt``, ``pt-BR``, ``pt_BR``), None for one that is not spoken."""
    locale = code.lower().replace("_", "-")
    language, _, _ = locale.partition("-")
    if language not in _LANGUAGES:
        return None
    file, _ = _LANGUAGES[language]
    return Language(_LOCALES.get(locale, file), per_char=language in _PER_CHAR)


def _voices() -> Iterator[tuple[str, VoiceChoice]]:
    for code, (file, language_name) in _LANGUAGES.items():
        language = Language(file, per_char=code in _PER_CHAR)
        for variant, (variant_name, gender) in _VARIANTS.items():
            path = f"espeak/{code}/{variant}"
            voice = Voice(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, path)),
                name=f"{language_name}, {variant_name}" if variant_name else language_name,
                languages=(code,),
                gender=gender,
                description=f"eSpeak NG, {path}",
                default=path == "espeak/en/",
                aliases=(path,),
            )
            choice = VoiceChoice(voice, language, variant)
            yield voice.id, choice
            yield path, choice


#: By id (a UUID, for clients that insist on one) and by ``espeak/<language>/<variant>``, from which it is derived.
VOICES = dict(_voices())

DEFAULT_VOICE = VOICES["espeak/en/"]
