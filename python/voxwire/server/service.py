"""What all connections of a server share."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Protocol

from voxwire.server import languages
from voxwire.server.access.auth import Keyring
from voxwire.server.access.gate import Gate
from voxwire.server.access.limits import Accounts
from voxwire.server.refusal import Refusal
from voxwire.server.requests import Models, check_first
from voxwire.server.speech.dictionaries import Dictionary
from voxwire.server.voices import Catalogue
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voxwire.server.config import Settings
    from voxwire.server.host import EngineHost
    from voxwire.server.requests import FirstInput

__all__ = ["Member", "Service"]


class Member(Protocol):
    """An open WebSocket, or an HTTP answer that speaks, as far as its server needs to know it."""

    async def shut_down(self) -> None:
        """Closes because the server ends."""

    def abort(self) -> None:
        """Drops the connection at once."""


class Service:
    """One running server, apart from its sockets.

    Attributes:
        settings: What the operator decided.
        host: The engine.
        voices: Its voices under all their ids.
        gate: Who may come in.
        accounts: What each credential has in use.
        sessions: The open WebSockets, and the HTTP answers that speak.
        scope: The tasks of all contexts.
        draining: True once it takes no new work.
    """

    def __init__(self, settings: Settings, host: EngineHost) -> None:
        self.settings = settings
        self.host = host
        self.voices: Catalogue
        # Without a secret of the operator the tokens end with the process.
        self._token_secret = settings.token_secret or secrets.token_hex()
        self.gate = Gate(Keyring((), self._token_secret), settings.allow_origin)
        self.admit(settings)
        self.accounts = Accounts(settings.concurrency)
        self.sessions: set[Member] = set()
        self.scope = Scope()
        self.draining = False
        self._models = Models(settings.models)
        self._dictionaries = {name: Dictionary(items) for name, items in settings.dictionaries.items()}
        self._live_contexts = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def admit(self, settings: Settings) -> None:
        """Takes the keys and the voices of these settings; what is connected stays so (faults.md H3).

        Raises:
            ConfigurationError: An alias or the default names no voice; then nothing was changed.
        """
        self.voices = Catalogue(
            self.host.name,
            self.host.voices,
            aliases=settings.voices,
            default=settings.default_voice,
            unknown_is_default=settings.unknown_voice == "default",
        )
        self.gate.keyring = Keyring(settings.api_keys, self._token_secret)

    @property
    def ready(self) -> bool:
        """Whether a new context would be spoken."""
        return not self.draining and self.host.healthy

    def context_began(self) -> None:
        """Counts a live context."""
        self._live_contexts += 1
        self._idle.clear()

    def context_ended(self) -> None:
        """Counts it out again."""
        self._live_contexts -= 1
        if not self._live_contexts:
            self._idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Takes no new work, and lets what runs come to its end, at most so long."""
        self.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return

    def check(self, fields: Mapping[str, Any], version: str) -> tuple[FirstInput, str]:
        """Checks the input that opens a context.

        Returns:
            The input, and the engine's id of its voice.

        Raises:
            Refusal: A field is wrong, or names what this server has not.
        """
        request = check_first(fields, version, self._dictionaries)
        self._models.check(request.model_id)
        if (language := request.asked_language) is not None and not self._speaks(language):
            raise Refusal(
                400,
                "Language not supported",
                "`language` names one that this server does not speak",
                code="language_not_supported",
            )
        return request, self.voices.resolve(request.voice.id, version)

    def dictionary(self, request: FirstInput) -> Dictionary | None:
        """Returns the dictionary of a context whose first input was checked; models of before sonic-3 use none."""
        name = request.pronunciation_dict_id
        return None if name is None or not request.takes_generation_config else self._dictionaries[name]

    def _speaks(self, language: str) -> bool:
        for allowed in (self.settings.languages, self.host.info.languages):
            if allowed and language not in allowed and languages.base(language) not in allowed:
                return False
        return True
