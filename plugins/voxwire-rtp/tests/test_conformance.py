"""The public kit, with options that change what leaves and how."""

from __future__ import annotations

import pytest
from rtp_wire import bound_pair, break_socket, sink_of

from voxwire.testing import SinkConformance
from voxwire_rtp import new_key


class Kit(SinkConformance):
    query = ""

    @pytest.fixture(autouse=True)
    def _peer(self):
        # Nobody reads what comes; the ports are nobody else's.
        first, second = bound_pair()
        self.port = first.getsockname()[1]
        yield
        first.close()
        second.close()

    @property
    def formats(self):
        return self.make().capabilities().formats

    def make(self):
        return sink_of(f"rtp://127.0.0.1:{self.port}?{self.query}")

    def lose(self, sink):
        break_socket(sink)
        return True


class TestMulaw(Kit):
    """The defaults: silence between speech."""


class TestAlawInLongPacketsWithGaps(Kit):
    query = "encoding=pcma&idle=gap&ptime=60&rtcp=off"
    open_close_cycles = 200


class TestLinearEncryptedOnOnePort(Kit):
    query = f"encoding=l16&ptime=10&idle=cn&cn_payload_type=98&rtcp=mux&key={new_key()}"
    open_close_cycles = 200
