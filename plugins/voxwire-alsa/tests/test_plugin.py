"""What is around the sink: the command line, the package, the library that is not linked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import wave
from array import array
from pathlib import Path

import pytest
from alsa_sound import RATE

import voxwire_alsa
from voxwire_alsa import _native

VOXWIRE = Path(sys.executable).with_name("voxwire")
SAY = [VOXWIRE, "say", "Hello there.", "--url", "embedded:tone"]


def run(*command, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VOXWIRE", "CARTESIA"))}
    return subprocess.run(command, check=False, env=environment | variables, capture_output=True, text=True, timeout=50)


def test_say_without_an_address_plays_to_the_default_device(server, tmp_path):
    with server.recording() as recording:
        said = run(*SAY, "--json")
        assert said.returncode == 0, said.stderr
        heard = recording.wait_quiet()
    record = json.loads(said.stdout)
    assert record["outcome"] == "finished"
    run(*SAY, "--to", f"file:{tmp_path}/said.wav")
    with wave.open(f"{tmp_path}/said.wav", "rb") as stored:
        assert stored.getframerate() == RATE
        expected = array("h", stored.readframes(stored.getnframes()))
    # Silence apart: the server may be late with a word.
    assert [sample for sample in heard if sample] == [sample for sample in expected if sample]


def test_say_without_a_device_says_why(pretending):
    said = run(*SAY)
    assert (said.returncode, said.stdout) == (6, "")
    assert re.fullmatch(
        r"voxwire: no usable sound device \(alsa: .*\), pass a sink such as file:out.wav\n", said.stderr
    )


def test_the_devices_are_listed_with_their_addresses(server):
    listed = run(sys.executable, "-m", "voxwire_alsa")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert re.search(r"^alsa:listed +Sound server of the tests$", listed.stdout, flags=re.MULTILINE)


def test_a_missing_library_names_its_package(tmp_path):
    # As good as missing: what is found first is no library.
    (tmp_path / "libasound.so.2").write_bytes(b"")
    said = run(*SAY, "--to", "alsa:default", LD_LIBRARY_PATH=str(tmp_path))
    assert said.returncode == 6
    assert re.fullmatch(
        r"voxwire: sink 'alsa:default' cannot be opened: libasound.so.2 cannot be opened \(.*\), install the package "
        r"libasound2 .*\n",
        said.stderr,
    )
    listed = run(sys.executable, "-m", "voxwire_alsa", LD_LIBRARY_PATH=str(tmp_path))
    assert listed.returncode == 6
    assert "install the package libasound2" in listed.stderr


def test_importing_the_plugin_opens_no_library():
    code = "import voxwire_alsa; print('libasound' in open('/proc/self/maps').read())"
    assert run(sys.executable, "-c", code).stdout == "False\n"


def test_nothing_but_the_c_library_is_linked():
    try:
        listed = subprocess.run(["readelf", "-d", _native.__file__], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no readelf, get it with: apt-get install binutils")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", listed.stdout))
    loaders = {name for name in needed if name.startswith("ld-linux")}
    assert needed - loaders <= {"libc.so.6", "libgcc_s.so.1"}


def test_the_readme_lists_every_option():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name, option in voxwire_alsa.AlsaSink.options.items():
        assert f"| `{name}` | {int(option.default)} |" in readme
