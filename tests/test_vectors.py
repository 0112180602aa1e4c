"""The vectors of tests/vectors, through the binding: the same lines are read by the tests of the Rust crates."""

from __future__ import annotations

import pytest

from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, AudioFormat, decode_base64, encode_base64, transcode
from voxwire.protocol import CLOSE_CODES, Closed, Connection, Message


def test_base64(vectors):
    for line in vectors("base64"):
        if "hex" in line:
            data = bytes.fromhex(line["hex"])
            assert decode_base64(line["text"]) == data, line["name"]
            assert encode_base64(data) == line["text"], line["name"]
        else:
            with pytest.raises(ValueError, match="base64"):
                decode_base64(line["text"])


def test_g711(vectors):
    pcm = AudioFormat("pcm_s16le", 8000)
    for line in vectors("g711"):
        law = AudioFormat(f"pcm_{line['law']}", 8000)
        code = bytes([line["code"]])
        assert transcode(code, law, pcm) == line["sample"].to_bytes(2, "little", signed=True), line
        for sample in (line["first"], line["sample"], line["last"]):
            assert transcode(sample.to_bytes(2, "little", signed=True), pcm, law) == code, (line, sample)


def frames_events(line, pieces):
    """The messages of a vector's stream, as the vector writes them, and how the connection ended."""
    connection = Connection(
        line["role"], messages=False, max_message_bytes=line.get("max_message"), seed=bytes(32)
    )
    events = []
    for piece in pieces:
        connection.handle_data(piece)
        events += connection.poll_events()
    closed = events.pop() if events and isinstance(events[-1], Closed) else None
    seen = []
    for event in events:
        assert isinstance(event, Message)
        data = event.data
        seen.append(["text", data] if isinstance(data, str) else ["binary", data.hex()])
    return seen, closed


def test_frames(vectors):
    for line in vectors("frames"):
        wire = bytes.fromhex(line["wire"])
        expected = [event for event in line["events"] if event[0] in {"text", "binary"}]
        for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
            seen, closed = frames_events(line, pieces)
            assert seen == expected, line["name"]
            if line["error"] is not None:
                assert closed is not None, line["name"]
                assert not closed.clean
                assert closed.error is not None
                assert closed.code == line["error"]["close_code"], line["name"]
            elif line["events"] and line["events"][-1][0] == "close":
                assert closed is not None, line["name"]
                assert closed.clean
                assert closed.error is None
                code = line["events"][-1][1]
                assert closed.code == (CLOSE_CODES["no_status"] if code is None else code), line["name"]
            else:
                assert closed is None, line["name"]


def test_constants_of_the_protocol():
    assert SAMPLE_WIDTHS == {"pcm_f32le": 4, "pcm_s16le": 2, "pcm_mulaw": 1, "pcm_alaw": 1}
    assert SAMPLE_RATES == (8000, 16000, 22050, 24000, 44100, 48000)
