"""SDP, as far as a stream of speech needs it: an offer, and the address that an answer comes to (RFC 8866, 3264)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote

from voxwire.audio import AudioFormat
from voxwire.sinks import parse_address
from voxwire_rtp.keys import DEFAULT_SUITE, SUITES, Key
from voxwire_rtp.options import MULTIPLEXED, OPTIONS, settle
from voxwire_rtp.payload import (
    COMFORT_NOISE,
    COMFORT_NOISE_RATE,
    ENCODING_NAMES,
    FIRST_DYNAMIC,
    PTIMES,
    STATIC_TYPES,
    check_payload_type,
    check_ptime,
    possible_ptimes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["address_from_answer", "offer"]

_FORMATS = (AudioFormat("pcm_mulaw", 8000), AudioFormat("pcm_alaw", 8000))
_DEFAULT_PTIME_MS = 20
#: Which stands for any address, and in SDP for none.
_NOWHERE = frozenset({"0.0.0.0", "::"})
#: What most stacks call their first event type; no rule says so.
_FIRST_EVENT_TYPE = 101
_LAST_TYPE = 127
_MOST_FORMATS = 8


def offer(
    host: str,
    port: int,
    *,
    formats: Sequence[AudioFormat] = _FORMATS,
    ptime: int = _DEFAULT_PTIME_MS,
    telephone_event: bool = True,
    comfort_noise: bool = False,
    rtcp_mux: bool = False,
    key: str | None = None,
    suite: str = DEFAULT_SUITE,
    direction: Literal["sendrecv", "sendonly"] = "sendrecv",
    session_id: int | None = None,
    version: int = 1,
) -> str:
    """Returns the text of an SDP offer of one stream, with CRLF line ends.

    Args:
        host: Address where the peer finds us, numeric or a name.
        port: Our even port, the ``local_port`` of the address to come.
        formats: What may be sent, best first: mono, ``pcm_mulaw``, ``pcm_alaw`` or ``pcm_s16le``.
        ptime: Milliseconds of a packet, 10 to 60 in steps of 10.
        telephone_event: Offers digits, with a payload type for each sample rate.
        comfort_noise: Offers comfort noise, likewise.
        rtcp_mux: Offers RTCP on the same port.
        key: Of SRTP, from ``new_key``; the stream is encrypted with it, and the peer must.
        suite: Of SRTP.
        direction: Many a phone takes ``sendonly`` for being put on hold.
        session_id: Of the session, random; the same one in each offer of a call.
        version: Of this offer in its session, one more for each that differs.

    Raises:
        ValueError: Something is out of range, or a format cannot be sent.
    """
    # Each may need three payload types of its own.
    if not 1 <= len(formats) <= _MOST_FORMATS:
        raise ValueError(f"formats are {len(formats)}, must be 1 to {_MOST_FORMATS}")
    if port not in range(2, 65535, 2):
        raise ValueError(f"port is {port}, must be even, 2 to 65534")
    if version < 0 or (session_id is not None and session_id < 0):
        raise ValueError("session_id and version must be 0 or more")
    if ptime not in PTIMES:
        raise ValueError(f"ptime is {ptime}, must be 10 to 60 in steps of 10")
    if suite not in SUITES:
        raise ValueError(f"suite is {suite!r}, must be one of {', '.join(SUITES)}")
    if direction not in {"sendrecv", "sendonly"}:
        raise ValueError(f"direction is {direction!r}, must be sendrecv or sendonly")
    if re.search(r"\s", host) or host in _NOWHERE | {""}:
        raise ValueError(f"host is {host!r}, must be an address or a name at which the peer finds us")
    for audio_format in formats:
        if audio_format.encoding not in ENCODING_NAMES or audio_format.channels != 1:
            raise ValueError(f"format is {audio_format}, must be mono and one of {', '.join(ENCODING_NAMES)}")
        check_ptime(audio_format, ptime)
    types = list(_offered_types(formats, comfort_noise=comfort_noise, telephone_event=telephone_event))
    number = secrets.randbits(62) if session_id is None else session_id
    network = f"IN IP{6 if ':' in host else 4} {host}"
    profile = "RTP/AVP" if key is None else "RTP/SAVP"
    lines = [
        "v=0",
        f"o=- {number} {version} {network}",
        "s=-",
        f"c={network}",
        "t=0 0",
        f"m=audio {port} {profile} {' '.join(str(payload_type) for payload_type, _ in types)}",
    ]
    for payload_type, name in types:
        lines.append(f"a=rtpmap:{payload_type} {name}")
        if name.startswith("telephone-event/"):
            lines.append(f"a=fmtp:{payload_type} 0-15")
    lines.append(f"a=ptime:{ptime}")
    lines.append(f"a={direction}")
    if rtcp_mux:
        lines.append("a=rtcp-mux")
    if key is not None:
        _check_key(key)
        lines.append(f"a=crypto:1 {suite} inline:{key}")
    return "".join(f"{line}\r\n" for line in lines)


def address_from_answer(answer: str, *, key: str | None = None, **options: str | int) -> str:
    """Returns the ``rtp`` address to which an answer invites.

    The first format of the answer that can be sent is taken, with the payload types, the packet length, the RTCP port
    and the SRTP suite of the answer. The description of a peer that called is read the same way, as what was agreed on
    is what it says of itself.

    Args:
        answer: The SDP text of the peer.
        key: Ours, as it was offered; the peer's is in the answer.
        **options: Further options of the address. ``ptime`` goes before the answer's; ``idle="cn"`` counts where the
            answer has comfort noise, else silence is sent.

    Raises:
        ValueError: The answer invites to nothing that can be sent, an option is wrong, or only one side encrypts.
    """
    session, medias = _parts(answer)
    media = _audio(medias)
    audio = _chosen(media)
    host = _host(media, session)
    _check_direction(media, session)
    given: dict[str, str | int] = {
        "encoding": ENCODING_NAMES[audio.format.encoding].lower(),
        "sample_rate": audio.format.sample_rate,
        "payload_type": audio.payload_type,
        "ptime": _ptime(media, audio.format),
    }
    if (event := _companion(media, "TELEPHONE-EVENT", audio.format)) is not None:
        given["telephone_event"] = event
    if "rtcp-mux" in media.attributes:
        given["rtcp"] = MULTIPLEXED
    elif (rtcp := media.attributes.get("rtcp")) is not None:
        given["rtcp"] = _rtcp(rtcp[0])
    given |= _encryption(media, key)
    if options.get("idle") == "cn":
        noise = _companion(media, "CN", audio.format)
        options |= {"idle": "silence"} if noise is None else {"cn_payload_type": noise}
    given |= options
    query = "&".join(f"{name}={quote(_spell(value), safe='+/=:[]')}" for name, value in given.items())
    address = f"rtp://{f'[{host}]' if ':' in host else host}:{media.port}?{query}"
    settle(parse_address(address, OPTIONS))
    return address


def _offered_types(
    formats: Sequence[AudioFormat], *, comfort_noise: bool, telephone_event: bool
) -> Iterator[tuple[int, str]]:
    """Payload types with what ``a=rtpmap`` says of them."""
    rates = list(dict.fromkeys(audio_format.sample_rate for audio_format in formats))
    # One number is kept for digits, as many a stack knows them by that only.
    dynamic = iter([*range(FIRST_DYNAMIC, _FIRST_EVENT_TYPE), *range(_FIRST_EVENT_TYPE + 1, _LAST_TYPE + 1)])
    for audio_format in formats:
        payload_type = STATIC_TYPES.get(audio_format)
        name = f"{ENCODING_NAMES[audio_format.encoding]}/{audio_format.sample_rate}"
        yield next(dynamic) if payload_type is None else payload_type, name
    if comfort_noise:
        for rate in rates:
            yield COMFORT_NOISE if rate == COMFORT_NOISE_RATE else next(dynamic), f"CN/{rate}"
    if telephone_event:
        for index, rate in enumerate(rates):
            # Events share the clock of the audio (RFC 4733, 2.1).
            yield next(dynamic) if index else _FIRST_EVENT_TYPE, f"telephone-event/{rate}"


class _Section(NamedTuple):
    """The session's part of a description, or what follows a media line."""

    connection: str | None
    attributes: dict[str, list[str]]


class _Media(NamedTuple):
    """A media line."""

    kind: str
    port: int
    profile: str
    types: list[str]
    section: _Section

    @property
    def attributes(self) -> dict[str, list[str]]:
        return self.section.attributes


class _Audio(NamedTuple):
    payload_type: int
    format: AudioFormat


def _parts(text: str) -> tuple[_Section, list[_Media]]:
    """The session's part, and each media's."""
    if not isinstance(text, str):
        raise TypeError(f"answer is {type(text).__name__}, must be str")
    parts: list[list[tuple[str, str]]] = [[]]
    for line in text.splitlines():
        kind, _, value = line.strip().partition("=")
        if kind == "m":
            parts.append([])
        parts[-1].append((kind, value.strip()))
    session, *medias = parts
    if not medias:
        raise ValueError("answer has no media line, must be SDP with m=audio")
    return _section(session), [_media(media) for media in medias]


def _section(lines: list[tuple[str, str]]) -> _Section:
    attributes: dict[str, list[str]] = {}
    for kind, value in lines:
        if kind == "a":
            name, _, rest = value.partition(":")
            attributes.setdefault(name.lower(), []).append(rest.strip())
    return _Section(next((value for kind, value in lines if kind == "c"), None), attributes)


def _media(lines: list[tuple[str, str]]) -> _Media:
    value = lines[0][1]
    match = re.fullmatch(r"(\S+)\s+([0-9]{1,5})(?:/[0-9]+)?\s+(\S+)((?:\s+\S+)*)", value)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"answer has the media line {value!r}, must be such as audio 4000 RTP/AVP 0")
    return _Media(match[1].lower(), int(match[2]), match[3].upper(), match[4].split(), _section(lines))


def _audio(medias: list[_Media]) -> _Media:
    audios = [media for media in medias if media.kind == "audio"]
    if not audios:
        raise ValueError("answer has no audio, must have a line m=audio")
    # A port of 0 refuses the stream (RFC 3264, 6).
    accepted = [media for media in audios if media.port]
    if not accepted:
        raise ValueError("answer refuses the audio, its port is 0")
    for media in accepted:
        if media.profile in {"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"}:
            return media
    raise ValueError(f"answer has the profile {accepted[0].profile}, must be RTP/AVP or RTP/SAVP with a=crypto")


def _formats(media: _Media) -> Iterator[tuple[int, str, int, int]]:
    """Payload type, name, rate and channels, in the answer's order."""
    known = {payload_type: (ENCODING_NAMES[f.encoding], f.sample_rate, 1) for f, payload_type in STATIC_TYPES.items()}
    known[COMFORT_NOISE] = ("CN", COMFORT_NOISE_RATE, 1)
    for mapping in media.attributes.get("rtpmap", []):
        match = re.fullmatch(r"([0-9]{1,3})\s+([^/\s]+)/([0-9]{1,6})(?:/([0-9]))?", mapping)
        if match is not None:
            known[int(match[1])] = (match[2].upper(), int(match[3]), int(match[4] or 1))
    for text in media.types:
        if text.isascii() and text.isdigit() and int(text) in known:
            yield int(text), *known[int(text)]


def _chosen(media: _Media) -> _Audio:
    encodings = {name: encoding for encoding, name in ENCODING_NAMES.items()}
    for payload_type, name, rate, channels in _formats(media):
        if name in encodings and channels == 1 and rate:
            audio = _Audio(payload_type, AudioFormat(encodings[name], rate))
            # What cannot be sent in packets of ours must not hide what can.
            if _can_send(audio, media):
                return audio
    names = ", ".join(ENCODING_NAMES.values())
    raise ValueError(f"answer takes none of {names} in mono, its formats are {' '.join(media.types) or 'none'}")


def _can_send(audio: _Audio, media: _Media) -> bool:
    static = STATIC_TYPES.get(audio.format, -1)
    multiplexed = "rtcp-mux" in media.attributes
    try:
        check_payload_type(audio.payload_type, "payload_type", static=(static,), multiplexed=multiplexed)
    except ValueError:
        return False
    return bool(possible_ptimes(audio.format))


def _companion(media: _Media, name: str, audio_format: AudioFormat) -> int | None:
    """The payload type of digits or comfort noise with the clock of the audio."""
    for payload_type, found, rate, _ in _formats(media):
        if (found, rate) == (name, audio_format.sample_rate):
            return payload_type
    return None


def _host(media: _Media, session: _Section) -> str:
    connection = media.section.connection or session.connection
    match = re.fullmatch(r"IN\s+IP[46]\s+([^\s/]+)", connection or "", re.IGNORECASE)
    if match is None:
        raise ValueError(f"answer has the connection {connection!r}, must be IN IP4 or IP6 and one address")
    if match[1] in _NOWHERE:
        # How hold was written before RFC 3264.
        raise ValueError(f"answer holds the stream, its address is {match[1]}")
    return match[1]


def _check_direction(media: _Media, session: _Section) -> None:
    for section in (media.section, session):
        for direction in ("sendrecv", "recvonly", "sendonly", "inactive"):
            if direction in section.attributes:
                if direction in {"sendonly", "inactive"}:
                    raise ValueError(f"answer is {direction}, the peer takes no audio")
                return


def _ptime(media: _Media, audio_format: AudioFormat) -> int:
    """What the answer wishes, and allows, in packets that can be made."""
    wished = _milliseconds(media, "ptime") or _DEFAULT_PTIME_MS
    most = _milliseconds(media, "maxptime") or PTIMES[-1]
    # Where no packet is as short as wished, the shortest that there is.
    possible = possible_ptimes(audio_format)
    shorter = [ptime_ms for ptime_ms in possible if ptime_ms <= min(wished, most)]
    ptime_ms = max(shorter, default=possible[0])
    if ptime_ms > most:
        raise ValueError(f"answer allows packets of {most} ms of {audio_format}, at least {ptime_ms} are possible")
    return ptime_ms


def _milliseconds(media: _Media, name: str) -> int:
    text = media.attributes.get(name, ["0"])[0]
    return int(float(text)) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]*)?", text) else 0


def _rtcp(value: str) -> str:
    """``PORT`` or ``PORT IN IP4 ADDRESS`` (RFC 3605)."""
    match = re.fullmatch(r"([0-9]{1,5})(?:\s+IN\s+IP[46]\s+(\S+))?", value, re.IGNORECASE)
    if match is None:
        raise ValueError(f"answer has a=rtcp:{value}, must be a port, or one with IN IP4 or IP6 and an address")
    port, host = match[1], match[2]
    if host is None:
        return port
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _encryption(media: _Media, key: str | None) -> dict[str, str | int]:
    lines = media.attributes.get("crypto", [])
    if key is None:
        # Under RTP/AVP it would be an offer to encrypt that we have not taken up.
        if "SAVP" in media.profile:
            raise ValueError("answer wants SRTP, give the key that was offered")
        return {}
    if not lines:
        raise ValueError("answer has no a=crypto, SRTP was refused")
    for line in lines:
        # A master key identifier would lengthen every packet; a lifetime is longer than any call.
        match = re.fullmatch(r"[0-9]{1,9}\s+(\S+)\s+inline:([^|;\s]+)(?:\|(?:2\^)?[0-9]+)?((?:\s+\S+)*)", line)
        if match is not None and match[1] in SUITES and not _session_parameters(match[3]):
            try:
                Key.parse(match[2])
            except ValueError as error:
                raise ValueError(f"answer has a=crypto with a wrong key: {error}") from error
            return {"srtp": match[1], "key": key, "peer_key": match[2]}
    raise ValueError(
        "answer has no a=crypto that can be used, "
        f"must be one of {', '.join(SUITES)} with one key, without MKI and session parameters"
    )


def _session_parameters(text: str) -> list[str]:
    """What changes the packets; WSH is a hint to the receiver alone (RFC 4568, 6.3.6)."""
    return [parameter for parameter in text.split() if not parameter.startswith("WSH=")]


def _spell(value: str | int) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _check_key(key: str) -> None:
    try:
        Key.parse(key)
    except ValueError as error:
        raise ValueError(f"key: {error}") from error
