"""For tests of plugins and of programs that use voxwire: conformance kits, and a connected pair in memory.

Each name is imported when it is asked for: who tests a sink needs no server, and the other way round.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxwire.testing.engines import EngineConformance
    from voxwire.testing.pair import connected_pair
    from voxwire.testing.sinks import SinkConformance

__all__ = ["EngineConformance", "SinkConformance", "connected_pair"]

_HOMES = {"EngineConformance": "engines", "SinkConformance": "sinks", "connected_pair": "pair"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOMES[name]}"
    if (pytest := sys.modules.get("pytest")) is not None:
        # Else an assertion in an installed module fails without a word about what was compared.
        asserting = {home, f"{__name__}.watched"}
        pytest.register_assert_rewrite(*(asserting - sys.modules.keys()))
    return getattr(importlib.import_module(home), name)
