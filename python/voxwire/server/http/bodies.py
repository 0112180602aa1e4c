"""JSON bodies of requests, read under the limits of the WebSocket's messages (faults.md 7, protocol.md 3.2)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from voxwire.protocol import LIMITS
from voxwire.server.config import first_reason
from voxwire.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

__all__ = ["checked", "parse_object", "read_object"]

_Model = TypeVar("_Model", bound=BaseModel)

#: Longest wait for a whole body.
_TIMEOUT_S = 30.0
#: No integer of the protocol has more digits; a longer one is a number that fits no field.
_INTEGER_DIGITS = 18
#: Members that are objects and are read; a key that is doubled in another one does no harm.
_READ_OBJECTS = ("generation_config", "grants", "output_format", "voice")


class _Doubled(dict[str, Any]):
    """An object with a key that stands in it twice."""


async def read_object(request: Request) -> dict[str, Any]:
    """Returns the JSON object that is the body of a request.

    Raises:
        Refusal: 400, 408 or 413.
    """
    limit = LIMITS["server_message_bytes"]
    too_large = Refusal(413, "Body too large", f"the body must have at most {limit} bytes")
    length = request.headers.get("content-length", "0")
    if len(length) > _INTEGER_DIGITS or int(length) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise Refusal(
            408,
            "Body too slow",
            f"the body must arrive within {_TIMEOUT_S:.0f} seconds",
            headers=(("Connection", "close"),),
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "Body cut off", "the connection ended within the body") from None
    return parse_object(bytes(body))


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses an object as strictly as the core parses messages; the standard parser alone is lenient.

    Raises:
        Refusal: 400 that says what kind of thing is wrong, and quotes nothing.
    """
    try:
        found = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer
        )
        _check(found)
    except json.JSONDecodeError as error:
        raise _invalid(f"the body is no valid JSON from character {error.pos} on") from None
    except UnicodeError:
        raise _invalid("the body must be UTF-8, and hold no half of a surrogate pair") from None
    except RecursionError:
        raise _invalid(_TOO_DEEP) from None
    except ValueError as error:
        raise _invalid(str(error)) from None
    if not isinstance(found, dict):
        raise _invalid("the body must be a JSON object")
    doubled = [found, *(found[name] for name in _READ_OBJECTS if name in found)]
    if any(isinstance(one, _Doubled) for one in doubled):
        raise _invalid("a key stands twice in one object")
    return found


def checked(model: type[_Model], fields: Mapping[str, Any], *, within: str = "") -> _Model:
    """Returns fields checked by a model of the validation library.

    Args:
        model: What they must fit.
        fields: What was given.
        within: Name of the object that they are members of, with a dot behind it.

    Raises:
        Refusal: 400 that names the field.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        name, reason = first_reason(error)
        name = within + name
        raise Refusal(400, f"Invalid {name}", f"`{name}`: {reason}") from None


_TOO_DEEP = f"the body is nested deeper than {LIMITS['json_depth']} levels"


def _invalid(message: str) -> Refusal:
    return Refusal(400, "Invalid JSON", message)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Doubled(found)


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are no numbers of JSON")


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _INTEGER_DIGITS else float(text)


def _check(document: Any) -> None:
    """Raises ValueError for an object within too many others, UnicodeError for text that is none."""
    level = [document]
    for depth in range(LIMITS["json_depth"] + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                item.encode()
            elif isinstance(item, list | dict):
                if depth == LIMITS["json_depth"]:
                    raise ValueError(_TOO_DEEP)
                below += item
                if isinstance(item, dict):
                    below += item.values()
        level = below
