"""What a generation request may say: the library checks it, the messages name the field (protocol.md 3)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, AudioFormat
from voxwire.protocol import LIMITS
from voxwire.server import languages
from voxwire.server.refusal import Refusal
from voxwire.server.versions import STRUCTURED_ERRORS, VOICE_BY_ID_ONLY

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

__all__ = [
    "DEFAULT_BUFFER_DELAY_MS",
    "SPEED_RANGE",
    "VOLUME_RANGE",
    "FirstInput",
    "GenerationConfig",
    "Input",
    "Models",
    "VoiceChoice",
    "check_first",
    "check_later",
    "is_speakable",
    "last_speakable",
]

DEFAULT_BUFFER_DELAY_MS = LIMITS["buffer_delay_ms"]
#: Lowest and highest factor, in ``generation_config`` and in tags (protocol.md 3.2, 10).
SPEED_RANGE = (0.6, 1.5)
VOLUME_RANGE = (0.5, 2.0)

_SPEEDS = {"slow": 0.8, "normal": 1.0, "fast": 1.2}
_MODELS = (
    "sonic-latest",
    "sonic-3.6",
    "sonic-3.6-2026-08-27",
    "sonic-3.5",
    "sonic-3.5-2026-05-04",
    "sonic-3",
    "sonic-3-2026-01-12",
    "sonic-3-2025-10-27",
    "sonic-2*",
    "sonic-turbo",
    "sonic",
)
#: Models that take no ``generation_config``: they came before sonic-3.
_EARLY_MODELS = ("sonic-2*", "sonic-turbo*", "sonic")


#: Letters and digits: nearly all that is speakable, found at the speed of a regular expression.
_ALPHANUMERIC = re.compile(r"[^\W_]")


def is_speakable(text: str) -> bool:
    """Says whether a transcript holds a letter, mark or digit (protocol.md 6.1)."""
    return _ALPHANUMERIC.search(text) is not None or last_speakable(text) >= 0


def last_speakable(text: str) -> int:
    """Returns the index of the last letter, mark or digit; -1 where there is none."""
    found = _ALPHANUMERIC.search(text[::-1])
    last = -1 if found is None else len(text) - 1 - found.start()
    if not text.isascii():
        # Marks, and a few numbers, are speakable too.
        for index in range(len(text) - 1, last, -1):
            if unicodedata.category(text[index])[0] in "LMN":
                return index
    return last


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]


class _Object(BaseModel):
    """An object of the protocol: JSON's own types, null means absent, unknown members are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: member for name, member in value.items() if member is not None}
        return value


@dataclass(frozen=True, slots=True)
class VoiceChoice:
    """A voice by its id; None for an embedding."""

    id: str | None


def _voice(value: Any) -> VoiceChoice:
    if isinstance(value, str):
        chosen: Any = value
    elif isinstance(value, dict):
        mode = value.get("mode")
        if mode == "embedding":
            return VoiceChoice(None)
        if mode not in {None, "id"}:
            raise ValueError('must have the mode "id"')
        chosen = value.get("id")
    else:
        raise ValueError("must be an id or an object like {mode, id}")  # noqa: TRY004 - pydantic wants ValueError
    if not isinstance(chosen, str) or not chosen:
        raise ValueError("must have an id that is a string and not empty")
    return VoiceChoice(chosen)


def _encoding(value: str) -> str:
    if value not in SAMPLE_WIDTHS:
        raise ValueError(f"must be one of {', '.join(SAMPLE_WIDTHS)}")
    return value


def _sample_rate(value: int) -> int:
    if value not in SAMPLE_RATES:
        raise ValueError(f"must be one of {', '.join(map(str, SAMPLE_RATES))}")
    return value


def _normalization(value: str) -> str:
    return value if value in {"auto", "off"} else languages.normalised(value)


class OutputFormat(_Object):
    """The audio that is asked for."""

    container: Literal["raw"] = "raw"
    encoding: Annotated[str, AfterValidator(_encoding)]
    sample_rate: Annotated[Integer, AfterValidator(_sample_rate)]

    @property
    def format(self) -> AudioFormat:
        """The same as the rest of the library says it."""
        return AudioFormat(self.encoding, self.sample_rate)


class GenerationConfig(_Object):
    """How the text of one input is spoken; None where the input does not say."""

    volume: Annotated[float, Field(ge=VOLUME_RANGE[0], le=VOLUME_RANGE[1])] | None = None
    speed: Annotated[float, Field(ge=SPEED_RANGE[0], le=SPEED_RANGE[1])] | None = None
    emotion: str | None = None


class Input(_Object):
    """What is checked on every input."""

    transcript: str
    continues: Annotated[bool, Field(alias="continue")] = False
    flush: bool = False
    max_buffer_delay_ms: Annotated[Integer, Field(ge=0, le=5000)] = DEFAULT_BUFFER_DELAY_MS
    generation_config: GenerationConfig = GenerationConfig()


class FirstInput(Input):
    """What is checked on the input that opens a context, and fixed by it."""

    model_id: str
    voice: Annotated[VoiceChoice, BeforeValidator(_voice)]
    output_format: OutputFormat
    language: Annotated[str, AfterValidator(languages.normalised)] | None = None
    locale: Annotated[str, AfterValidator(languages.normalised)] | None = None
    normalization: Annotated[str, AfterValidator(_normalization)] = "auto"
    add_timestamps: bool = False
    add_phoneme_timestamps: bool = False
    use_normalized_timestamps: bool = False
    pronunciation_dict_id: str | None = None
    speed: Literal["slow", "normal", "fast"] | None = None

    @model_validator(mode="after")
    def _check_one_language(self) -> FirstInput:
        if self.language is not None and self.locale is not None:
            raise ValueError("language and locale exclude each other, give one of them")
        return self

    @property
    def asked_language(self) -> str | None:
        """Language or locale, whichever was given."""
        return self.language or self.locale

    @property
    def base_speed(self) -> float:
        """Speed of text whose input gives none."""
        return _SPEEDS[self.speed or "normal"]

    @property
    def takes_generation_config(self) -> bool:
        """False for models of before sonic-3, which ignore it, and dictionaries too."""
        return not _matches(self.model_id, _EARLY_MODELS)


class Models:
    """The names of models that a server answers to."""

    def __init__(self, names: tuple[str, ...] | None) -> None:
        self._names = _MODELS if names is None else names

    def check(self, model_id: str) -> None:
        """Raises ``model_not_found`` as a Refusal for a name that is not served."""
        if not _matches(model_id, self._names):
            raise Refusal(
                400,
                "Invalid model",
                "The model is not valid, make sure it is a valid model ID.",
                code="model_not_found",
            )


def check_later(fields: Mapping[str, Any]) -> Input:
    """Checks an input of a context that is there, or one that cannot be spoken.

    Raises:
        Refusal: 400 that names the field.
    """
    try:
        return Input.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None


def check_first(fields: Mapping[str, Any], version: str, dictionaries: Container[str] = ()) -> FirstInput:
    """Checks the input that opens a context, as far as that needs no knowledge of the engine.

    Args:
        fields: What the input says.
        version: The version of the protocol that is spoken.
        dictionaries: The ids of the pronunciation dictionaries that there are.

    Raises:
        Refusal: 400 that names the field, or 404 for a dictionary.
    """
    try:
        request = FirstInput.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None
    if request.voice.id is None and version >= VOICE_BY_ID_ONLY:
        raise Refusal(400, "Invalid voice", "`voice` by embedding ended with version 2025-04-16, give its id")
    if request.pronunciation_dict_id is not None and request.pronunciation_dict_id not in dictionaries:
        raise Refusal(
            404 if version >= STRUCTURED_ERRORS else 400,
            "Dictionary not found",
            "`pronunciation_dict_id` names no dictionary of this server",
        )
    return request


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns)


def _refusal(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_input=False)[0]
    # The names of choices within a union are the library's, not the protocol's.
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        reason = "is required"
    elif first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
    elif first["type"] == "model_type":
        # The library's own words name a class of ours.
        reason = "must be an object"
    else:
        reason = first["msg"].removeprefix("Input ")
        reason = reason[:1].lower() + reason[1:]
    if not name:
        return Refusal(400, "Invalid request", reason)
    return Refusal(400, f"Invalid {name}", f"`{name}` {reason}")
