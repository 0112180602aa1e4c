"""``POST /tts/bytes`` and ``POST /tts/sse``: a whole text in, speech out as it is made (protocol.md 11.1, 11.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxwire.protocol import LIMITS
from voxwire.server.failures import full, shutting_down
from voxwire.server.http.bodies import read_object
from voxwire.server.http.containers import Events, container_of
from voxwire.server.http.entry import enter
from voxwire.server.http.generation import Generation
from voxwire.server.refusal import Refusal
from voxwire.server.requests import is_speakable

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from voxwire.audio import AudioFormat
    from voxwire.server.access.auth import Principal
    from voxwire.server.http.containers import Form
    from voxwire.server.service import Service

__all__ = ["SpeechRoutes"]

_GRANT = "tts"
#: Fields of the WebSocket's request that a request with one text does not have, and those that only events can answer.
_CONVERSATION = frozenset({"context_id", "continue", "flush", "max_buffer_delay_ms"})
_TIMES = frozenset({"add_timestamps", "add_phoneme_timestamps", "use_normalized_timestamps"})


class SpeechRoutes:
    """The routes that speak; each request is one context of its credential."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def audio(self, request: Request) -> Generation:
        """Answers ``POST /tts/bytes`` with a file of audio."""
        caller, version = self._enter(request)
        fields = await read_object(request)
        fields, form = container_of({name: fields[name] for name in fields.keys() - _CONVERSATION - _TIMES})
        return self._generation(request, caller, version, fields, form)

    async def events(self, request: Request) -> Generation:
        """Answers ``POST /tts/sse`` with server-sent events."""
        caller, version = self._enter(request)
        fields = await read_object(request)
        context_id = _context_id(fields.get("context_id"))
        fields = {name: fields[name] for name in fields.keys() - _CONVERSATION}
        return self._generation(request, caller, version, fields, lambda _format: Events(context_id))

    def _enter(self, request: Request) -> tuple[Principal, str]:
        """Lets a request in that may speak; returns who is calling, and the version to answer in."""
        principal, version = enter(self._service, request)
        principal.require(_GRANT)
        return principal, version

    def _generation(
        self,
        request: Request,
        caller: Principal,
        version: str,
        fields: dict[str, Any],
        form: Callable[[AudioFormat], Form],
    ) -> Generation:
        """Checks the fields of a request, and makes its answer."""
        service = self._service
        given, voice = service.check(fields, version)
        if not is_speakable(given.transcript):
            raise Refusal(
                400,
                "transcript empty or contains only punctuation",
                "`transcript` must have a letter or a digit",
            )
        limit = service.settings.context_text_bytes
        if len(given.transcript.encode()) > limit:
            raise Refusal(400, "Too much text", f"`transcript` must have at most {limit} bytes")
        if len(service.sessions) >= service.settings.max_connections:
            raise full()
        if service.draining:
            raise shutting_down()
        return Generation(
            service,
            service.accounts.of(caller),
            given,
            voice,
            form(given.output_format.format),
            version=version,
            request_id=request.state.request_id,
            transport=request.state.transport,
        )


def _context_id(value: object) -> str | None:
    length = LIMITS["context_id_length"]
    if value is None:
        return None
    if isinstance(value, str) and 1 <= len(value) <= length and "\0" not in value:
        return value
    raise Refusal(
        400, "Invalid context_id", f"`context_id` must be a string of 1 to {length} characters, none of them U+0000"
    )
