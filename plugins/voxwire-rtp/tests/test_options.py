"""Options of an address: what they come to, and what is said of those that make no sense."""

from __future__ import annotations

import dataclasses
import logging
import re
from base64 import b64encode
from pathlib import Path

import pytest
from rtp_wire import sink_of

import voxwire
from voxwire.audio import AudioFormat
from voxwire.exceptions import FormatRefused, SinkClosed, SinkError
from voxwire.sinks import Address
from voxwire_rtp import PacerStatistics, Report, RtpSink, Statistics, new_key
from voxwire_rtp.options import OPTIONS, settle

KEY = b64encode(bytes(range(30))).decode()
GUIDE = Path(__file__).parents[3] / "docs" / "rtp.md"


def settings(query, target="192.0.2.7:4000"):
    return sink_of(f"rtp://{target}?{query}")._settings


@pytest.mark.parametrize(
    ("query", "audio_format", "payload_type"),
    [
        ("", AudioFormat("pcm_mulaw", 8000), 0),
        ("encoding=pcmu", AudioFormat("pcm_mulaw", 8000), 0),
        ("encoding=pcm_mulaw", AudioFormat("pcm_mulaw", 8000), 0),
        ("encoding=pcma", AudioFormat("pcm_alaw", 8000), 8),
        ("encoding=pcm_alaw&payload_type=99", AudioFormat("pcm_alaw", 8000), 99),
        ("encoding=pcma&sample_rate=16000", AudioFormat("pcm_alaw", 16000), 96),
        ("encoding=l16", AudioFormat("pcm_s16le", 24000), 96),
        ("encoding=pcm_s16le&sample_rate=16000&payload_type=127", AudioFormat("pcm_s16le", 16000), 127),
        ("encoding=l16&sample_rate=44100&ptime=10", AudioFormat("pcm_s16le", 44100), 11),
    ],
)
def test_an_encoding_comes_to_a_format_and_a_payload_type(query, audio_format, payload_type):
    sink = sink_of(f"rtp://192.0.2.7:4000?{query}")
    assert sink.capabilities().formats == (audio_format,)
    assert (sink._settings.format, sink._settings.payload_type) == (audio_format, payload_type)


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("192.0.2.7:4000", "192.0.2.7", 4000),
        ("[2001:db8::7]:4000", "2001:db8::7", 4000),
        ("media.example.com:65535", "media.example.com", 65535),
    ],
)
def test_a_target_is_a_host_and_a_port(target, host, port):
    found = settings("rtcp=off", target)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    ("query", "mux", "peer_rtcp"),
    [
        ("", False, ("192.0.2.7", 4001)),
        ("rtcp=5000", False, ("192.0.2.7", 5000)),
        ("rtcp=198.51.100.1:5000", False, ("198.51.100.1", 5000)),
        ("rtcp=relay.example:5000", False, ("relay.example", 5000)),
        ("rtcp=mux", True, None),
        ("rtcp=off", False, None),
    ],
)
def test_rtcp_goes_where_it_is_told(query, mux, peer_rtcp):
    assert (settings(query).rtcp_mux, settings(query).peer_rtcp) == (mux, peer_rtcp)


def test_numbers_are_decimal_or_hexadecimal():
    found = settings("ssrc=0xDEADbeef&sequence=65535&timestamp=4294967295")
    assert (found.ssrc, found.sequence, found.timestamp) == (0xDEADBEEF, 65535, 4294967295)


def test_a_key_alone_encrypts_with_the_usual_suite():
    assert settings("").suite is None
    assert settings(f"key={KEY}").suite == "AES_CM_128_HMAC_SHA1_80"
    found = settings(f"key={KEY}&peer_key={KEY}&srtp=AES_CM_128_HMAC_SHA1_32")
    assert found.suite == "AES_CM_128_HMAC_SHA1_32"
    assert found.key.material == found.peer_key.material == bytes(range(30))


def test_a_key_with_every_kind_of_character_survives_the_address():
    key = b64encode(bytes([0xFB, 0xEF, 0xFF]) * 10).decode()
    assert {"+", "/"} <= set(key)
    assert settings(f"key={key}").key.material == bytes([0xFB, 0xEF, 0xFF]) * 10


def test_a_new_key_is_a_key():
    first, second = new_key(), new_key()
    assert first != second
    assert len(settings(f"key={first}").key.material) == 30


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("encoding=opus", "must be one of pcmu, pcma, l16 "),
        ("ptime=15", "10 to 60 in steps of 10"),
        ("ptime=70", "10 to 60"),
        ("ptime=0", "10 to 60"),
        ("ptime=", "value is '', must be a whole number"),
        ("payload_type=128", "0 to 127"),
        ("payload_type=-1", "0 to 127"),
        ("payload_type=8", "payload_type 8 stands for another format"),
        ("encoding=l16&payload_type=11", "payload_type 11 stands for another format"),
        ("payload_type=72", "payload_type 72 is reserved"),
        ("payload_type=76", "payload_type 76 is reserved"),
        ("payload_type=80&rtcp=mux", "payload_type 80 looks like RTCP on a shared port"),
        ("telephone_event=0", "telephone_event 0 stands for another format"),
        ("payload_type=101&telephone_event=101", "payload_type and telephone_event are both 101, must differ"),
        ("idle=cn&cn_payload_type=101&telephone_event=101", "cn_payload_type and telephone_event are both 101"),
        ("idle=cn&encoding=l16&sample_rate=16000", "cn_payload_type 13 stands for another format"),
        ("idle=noise", "must be one of silence, gap, cn"),
        ("encoding=l16&sample_rate=48000", "packets of 1920 bytes, 1400 is the most, use ptime 10"),
        ("encoding=l16&sample_rate=192000", "1400 is the most, use a lower sample rate"),
        ("encoding=l16&sample_rate=11025", "no whole number of frames at 11025 Hz"),
        ("sample_rate=0", "1 to 768000"),
        ("ssrc=4294967296", "number of 32 bits"),
        ("ssrc=0x", "number of 32 bits"),
        ("sequence=65536", "number of 16 bits"),
        ("dscp=64", "0 to 63"),
        ("dscp=EF", "0 to 63"),
        ("bind=eth0", "must be an IP address"),
        ("local_port=5001", "even port or a range"),
        ("local_port=0", "even port or a range"),
        ("local_port=40000-39998", "even port or a range"),
        ("local_port=40000-", "even port or a range"),
        ("rtcp=0", "must be PORT, HOST:PORT, mux or off"),
        ("rtcp=65536", "must be PORT, HOST:PORT, mux or off"),
        ("rtcp=yes", "must be PORT, HOST:PORT, mux or off"),
        ("cname=", "1 to 255 bytes"),
        ("cname=" + "x" * 256, "1 to 255 bytes"),
        ("cname=a%0Ab", "printable"),
        ("latch=maybe", "1 or 0"),
        ("realtime=2", "1 or 0"),
        ("srtp=AES_256_CM_HMAC_SHA1_80", "must be one of AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32"),
        ("srtp=AES_CM_128_HMAC_SHA1_80", "srtp without a key"),
        (f"peer_key={KEY}", "peer_key without a key"),
        ("volume=3", "known are: bind, cn_payload_type, cname, dscp, encoding, idle, key, latch, local_port"),
    ],
)
def test_a_wrong_option_says_what_is_right(query, words):
    with pytest.raises(ValueError, match=words) as caught:
        sink_of(f"rtp://192.0.2.7:4000?{query}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    ["", "192.0.2.7", "192.0.2.7:", ":4000", "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:4000/x", "2001:db8::7:4000"],
)
def test_a_wrong_target_says_what_is_right(target):
    with pytest.raises(ValueError, match=r"^target of sink 'rtp' is .*, must be HOST:PORT"):
        sink_of(f"rtp://{target}")


def test_there_is_no_port_behind_the_last():
    with pytest.raises(ValueError, match="no port behind 65535"):
        sink_of("rtp://192.0.2.7:65535")


@pytest.mark.parametrize(
    "text", ["secret", b64encode(bytes(31)).decode(), KEY[:-1], KEY + "é", KEY[:20] + "\n" + KEY[20:]]
)
@pytest.mark.parametrize("name", ["key", "peer_key"])
def test_a_wrong_key_is_not_repeated(name, text):
    with pytest.raises(ValueError, match="must be base64 of 30 bytes") as caught:
        sink_of(f"rtp://192.0.2.7:4000?{name}={text}")
    error = caught.value
    while error is not None:
        assert text not in str(error)
        error = error.__cause__ or error.__context__


def test_a_key_is_never_shown(caplog, wake):
    caplog.set_level(logging.DEBUG)
    sink = sink_of(f"rtp://192.0.2.7:4000?key={KEY}&peer_key={KEY}")
    shown = [repr(sink), repr(sink._settings), str(sink._settings), repr(vars(sink)), caplog.text]
    for error in (lambda: sink.write(b""), lambda: sink.open([], wake)):
        with pytest.raises(SinkError) as caught:
            error()
        shown.append(str(caught.value))
    for text in shown:
        assert KEY not in text
        assert repr(bytes(range(30)))[2:20] not in text


def test_the_format_of_the_wire_is_the_only_one(wake):
    sink = sink_of("rtp://192.0.2.7:4000?encoding=pcma")
    with pytest.raises(FormatRefused, match="takes pcm_alaw at 8000 Hz"):
        sink.open([AudioFormat("pcm_mulaw", 8000)], wake)


def test_a_name_that_nobody_knows_says_so(wake):
    # No label is that long, so that no server is asked.
    name = 64 * "x"
    sink = sink_of(f"rtp://{name}:4000")
    with pytest.raises(SinkError, match=rf"^sink 'rtp:{name}:4000' cannot be opened: '{name}' is not known \(.*\)$"):
        sink.open([AudioFormat("pcm_mulaw", 8000)], wake)


def test_what_is_not_open_says_so():
    sink = sink_of("rtp://192.0.2.7:4000")
    sink.close()
    for use in (
        lambda: sink.local,
        sink.statistics,
        sink.position,
        sink.clear,
        sink.finish,
        lambda: sink.send_digits("1"),
    ):
        with pytest.raises(SinkClosed, match="is not open"):
            use()


def test_an_address_made_by_hand_gets_the_defaults():
    assert settle(Address("rtp", "192.0.2.7:4000")) == settings("")
    assert RtpSink(Address("rtp", "192.0.2.7:4000")).probe().usable


def test_the_guide_lists_every_option():
    table = GUIDE.read_text().split("## Options")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(OPTIONS)


def test_the_guide_lists_every_statistic():
    tables = GUIDE.read_text().split("## Statistics")[1].split("##")[0]
    for kind in (Statistics, Report, PacerStatistics):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in tables, field.name


@pytest.mark.parametrize(
    "address",
    [
        "rtp://127.0.0.1:4000?encoding=pcmu?key={key}",
        "rtp://127.0.0.1:4000?encoding=pcmu;key={key}",
        "rtp://127.0.0.1:4000&key={key}",
        "rtp://127.0.0.1:4000;key={key}",
        "rtp://127.0.0.1:4000?srtp={key}",
        "rtp://127.0.0.1:4000?ssrc={key}",
        "rtp://127.0.0.1:4000?local_port={key}",
        "rtp://127.0.0.1:4000?{key}",
        "rtp://127.0.0.1:4000?key={key}&key={key}",
        "rtp://127.0.0.1:4000?key={key}A",
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(address):
    key = new_key()
    with pytest.raises(ValueError, match=r"rtp") as caught:
        voxwire.open_sink(address.format(key=key))
    assert key[:8] not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("rtp://192.0.2.7:4000?rtcp=[2001:db8::1]:5000", "rtcp 2001:db8::1 is of another version of IP than 192.0.2.7"),
        ("rtp://[2001:db8::1]:4000?bind=192.0.2.1", "bind 192.0.2.1 is of another version of IP than 2001:db8::1"),
    ],
)
def test_addresses_of_two_versions_are_refused(address, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        voxwire.open_sink(address)
