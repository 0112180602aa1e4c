"""The HTTP routes: an ASGI application, run by uvicorn."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from voxwire.server import versions
from voxwire.server.failures import log_fault
from voxwire.server.http.entry import version_of
from voxwire.server.http.speech import SpeechRoutes
from voxwire.server.http.tokens import TokenRoutes
from voxwire.server.http.voices import VoiceRoutes
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from voxwire.server.service import Service

__all__ = ["make_app"]

_EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")
_TITLES = {404: "Not found", 405: "Method not allowed"}
_MESSAGES = {
    404: "there is nothing at this path",
    405: "this path does not take that method",
}


def make_app(service: Service) -> ASGIApp:
    """Returns the application; every route is found behind any prefix."""
    routes = _Routes(service)
    speech = SpeechRoutes(service)
    voices = VoiceRoutes(service)
    app = Starlette(
        routes=[
            *_anywhere("/tts/bytes", speech.audio, ("POST",)),
            *_anywhere("/tts/sse", speech.events, ("POST",)),
            *_anywhere("/access-token", TokenRoutes(service).mint, ("POST",)),
            *_anywhere("/healthz", routes.healthz),
            *_anywhere("/readyz", routes.readyz),
            *_anywhere("/voices", voices.every, _EVERY_METHOD),
            # The second Python SDK lists them with a slash behind.
            *_anywhere("/voices/", voices.every, _EVERY_METHOD),
            *_anywhere("/voices/{voice:path}", voices.one, _EVERY_METHOD),
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
    return _Identified(app)


def _anywhere(path: str, endpoint: Callable[[Request], Any], methods: tuple[str, ...] = ("GET",)) -> list[Route]:
    # The plain path goes first: its own last part is no prefix.
    return [
        Route(path, endpoint, methods=list(methods)),
        Route(f"/{{prefix:path}}{path}", endpoint, methods=list(methods)),
    ]


class _Identified:
    """Gives every request its id, every answer the header with it, and a fault of ours no other trace than ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        scope["state"]["request_id"] = request_id

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_identified)
        except Exception as error:  # noqa: BLE001 - the client has its answer, and uvicorn would log the text
            log_fault(error, request_id)


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def root(self, request: Request) -> Response:
        if request.headers.get("upgrade", "").lower() == "websocket":
            # No WebSocket is opened here, nor by its own path with a slash behind it.
            raise HTTPException(404)
        return JSONResponse({"ok": True, "version": versions.NEWEST})

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        return JSONResponse({"ok": True})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        ready = self._service.ready
        return JSONResponse({"ok": ready}, status_code=200 if ready else 503)


async def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - the application routes nothing else here
    try:
        version = version_of(request)
    except Refusal:
        version = versions.NEWEST
    headers, body = error.http(version, request.state.request_id)
    # The header with the id is on every answer, whoever makes it.
    return Response(body, error.status, {name: value for name, value in headers if name != "X-Request-Id"})


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
