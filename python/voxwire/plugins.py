"""The host of plugins: finds sinks and engines by name through entry points, and imports only the one asked for.

A plugin is a class with ``api_version = 1``, published under one of two entry-point groups; what is built in comes in
by the same door. Listing imports nothing. One broken plugin never hides the others: its fault is raised, with its
distribution and version, by whoever asks for it. Where two claim one name neither wins.
"""

from __future__ import annotations

import importlib
import logging
import re
import threading
from dataclasses import dataclass
from typing import Any

from voxwire.exceptions import PluginError

__all__ = [
    "API_VERSION",
    "ENGINES",
    "SINKS",
    "PluginInfo",
    "available",
    "describe",
    "engines",
    "foreign",
    "load",
    "refresh",
    "register",
    "sinks",
    "unregister",
]

SINKS = "voxwire.sinks"
"""Entry-point group of sinks; the name is the scheme of the address."""
ENGINES = "voxwire.engines"
"""Entry-point group of engines."""
API_VERSION = 1
"""The version of both contracts that this host speaks."""

_KINDS = {SINKS: "sink", ENGINES: "engine"}
_PUBLISHED = {
    SINKS: {"file": "voxwire-file", "raw": "voxwire-file", "alsa": "voxwire-alsa", "rtp": "voxwire-rtp"},
    ENGINES: {"espeak": "voxwire-espeak"},
}
_BY_HAND = "registered by hand"

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_found: dict[str, list[PluginInfo]] = {}
_registered: dict[str, dict[str, type[Any]]] = {SINKS: {}, ENGINES: {}}
_origins: dict[type[Any], PluginInfo] = {}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One claim to a name.

    Attributes:
        group: ``SINKS`` or ``ENGINES``.
        name: Scheme of a sink or name of an engine.
        value: ``module:Class``.
        distribution: Name of the installed distribution, or None where it was registered by hand.
        version: Version of that distribution, or None.
    """

    group: str
    name: str
    value: str
    distribution: str | None = None
    version: str | None = None

    @property
    def origin(self) -> str:
        """Who provides it, for messages: ``voxwire-file 0.1.0``."""
        if self.distribution is None:
            return f"{self.value}, {_BY_HAND}"
        return f"{self.distribution} {self.version}"

    def __str__(self) -> str:
        return f"{_KINDS[self.group]} {self.name!r} of {self.origin}"


def sinks() -> list[PluginInfo]:
    """Lists the sinks, sorted by scheme; imports none of them."""
    return available(SINKS)


def engines() -> list[PluginInfo]:
    """Lists the engines, sorted by name; imports none of them."""
    return available(ENGINES)


def available(group: str) -> list[PluginInfo]:
    """Lists every claim of a group, sorted by name; imports nothing.

    The entry points are read once and kept until ``refresh()``. A name that is claimed twice is listed twice.

    Raises:
        ValueError: Unknown group.
    """
    _check(group)
    with _lock:
        claims = _found.get(group)
        if claims is None:
            claims = _found[group] = _scan(group)
        by_hand = [
            PluginInfo(group, name, f"{plugin.__module__}:{plugin.__qualname__}")
            for name, plugin in _registered[group].items()
        ]
    return sorted([*claims, *by_hand], key=lambda info: (info.name, info.origin))


def load(group: str, name: str) -> type[Any]:
    """Imports one plugin and returns its class, checked for the contract's version.

    Raises:
        PluginError: Nobody claims the name, more than one does, the import fails, or the value is no class of contract
            version 1. The cause is chained.
        ValueError: Unknown group.
    """
    claims = [info for info in available(group) if info.name == name]
    if not claims:
        raise PluginError(_unknown(group, name))
    if len(claims) > 1:
        origins = " and ".join(f"{info.origin} ({info.value})" for info in claims)
        raise PluginError(f"{_KINDS[group]} {name!r} is claimed by {origins}, uninstall all but one")
    info = claims[0]
    plugin = _registered[group][name] if info.distribution is None else _import(info)
    if not isinstance(plugin, type):
        raise PluginError(f"{info} is broken: {info.value} is {type(plugin).__name__}, must be a class")
    version = getattr(plugin, "api_version", None)
    if version != API_VERSION:
        stated = "no api_version" if version is None else f"api_version {version!r}"
        raise PluginError(f"{info} has {stated}, this voxwire speaks {API_VERSION}")
    with _lock:
        _origins[plugin] = info
    return plugin


def register(group: str, name: str, plugin: type[Any]) -> None:
    """Registers a class by hand, for scripts and tests; an installed plugin of that name then clashes with it.

    Raises:
        PluginError: Another class is already registered under this name.
        ValueError: Unknown group.
    """
    _check(group)
    with _lock:
        other = _registered[group].setdefault(name, plugin)
    if other is not plugin:
        claimants = " and ".join(f"{known.__module__}:{known.__qualname__}" for known in (other, plugin))
        raise PluginError(f"{_KINDS[group]} {name!r} is claimed by {claimants}, both {_BY_HAND}")


def unregister(group: str, name: str) -> None:
    """Takes back a ``register``; an unknown name does nothing."""
    _check(group)
    with _lock:
        _registered[group].pop(name, None)


def refresh() -> None:
    """Forgets what was found, so that the next listing sees what was installed meanwhile."""
    importlib.invalidate_caches()
    with _lock:
        _found.clear()
        _origins.clear()


def describe(plugin: object) -> str:
    """Names the plugin behind a class or an instance, for messages: ``sink 'file' of voxwire-file 0.1.0``."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    info = _origins.get(kind)
    return f"{kind.__module__}.{kind.__qualname__}" if info is None else str(info)


def foreign(error: BaseException) -> bool:
    """True for a fault that a plugin raised and that its host has to contain.

    A Rust panic derives from ``BaseException``, so ``except Exception`` does not see it; what ends the program or the
    task is left alone.
    """
    if isinstance(error, Exception):
        return True
    return type(error).__name__ == "PanicException"


def _check(group: str) -> None:
    if group not in _KINDS:
        raise ValueError(f"unknown plugin group {group!r}, known are {', '.join(_KINDS)}")


def _scan(group: str) -> list[PluginInfo]:
    # Imported here: it costs as much as the rest of voxwire, and most programs name one sink or none.
    from importlib import metadata  # noqa: PLC0415

    claims: list[PluginInfo] = []
    owners: set[str] = set()
    for distribution in metadata.distributions():
        try:
            points = distribution.entry_points.select(group=group)
            if not points:
                continue
            name, version = distribution.metadata["Name"], distribution.version
        except Exception as error:  # noqa: BLE001 - damaged metadata of one distribution hides no other
            _logger.warning("skipped a distribution with damaged metadata: %s", type(error).__name__)
            continue
        # The first on sys.path shadows later copies of the same distribution, as it does for imports.
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if normal in owners:
            continue
        owners.add(normal)
        claims += [PluginInfo(group, point.name, point.value, name, version) for point in points]
    return claims


def _import(info: PluginInfo) -> Any:
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.EntryPoint(name=info.name, value=info.value, group=info.group).load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # SystemExit too: a plugin that wants to end the program at its import is broken, not in charge.
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise PluginError(f"{info} cannot be imported from {info.value}: {reason}") from error


def _unknown(group: str, name: str) -> str:
    kind = _KINDS[group]
    installed = sorted({info.name for info in available(group)})
    listed = ", ".join(installed) if installed else "none"
    text = f"unknown {kind} {name!r}, installed are: {listed}"
    package = _PUBLISHED[group].get(name)
    return f"{text}; try: pip install {package}" if package else text
