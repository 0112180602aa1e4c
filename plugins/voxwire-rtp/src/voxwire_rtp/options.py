"""The options of an ``rtp`` address, and what they come to together."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from voxwire.audio import AudioFormat
from voxwire.sinks import Option, flag
from voxwire_rtp.keys import DEFAULT_SUITE, SUITES, Key
from voxwire_rtp.payload import (
    COMFORT_NOISE,
    COMFORT_NOISE_RATE,
    COMFORT_NOISE_TYPES,
    ENCODING_NAMES,
    STATIC_TYPES,
    check_payload_type,
    check_ptime,
    default_payload_type,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voxwire.sinks import Address

__all__ = ["IDLES", "MULTIPLEXED", "OPTIONS", "WITHOUT_RTCP", "Settings", "settle"]

IDLES = ("silence", "gap", "cn")
MULTIPLEXED = "mux"
WITHOUT_RTCP = "off"
#: Of a CNAME: the length field of SDES has one byte (RFC 3550, 6.5).
_LONGEST_CNAME = 255
#: Of base64 of 30 bytes.
_KEY_CHARACTERS = 40
_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]?]+)):([0-9]{1,5})")


def _quoted(text: str) -> str:
    """A value as it is shown; one that may have swallowed a key is not repeated."""
    return repr(text) if len(text) < _KEY_CHARACTERS and "key" not in text.lower() else f"of {len(text)} characters"


def _whole(text: str, least: int, most: int, step: int = 1) -> int:
    if text.isascii() and text.isdigit() and int(text) in range(least, most + 1, step):
        return int(text)
    steps = "" if step == 1 else f" in steps of {step}"
    raise ValueError(f"value is {_quoted(text)}, must be a whole number from {least} to {most}{steps}")


def _number_of_bits(text: str, bits: int) -> int:
    """Decimal, or hexadecimal as tools print an SSRC."""
    match = re.fullmatch(r"(0[xX][0-9A-Fa-f]{1,8})|([0-9]{1,10})", text)
    number = -1 if match is None else int(text, 16 if match[1] else 10)
    if not 0 <= number < 1 << bits:
        raise ValueError(f"value is {_quoted(text)}, must be a number of {bits} bits, decimal or with 0x")
    return number


def _choice(text: str, choices: tuple[str, ...]) -> str:
    if text in choices:
        return text
    raise ValueError(f"value is {_quoted(text)}, must be one of {', '.join(choices)}")


def _encoding(text: str) -> str:
    """The name that RTP has for it, also of the name that the protocol has."""
    for encoding, name in ENCODING_NAMES.items():
        if text in {encoding, name.lower()}:
            return name.lower()
    names = ", ".join(name.lower() for name in ENCODING_NAMES.values())
    raise ValueError(f"value is {_quoted(text)}, must be one of {names} (or {', '.join(ENCODING_NAMES)})")


def _bind(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(f"value is {_quoted(text)}, must be an IP address of this machine") from error


def _local_ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        lowest = _whole(first, 2, 65534, 2)
        highest = _whole(last, lowest, 65535) if dash else lowest
    except ValueError as error:
        raise ValueError(f"value is {_quoted(text)}, must be an even port or a range such as 16384-32766") from error
    return lowest, highest


def _rtcp(text: str) -> str | tuple[str, int]:
    if text in {MULTIPLEXED, WITHOUT_RTCP}:
        return text
    found = ("", int(text)) if re.fullmatch(r"[0-9]{1,5}", text) else _host_and_port(text)
    if found is None or not 1 <= found[1] <= 65535:
        raise ValueError(f"value is {_quoted(text)}, must be PORT, HOST:PORT, {MULTIPLEXED} or {WITHOUT_RTCP}")
    return found


def _cname(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= _LONGEST_CNAME or not text.isprintable():
        raise ValueError(f"value must be 1 to {_LONGEST_CNAME} bytes of printable UTF-8")
    return text


_PAYLOAD_TYPE = partial(_whole, least=0, most=127)

OPTIONS: Mapping[str, Option] = {
    "encoding": Option("pcmu, pcma or l16", "pcmu", _encoding),
    "sample_rate": Option("frames a second, 8000 (l16: 24000)", None, partial(_whole, least=1, most=768_000)),
    "payload_type": Option("as negotiated, 0, 8 or 11 where that is the format, else 96", None, _PAYLOAD_TYPE),
    "ptime": Option("milliseconds of a packet, 10 to 60", 20, partial(_whole, least=10, most=60, step=10)),
    "idle": Option("between speech: silence, gap or cn", "silence", partial(_choice, choices=IDLES)),
    "cn_payload_type": Option("payload type of comfort noise", COMFORT_NOISE, _PAYLOAD_TYPE),
    "telephone_event": Option("payload type of digits, none without", None, _PAYLOAD_TYPE),
    "ssrc": Option("number of the stream, decimal or with 0x, random", None, partial(_number_of_bits, bits=32)),
    "sequence": Option("first sequence number, random", None, partial(_number_of_bits, bits=16)),
    "timestamp": Option("first timestamp, random", None, partial(_number_of_bits, bits=32)),
    "dscp": Option("class of the packets, 0 to 63", 46, partial(_whole, least=0, most=63)),
    "bind": Option("address of this machine to send from", None, _bind),
    "local_port": Option("even port or range to send from, any free one", None, _local_ports),
    "rtcp": Option("where RTCP goes: PORT, HOST:PORT, mux or off, the port behind that of RTP", None, _rtcp),
    "cname": Option("name of this end in RTCP, random", None, _cname),
    "latch": Option("1 sends to where the peer's packets come from", default=False, parse=flag),
    "srtp": Option(f"suite of SRTP, {DEFAULT_SUITE} with a key", None, partial(_choice, choices=SUITES)),
    "key": Option("encrypts what is sent, base64 of 30 bytes", None, Key.parse),
    "peer_key": Option("decrypts the peer's RTCP, base64 of 30 bytes", None, Key.parse),
    "realtime": Option("1 asks for SCHED_FIFO for the pacer", default=False, parse=flag),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """An address that makes sense as a whole; None is what the native side chooses.

    Attributes:
        host: Name or address of the peer.
        port: UDP port of the peer.
        format: What is written, and sent.
        payload_type: Of the audio.
        ptime_ms: Audio of a packet.
        idle: One of ``IDLES``.
        cn_payload_type: Of comfort noise.
        telephone_event: Payload type of digits, or None.
        ssrc: Or None.
        sequence: The first, or None.
        timestamp: The first, or None.
        dscp: 0 to 63.
        bind: Address to send from, or None.
        local_ports: Lowest and highest port to send from, or None.
        rtcp_mux: RTCP shares the port.
        peer_rtcp: Where RTCP goes; None where it shares the port or is off.
        cname: Or None.
        latch: Sends to where the peer's packets come from.
        suite: Of SRTP, or None.
        key: Ours, where there is a suite.
        peer_key: The peer's, or None.
        realtime: Asks for SCHED_FIFO.
    """

    host: str
    port: int
    format: AudioFormat
    payload_type: int
    ptime_ms: int
    idle: str
    cn_payload_type: int
    telephone_event: int | None
    ssrc: int | None
    sequence: int | None
    timestamp: int | None
    dscp: int
    bind: str | None
    local_ports: tuple[int, int] | None
    rtcp_mux: bool
    peer_rtcp: tuple[str, int] | None
    cname: str | None
    latch: bool
    suite: str | None
    key: Key | None
    peer_key: Key | None
    realtime: bool


def settle(address: Address) -> Settings:
    """Puts an address together.

    Raises:
        ValueError: The target is no ``HOST:PORT``, or options contradict one another.
    """
    found = _host_and_port(address.target)
    if found is None or not 1 <= found[1] <= 65535:
        raise ValueError(
            f"target of sink 'rtp' is {_quoted(address.target)}, must be HOST:PORT ([ADDRESS]:PORT of IPv6)"
        )
    options = {name: address.options.get(name, option.default) for name, option in OPTIONS.items()}
    audio_format = _format(options["encoding"], options["sample_rate"])
    payload_type = options["payload_type"]
    if payload_type is None:
        payload_type = default_payload_type(audio_format)
    try:
        check_ptime(audio_format, options["ptime"])
        _check_payload_types(audio_format, payload_type, options)
        _check_keys(options)
        peer_rtcp = _peer_rtcp(*found, options["rtcp"])
        _check_families(found[0], rtcp=peer_rtcp and peer_rtcp[0], bind=options["bind"])
    except ValueError as error:
        raise ValueError(f"sink {str(address)!r}: {error}") from error
    return Settings(
        host=found[0],
        port=found[1],
        format=audio_format,
        payload_type=payload_type,
        ptime_ms=options["ptime"],
        idle=options["idle"],
        cn_payload_type=options["cn_payload_type"],
        telephone_event=options["telephone_event"],
        ssrc=options["ssrc"],
        sequence=options["sequence"],
        timestamp=options["timestamp"],
        dscp=options["dscp"],
        bind=options["bind"],
        local_ports=options["local_port"],
        rtcp_mux=options["rtcp"] == MULTIPLEXED,
        peer_rtcp=peer_rtcp,
        cname=options["cname"],
        latch=options["latch"],
        suite=(options["srtp"] or DEFAULT_SUITE) if options["key"] else None,
        key=options["key"],
        peer_key=options["peer_key"],
        realtime=options["realtime"],
    )


def _host_and_port(text: str) -> tuple[str, int] | None:
    match = _HOST_AND_PORT.fullmatch(text)
    return None if match is None else (match[1] or match[2], int(match[3]))


def _format(name: str, sample_rate: int | None) -> AudioFormat:
    encoding = next(encoding for encoding, known in ENCODING_NAMES.items() if known.lower() == name)
    return AudioFormat(encoding, sample_rate or (24000 if encoding == "pcm_s16le" else 8000))


def _check_payload_types(audio_format: AudioFormat, payload_type: int, options: Mapping[str, Any]) -> None:
    multiplexed = options["rtcp"] == MULTIPLEXED
    statics = tuple(number for known, number in STATIC_TYPES.items() if known == audio_format)
    used = {"payload_type": (payload_type, statics)}
    if options["idle"] == "cn":
        statics = COMFORT_NOISE_TYPES if audio_format.sample_rate == COMFORT_NOISE_RATE else ()
        used["cn_payload_type"] = (options["cn_payload_type"], statics)
    if options["telephone_event"] is not None:
        used["telephone_event"] = (options["telephone_event"], ())
    names: dict[int, str] = {}
    for name, (number, static) in used.items():
        check_payload_type(number, name, static=static, multiplexed=multiplexed)
        if number in names:
            raise ValueError(f"{names[number]} and {name} are both {number}, must differ")
        names[number] = name


def _check_keys(options: Mapping[str, Any]) -> None:
    for name in ("srtp", "peer_key"):
        if options[name] is not None and options["key"] is None:
            raise ValueError(f"{name} without a key, give both or none")


def _peer_rtcp(host: str, port: int, rtcp: str | tuple[str, int] | None) -> tuple[str, int] | None:
    if isinstance(rtcp, str):
        return None
    if rtcp is None and port == 65535:
        raise ValueError("there is no port behind 65535 for RTCP, give rtcp")
    other_host, other_port = rtcp or ("", port + 1)
    return other_host or host, other_port


def _check_families(host: str, **others: str | None) -> None:
    """Checks addresses that are numbers; what a name leads to shows at the open."""
    for name, other in others.items():
        if other is not None and {_version(host), _version(other)} == {4, 6}:
            raise ValueError(f"{name} {other} is of another version of IP than {host}, must be the same")


def _version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None
