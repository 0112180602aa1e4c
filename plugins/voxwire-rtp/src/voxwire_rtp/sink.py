"""``rtp://HOST:PORT``: a stream of RTP to a peer with whom all has been agreed already."""

from __future__ import annotations

import logging
import secrets
import socket
from base64 import b64encode
from typing import TYPE_CHECKING, ClassVar

from voxwire.exceptions import SinkClosed, SinkError, Unsupported
from voxwire.sinks import Address, Capabilities, Opened, Option, Position, Probe, Wake, choose_format
from voxwire_rtp import _native
from voxwire_rtp.options import OPTIONS, settle
from voxwire_rtp.statistics import Report, Statistics, pacer_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

    from voxwire.audio import AudioFormat

__all__ = ["RtpSink"]

#: Of a digit, and of the pause behind it: nobody holds a key down for longer.
_LONGEST_DIGIT_MS = 10_000
#: As RFC 7022, 4.2 asks of a name that says nothing.
_CNAME_BYTES = 12

_logger = logging.getLogger(__name__)


class RtpSink:
    """Sends one stream; one native thread paces all streams of the process."""

    api_version: ClassVar[int] = 1
    #: No method blocks: what waits is in memory, and a clear takes it from there.
    inline: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, address: Address) -> None:
        self._name = f"sink {str(address)!r}"
        self._settings = settle(address)
        self._stream: _native.Stream | None = None

    @classmethod
    def probe(cls) -> Probe:
        """Sockets are everywhere."""
        return Probe(usable=True)

    def capabilities(self) -> Capabilities:
        """One format, that of the wire, so that the server is asked for it."""
        return Capabilities(
            formats=(self._settings.format,),
            clock="timer",
            position="sent",
            can_clear=True,
            can_pause=True,
            max_lead_ms=0,
        )

    def open(self, formats: Sequence[AudioFormat], wake: Wake) -> Opened:
        """Binds the sockets; nothing leaves before the first audio.

        Raises:
            FormatRefused: The format of the wire is not among those offered.
            SinkBusy: No port of those to send from is free.
            SinkClosed: It was closed meanwhile.
            SinkError: The peer's name is not known, there is no way to it, or it was opened before.
        """
        if self._stream is not None:
            raise SinkError(f"{self._name} was opened before, a sink opens once")
        settings = self._settings
        chosen = choose_format(formats, (settings.format,), self._name)
        stream = self._stream = _native.Stream(self._name)
        try:
            peer = self._resolve(settings.host, settings.port)
            peer_rtcp = settings.peer_rtcp
            if peer_rtcp is not None:
                # A name is asked for once: of several addresses both are to go to the same.
                host, port = peer_rtcp
                peer_rtcp = (peer[0], port) if host == settings.host else self._resolve(host, port, _family(peer[0]))
            quantum, capacity = stream.open(
                wake.fileno(),
                encoding=chosen.encoding,
                sample_rate=chosen.sample_rate,
                payload_type=settings.payload_type,
                ptime_ms=settings.ptime_ms,
                idle=settings.idle,
                cn_payload_type=settings.cn_payload_type,
                telephone_event=settings.telephone_event,
                ssrc=settings.ssrc,
                sequence=settings.sequence,
                timestamp=settings.timestamp,
                dscp=settings.dscp,
                bind=settings.bind or "",
                local_ports=settings.local_ports,
                peer=peer,
                peer_rtcp=peer_rtcp,
                rtcp_mux=settings.rtcp_mux,
                cname=settings.cname or b64encode(secrets.token_bytes(_CNAME_BYTES)).decode(),
                latch=settings.latch,
                suite=settings.suite,
                key=b"" if settings.key is None else settings.key.material,
                peer_key=b"" if settings.peer_key is None else settings.peer_key.material,
                realtime=settings.realtime,
            )
        except BaseException:
            self._stream = None
            stream.close()
            raise
        if settings.realtime and (refusal := pacer_statistics().refusal):
            _logger.warning("%s is paced without SCHED_FIFO: %s", self._name, refusal)
        host, port, _ = stream.local()
        _logger.debug(
            "%s sends from %s port %d to %s port %d: %s, payload type %d, %d ms, ssrc %d%s",
            self._name,
            host,
            port,
            *peer,
            chosen,
            settings.payload_type,
            settings.ptime_ms,
            self.statistics().ssrc,
            f", {settings.suite}" if settings.suite else "",
        )
        return Opened(chosen, quantum=quantum, buffer=capacity, latency=0)

    def write(self, data: Buffer, /) -> int:
        """Takes what there is room for: 2 s in all, none of which leaves before its time."""
        return self._open().write(data)

    def finish(self) -> None:
        """Pads the last packet with silence, which is not counted."""
        self._open().finish()

    def clear(self) -> Position:
        """Takes back all that was not sent."""
        return Position(*self._open().clear())

    def position(self) -> Position:
        """What was sent; ``statistics`` tells what of it the peer says has arrived."""
        return Position(*self._open().position())

    def pause(self) -> None:
        """Holds the audio from the next packet on; meanwhile it is idle."""
        self._open().pause()

    def resume(self) -> None:
        """Goes on where it stopped."""
        self._open().resume()

    def close(self) -> None:
        """Stops at once, ends the digit that is being sent, and says BYE where something was sent.

        A digit ends within three packets; BYE comes 0.3 s after the last packet.
        """
        if self._stream is not None and not self._stream.close():
            _logger.warning("%s is closed, but the thread that sends has not let go of it within 2 s", self._name)

    def send_digits(self, digits: str, *, duration_ms: int = 100, pause_ms: int = 50) -> None:
        """Sends digits as telephone events (RFC 4733), behind those sent before; audio waits meanwhile.

        Args:
            digits: Of ``0`` to ``9``, ``*``, ``#`` and ``A`` to ``D``.
            duration_ms: Of each, 1 to 10 000, in whole packets; no more than 16 bits hold: 8180 at 8 kHz and 20 ms.
            pause_ms: Behind each, 0 to 10 000, in whole packets.

        Raises:
            ValueError: There is another character, or a time is out of range.
            Unsupported: The address has no ``telephone_event``.
            SinkClosed: It is not open.
            SinkLost: It failed.
        """
        stream = self._open()
        if self._settings.telephone_event is None:
            raise Unsupported(f"{self._name} cannot send digits without a telephone_event that was agreed on")
        for name, value, least in (("duration_ms", duration_ms, 1), ("pause_ms", pause_ms, 0)):
            if not least <= value <= _LONGEST_DIGIT_MS:
                raise ValueError(f"{name} is {value}, must be {least} to {_LONGEST_DIGIT_MS}")
        # Nothing to write, but it tells of a loss or a close.
        stream.write(b"")
        stream.send_digits(digits, duration_ms, pause_ms)

    @property
    def local(self) -> tuple[str, int, int | None]:
        """Host, RTP port and RTCP port of this end; the last is None without RTCP.

        Raises:
            SinkClosed: It was not opened.
        """
        host, port, rtcp_port = self._open().local()
        return host, port, rtcp_port or None

    def statistics(self) -> Statistics:
        """What was sent, and what the peer has reported; also after the close.

        Raises:
            SinkClosed: It was not opened.
        """
        numbers = self._open().statistics()
        report = numbers[-1]
        return Statistics(*numbers[:-1], report=None if report is None else Report(*report))

    def _open(self) -> _native.Stream:
        if self._stream is None:
            raise SinkClosed(f"{self._name} is not open, play to it or await its output's open() first")
        return self._stream

    def _resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> tuple[str, int]:
        """The address of a name; of both kinds that of IPv4, as UDP has no way to try and see."""
        if self._settings.bind is not None:
            family = _family(self._settings.bind)
        try:
            found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SinkError(f"{self._name} cannot be opened: {host!r} is not known ({reason.lower()})") from error
        address = min(found, key=lambda one: one[0] != socket.AF_INET)[4]
        return str(address[0]), int(address[1])


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
