"""The strictest common denominator of all known clients, for every message of a server (protocol.md 4 and 12.8)."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

#: The members of each message, apart from `flush_id` where the version has it.
_MEMBERS = {
    "chunk": {"type", "context_id", "data", "done", "status_code", "step_time"},
    "timestamps": {"type", "context_id", "done", "status_code", "word_timestamps"},
    "phoneme_timestamps": {"type", "context_id", "done", "status_code", "phoneme_timestamps"},
    "flush_done": {"type", "context_id", "done", "status_code", "flush_id", "flush_done"},
    "done": {"type", "context_id", "done", "status_code"},
    "error": {"type", "context_id", "done", "status_code", "error_code", "title", "message", "error", "request_id"},
}
_LABELLED = {"chunk", "timestamps", "phoneme_timestamps"}
_LIMIT_BYTES = 16 * 1024


def check_message(message: dict[str, Any], *, labelled: bool = True, frame_bytes: int = 2) -> None:
    """Asserts that a client of any kind can read a message.

    Args:
        message: As parsed.
        labelled: The version is one with `flush_id` on chunk and timestamps.
        frame_bytes: Bytes of one sample.
    """
    kind = message["type"]
    members = _MEMBERS[kind] | ({"flush_id"} if labelled and kind in _LABELLED else set())
    if kind == "error" and "context_id" not in message:
        members = members - {"context_id"}
    assert set(message) == members, (kind, sorted(message))
    if "context_id" in message:
        assert isinstance(message["context_id"], str)
    assert message["done"] is (kind in {"done", "error"})
    assert type(message["status_code"]) is int
    if "flush_id" in message:
        assert type(message["flush_id"]) is int
        assert message["flush_id"] >= 1
    if kind == "error":
        _check_error(message)
        return
    assert message["status_code"] == 206
    if kind == "chunk":
        assert type(message["step_time"]) is float
        assert message["step_time"] >= 0
        data = base64.b64decode(message["data"], validate=True)
        assert 0 < len(data) <= _LIMIT_BYTES
        assert len(data) % frame_bytes == 0
    elif kind == "flush_done":
        assert message["flush_done"] is True
    elif kind != "done":
        _check_times(message, kind.removesuffix("timestamps") or "word_")


def _check_error(message: dict[str, Any]) -> None:
    assert 400 <= message["status_code"] < 600
    assert message["error_code"] is None or isinstance(message["error_code"], str)
    for name in ("title", "message", "error", "request_id"):
        assert isinstance(message[name], str), name
        assert message[name], name
    assert message["error"] == f"{message['title']}: {message['message']}"
    uuid.UUID(message["request_id"])
    assert len(json.dumps(message)) < 4096


def _check_times(message: dict[str, Any], prefix: str) -> None:
    times = message[f"{prefix}timestamps"]
    items = f"{prefix.removesuffix('_')}s"
    assert set(times) == {items, "start", "end"}
    assert len(times[items]) == len(times["start"]) == len(times["end"]) > 0
    assert all(isinstance(item, str) and item for item in times[items])
    for start, end in zip(times["start"], times["end"], strict=True):
        assert all(type(value) in {int, float} for value in (start, end))
        assert 0 <= start <= end
