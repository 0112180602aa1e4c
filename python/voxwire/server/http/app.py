"""The HTTP routes: an ASGI application, run by uvicorn."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from voxwire.server import versions
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from voxwire.server.service import Service

__all__ = ["make_app"]

_EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")
_TITLES = {404: "Not found", 405: "Method not allowed"}
_MESSAGES = {
    404: "there is nothing at this path",
    405: "this path does not take that method",
}


class _VoicesQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 100
    starting_after: str | None = None
    ending_before: str | None = None
    q: str | None = None
    gender: str | None = None
    language: str | None = None


def make_app(service: Service) -> Starlette:
    """Returns the application; every route is found behind any prefix."""
    routes = _Routes(service)
    app = Starlette(
        routes=[
            *_anywhere("/healthz", routes.healthz),
            *_anywhere("/readyz", routes.readyz),
            *_anywhere("/voices", routes.voices, _EVERY_METHOD),
            *_anywhere("/voices/{voice:path}", routes.voice, _EVERY_METHOD),
            *_anywhere("/tts/websocket", routes.websocket),
            *_anywhere("/", routes.root),
        ],
        exception_handlers={
            Refusal: _answer_refusal,
            HTTPException: _answer_http_exception,
            Exception: _answer_fault,
        },
    )
    # A path that is not there is not there with a slash either.
    app.router.redirect_slashes = False
    return app


def _anywhere(
    path: str, endpoint: Callable[[Request], Awaitable[Response]], methods: tuple[str, ...] = ("GET",)
) -> list[Route]:
    # The plain path goes first: its own last part is no prefix.
    return [
        Route(path, endpoint, methods=list(methods)),
        Route(f"/{{prefix:path}}{path}", endpoint, methods=list(methods)),
    ]


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def root(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        return JSONResponse({"ok": True, "version": versions.NEWEST})

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        return JSONResponse({"ok": True})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        ready = self._service.ready
        return JSONResponse({"ok": ready}, status_code=200 if ready else 503)

    async def voices(self, request: Request) -> Response:
        self._authenticate(request)
        _only_read(request)
        try:
            query = _VoicesQuery.model_validate(dict(request.query_params))
        except ValidationError as error:
            name = error.errors(include_url=False, include_input=False)[0]["loc"][0]
            raise Refusal(400, f"Invalid {name}", f"`{name}` is out of its range") from None
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

    async def voice(self, request: Request) -> Response:
        self._authenticate(request)
        _only_read(request)
        found = self._service.voices.get(request.path_params["voice"])
        if found is None:
            raise Refusal(404, "Voice not found", "there is no voice with this id", code="voice_not_found")
        return JSONResponse(found)

    async def websocket(self, request: Request) -> Response:  # noqa: ARG002 - the door takes every upgrade it can
        raise Refusal(
            400,
            "Invalid request",
            "a WebSocket must be the first request of its connection",
            headers=(("Connection", "close"),),
        )

    def _authenticate(self, request: Request) -> None:
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        self._service.keyring.authenticate(headers, request.query_params)


def _only_read(request: Request) -> None:
    if request.method not in {"GET", "HEAD"}:
        raise Refusal(404, _TITLES[404], "voices are read only on this server")


async def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - the application routes nothing else here
    try:
        version = versions.resolve(
            request.query_params.get("cartesia_version"), request.headers.get("cartesia-version")
        )
    except ValueError:
        version = versions.NEWEST
    headers, body = error.http(version, str(uuid.uuid4()))
    return Response(body, error.status, dict(headers))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the application routes nothing else here
    status = error.status_code
    headers = tuple((error.headers or {}).items())
    refusal = Refusal(
        status, _TITLES.get(status, "Error"), _MESSAGES.get(status, "the request failed"), headers=headers
    )
    return await _answer_refusal(request, refusal)


async def _answer_fault(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette raises it again
    return await _answer_refusal(request, Refusal(500, "Internal error", "the server failed on this request"))
