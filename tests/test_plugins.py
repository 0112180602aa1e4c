from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from voxwire import plugins
from voxwire.exceptions import PluginError, SinkError
from voxwire.playback import default_address, open_sink
from voxwire.sinks import Probe
from voxwire.sinks.null import NullSink


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


def test_default_address_is_the_first_usable_sound_device():
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

    plugins.register(plugins.SINKS, "speaker", Speaker)
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
