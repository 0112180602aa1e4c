"""What is around the sink: the command line and the package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rtp_wire import MULAW, SILENCE, Receiver, samples, steps

import voxwire_rtp
from voxwire_rtp import _native

VOXWIRE = Path(sys.executable).with_name("voxwire")
SAY = [VOXWIRE, "say", "Hello there.", "--url", "embedded:tone"]


def run(*command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VOXWIRE", "CARTESIA"))}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=50)


def test_say_sends_to_an_address(tmp_path):
    with Receiver() as receiver:
        said = run(*SAY, "--to", f"rtp://127.0.0.1:{receiver.port}?encoding=pcmu", "--json")
        assert said.returncode == 0, said.stderr
        receiver.wait_goodbye()
        packets = list(receiver.packets)
    assert json.loads(said.stdout)["outcome"] == "finished"
    # The first packet, and where a busy machine left some out.
    assert [packet.marker for packet in packets] == [True, *(move > 160 for _, move in steps(packets))]
    stored = tmp_path / "said.ul"
    wire = ["--encoding", "pcm_mulaw", "--sample-rate", "8000"]
    assert run(*SAY, *wire, "--to", f"raw:{stored}").returncode == 0
    # Silence apart: a busy machine may be late with a word.
    heard = samples(packets, MULAW, 0).replace(SILENCE["pcm_mulaw"], b"")
    assert heard == stored.read_bytes().replace(SILENCE["pcm_mulaw"], b"")
    assert len(heard) > 4000


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("rtp://127.0.0.1:5004?key=secret", 2, "base64 of 30 bytes"),
        ("rtp://255.255.255.255:5004", 6, "cannot be opened"),
    ],
)
def test_say_tells_what_is_wrong_in_one_line(address, status, words):
    said = run(*SAY, "--to", address)
    assert (said.returncode, said.stdout) == (status, "")
    assert re.fullmatch(rf"voxwire: .*{words}.*\n", said.stderr)
    assert "secret" not in said.stderr


def test_the_sink_is_listed_with_its_options():
    listed = json.loads(run(VOXWIRE, "sinks", "--json").stdout)
    (found,) = [sink for sink in listed if sink["name"] == "rtp"]
    assert found["distribution"] == "voxwire-rtp"
    assert set(found["options"]) == set(voxwire_rtp.RtpSink.options)


def test_importing_the_plugin_starts_no_thread():
    code = "import os, voxwire_rtp; print(len(os.listdir('/proc/self/task')))"
    assert run(sys.executable, "-c", code).stdout == "1\n"


def test_nothing_but_the_c_library_is_linked():
    try:
        listed = subprocess.run(["readelf", "-d", _native.__file__], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no readelf, get it with: apt-get install binutils")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", listed.stdout))
    loaders = {name for name in needed if name.startswith("ld-linux")}
    assert needed - loaders <= {"libc.so.6", "libgcc_s.so.1"}
