"""Decoding in memory: frames in, PCM in the user's hands, no socket. Each stack is checked before it is timed."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import orjson
import pybase64
import pytest
from messages import CONTEXT_ID, SHAPES, SIZES, stream
from wsproto.connection import Connection as WsprotoConnection
from wsproto.connection import ConnectionType

from voxwire.audio import AudioFormat
from voxwire.protocol import Audio, Connection

if TYPE_CHECKING:
    from collections.abc import Callable


def voxwire_stack() -> Callable[[bytes], list[bytes]]:
    connection = Connection("client", inactivity_timeout_s=None, ping_interval_s=None)
    connection.open_context(CONTEXT_ID, None, AudioFormat())
    connection.send_input(CONTEXT_ID, "Hi.", continues=True, settings=b"{}")
    connection.poll_transmit()

    def decode(wire: bytes) -> list[bytes]:
        connection.handle_data(wire)
        return [event.data for event in connection.poll_events() if isinstance(event, Audio)]

    return decode


def wsproto_orjson_pybase64() -> Callable[[bytes], list[bytes]]:
    connection = WsprotoConnection(ConnectionType.CLIENT)

    def decode(wire: bytes) -> list[bytes]:
        connection.receive_data(wire)
        return [pybase64.b64decode(orjson.loads(event.data)["data"], validate=True) for event in connection.events()]

    return decode


def payload_of(wire: bytes) -> memoryview:
    return memoryview(wire)[{126: 4, 127: 10}.get(wire[1] & 127, 2) :]


def orjson_pybase64_without_frames() -> Callable[[bytes], list[bytes]]:
    """The floor of stacks made of wheels: it does no frame parsing at all."""

    def decode(wire: bytes) -> list[bytes]:
        return [pybase64.b64decode(orjson.loads(payload_of(wire))["data"], validate=True)]

    return decode


def json_base64_without_frames() -> Callable[[bytes], list[bytes]]:
    def decode(wire: bytes) -> list[bytes]:
        return [base64.b64decode(json.loads(bytes(payload_of(wire)))["data"], validate=True)]

    return decode


STACKS = {
    "voxwire": voxwire_stack,
    "wsproto+orjson+pybase64": wsproto_orjson_pybase64,
    "orjson+pybase64": orjson_pybase64_without_frames,
    "json+base64": json_base64_without_frames,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stack", STACKS)
def test_decode(benchmark, stack: str, shape: str, size: int) -> None:
    frames, source = stream(size, shape)
    decode = STACKS[stack]()
    assert [piece for wire in frames for piece in decode(wire)] == source
    benchmark.group = f"decode {size} B, {shape}"
    benchmark.extra_info.update(stack=stack, size=size, shape=shape, messages=len(frames))

    def rotation() -> None:
        for wire in frames:
            decode(wire)

    benchmark(rotation)
