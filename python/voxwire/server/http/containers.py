"""The forms in which an HTTP answer carries speech: raw, WAV, MP3, server-sent events (protocol.md 11.1, 11.2)."""

from __future__ import annotations

import importlib
import struct
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict

from voxwire.audio import encode_base64
from voxwire.server.http.bodies import checked
from voxwire.server.refusal import Refusal
from voxwire.server.requests import Integer  # noqa: TC001 - pydantic reads it at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from voxwire.audio import AudioFormat
    from voxwire.engines import Span

__all__ = ["Events", "Form", "container_of"]

_PARTIAL_CONTENT = 206

# WAVE format tags.
_PCM = 1
_IEEE_FLOAT = 3
_ALAW = 6
_MULAW = 7
_TAGS = {"pcm_s16le": _PCM, "pcm_f32le": _IEEE_FLOAT, "pcm_alaw": _ALAW, "pcm_mulaw": _MULAW}
#: The length of what is not at its end yet.
_UNKNOWN_LENGTH = 0xFFFF_FFFF


class Form(Protocol):
    """How one answer is written, from its first byte to its last."""

    media_type: ClassVar[str]

    def begin(self) -> bytes:
        """Returns what stands before all audio."""

    def chunk(self, data: memoryview, step_time_ms: float) -> bytes:
        """Returns audio."""

    def timestamps(self, kind: Literal["words", "phonemes"], items: Sequence[Span]) -> bytes:
        """Returns times."""

    def end(self) -> bytes:
        """Returns what stands behind all audio."""

    def failure(self, refusal: Refusal, request_id: str) -> bytes | None:
        """Returns what tells a failure, or None where only the cut answer can."""


class _Raw:
    media_type: ClassVar[str] = "audio/pcm"

    def begin(self) -> bytes:
        return b""

    def chunk(self, data: memoryview, step_time_ms: float) -> bytes:  # noqa: ARG002 - audio says only itself
        return bytes(data)

    def timestamps(self, kind: Literal["words", "phonemes"], items: Sequence[Span]) -> bytes:  # noqa: ARG002
        return b""

    def end(self) -> bytes:
        return b""

    def failure(self, refusal: Refusal, request_id: str) -> bytes | None:  # noqa: ARG002
        return None


class _Wav(_Raw):
    media_type: ClassVar[str] = "audio/wav"

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format

    def begin(self) -> bytes:
        tag = _TAGS[self._format.encoding]
        rate, frame_bytes = self._format.sample_rate, self._format.frame_bytes
        layout = struct.pack("<HHIIHH", tag, 1, rate, rate * frame_bytes, frame_bytes, 8 * frame_bytes)
        chunks = [(b"fmt ", layout)]
        if tag != _PCM:
            # Anything but PCM has a size of extensions, here none, and a chunk with the number of frames.
            chunks = [(b"fmt ", layout + bytes(2)), (b"fact", struct.pack("<I", _UNKNOWN_LENGTH))]
        return b"".join(
            [
                struct.pack("<4sI4s", b"RIFF", _UNKNOWN_LENGTH, b"WAVE"),
                *(struct.pack("<4sI", name, len(content)) + content for name, content in chunks),
                struct.pack("<4sI", b"data", _UNKNOWN_LENGTH),
            ]
        )


class _Mp3Format(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    sample_rate: Integer
    bit_rate: Literal[32000, 64000, 96000, 128000, 192000]


class _Mp3(_Raw):
    media_type: ClassVar[str] = "audio/mpeg"

    def __init__(self, sample_rate: int, bit_rate: int) -> None:
        self._encoder: Any = _lame().Encoder()
        self._encoder.silence()
        self._encoder.set_channels(1)
        self._encoder.set_in_sample_rate(sample_rate)
        self._encoder.set_out_sample_rate(sample_rate)
        self._encoder.set_bit_rate(bit_rate // 1000)

    def chunk(self, data: memoryview, step_time_ms: float) -> bytes:  # noqa: ARG002
        return bytes(self._encoder.encode(bytes(data)))

    def end(self) -> bytes:
        return bytes(self._encoder.flush())


class Events:
    """Server-sent events: each is one JSON object, with the fields of the WebSocket's message but without a flush."""

    media_type: ClassVar[str] = "text/event-stream"

    def __init__(self, context_id: str | None) -> None:
        """Begins the events of one request.

        Args:
            context_id: What the client named it, to be echoed.
        """
        self._context_id = context_id

    def begin(self) -> bytes:
        """Returns nothing: the first event is the first that happens."""
        return b""

    def chunk(self, data: memoryview, step_time_ms: float) -> bytes:
        """Returns a ``chunk`` event."""
        return self._event("chunk", data=encode_base64(data), step_time=step_time_ms)

    def timestamps(self, kind: Literal["words", "phonemes"], items: Sequence[Span]) -> bytes:
        """Returns a ``timestamps`` or ``phoneme_timestamps`` event."""
        texts, start, end = (list(column) for column in zip(*items, strict=True))
        if kind == "words":
            return self._event("timestamps", word_timestamps={"words": texts, "start": start, "end": end})
        return self._event("phoneme_timestamps", phoneme_timestamps={"phonemes": texts, "start": start, "end": end})

    def end(self) -> bytes:
        """Returns the ``done`` event."""
        return self._event("done", done=True)

    def failure(self, refusal: Refusal, request_id: str) -> bytes | None:
        """Returns the ``error`` event."""
        told = self._event("error", done=True, status_code=refusal.status, **refusal.members(request_id))
        return b"event: error\n" + told

    def _event(self, kind: str, **members: Any) -> bytes:
        event = {"type": kind, "context_id": self._context_id, "done": False, "status_code": _PARTIAL_CONTENT}
        return b"data: " + orjson.dumps(event | members) + b"\n\n"


def container_of(fields: dict[str, Any]) -> tuple[dict[str, Any], Callable[[AudioFormat], Form]]:
    """Returns the fields with the raw format that is to be made, and what puts that into the container asked for.

    Args:
        fields: Of the request, not checked yet.

    Raises:
        Refusal: 400, there is no such container here, or a field of its own is wrong.
    """
    output = fields.get("output_format")
    container = output.get("container") if isinstance(output, dict) else None
    if not isinstance(output, dict) or container is None or container == "raw":
        return fields, lambda _format: _Raw()
    if container == "wav":
        return _with_format(fields, output | {"container": "raw"}), _Wav
    if container == "mp3":
        asked = checked(_Mp3Format, output, within="output_format.")
        _lame()
        made = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": asked.sample_rate}
        return _with_format(fields, made), lambda audio: _Mp3(audio.sample_rate, asked.bit_rate)
    name = "output_format.container"
    raise Refusal(400, f"Invalid {name}", f"`{name}` must be raw, wav or mp3")


def _with_format(fields: Mapping[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "output_format": output}


def _lame() -> Any:
    try:
        return importlib.import_module("lameenc")
    except ImportError:
        raise Refusal(
            400,
            "Invalid output_format.container",
            "`output_format.container` mp3 needs an extra of the server: pip install 'voxwire[mp3]'",
        ) from None
