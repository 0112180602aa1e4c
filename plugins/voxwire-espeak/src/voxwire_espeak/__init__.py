# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech engine for voxwire: eSpeak NG in worker processes.

The engine class holds no eSpeak code: it starts worker programs and talks to them over pipes. The workers import this
package too, and nothing of voxwire, which is why the class is only imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxwire_espeak.engine import EspeakEngine

__all__ = ["EspeakEngine"]


def __getattr__(name: str) -> type[EspeakEngine]:
    if name != "EspeakEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from voxwire_espeak.engine import EspeakEngine  # noqa: PLC0415 - a worker must not import the host's side

    return EspeakEngine
