"""The options of a context: the protocol's fields, checked for their types and written as JSON once.

Ranges and names (voices, models, languages) are the server's to judge: they differ between servers and versions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from voxwire.audio import SAMPLE_RATES, AudioFormat

__all__ = ["ContextOptions", "InputOptions"]

_DEFAULT_MODEL = "sonic-latest"

_STRINGS = frozenset({"language", "locale", "model_id", "normalization", "pronunciation_dict_id"})
_SWITCHES = frozenset({"add_phoneme_timestamps", "add_timestamps", "use_normalized_timestamps"})
_PER_INPUT = frozenset({"generation_config", "max_buffer_delay_ms"})
_NAMES = ", ".join(sorted(_STRINGS | _SWITCHES | _PER_INPUT | {"deliver_format", "model", "output_format", "voice"}))


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What an input is sent with: every field but its id, text, ``continue`` and ``flush``.

    Attributes:
        settings: One JSON object.
        buffer_delay_ms: Milliseconds for which the server may hold the text back; None for the protocol's default.
    """

    settings: bytes
    buffer_delay_ms: int | None

    def with_fields(self, per_input: dict[str, Any]) -> InputOptions:
        """Returns what one input with options of its own is sent with."""
        return _written(orjson.loads(self.settings) | per_input)


class ContextOptions:
    """The options that were given for a context."""

    __slots__ = ("_fields", "deliver_format", "output_format", "voice")

    def __init__(self, options: dict[str, Any]) -> None:
        if "model" in options:
            if "model_id" in options:
                raise TypeError("model and model_id are one option, give one of them")
            options["model_id"] = options.pop("model")
        self.voice = _voice(options.pop("voice", None))
        self.output_format = _output_format(options.pop("output_format", None))
        self.deliver_format = _deliver_format(options.pop("deliver_format", None))
        for name, value in options.items():
            _check(name, value)
        given = {name: value for name, value in options.items() if value is not None}
        self._fields: dict[str, Any] | None = {"model_id": _DEFAULT_MODEL} | given

    def request_timestamps(self) -> None:
        """Turns word times on."""
        if self._fields is not None:
            self._fields["add_timestamps"] = True

    def freeze(self, audio_format: AudioFormat) -> InputOptions:
        """Returns what every input of the context is sent with, and lets go of what it was made of."""
        fields, self._fields = self._fields or {}, None
        return _written(
            fields
            | {
                # protocol.md 13: always sent as {"mode":"id","id":...}
                "voice": {"mode": "id", "id": self.voice},
                "output_format": {
                    "container": "raw",
                    "encoding": audio_format.encoding,
                    "sample_rate": audio_format.sample_rate,
                },
            }
        )


def _written(fields: dict[str, Any]) -> InputOptions:
    delay_ms = fields.get("max_buffer_delay_ms")
    if delay_ms is not None:
        # A delay that the server will refuse must not reach the core as a time.
        delay_ms = min(max(delay_ms, 0), 60_000)
    return _shared(orjson.dumps(fields), delay_ms)


@functools.lru_cache(maxsize=256)
def _shared(settings: bytes, buffer_delay_ms: int | None) -> InputOptions:
    """Returns one object for the options that many contexts have in common."""
    # A copy: what orjson returns keeps the room that it was written in.
    return InputOptions(memoryview(settings).tobytes(), buffer_delay_ms)


def check_per_input(per_input: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of one input without those that are None.

    Raises:
        TypeError: An option that is none of an input, or of a wrong type.
    """
    for name, value in per_input.items():
        if name not in _PER_INPUT:
            raise TypeError(f"unknown option {name!r} of an input, known are {', '.join(sorted(_PER_INPUT))}")
        _check(name, value)
    return {name: value for name, value in per_input.items() if value is not None}


def _check(name: str, value: Any) -> None:
    if name in _STRINGS:
        expected: tuple[type, ...] = (str,)
    elif name in _SWITCHES:
        expected = (bool,)
    elif name == "max_buffer_delay_ms":
        expected = (int,)
    elif name == "generation_config":
        expected = (Mapping,)
    else:
        raise TypeError(f"unknown option {name!r} of a context, known are {_NAMES}")
    if value is None:
        return
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise TypeError(f"{name} must be of type {expected[0].__name__}, not {type(value).__name__}")
    if isinstance(value, Mapping):
        try:
            orjson.dumps(dict(value))
        except orjson.JSONEncodeError as error:
            raise TypeError(f"{name} holds a value that JSON has not: {error}") from None


def _voice(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        if value.get("mode", "id") != "id" or "id" not in value:
            raise ValueError("voice of another mode, must be an id or an object with mode 'id' and an id")
        value = value["id"]
    if not isinstance(value, str):
        raise TypeError(f"voice must be an id of type str, not {type(value).__name__}")
    if not value:
        raise ValueError("voice is empty, must be the id of a voice")
    return value


def _deliver_format(value: Any) -> AudioFormat | None:
    if value is None or isinstance(value, AudioFormat):
        if value is not None and value.channels != 1:
            raise ValueError(f"deliver_format with {value.channels} channels, the protocol is mono")
        return value
    raise TypeError(f"deliver_format must be an AudioFormat, not {type(value).__name__}")


def _output_format(value: Any) -> AudioFormat | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        container = value.get("container", "raw")
        if container != "raw":
            raise ValueError(f"container {container!r} of output_format, must be 'raw'")
        missing = [name for name in ("encoding", "sample_rate") if name not in value]
        if missing:
            raise ValueError(f"output_format without {missing[0]}")
        encoding, sample_rate = value["encoding"], value["sample_rate"]
        if not isinstance(encoding, str) or not isinstance(sample_rate, int) or isinstance(sample_rate, bool):
            raise TypeError("output_format needs encoding of type str and sample_rate of type int")
        value = AudioFormat(encoding, sample_rate)
    if not isinstance(value, AudioFormat):
        raise TypeError(f"output_format must be an AudioFormat or the protocol's object, not {type(value).__name__}")
    if value.channels != 1:
        raise ValueError(f"output_format with {value.channels} channels, the protocol is mono")
    if value.sample_rate not in SAMPLE_RATES:
        known = ", ".join(map(str, SAMPLE_RATES))
        raise ValueError(f"output_format with a sample rate of {value.sample_rate} Hz, must be one of {known}")
    return value
