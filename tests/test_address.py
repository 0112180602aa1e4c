from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxwire.sinks import Option, flag, parse_address, split_address

OPTIONS = {
    "ptime": Option("milliseconds in a packet", default=20, parse=int),
    "encoding": Option("name", default="pcmu"),
    "atomic": Option("rename at the end", default=False, parse=flag),
}


@pytest.mark.parametrize(
    ("text", "scheme", "target", "given_options"),
    [
        ("null:", "null", "", []),
        ("file:out.wav", "file", "out.wav", []),
        ("FILE:Out.wav", "file", "Out.wav", []),
        ("file:-", "file", "-", []),
        ("raw:/tmp/a b.pcm", "raw", "/tmp/a b.pcm", []),
        ("file:///tmp/a.wav", "file", "/tmp/a.wav", []),
        ("alsa:default", "alsa", "default", []),
        ("alsa:plughw:1,0", "alsa", "plughw:1,0", []),
        (
            "rtp://192.0.2.7:4000?encoding=pcmu&ptime=20",
            "rtp",
            "192.0.2.7:4000",
            [("encoding", "pcmu"), ("ptime", "20")],
        ),
        ("rtp://[2001:db8::1]:4000", "rtp", "[2001:db8::1]:4000", []),
        ("file:100%25.wav", "file", "100%.wav", []),
        ("file:what%3F.wav", "file", "what?.wav", []),
        ("file:100%.wav", "file", "100%.wav", []),
        ("file:a+b.wav", "file", "a+b.wav", []),
        ("file:gr%C3%BC%C3%9Fe.wav?x=%26%3D", "file", "gr\u00fc\u00dfe.wav", [("x", "&=")]),
        ("file:%FF.wav", "file", "\udcff.wav", []),
        ("file:a.wav?atomic", "file", "a.wav", [("atomic", "")]),
    ],
)
def test_splits(text, scheme, target, given_options):
    assert split_address(text) == (scheme, target, given_options)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("out.wav", "'file:out.wav'"),
        ("/tmp/out.wav", "'file:/tmp/out.wav'"),
        ("dir/a:b.wav", "'file:dir/a:b.wav'"),
        ("-", "'file:-'"),
        ("", "'null:'"),
    ],
)
def test_address_without_scheme_suggests_one(text, suggestion):
    with pytest.raises(ValueError, match="has no scheme") as caught:
        split_address(text)
    assert str(caught.value).endswith(f"did you mean {suggestion}")


def test_options_are_parsed_and_defaults_filled_in():
    address = parse_address("rtp://h:1?ptime=30&atomic=1", OPTIONS)
    assert address.options == {"ptime": 30, "encoding": "pcmu", "atomic": True}
    assert str(address) == "rtp:h:1"
    assert parse_address("rtp://h:1?atomic=off", OPTIONS).options["atomic"] is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rtp://h:1?bogus=1",
            "unknown option 'bogus' of sink 'rtp', known are: atomic, encoding, ptime",
        ),
        ("rtp://h:1?ptime=1&ptime=2", "option 'ptime' of sink 'rtp' is given twice"),
        ("rtp://h:1?atomic=maybe", "option 'atomic' of sink 'rtp': value is 'maybe', must be 1 or 0"),
        ("rtp://h:1?&", "unknown option ''"),
    ],
)
def test_wrong_options_are_named(text, message):
    with pytest.raises(ValueError, match="option") as caught:
        parse_address(text, OPTIONS)
    assert message in str(caught.value)


def test_a_sink_without_options_says_so():
    with pytest.raises(ValueError, match="known are: none"):
        parse_address("null:?a=1", {})


def test_a_wrong_number_is_named_with_its_option():
    with pytest.raises(ValueError, match="option 'ptime' of sink 'rtp'"):
        parse_address("rtp://h:1?ptime=fast", OPTIONS)


def test_nul_and_other_types_are_refused():
    with pytest.raises(ValueError, match="NUL"):
        split_address("file:a%00b.wav")
    with pytest.raises(TypeError, match="must be str"):
        split_address(b"file:a.wav")  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_any_target_can_be_written_by_percent_encoding(target):
    encoded = "".join(f"%{byte:02X}" for byte in target.encode())
    assert split_address(f"file:{encoded}")[1] == target


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        scheme, target, _ = split_address(text)
    except ValueError:
        return
    assert scheme == scheme.lower()
    assert "\0" not in target
