"""SDP: what is offered, and what the answers of real stacks come to."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_wire import sink_of

from voxwire.audio import AudioFormat
from voxwire_rtp import address_from_answer, new_key, offer
from voxwire_rtp.keys import Key

OURS = b64encode(bytes(30)).decode()
PEERS = b64encode(bytes(range(30))).decode()
MULAW, ALAW = AudioFormat("pcm_mulaw", 8000), AudioFormat("pcm_alaw", 8000)


def sdp(*lines):
    return "".join(f"{line}\r\n" for line in lines)


def answer(*lines, host="192.0.2.7", media="audio 4000 RTP/AVP 0"):
    return sdp("v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m={media}", *lines)


def parts(address):
    """Where an address leads, and its options."""
    found = urlsplit(address.replace("+", "%2B"))
    return found.netloc, dict(parse_qsl(found.query, strict_parsing=True))


# --- the offer


def test_an_offer_is_this_text():
    assert offer("192.0.2.1", 40000, session_id=7).splitlines(keepends=True) == [
        "v=0\r\n",
        "o=- 7 1 IN IP4 192.0.2.1\r\n",
        "s=-\r\n",
        "c=IN IP4 192.0.2.1\r\n",
        "t=0 0\r\n",
        "m=audio 40000 RTP/AVP 0 8 101\r\n",
        "a=rtpmap:0 PCMU/8000\r\n",
        "a=rtpmap:8 PCMA/8000\r\n",
        "a=rtpmap:101 telephone-event/8000\r\n",
        "a=fmtp:101 0-15\r\n",
        "a=ptime:20\r\n",
        "a=sendrecv\r\n",
    ]


def test_an_offer_with_everything():
    formats = [AudioFormat("pcm_s16le", 24000), MULAW, AudioFormat("pcm_s16le", 16000)]
    text = offer(
        "2001:db8::1",
        40000,
        formats=formats,
        ptime=10,
        comfort_noise=True,
        rtcp_mux=True,
        key=OURS,
        suite="AES_CM_128_HMAC_SHA1_32",
        direction="sendonly",
        version=2,
        session_id=7,
    )
    assert text.splitlines()[1:] == [
        "o=- 7 2 IN IP6 2001:db8::1",
        "s=-",
        "c=IN IP6 2001:db8::1",
        "t=0 0",
        "m=audio 40000 RTP/SAVP 96 0 97 98 13 99 101 100 102",
        "a=rtpmap:96 L16/24000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:97 L16/16000",
        "a=rtpmap:98 CN/24000",
        "a=rtpmap:13 CN/8000",
        "a=rtpmap:99 CN/16000",
        "a=rtpmap:101 telephone-event/24000",
        "a=fmtp:101 0-15",
        "a=rtpmap:100 telephone-event/8000",
        "a=fmtp:100 0-15",
        "a=rtpmap:102 telephone-event/16000",
        "a=fmtp:102 0-15",
        "a=ptime:10",
        "a=sendonly",
        "a=rtcp-mux",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{OURS}",
    ]


def test_an_offer_has_a_session_of_its_own():
    numbers = {re.search(r"^o=- (\d+) 1 ", offer("192.0.2.1", 40000), re.MULTILINE)[1] for _ in range(3)}
    assert len(numbers) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"formats": []}, "formats are 0, must be 1 to 8"),
        ({"formats": [AudioFormat("pcm_s16le", 8000 + 100 * k) for k in range(9)]}, "formats are 9, must be 1 to 8"),
        ({"formats": [AudioFormat("pcm_f32le", 8000)]}, "must be mono and one of pcm_mulaw, pcm_alaw, pcm_s16le"),
        ({"formats": [AudioFormat("pcm_s16le", 8000, 2)]}, "must be mono"),
        ({"formats": [AudioFormat("pcm_s16le", 48000)]}, "1400 is the most, use ptime 10"),
        ({"ptime": 25}, "10 to 60 in steps of 10"),
        ({"key": "secret"}, "^key: value must be base64 of 30 bytes"),
        ({"suite": "AEAD_AES_128_GCM"}, "must be one of AES_CM_128_HMAC_SHA1_80"),
        ({"host": ""}, "must be an address or a name"),
        ({"host": "0.0.0.0"}, "must be an address or a name at which the peer finds us"),
        ({"host": "a\r\nb"}, "must be an address or a name"),
        ({"port": 0}, "must be even, 2 to 65534"),
        ({"port": 40001}, "must be even, 2 to 65534"),
        ({"port": 65535}, "must be even, 2 to 65534"),
        ({"session_id": -1}, "must be 0 or more"),
        ({"version": -1}, "must be 0 or more"),
        ({"direction": "recvonly"}, "must be sendrecv or sendonly"),
    ],
)
def test_a_wrong_offer_says_what_is_right(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        offer(**{"host": "192.0.2.1", "port": 40000} | arguments)
    assert "secret" not in str(caught.value)


# --- answers of stacks, in their manner

ASTERISK = sdp(
    "v=0",
    "o=- 1733390132 3 IN IP4 203.0.113.10",
    "s=Asterisk",
    "c=IN IP4 203.0.113.10",
    "t=0 0",
    "m=audio 14232 RTP/AVP 8 101",
    "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-16",
    "a=ptime:20",
    "a=maxptime:150",
    "a=sendrecv",
)
FREESWITCH = sdp(
    "v=0",
    "o=FreeSWITCH 1733370000 1733370001 IN IP4 198.51.100.7",
    "s=FreeSWITCH",
    "c=IN IP4 198.51.100.7",
    "t=0 0",
    "m=audio 24680 RTP/SAVP 0 101 13",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-15",
    "a=rtpmap:13 CN/8000",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + PEERS,
    "a=ptime:20",
    "a=rtcp:24681 IN IP4 198.51.100.7",
)
RTPENGINE = sdp(
    "v=0",
    "o=- 7045 2 IN IP4 192.0.2.55",
    "s=-",
    "t=0 0",
    "a=sendrecv",
    "m=audio 30422 RTP/AVP 0 96",
    "c=IN IP4 192.0.2.55",
    "a=mid:0",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:96 telephone-event/8000",
    "a=fmtp:96 0-15",
    "a=sendrecv",
    "a=rtcp:30422",
    "a=rtcp-mux",
    "a=ptime:30",
)
OPENSIPS = sdp(
    "v=0",
    "o=root 1821 1821 IN IP4 10.0.0.9",
    "s=call",
    "c=IN IP4 192.0.2.80",
    "t=0 0",
    "m=audio 35678 RTP/AVP 18 0 101",
    "a=rtpmap:18 G729/8000",
    "a=fmtp:18 annexb=no",
    "a=rtpmap:0 pcmu/8000/1",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-16",
    "a=silenceSupp:off - - - -",
    "a=ptime:20",
    "a=rtcp:35701",
    "a=nortpproxy:yes",
)
CISCO = sdp(
    "v=0",
    "o=CiscoSystemsSIP-GW-UserAgent 6264 9105 IN IP4 192.0.2.90",
    "s=SIP Call",
    "c=IN IP4 192.0.2.90",
    "t=0 0",
    "m=audio 16762 RTP/AVP 0 101 19",
    "c=IN IP4 192.0.2.91",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-15",
    "a=rtpmap:19 CN/8000",
    "a=ptime:20",
)
BARE = "v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\nm=audio 4000 RTP/AVP 0\n"


@pytest.mark.parametrize(
    ("text", "arguments", "host", "options"),
    [
        (
            ASTERISK,
            {},
            "203.0.113.10:14232",
            {"encoding": "pcma", "payload_type": "8", "ptime": "20", "telephone_event": "101"},
        ),
        (
            FREESWITCH,
            {"key": OURS, "idle": "cn"},
            "198.51.100.7:24680",
            {
                "encoding": "pcmu",
                "payload_type": "0",
                "ptime": "20",
                "telephone_event": "101",
                "rtcp": "198.51.100.7:24681",
                "srtp": "AES_CM_128_HMAC_SHA1_80",
                "key": OURS,
                "peer_key": PEERS,
                "idle": "cn",
                "cn_payload_type": "13",
            },
        ),
        (
            RTPENGINE,
            {},
            "192.0.2.55:30422",
            {"encoding": "pcmu", "payload_type": "0", "ptime": "30", "telephone_event": "96", "rtcp": "mux"},
        ),
        (
            OPENSIPS,
            {"local_port": 40000, "realtime": True},
            "192.0.2.80:35678",
            {
                "encoding": "pcmu",
                "payload_type": "0",
                "ptime": "20",
                "telephone_event": "101",
                "rtcp": "35701",
                "local_port": "40000",
                "realtime": "1",
            },
        ),
        (
            CISCO,
            {"idle": "cn"},
            "192.0.2.91:16762",
            {
                "encoding": "pcmu",
                "payload_type": "0",
                "ptime": "20",
                "telephone_event": "101",
                "idle": "cn",
                "cn_payload_type": "19",
            },
        ),
        (BARE, {}, "192.0.2.7:4000", {"encoding": "pcmu", "payload_type": "0", "ptime": "20"}),
    ],
    ids=["asterisk", "freeswitch", "rtpengine", "opensips", "cisco", "bare"],
)
def test_the_answers_of_real_stacks_are_understood(text, arguments, host, options):
    address = address_from_answer(text, **arguments)
    assert parts(address) == (host, {"sample_rate": "8000"} | options)
    assert sink_of(address)
    assert address_from_answer(text.replace("\r\n", "\n"), **arguments) == address


def test_an_answer_over_ipv6():
    text = answer("c=IN IP6 2001:db8::7", "a=rtcp:5001 IN IP6 2001:db8::8")
    assert parts(address_from_answer(text)) == (
        "[2001:db8::7]:4000",
        {
            "encoding": "pcmu",
            "sample_rate": "8000",
            "payload_type": "0",
            "ptime": "20",
            "rtcp": "[2001:db8::8]:5001",
        },
    )
    assert sink_of(address_from_answer(text))._settings.peer_rtcp == ("2001:db8::8", 5001)


def test_linear_audio_has_the_types_and_rates_of_the_answer():
    text = answer(
        "a=rtpmap:97 L16/48000",
        "a=rtpmap:98 L16/44100/2",
        "a=rtpmap:99 telephone-event/8000",
        "a=rtpmap:100 telephone-event/48000",
        media="audio 4000 RTP/AVP 98 97 99 100",
    )
    _, options = parts(address_from_answer(text))
    # Stereo is passed over, packets are as long as they can be, digits have the clock of the audio.
    assert options == {
        "encoding": "l16",
        "sample_rate": "48000",
        "payload_type": "97",
        "ptime": "10",
        "telephone_event": "100",
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], 20),
        (["a=ptime:30"], 30),
        (["a=ptime:25"], 20),
        (["a=ptime:5"], 10),
        (["a=ptime:120"], 60),
        (["a=ptime:20.0"], 20),
        (["a=ptime:soon"], 20),
        (["a=ptime:40", "a=maxptime:20"], 20),
        (["a=maxptime:10"], 10),
        (["a=maxptime:150"], 20),
    ],
)
def test_packets_are_as_long_as_the_answer_wishes_and_allows(lines, expected):
    assert parts(address_from_answer(answer(*lines)))[1]["ptime"] == str(expected)


def test_an_option_of_the_caller_goes_before_the_answers():
    _, options = parts(address_from_answer(answer("a=ptime:20"), ptime=40, dscp=0, cname="line 7&8"))
    assert (options["ptime"], options["dscp"], options["cname"]) == ("40", "0", "line 7&8")


def test_comfort_noise_that_was_not_agreed_on_is_silence():
    assert parts(address_from_answer(answer(), idle="cn"))[1]["idle"] == "silence"


def test_a_stream_that_was_refused_is_passed_over():
    text = answer(media="audio 0 RTP/AVP 0") + sdp("m=audio 6000 RTP/AVP 8", "a=rtpmap:8 PCMA/8000")
    assert parts(address_from_answer(text))[0] == "192.0.2.7:6000"


def test_video_beside_the_audio_is_passed_over():
    text = answer("a=rtpmap:96 H264/90000", media="video 7000 RTP/AVP 96") + sdp("m=audio 6000 RTP/AVP 0")
    assert parts(address_from_answer(text))[0] == "192.0.2.7:6000"


@pytest.mark.parametrize("direction", ["recvonly", "sendrecv"])
def test_a_peer_that_receives_is_sent_to(direction):
    assert address_from_answer(answer(f"a={direction}"))


def test_the_direction_of_the_stream_goes_before_that_of_the_session():
    text = sdp("v=0", "c=IN IP4 192.0.2.7", "a=inactive", "m=audio 4000 RTP/AVP 0", "a=sendrecv")
    assert address_from_answer(text)


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{PEERS}",
        f"a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{PEERS}|2^31",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{PEERS}|1048576 WSH=64",
    ],
)
def test_a_key_is_found_among_what_comes_with_it(line):
    lines = ["a=crypto:9 AES_256_CM_HMAC_SHA1_80 inline:" + 62 * "A" + "==", line]
    for profile in ("RTP/SAVP", "RTP/SAVPF", "RTP/AVP"):
        _, options = parts(address_from_answer(answer(*lines, media=f"audio 4000 {profile} 0"), key=OURS))
        assert (options["srtp"], options["key"], options["peer_key"]) == ("AES_CM_128_HMAC_SHA1_80", OURS, PEERS)


def test_encryption_that_was_offered_only_need_not_be_taken_up():
    text = answer(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{PEERS}")
    assert "srtp" not in parts(address_from_answer(text))[1]


def test_eight_formats_have_types_enough():
    formats = [AudioFormat("pcm_s16le", 8000 + 1000 * k) for k in range(8)]
    (media,) = [
        line for line in offer("192.0.2.1", 18000, formats=formats, comfort_noise=True).splitlines() if line[0] == "m"
    ]
    types = media.split()[3:]
    assert len(set(types)) == len(types) == 24


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", None, "no media line"),
        ("hello", None, "no media line"),
        (answer(media="video 4000 RTP/AVP 96"), None, "answer has no audio"),
        (answer(media="audio 0 RTP/AVP 0"), None, "answer refuses the audio, its port is 0"),
        (answer(media="audio"), None, "media line 'audio', must be such as audio 4000 RTP/AVP 0"),
        (answer(media="audio 65536 RTP/AVP 0"), None, "media line"),
        (answer("a=sendonly"), None, "answer is sendonly, the peer takes no audio"),
        (answer("a=inactive"), None, "answer is inactive"),
        (answer(host="0.0.0.0"), None, "answer holds the stream"),
        (answer(host="224.2.1.1/127"), None, "connection 'IN IP4 224.2.1.1/127'"),
        (sdp("v=0", "m=audio 4000 RTP/AVP 0"), None, "connection None"),
        (answer("a=rtpmap:111 opus/48000/2", media="audio 4000 RTP/AVP 111 18"), None, "formats are 111 18"),
        (answer(media="audio 4000 RTP/AVP"), None, "formats are none"),
        (answer("a=maxptime:5"), None, "allows packets of 5 ms"),
        (answer("a=rtcp:here"), None, "answer has a=rtcp:here"),
        (answer(media="audio 4000 UDP/TLS/RTP/SAVPF 0"), OURS, "profile UDP/TLS/RTP/SAVPF, must be RTP/AVP"),
        (answer(), OURS, "SRTP was refused"),
        (answer(media="audio 4000 RTP/SAVP 0"), None, "answer wants SRTP"),
        (answer(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{PEERS}|2^20|1:4"), OURS, "no a=crypto that can be used"),
        (answer(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{PEERS} UNENCRYPTED_SRTP"), OURS, "that can be used"),
        (answer(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{PEERS[:-4]}"), OURS, "wrong key"),
    ],
)
def test_an_answer_to_which_nothing_can_be_sent_says_why(text, key, words):
    with pytest.raises(ValueError, match=words) as caught:
        address_from_answer(text, key=key)
    assert "\n" not in str(caught.value)
    assert PEERS[:20] not in str(caught.value)


def test_a_wrong_option_is_refused_with_the_answer():
    with pytest.raises(ValueError, match="known are: "):
        address_from_answer(answer(), volume=3)
    with pytest.raises(ValueError, match="even port or a range"):
        address_from_answer(answer(), local_port=40001)
    with pytest.raises(TypeError, match="answer is bytes, must be str"):
        address_from_answer(answer().encode())


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("format_", [MULAW, ALAW, AudioFormat("pcm_s16le", 16000)], ids=str)
def test_our_own_offer_is_an_answer_that_is_understood(format_, encrypted):
    theirs = new_key() if encrypted else None
    text = offer("192.0.2.1", 40000, formats=[format_], comfort_noise=True, rtcp_mux=True, key=theirs)
    found = sink_of(address_from_answer(text, key=OURS if encrypted else None, idle="cn"))._settings
    assert (found.host, found.port, found.format) == ("192.0.2.1", 40000, format_)
    assert (found.idle, found.telephone_event, found.rtcp_mux) == ("cn", 101, True)
    assert (found.key, found.peer_key) == ((Key.parse(OURS), Key.parse(theirs)) if encrypted else (None, None))


@pytest.mark.parametrize(
    ("media", "lines", "expected"),
    [
        ("audio 4000 RTP/AVP 98 0", ["a=rtpmap:98 L16/96000"], (MULAW, 0, 20)),
        ("audio 4000 RTP/AVP 9 8", ["a=rtpmap:9 PCMU/16000"], (ALAW, 8, 20)),
        ("audio 4000 RTP/AVP 98 0", ["a=rtpmap:98 L16/11025"], (AudioFormat("pcm_s16le", 11025), 98, 40)),
    ],
)
def test_a_format_that_cannot_be_sent_hides_none_that_can(media, lines, expected):
    found = sink_of(address_from_answer(answer(*lines, media=media)))._settings
    assert (found.format, found.payload_type, found.ptime_ms) == expected


@pytest.mark.parametrize("text", [ASTERISK, FREESWITCH, RTPENGINE, OPENSIPS, CISCO])
def test_an_answer_cut_anywhere_is_understood_or_refused(text):
    for end in range(len(text)):
        try:
            sink_of(address_from_answer(text[:end], key=OURS if "crypto" in text else None))
        except ValueError as error:
            assert "\n" not in str(error)


LINES = sorted({line for text in (ASTERISK, FREESWITCH, RTPENGINE, OPENSIPS, CISCO) for line in text.splitlines()})


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(LINES) | st.text(max_size=40), max_size=20),
    st.sampled_from([None, OURS]),
    st.sampled_from(["silence", "cn"]),
)
def test_any_lines_are_understood_or_refused(lines, key, idle):
    try:
        address = address_from_answer("\n".join(lines), key=key, idle=idle)
    except ValueError:
        return
    assert sink_of(address)._settings.host
