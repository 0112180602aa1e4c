"""The public kit, on devices that pretend and on a sound server."""

from __future__ import annotations

from typing import ClassVar

import pytest

from voxwire.sinks import Address
from voxwire.testing import SinkConformance
from voxwire_alsa import AlsaSink


class Kit(SinkConformance):
    target = ""
    given: ClassVar[dict] = {}

    def make(self):
        return AlsaSink(Address("alsa", self.target, self.given))


class TestNull(Kit):
    """A device that takes everything at once and is never heard."""

    target = "nullout"

    @pytest.fixture(autouse=True)
    def _devices(self, pretending):
        pass

    def test_pause_holds_or_is_refused(self):
        pytest.skip("all has been played before the pause")


class TestFile(TestNull):
    """The same, with a file behind it."""

    target = "fileout"
    open_close_cycles = 2000


class TestPulse(Kit):
    """A device in real time."""

    target = "pulse"
    open_close_cycles = 300

    @pytest.fixture(autouse=True)
    def _server(self, request):
        # The loss ruins its server.
        ruined = request.node.name == "test_loss_is_told"
        self.server = request.getfixturevalue("own_server" if ruined else "server")

    def lose(self, sink):
        self.server.kill()
        return True


class TestPulseKeptRunning(TestPulse):
    given: ClassVar = {"keep_running": True, "preroll_ms": 50}
    open_close_cycles = 20


class TestPulseWithLongPeriods(TestPulse):
    given: ClassVar = {"latency_ms": 200, "period_ms": 40}
    open_close_cycles = 20
