from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import struct
import subprocess
import sys
import termios
import textwrap
import threading

import pytest
from click.testing import CliRunner

from voxwire import plugins
from voxwire.exceptions import PluginError, SinkError
from voxwire.playback import default_address, open_sink
from voxwire.sinks import Probe
from voxwire.sinks.null import NullSink

# The package has the command under the name of its module.
listing = importlib.import_module("voxwire.cli.sinks")


@pytest.fixture(autouse=True)
def fresh_host():
    plugins.refresh()
    yield
    for group in (plugins.SINKS, plugins.ENGINES):
        for info in plugins.available(group):
            if info.distribution is None:
                plugins.unregister(group, info.name)
    plugins.refresh()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one module into a folder of the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name, version, points, source="", group=plugins.SINKS):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        folder = tmp_path / f"{module}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = "\n".join(f"{point} = {value}" for point, value in points.items())
        (folder / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        plugins.refresh()
        return folder

    yield add
    for module in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[module]


GOOD = """
class Sink:
    api_version = 1
    options = {}
    def __init__(self, address):
        self.address = address
    def write(self, data): ...
    def open(self, formats, wake): ...
"""


def test_built_ins_come_in_by_entry_points():
    info = next(info for info in plugins.sinks() if info.name == "null")
    assert (info.distribution, info.value) == ("voxwire", "voxwire.sinks.null:NullSink")
    assert plugins.load(plugins.SINKS, "null") is NullSink
    assert "tone" in {info.name for info in plugins.engines()}


def test_listing_imports_nothing_and_loading_imports_one(install):
    install("acme-good", "1.2.3", {"acme": "acme_good:Sink"}, GOOD)
    install("acme-bad", "0.1", {"acmebad": "acme_bad:Sink"}, "raise OSError('no such device')")
    names = {info.name for info in plugins.sinks()}
    assert {"acme", "acmebad"} <= names
    assert "acme_good" not in sys.modules
    plugins.load(plugins.SINKS, "acme")
    assert "acme_good" in sys.modules
    assert "acme_bad" not in sys.modules


def test_importing_voxwire_scans_nothing():
    code = "import sys, voxwire; print('importlib.metadata' in sys.modules, 'voxwire_file' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_unknown_name_lists_what_is_installed():
    with pytest.raises(PluginError) as caught:
        plugins.load(plugins.SINKS, "bogus")
    text = str(caught.value)
    assert text.startswith("unknown sink 'bogus', installed are: ")
    assert "null" in text
    assert "pip install" not in text


@pytest.mark.parametrize(
    ("group", "name", "package"),
    [
        (plugins.SINKS, "alsa", "voxwire-alsa"),
        (plugins.SINKS, "rtp", "voxwire-rtp"),
        (plugins.SINKS, "file", "voxwire-file"),
        (plugins.SINKS, "raw", "voxwire-file"),
        (plugins.ENGINES, "espeak", "voxwire-espeak"),
    ],
)
def test_unknown_name_of_a_published_plugin_says_what_to_install(monkeypatch, group, name, package):
    monkeypatch.setattr("importlib.metadata.distributions", list)
    plugins.refresh()
    with pytest.raises(PluginError, match=f"installed are: none; try: pip install {package}$"):
        plugins.load(group, name)


def test_broken_plugin_is_named_and_its_cause_chained(install):
    install("acme-bad", "0.1", {"acmebad": "acme_bad:Sink"}, "raise OSError('no such device')")
    with pytest.raises(PluginError) as caught:
        plugins.load(plugins.SINKS, "acmebad")
    assert str(caught.value) == (
        "sink 'acmebad' of acme-bad 0.1 cannot be imported from acme_bad:Sink: OSError: no such device"
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert plugins.load(plugins.SINKS, "null") is NullSink


def test_plugin_that_exits_at_import_does_not_end_the_program(install):
    install("acme-exit", "0.1", {"acmeexit": "acme_exit:Sink"}, "raise SystemExit(3)")
    with pytest.raises(PluginError, match="SystemExit: 3"):
        plugins.load(plugins.SINKS, "acmeexit")


def test_missing_attribute_and_non_class_are_named(install):
    install("acme-empty", "0.1", {"acmeempty": "acme_empty:Sink", "acmesize": "acme_empty:size"}, "size = 3")
    with pytest.raises(PluginError, match="AttributeError"):
        plugins.load(plugins.SINKS, "acmeempty")
    with pytest.raises(PluginError, match="acme_empty:size is int, must be a class"):
        plugins.load(plugins.SINKS, "acmesize")


def test_two_claimants_are_both_named_and_neither_wins(install):
    install("acme-one", "1.0", {"acme": "acme_one:Sink"}, GOOD)
    install("acme-two", "2.0", {"acme": "acme_two:Sink"}, GOOD)
    assert [info.distribution for info in plugins.sinks() if info.name == "acme"] == ["acme-one", "acme-two"]
    with pytest.raises(PluginError, match=r"claimed by acme-one 1.0 .* and acme-two 2.0 .*uninstall all but one"):
        plugins.load(plugins.SINKS, "acme")
    assert "acme_one" not in sys.modules


def test_a_claim_on_a_built_in_name_is_refused_too(install):
    install("acme-null", "1.0", {"null": "acme_null:Sink"}, GOOD)
    with pytest.raises(PluginError, match=r"acme-null 1.0 .* and voxwire "):
        plugins.load(plugins.SINKS, "null")


def test_contract_version_is_checked_before_anything_is_called(install):
    source = """
    class Newer:
        api_version = 2
        def __init__(self, address): raise AssertionError
    class Silent:
        pass
    """
    install("acme-newer", "9.0", {"acmenewer": "acme_newer:Newer", "acmesilent": "acme_newer:Silent"}, source)
    with pytest.raises(PluginError, match=r"^sink 'acmenewer' of acme-newer 9.0 has api_version 2, .* speaks 1$"):
        open_sink("acmenewer:")
    with pytest.raises(PluginError, match="has no api_version"):
        plugins.load(plugins.SINKS, "acmesilent")


def test_refresh_sees_what_was_installed_meanwhile(install, monkeypatch):
    assert "acme" not in {info.name for info in plugins.sinks()}
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "refresh", lambda: None)
        install("acme-good", "1.0", {"acme": "acme_good:Sink"}, GOOD)
    assert "acme" not in {info.name for info in plugins.sinks()}
    plugins.refresh()
    assert "acme" in {info.name for info in plugins.sinks()}


def test_damaged_metadata_hides_no_other_plugin(install):
    folder = install("acme-torn", "1.0", {"acmetorn": "acme_torn:Sink"})
    (folder / "entry_points.txt").write_bytes(b"[voxwire.sinks]\n\xff\xfe broken\n")
    plugins.refresh()
    assert "null" in {info.name for info in plugins.sinks()}


def test_register_by_hand():
    class Mine(NullSink):
        pass

    plugins.register(plugins.SINKS, "mine", Mine)
    plugins.register(plugins.SINKS, "mine", Mine)
    assert plugins.load(plugins.SINKS, "mine") is Mine
    assert isinstance(open_sink("mine:").sink, Mine)
    with pytest.raises(PluginError, match="both registered by hand"):
        plugins.register(plugins.SINKS, "mine", NullSink)
    plugins.register(plugins.SINKS, "null", Mine)
    with pytest.raises(PluginError, match=r"claimed by .*registered by hand.* and voxwire"):
        plugins.load(plugins.SINKS, "null")
    plugins.unregister(plugins.SINKS, "null")
    assert plugins.load(plugins.SINKS, "null") is NullSink
    with pytest.raises(ValueError, match="unknown plugin group"):
        plugins.register("voxwire.bogus", "mine", Mine)


def test_default_address_is_the_first_usable_sound_device(monkeypatch):
    # Whatever is installed besides.
    monkeypatch.setattr("importlib.metadata.distributions", list)
    plugins.refresh()

    class Speaker(NullSink):
        answer = Probe(usable=True, address="speaker:default")

        @classmethod
        def probe(cls):
            return cls.answer

    with pytest.raises(PluginError, match=r"pip install voxwire-alsa.*file:out.wav"):
        default_address()
    plugins.register(plugins.SINKS, "speaker", Speaker)
    assert default_address() == "speaker:default"
    Speaker.answer = Probe(usable=False, reason="no sound card", address="speaker:default")
    with pytest.raises(SinkError, match=r"speaker: no sound card.*file:out.wav"):
        default_address()


def test_a_broken_plugin_does_not_hide_the_default_device(install):
    install("acme-bad", "0.1", {"aaabad": "acme_bad:Sink"}, "raise OSError('no such device')")

    class Speaker(NullSink):
        @classmethod
        def probe(cls):
            return Probe(usable=True, address="speaker:default")

    plugins.register(plugins.SINKS, "aaspeaker", Speaker)
    assert default_address() == "speaker:default"


def test_open_sink_checks_the_address_at_once():
    with pytest.raises(ValueError, match=r"did you mean 'file:out\.wav'"):
        open_sink("out.wav")
    with pytest.raises(PluginError, match="unknown sink 'bogus'"):
        open_sink("bogus:x")
    with pytest.raises(ValueError, match="unknown option 'loud' of sink 'null', known are: none"):
        open_sink("null:?loud=1")
    with pytest.raises(TypeError, match="must be an address or a sink"):
        open_sink(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prebuffer_ms"):
        open_sink("null:", prebuffer_ms=-1)


def test_a_constructor_that_raises_is_named_with_its_distribution(install):
    source = """
    class Sink:
        api_version = 1
        options = {}
        def __init__(self, address):
            raise KeyError("no card")
    """
    install("acme-card", "0.3", {"acmecard": "acme_card:Sink"}, source)
    with pytest.raises(PluginError, match=r"sink 'acmecard' of acme-card 0.3 cannot be made: KeyError") as caught:
        open_sink("acmecard:")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("where", ["import", "constructor"])
def test_an_interrupt_of_the_user_is_not_the_fault_of_a_plugin(install, where):
    body = "raise KeyboardInterrupt"
    source = body if where == "import" else f"{GOOD}\n    def __init__(self, address):\n        {body}\n"
    install("acme-slow", "1.0", {"acmeslow": "acme_slow:Sink"}, source)
    with pytest.raises(KeyboardInterrupt):
        open_sink("acmeslow:")


def test_a_second_copy_of_a_distribution_is_hidden_by_the_first(install, tmp_path, monkeypatch):
    install("acme-good", "2.0", {"acme": "acme_good:Sink"}, GOOD)
    older = tmp_path / "older"
    folder = older / "Acme.Good-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme.Good\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[voxwire.sinks]\nacme = acme_good:Sink\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older)])
    plugins.refresh()
    assert [info.version for info in plugins.sinks() if info.name == "acme"] == ["2.0"]


# --- the list of the command line

LISTED = """
from voxwire.sinks import Option, Probe, ThreadSink, flag
class Sink(ThreadSink):
    options = {
        "loud": Option("as loud as it gets", default=False, parse=flag),
        "gain": Option("decibels by which it is louder than it would be without, which may be a good many", 6, int),
        "name": Option("shown to the listener"),
    }
    def send(self, data): pass
class Absent(Sink):
    options = {}
    @classmethod
    def probe(cls): return Probe(usable=False, reason="no sound card")
class Odd(Sink):
    options = {"far": Option("distance", default={1, 2})}
class Ending(Sink):
    @classmethod
    def probe(cls): raise SystemExit(3)
"""


def rows(*arguments):
    result = CliRunner().invoke(listing.sinks, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_list_shows_name_distribution_version_options_and_state(install):
    install("acme-listed", "1.4", {"acme": "acme_listed:Sink", "absent": "acme_listed:Absent"}, LISTED)
    listed = {row["name"]: row for row in json.loads(rows("--json"))}
    assert listed["acme"] == {
        "name": "acme",
        "distribution": "acme-listed",
        "version": "1.4",
        "options": {
            "gain": {
                "default": 6,
                "help": "decibels by which it is louder than it would be without, which may be a good many",
            },
            "loud": {"default": False, "help": "as loud as it gets"},
            "name": {"default": None, "help": "shown to the listener"},
        },
        "state": "usable",
    }
    assert (listed["absent"]["options"], listed["absent"]["state"]) == ({}, "not usable: no sound card")
    lines = [" ".join(line.split()) for line in rows().splitlines()]
    assert lines[0] == "name distribution version state"
    assert "acme acme-listed 1.4 usable" in lines
    assert "absent acme-listed 1.4 not usable: no sound card" in lines
    assert lines[lines.index("") + 1] == "sink option default help"
    assert "acme loud 0 as loud as it gets" in lines
    assert "acme name shown to the listener" in lines


def test_the_list_says_what_is_wrong_with_each_and_hides_none(install):
    source = LISTED + "class Newer(Sink):\n    api_version = 2\n"
    names = {"odd": "Odd", "ending": "Ending", "newer": "Newer", "gone": "Nowhere"}
    install("acme-listed", "1.4", {name: f"acme_listed:{value}" for name, value in names.items()}, source)
    install("acme-bad", "0.1", {"bad": "acme_bad:Sink"}, "raise OSError('no such\\ndevice')")
    install("acme-one", "1.0", {"both": "acme_one:Sink"}, GOOD)
    install("acme-two", "2.0", {"both": "acme_two:Sink"}, GOOD)
    found = json.loads(rows("--json"))
    states = {row["name"]: row["state"] for row in found}
    assert states["null"] == "usable"
    assert states["odd"] == "usable"
    assert next(row for row in found if row["name"] == "odd")["options"]["far"]["default"] == "{1, 2}"
    assert states["ending"] == "broken: SystemExit: 3"
    assert states["newer"] == "sink 'newer' of acme-listed 1.4 has api_version 2, this voxwire speaks 1"
    assert states["gone"].startswith(
        "sink 'gone' of acme-listed 1.4 cannot be imported from acme_listed:Nowhere: Attri"
    )
    assert states["bad"].endswith("cannot be imported from acme_bad:Sink: OSError: no such device")
    both = [row for row in found if row["name"] == "both"]
    assert [row["distribution"] for row in both] == ["acme-one", "acme-two"]
    assert all("is claimed by acme-one 1.0" in row["state"] and "acme-two 2.0" in row["state"] for row in both)
    assert rows().count("\n") > len(found)


def test_the_list_waits_for_no_sink(install, monkeypatch):
    monkeypatch.setattr(listing, "_PATIENCE_S", 0.1)
    monkeypatch.setattr("voxwire.sinks.default._PATIENCE_S", 0.1)
    release = threading.Event()
    monkeypatch.setattr(plugins, "release_of_the_test", release, raising=False)
    source = """
    from voxwire import plugins
    from voxwire.sinks import ThreadSink
    class Sink(ThreadSink):
        @classmethod
        def probe(cls): plugins.release_of_the_test.wait()
    """
    install("acme-slow", "1.0", {"slow": "acme_slow:Sink"}, source)
    try:
        states = {row["name"]: row["state"] for row in json.loads(rows("--json"))}
        assert states["slow"] == "broken: no answer within 0.1 s"
        assert states["null"] == "usable"
        # It is the same for who looks for a sound device.
        with contextlib.suppress(PluginError, SinkError):
            assert not default_address().startswith("slow:")
    finally:
        release.set()


def test_the_list_fits_a_terminal_of_80_columns(tmp_path, install):
    install("acme-listed", "1.4", {"acme": "acme_listed:Sink", "absent": "acme_listed:Absent"}, LISTED)
    install("acme-bad", "0.1", {"bad": "acme_bad:Sink"}, "raise OSError('cannot find /a/very/long/path' + 'x' * 90)")
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        [sys.executable, "-c", "from voxwire.cli import main; main()", "sinks"],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=variables | {"PYTHONPATH": str(tmp_path), "TERM": "dumb"},
    ) as child:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(controller, 65536):
                shown += piece
        except OSError:
            # This is how the end of a terminal shows on Linux.
            pass
        assert child.wait(50) == 0, child.stderr.read()
    os.close(controller)
    lines = [line.rstrip() for line in shown.decode().splitlines()]
    assert max(map(len, lines)) <= 80
    # Nothing is cut off: what does not fit goes on in the next line of its column.
    assert "\u2026" not in shown.decode()
    assert any(line.split()[:3] == ["acme", "acme-listed", "1.4"] for line in lines)
    assert shown.decode().count("x") >= 90
