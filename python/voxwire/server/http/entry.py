"""What every HTTP route asks of a request before it looks at it: version, Origin, credential (protocol.md 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxwire.server.access.gate import address_of, resolve_version

if TYPE_CHECKING:
    from starlette.requests import Request

    from voxwire.server.access.auth import Principal
    from voxwire.server.service import Service

__all__ = ["enter", "query_of", "version_of"]


def query_of(request: Request) -> dict[str, str]:
    """Returns the parameters of the target; of one that is given twice the first counts, as on the WebSocket."""
    return dict(reversed(request.query_params.multi_items()))


def version_of(request: Request) -> str:
    """Returns the version that a request is answered in.

    Raises:
        Refusal: 400, it is none.
    """
    return resolve_version(query_of(request), request.headers.get("cartesia-version"))


def enter(service: Service, request: Request) -> tuple[Principal, str]:
    """Lets a request in.

    Returns:
        Who is calling, and the version to answer in.

    Raises:
        Refusal: It is not let in.
    """
    version = version_of(request)
    headers = [(name.lower(), value) for name, value in request.headers.items()]
    return service.gate.enter(headers, query_of(request), address_of(request.state.transport)), version
