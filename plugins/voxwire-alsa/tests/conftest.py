"""The fixtures of alsa_sound.py."""

from __future__ import annotations

import pytest
from alsa_sound import pretending_devices, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A sound server for all tests of a module, and the environment that leads there."""
    with running_server(tmp_path_factory.mktemp("sound")) as running:
        yield running


@pytest.fixture
def own_server(tmp_path_factory):
    """A sound server that the test may ruin."""
    with running_server(tmp_path_factory.mktemp("sound")) as running:
        yield running


@pytest.fixture
def pretending(tmp_path_factory):
    """The configuration without a server: devices that pretend. Returns the folder where one of them writes."""
    folder = tmp_path_factory.mktemp("alsa")
    with pretending_devices(folder):
        yield folder
