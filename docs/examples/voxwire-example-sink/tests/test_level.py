import voxwire
from voxwire.testing import SinkConformance


class TestLevelSink(SinkConformance):
    def make(self):
        return voxwire.open_sink("level:/dev/null").sink
