"""What more than one test file needs."""

from __future__ import annotations

import pytest

from voxwire.testing.sinks import RecordingWake


@pytest.fixture
def wake():
    """A host's wake."""
    made = RecordingWake()
    yield made
    made.close()
