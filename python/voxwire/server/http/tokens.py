"""``POST /access-token``: short-lived credentials for clients that may not have the key (protocol.md 11.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from voxwire.server.access.tokens import GRANTS
from voxwire.server.http.bodies import checked, read_object
from voxwire.server.http.entry import enter
from voxwire.server.requests import Integer  # noqa: TC001 - pydantic reads it at run time

if TYPE_CHECKING:
    from starlette.requests import Request

    from voxwire.server.service import Service

__all__ = ["TokenRoutes"]

_LONGEST_S = 3600


class _Grants(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    tts: bool | None = None
    stt: bool | None = None
    agent: bool | None = None


class _TokenRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    grants: _Grants | None = None
    expires_in: Annotated[Integer, Field(ge=1, le=_LONGEST_S)] | None = None


class TokenRoutes:
    """``/access-token``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def mint(self, request: Request) -> Response:
        """Answers with a token. An open server gives one to everybody, and lets everybody in with it."""
        principal, _ = enter(self._service, request)
        principal.require_key()
        asked = checked(_TokenRequest, await read_object(request))
        grants = [name for name in GRANTS if asked.grants is not None and getattr(asked.grants, name)]
        expires_in_s = _LONGEST_S if asked.expires_in is None else asked.expires_in
        return JSONResponse({"token": self._service.gate.keyring.mint(principal, grants, expires_in_s)})
