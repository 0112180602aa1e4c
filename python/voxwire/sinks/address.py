"""Addresses of sinks: ``scheme:target?name=value&name=value``.

The scheme is what stands before the first colon: a letter, then letters, digits, ``+``, ``-`` or ``.``; it is not
case-sensitive. The first ``?`` behind it begins the options. Target, names and values are percent-decoded once:
``%3F`` is a question mark in a file name, ``%26`` an ampersand in a value, ``%25`` a percent sign. A ``+`` stays a plus
sign, and a percent sign that no two hexadecimal digits follow stands for itself. Bytes that are no UTF-8 become the
surrogates that Python's file functions take. ``scheme://host:port`` has the target ``host:port``, and
``file:///x`` has ``/x``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from voxwire.sinks.contract import Address, Option

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_options", "flag", "parse_address", "split_address"]

# A scheme of one letter would be a Windows drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")

_LONGEST_NAME = 32


def parse_address(address: str, options: Mapping[str, Option]) -> Address:
    """Parses an address against the options that its sink declares.

    Raises:
        ValueError: No scheme, an option that the sink does not know (the message lists the known ones), given twice,
            or with a wrong value.
    """
    scheme, target, given = split_address(address)
    return Address(scheme, target, check_options(scheme, given, options))


def split_address(address: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Splits an address into scheme, target and options, without knowing the sink.

    Raises:
        ValueError: There is no scheme; the message suggests the likely address.
        TypeError: The address is no text.
    """
    if not isinstance(address, str):
        raise TypeError(f"address of a sink is {type(address).__name__}, must be str")
    match = _SCHEME.match(address)
    if match is None:
        suggestion = f"file:{address}" if address else "null:"
        raise ValueError(f"address {address!r} has no scheme, did you mean {suggestion!r}")
    scheme = match[1].lower()
    rest, _, query = address[match.end() :].partition("?")
    given: list[tuple[str, str]] = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        given.append((_decode(name), _decode(value)))
    target = _decode(rest.removeprefix("//"))
    if "\0" in target:
        raise ValueError(f"target of a {scheme}: address contains a NUL character")
    return scheme, target, given


def check_options(scheme: str, given: list[tuple[str, str]], options: Mapping[str, Option]) -> dict[str, Any]:
    """Returns every declared option: what was given, parsed, else its default.

    Raises:
        ValueError: As ``parse_address``.
    """
    values: dict[str, Any] = {}
    for name, text in given:
        option = options.get(name)
        if option is None:
            known = ", ".join(sorted(options)) if options else "none"
            # One that is longer is no name but may be a key that lost its own.
            shown = repr(name) if len(name) <= _LONGEST_NAME else f"of {len(name)} characters"
            raise ValueError(f"unknown option {shown} of sink {scheme!r}, known are: {known}")
        if name in values:
            raise ValueError(f"option {name!r} of sink {scheme!r} is given twice")
        try:
            values[name] = option.parse(text)
        except ValueError as error:
            raise ValueError(f"option {name!r} of sink {scheme!r}: {error}") from error
    return {name: values.get(name, option.default) for name, option in options.items()}


def flag(text: str) -> bool:
    """Parses an option that is on or off."""
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"value is {text!r}, must be 1 or 0")


def _decode(text: str) -> str:
    return unquote(text, errors="surrogateescape")
