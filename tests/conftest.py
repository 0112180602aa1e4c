"""What more than one test file needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parent / "vectors"

# The machine may be busy: how long one example takes says nothing about the code.
settings.register_profile("voxwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voxwire")


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Iterator[dict[str, Any]]]:
    """Reads what both languages must agree on: one JSON object a line."""

    def read(name: str) -> Iterator[dict[str, Any]]:
        lines = (VECTORS / name).read_text(encoding="utf-8").splitlines()
        assert lines
        yield from map(json.loads, lines)

    return read
