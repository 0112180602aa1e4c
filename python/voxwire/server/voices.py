"""Which voice an id means, and the list of voices (protocol.md 11.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxwire.server import languages
from voxwire.server.config import ConfigurationError
from voxwire.server.refusal import Refusal
from voxwire.server.versions import STRUCTURED_ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voxwire.engines import Voice

__all__ = ["DEFAULT_ALIASES", "Catalogue"]

#: Ids that the vendor's own examples and clients send without being asked; they speak with the default voice.
DEFAULT_ALIASES = ("a0e99841-438c-4a64-b679-ae501e7d6091", "6ccbfb76-1fc6-48f7-b71d-91ac6298247b")

# The engines' voices are as old as the protocol, so that the list is the same at every start.
_CREATED_AT = "2024-06-10T00:00:00Z"


class Catalogue:
    """The voices of the running engine under all their ids."""

    def __init__(
        self,
        engine: str,
        voices: Sequence[Voice],
        *,
        aliases: Mapping[str, str],
        default: str | None,
        unknown_is_default: bool,
    ) -> None:
        """Joins the engine's voices with the operator's aliases.

        Args:
            engine: Name of the engine, for messages.
            voices: What the engine offers.
            aliases: The operator's further ids; they win over the engine's own aliases.
            default: Id or alias of the default voice; None for the engine's.
            unknown_is_default: An unknown id speaks with the default voice.

        Raises:
            ConfigurationError: An alias or the default names no voice.
        """
        self._voices = {voice.id: voice for voice in voices}
        own = {alias: voice.id for voice in voices for alias in voice.aliases}
        self._unknown_is_default = unknown_is_default
        engine_default = next(voice.id for voice in voices if voice.default)
        self._aliases = dict(own)
        for alias, target in aliases.items():
            voice = own.get(target, target)
            if voice not in self._voices:
                raise ConfigurationError(
                    f"voices.{alias}: names no voice of engine {engine}, give an id of GET /voices"
                )
            self._aliases[alias] = voice
        if default is not None:
            default = self._aliases.get(default, default)
            if default not in self._voices:
                raise ConfigurationError(
                    f"default_voice: engine {engine} has no such voice, give an id of GET /voices or an alias"
                )
        self.default = default or engine_default
        for alias in DEFAULT_ALIASES:
            self._aliases.setdefault(alias, self.default)

    def resolve(self, asked: str | None, version: str) -> str:
        """Returns the engine's id of the voice to speak with.

        Args:
            asked: Id or alias; None for an embedding.
            version: Version of the protocol, which decides the status of a refusal.

        Raises:
            Refusal: ``voice_not_found``.
        """
        if asked is None:
            return self.default
        voice = self._aliases.get(asked, asked)
        if voice in self._voices:
            return voice
        if self._unknown_is_default:
            return self.default
        raise self.not_found(version)

    @staticmethod
    def not_found(version: str) -> Refusal:
        """Returns the refusal of an unknown voice."""
        return Refusal(
            404 if version >= STRUCTURED_ERRORS else 400,
            "Voice not found",
            "there is no voice with this id, GET /voices lists those there are",
            code="voice_not_found",
        )

    def language(self, voice: str) -> str | None:
        """Returns the first language that a voice was made for, if it was made for any."""
        known = self._voices.get(voice)
        return known.languages[0] if known is not None and known.languages else None

    def get(self, voice: str) -> dict[str, Any] | None:
        """Returns the description of a voice by its id or an alias."""
        known = self._voices.get(self._aliases.get(voice, voice))
        return None if known is None else _describe(known)

    def page(
        self,
        *,
        limit: int = 100,
        starting_after: str | None = None,
        ending_before: str | None = None,
        search: str | None = None,
        gender: str | None = None,
        language: str | None = None,
    ) -> dict[str, Any]:
        """Returns one page of the list, as the body of ``GET /voices``.

        Args:
            limit: Voices in it at most.
            starting_after: Id after which it begins.
            ending_before: Id before which it ends.
            search: Part of a name, description or id, in any case.
            gender: As in the protocol.
            language: Code or locale, with ``-`` or ``_``.
        """
        found = [voice for voice in self._voices.values() if _fits(voice, search, gender, language)]
        ids = [voice.id for voice in found]
        first, last = 0, len(found)
        if starting_after is not None:
            first = ids.index(starting_after) + 1 if starting_after in ids else len(found)
        if ending_before is not None:
            last = ids.index(ending_before) if ending_before in ids else 0
            first = max(first, last - limit)
        page = found[first : min(last, first + limit)]
        more = bool(page) and page[-1].id != ids[-1]
        return {
            "data": [_describe(voice) for voice in page],
            "has_more": more,
            "next_page": page[-1].id if more else None,
        }


def _fits(voice: Voice, search: str | None, gender: str | None, language: str | None) -> bool:
    if search and search.casefold() not in f"{voice.name}\n{voice.description}\n{voice.id}".casefold():
        return False
    if gender and voice.gender != gender:
        return False
    if language and voice.languages:
        wanted = language.replace("_", "-").lower()
        spoken = [known.lower() for known in voice.languages]
        return wanted in spoken or any(languages.base(wanted) == known for known in spoken)
    return True


def _describe(voice: Voice) -> dict[str, Any]:
    spoken = voice.languages or ("en",)
    description = {
        "id": voice.id,
        "is_owner": False,
        "is_public": True,
        "name": voice.name,
        "description": voice.description,
        "created_at": _CREATED_AT,
        "language": languages.base(spoken[0]),
        "locales": [{"locale": locale, "is_native": index == 0} for index, locale in enumerate(spoken)],
    }
    if voice.gender is not None:
        description["gender"] = voice.gender
    return description
