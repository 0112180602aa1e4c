"""Sound without a sound card: devices that pretend, and a PulseAudio whose monitor records what would be heard."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import shutil
import signal
import subprocess
import threading
import time
from array import array
from pathlib import Path

import pytest

from voxwire.audio import AudioFormat
from voxwire.playback import open_sink
from voxwire.testing.sinks import RecordingWake

RATE = 24000
MONO = AudioFormat("pcm_s16le", RATE)
PATIENCE_S = 20
SYSTEM_CONFIGURATION = Path("/usr/share/alsa/alsa.conf")
PACKAGES = "apt-get install -y --no-install-recommends libasound2 libasound2-plugins pulseaudio pulseaudio-utils"

# What the user defines comes after what the system does.
DEVICES = """
pcm.!pulse {{ type pulse }}
pcm.listed {{ type pulse hint {{ show on description "Sound server of the tests" }} }}
pcm.!default {{ type pulse }}
pcm.nullout {{ type null }}
pcm.fileout {{ type file slave.pcm {{ type null }} file "{folder}/out.raw" format "raw" truncate true }}
"""


def counter(frames, first=0):
    """Sample k is k mod 32000 + 1, never 0: any loss, doubling or silence shows."""
    return array("h", [k % 32000 + 1 for k in range(first, first + frames)])


def split(heard):
    """The utterances in what was heard, silence apart: each begins with a 1."""
    found = []
    for sample in heard:
        if sample == 1 or not found:
            found.append(array("h"))
        found[-1].append(sample)
    return found


def assert_told(told, utterances):
    """Each pair of frames and bound tells what was heard of an utterance: exactly, where the bound is 0."""
    assert len(told) == len(utterances)
    for index, ((played, bound), heard) in enumerate(zip(told, utterances, strict=True)):
        assert heard == counter(len(heard)), index
        assert abs(len(heard) - played) <= bound, (index, len(heard), played, bound)
    # A machine that is busy at the wrong moment makes one uncertain, not most of them.
    exact = sum(not bound for _, bound in told)
    assert exact >= 0.8 * len(told)


def await_true(condition, what, patience_s=PATIENCE_S):
    """Polls for what tells nobody."""
    deadline = time.monotonic() + patience_s
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.005)
    return result


class Playing:
    """An open sink with its wake."""

    def __init__(self, address, audio_format=MONO):
        self.wake = RecordingWake()
        self.sink = open_sink(address).sink
        self.frame_bytes = audio_format.frame_bytes
        try:
            self.opened = self.sink.open([audio_format], self.wake)
        except BaseException:
            self.wake.close()
            raise

    def write(self, data):
        """Writes all of it, as fast as it is taken."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.sink.write(view) * self.frame_bytes :]
            if view:
                assert self.wake.wait(PATIENCE_S), "no wake for the rest"

    def drain(self):
        """Finishes, and waits for the wake when all is heard."""
        self.sink.finish()
        while (position := self.sink.position()).played < position.written:
            assert self.wake.wait(PATIENCE_S), f"no wake after finish: {position}"
        return position

    def wait_played(self, frames):
        """Waits for what no wake is owed for."""
        await_true(lambda: self.sink.position().played >= frames, f"{frames} frames are not played")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sink.close()
        self.wake.close()


class Recording:
    """What the monitor of the server carries, from the start of the recording on."""

    def __init__(self, server):
        self.path = server.folder / f"heard{time.monotonic_ns()}.raw"
        self._file = self.path.open("wb")
        command = ["parec", "-d", "heard.monitor", "--format=s16le", f"--rate={RATE}", "--channels=1", "--raw"]
        self._process = subprocess.Popen([*command, "--latency-msec=10"], stdout=self._file, env=server.environment)
        await_true(lambda: self.path.stat().st_size, "the recording does not start")

    def samples(self):
        """Everything so far."""
        data = self.path.read_bytes()
        return array("h", data[: len(data) // 2 * 2])

    def wait_quiet(self, quiet_s=0.4):
        """Waits until nothing but silence came for that long, and returns everything."""
        quiet = round(quiet_s * RATE)
        least = len(self.samples()) + quiet

        def still():
            samples = self.samples()
            return samples if len(samples) >= least and not any(samples[-quiet:]) else None

        return await_true(still, "it does not become quiet")

    def heard(self):
        """Waits for quiet, and returns the samples that were not silence."""
        return array("h", [sample for sample in self.wait_quiet() if sample])

    def utterances(self):
        """Waits for quiet, and returns the sound of each utterance."""
        return split(self.heard())

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._file.close()


class SoundServer:
    """A PulseAudio of our own, with one silent device that plays in real time."""

    def __init__(self, folder):
        self.folder = folder
        run = folder / "run"
        run.mkdir(mode=0o700)
        self.variables = devices_in(folder) | {
            "XDG_RUNTIME_DIR": str(run),
            "PULSE_SERVER": f"unix:{run}/pulse.sock",
        }
        self.environment = os.environ | self.variables
        # Without `norewinds` this device would have 2 s of latency.
        device = f"module-null-sink sink_name=heard rate={RATE} channels=1 format=s16le norewinds=1"
        socket = f"module-native-protocol-unix auth-anonymous=1 socket={run}/pulse.sock"
        command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        with (folder / "pulse.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--log-target=stderr", "-L", device, "-L", socket],
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        await_true(self._answers, "the sound server does not answer")

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "pulse.log").read_text()
        asked = subprocess.run(
            ["pactl", "info"], check=False, capture_output=True, env=self.environment, timeout=PATIENCE_S
        )
        return asked.returncode == 0

    @contextlib.contextmanager
    def recording(self):
        recording = Recording(self)
        try:
            yield recording
        finally:
            recording.close()

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self):
        """Stops it as if the machine were too busy for it; ``kill`` ends that too."""
        self.process.send_signal(signal.SIGSTOP)


def require(*programs):
    """Skips where the sound of the tests is not installed, and says how to get it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or ctypes.util.find_library("asound") is None or not SYSTEM_CONFIGURATION.exists():
        pytest.skip(f"sound servers and libasound are not all installed, get them with: {PACKAGES}")


def devices_in(folder):
    """Defines the devices of the tests, and returns the environment that leads to them."""
    configuration = folder / "alsa.conf"
    # A file of another name has the library read everything anew.
    configuration.write_text(f"<{SYSTEM_CONFIGURATION}>\n")
    (folder / ".asoundrc").write_text(DEVICES.format(folder=folder))
    return {"ALSA_CONFIG_PATH": str(configuration), "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}


@contextlib.contextmanager
def in_environment(variables):
    """The library reads them at every open."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def running_server(folder):
    require("pulseaudio", "pactl", "parec")
    server = SoundServer(folder)
    try:
        with in_environment(server.variables):
            yield server
    finally:
        server.kill()


@contextlib.contextmanager
def pretending_devices(folder):
    require()
    with in_environment(devices_in(folder) | {"PULSE_SERVER": f"unix:{folder}/nobody"}):
        yield
