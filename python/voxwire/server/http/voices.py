"""The list of voices, read only (protocol.md 11.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from voxwire.server import languages
from voxwire.server.http.bodies import checked
from voxwire.server.http.entry import enter, query_of
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

    from voxwire.server.service import Service

__all__ = ["VoiceRoutes"]


def _language(value: str) -> str:
    return languages.normalised(value.replace("_", "-"))


class _Expansion(BaseModel):
    """What both routes take: further members of each voice. There are no previews, so it adds none."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    expand: Literal["preview_file_url"] | None = Field(default=None, alias="expand[]")


class _ListQuery(_Expansion):
    limit: Annotated[int, Field(ge=1, le=100)] = 100
    starting_after: str | None = None
    ending_before: str | None = None
    q: str | None = None
    is_owner: bool | None = None
    gender: Literal["masculine", "feminine", "gender_neutral"] | None = None
    language: Annotated[str, AfterValidator(_language)] | None = None


class VoiceRoutes:
    """``/voices`` and what is below it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def every(self, request: Request) -> Response:
        """Answers ``GET /voices``."""
        enter(self._service, request)
        _only_read(request)
        query = checked(_ListQuery, query_of(request))
        if query.is_owner:
            # The voices are the engine's: nobody who calls owns one.
            return JSONResponse({"data": [], "has_more": False, "next_page": None})
        return JSONResponse(
            self._service.voices.page(
                limit=query.limit,
                starting_after=query.starting_after,
                ending_before=query.ending_before,
                search=query.q,
                gender=query.gender,
                language=query.language,
            )
        )

    async def one(self, request: Request) -> Response:
        """Answers ``GET /voices/{id}``."""
        enter(self._service, request)
        _only_read(request)
        checked(_Expansion, query_of(request))
        found = self._service.voices.get(request.path_params["voice"])
        if found is None:
            raise Refusal(404, "Voice not found", "there is no voice with this id", code="voice_not_found")
        return JSONResponse(found)


def _only_read(request: Request) -> None:
    if request.method not in {"GET", "HEAD"}:
        raise Refusal(404, "Not found", "voices are read only on this server")
