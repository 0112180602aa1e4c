"""Where the settings of ``voxwire serve`` come from: flags, then the environment, then the file, then defaults."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import Field, TypeAdapter, ValidationError

from voxwire.server.config import ConfigurationError, Settings, first_reason, resembling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["CONFIG_VARIABLE", "Sources"]

_PREFIX = "VOXWIRE_SERVE_"
#: The file of settings itself is named by a flag or by this variable.
CONFIG_VARIABLE = f"{_PREFIX}CONFIG"

#: What is given more than once has its plural in the settings: the key of the user, and the name of the setting.
_PLURALS = {"api_key": "api_keys", "engine_option": "engine_options"}
_SINGULARS = {plural: singular for singular, plural in _PLURALS.items()}
#: Every key of the file, and the setting that it is.
_KEYS = {_SINGULARS.get(name, name): name for name in Settings.model_fields}


class Sources:
    """Reads the settings, as often as they are asked for; every refusal names who said it, and no value."""

    def __init__(self, flags: Mapping[str, Any], path: Path | None, environment: Mapping[str, str]) -> None:
        """Remembers where to look.

        Args:
            flags: Values of the command line by key; None or empty where it says nothing.
            path: TOML file, or None.
            environment: Variables; those that are empty say nothing.
        """
        self._known_flags = frozenset(flags)
        self._flags = {key: value for key, value in flags.items() if value not in (None, ())}
        self._path = path
        self._environment = environment
        self._labels: dict[str, str] = {}

    def read(self) -> Settings:
        """Returns the settings as flags, environment and file say them now.

        Raises:
            ConfigurationError: The file cannot be read, a key is unknown, or a value is wrong, alone or with others.
        """
        file = self._read_file()
        texts = self._read_environment()
        values: dict[str, Any] = {}
        self._labels = {}
        for key, name in _KEYS.items():
            if key in self._flags:
                self._labels[key] = _flag(key)
                values[name] = self._converted(key, self._flags[key], strict=False)
            elif key in texts:
                self._labels[key] = _variable(key)
                values[name] = self._converted(key, self._split(key, texts[key]), strict=False)
            elif key in file:
                self._labels[key] = f"{self._path}: {key}"
                values[name] = self._converted(key, file[key], strict=True)
        try:
            return Settings.make(**values)
        except ConfigurationError as error:
            raise self.explained(error) from None

    def explained(self, error: ConfigurationError) -> ConfigurationError:
        """Returns a refusal of settings that were read, in the words of the user: who said it, by which name."""
        message = str(error)
        if (begin := re.match(r"(\w+): ", message)) and (label := self._labels.get(_singular(begin[1]))):
            return ConfigurationError(f"{label}: {message[begin.end() :]}")
        for key in self._known_flags:
            setting = _PLURALS.get(key, key)
            # A setting like ``engine`` is also a word of the language.
            if "_" in setting:
                message = re.sub(rf"\b{setting}\b", _flag(key), message)
        return ConfigurationError(message)

    # --- the sources

    def _read_file(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            # Without a last line break the parser would call the last line the end of the document.
            values = tomllib.loads(self._path.read_text(encoding="utf-8") + "\n")
        except OSError as error:
            raise ConfigurationError(f"--config: cannot read {self._path}: {_cause(error)}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self._path}: {_lowered(str(error))}") from None
        for key in values:
            if key not in _KEYS:
                raise ConfigurationError(f"{self._path}: unknown key {key!r}{resembling(key, _KEYS)}")
        return values

    def _read_environment(self) -> dict[str, str]:
        texts = {}
        for variable, text in self._environment.items():
            if not variable.startswith(_PREFIX) or variable == CONFIG_VARIABLE or not text:
                continue
            key = variable.removeprefix(_PREFIX).lower()
            if variable != _variable(key) or key not in _KEYS:
                raise ConfigurationError(f"unknown variable {variable}{resembling(variable, map(_variable, _KEYS))}")
            texts[key] = text
        return texts

    # --- their values

    def _split(self, key: str, text: str) -> Any:
        """What a text of the environment means: lists are separated by blanks."""
        kind = _container(key)
        if kind is None:
            return text
        if kind is dict and key not in _PLURALS:
            raise ConfigurationError(f"{self._labels[key]}: is a table, and stands in the file of settings")
        return text.split()

    def _converted(self, key: str, value: Any, *, strict: bool) -> Any:
        label = self._labels[key]
        if key == "engine_option":
            value = _pairs(value, label)
        elif strict and key in _PLURALS and isinstance(value, str):
            value = [value]
        field = Settings.model_fields[_KEYS[key]]
        kind: Any = Annotated[field.annotation, Field(), *field.metadata]
        adapter = TypeAdapter[Any](kind, config={"allow_inf_nan": False, "hide_input_in_errors": True})
        try:
            # The file has types of its own, those of JSON and dates: there, a number in quotes is a mistake.
            return (
                adapter.validate_json(json.dumps(value, default=str), strict=True)
                if strict
                else adapter.validate_python(value)
            )
        except ValidationError as error:
            where, reason = first_reason(error)
            raise ConfigurationError(f"{label}{'.' if where else ''}{where}: {reason}") from None


def _container(key: str) -> type | None:
    """Whether a setting is a list or a table; None for one value."""
    annotation = Settings.model_fields[_KEYS[key]].annotation
    kinds = [get_origin(part) for part in (annotation, *get_args(annotation))]
    return next((kind for kind in (dict, tuple) if kind in kinds), None)


def _pairs(value: Any, label: str) -> dict[str, str]:
    """Options as a table of the file, or as texts like ``K=V``."""
    if isinstance(value, dict):
        return {name: json.dumps(item) if isinstance(item, bool) else str(item) for name, item in value.items()}
    texts: Iterable[Any] = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and "=" in text for text in texts):
        raise ConfigurationError(f"{label}: must be K=V")
    pairs = dict(text.partition("=")[::2] for text in texts)
    if len(pairs) != len(texts):
        raise ConfigurationError(f"{label}: must name each option once")
    return pairs


def _singular(name: str) -> str:
    return _SINGULARS.get(name, name)


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _variable(key: str) -> str:
    return f"{_PREFIX}{key.upper()}"


def _cause(error: OSError) -> str:
    return _lowered(error.strerror or str(error))


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
