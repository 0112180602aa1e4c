"""The vectors of tests/vectors, through the binding: the same lines are read by the tests of the Rust crates."""

from __future__ import annotations

import pytest

from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, AudioFormat, decode_base64, encode_base64, transcode
from voxwire.protocol import (
    CLOSE_CODES,
    Audio,
    Closed,
    Connection,
    Failed,
    Finished,
    FlushDone,
    Message,
    Timestamps,
)


def test_base64(vectors):
    for line in vectors("base64.jsonl"):
        if "hex" in line:
            data = bytes.fromhex(line["hex"])
            assert decode_base64(line["text"]) == data, line["name"]
            assert encode_base64(data) == line["text"], line["name"]
        else:
            with pytest.raises(ValueError, match="base64"):
                decode_base64(line["text"])


def test_g711(vectors):
    pcm = AudioFormat("pcm_s16le", 8000)
    for line in vectors("g711.jsonl"):
        law = AudioFormat(f"pcm_{line['law']}", 8000)
        code = bytes([line["code"]])
        assert transcode(code, law, pcm) == line["sample"].to_bytes(2, "little", signed=True), line
        for sample in (line["first"], line["last"]):
            assert transcode(sample.to_bytes(2, "little", signed=True), pcm, law) == code, (line, sample)


def frames_events(line, pieces):
    """The messages of a vector's stream, as the vector writes them, and how the connection ended."""
    connection = Connection(line["role"], messages=False, max_message_bytes=line.get("max_message"), seed=bytes(32))
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
    for line in vectors("frames.jsonl"):
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


def wire_of(line):
    return bytes.fromhex(line["wire_hex"]) if "wire_hex" in line else line["wire"].encode()


def client_with(*ids, **options):
    """A client whose contexts wait for an answer; a sample is a byte, so that every chunk is whole."""
    connection = Connection("client", seed=bytes(32), **options)
    for context_id in ids:
        connection.open_context(context_id, f"owner of {context_id}", AudioFormat("pcm_mulaw", 8000))
        connection.send_input(context_id, "Hi.", continues=False, settings=b"{}")
    connection.poll_transmit()
    return connection


def check_event(ids, line, events, connection):
    expected = line["event"]
    kind = expected["type"]
    if kind == "unknown":
        assert events == []
        assert connection.counters["unknown_types"] == 1
        return
    if kind != "error" and expected["context_id"] not in ids:
        assert events == []
        assert connection.counters["unknown_contexts"] == 1
        return
    if (kind == "chunk" and not expected["data"]) or (kind == "timestamps" and expected["items"] is None):
        assert events == []
        assert connection.counters["dropped_timestamps"] == (kind == "timestamps")
        return
    event = events.pop()
    if kind == "chunk" and "audio_error" in line:
        assert isinstance(event, Failed)
        assert (event.side, event.code) == ("local", "invalid_audio")
    elif kind == "chunk":
        assert isinstance(event, Audio)
        assert (event.data.hex(), event.flush_id) == (line["audio_hex"], expected["flush_id"])
    elif kind == "timestamps":
        assert isinstance(event, Timestamps)
        assert (event.kind, event.flush_id) == (expected["kind"], expected["flush_id"])
        assert event.items == [tuple(item) for item in expected["items"]]
    elif kind == "flush_done":
        assert isinstance(event, FlushDone)
        assert event.flush_id == expected["flush_id"]
    elif kind == "done":
        assert isinstance(event, Finished)
        assert not event.expired
    else:
        assert isinstance(event, Failed)
        seen = (event.side, event.status, event.code, event.message, event.request_id)
        wanted = ("status", "code", "text", "request_id")
        assert seen == ("remote", *(expected[name] for name in wanted))
        # Without an id it ends every context that waits.
        assert len(events) == (len(ids) - 1 if expected["context_id"] is None else 0)
        return
    assert event.context == f"owner of {expected['context_id']}"
    assert events == []


def test_messages(vectors):
    named = {line["event"]["context_id"] for line in vectors("messages.jsonl") if "event" in line} - {None}
    # An id with a NUL in it is nobody's.
    ids = sorted(context_id for context_id in named if context_id and "\0" not in context_id)
    for line in vectors("messages.jsonl"):
        payload = wire_of(line)
        connection = client_with(*ids)
        server = Connection("server", messages=False)
        try:
            server.send_text(payload)
        except ValueError:
            assert line["error"] == "utf8", line["name"]
            continue
        connection.handle_data(server.poll_transmit())
        events = connection.poll_events()
        if "event" in line:
            check_event(ids, line, events, connection)
        elif line["error"] == "invalid" and line["context_id"] is None:
            assert events == [], line["name"]
            assert connection.counters["unknown_contexts"] == 1
        elif line["error"] == "invalid":
            (event,) = events
            assert (event.side, event.code) == ("local", "invalid_message"), line["name"]
            assert line["field"] in event.message, line["name"]
        else:
            (event,) = events
            assert isinstance(event, Closed), line["name"]
            assert event.code == CLOSE_CODES["invalid_data"], line["name"]


def apply_to_server(connection, now, what, argument):
    if what == "input":
        return connection.handle_input(
            "c1",
            argument["transcript"],
            continues=argument["continue"],
            flush=argument["flush"],
            valid=argument["valid"],
            now=now,
        )
    if what == "cancel":
        return connection.handle_cancel("c1", now)
    return None if what == "state" else connection.handle_context("c1", what, now)


def test_server_contexts(vectors):
    for line in vectors("contexts.jsonl"):
        if line["role"] != "server":
            continue
        connection = Connection("server")
        for now, what, argument, action, state in line["steps"]:
            assert apply_to_server(connection, now, what, argument) == action, line["name"]
            assert connection.context_state("c1", now) == state, line["name"]


RECEIVED = {
    "audio": '{"type":"chunk","data":"AAAA","context_id":"c1"}',
    "other": '{"type":"chunk","data":"","context_id":"c1"}',
    "flush_done": '{"type":"flush_done","flush_id":1,"context_id":"c1"}',
    "done": '{"type":"done","context_id":"c1"}',
    "error": '{"type":"error","error":"x","context_id":"c1"}',
    "fault": '{"type":"chunk","data":"A","context_id":"c1"}',
}


def apply_to_client(connection, now, what, argument):
    """Does a step and returns what it did, in the vectors' words, as far as it can be seen from outside."""
    if what == "input":
        return connection.send_input(
            "c1",
            argument["transcript"],
            continues=argument["continue"],
            flush=argument["flush"],
            settings=b"{}",
            buffer_delay_ms=argument["buffer_delay_ms"],
            now=now,
        )
    if what == "cancel":
        return "send_cancel" if connection.send_cancel("c1", now) else "ignore"
    if what == "give_up":
        connection.forget_context("c1")
        return None
    server = Connection("server", messages=False)
    if what == "inactive":
        connection.handle_timeout(now + 1e6)
    elif what == "lost":
        connection.handle_eof(now)
    else:
        server.send_text(RECEIVED[argument if what == "received" else what])
        connection.handle_data(server.poll_transmit(), now)
    for event in connection.poll_events():
        if isinstance(event, Finished):
            return "expire" if event.expired else "finish"
        if isinstance(event, Failed):
            return "fail" if event.side == "remote" else "fail_and_cancel"
        if not isinstance(event, Closed):
            return "deliver"
    return "nothing"


#: Actions that make no event.
UNSEEN = {"drop", "drop_and_count", "drop_and_forget", "ignore", "forget"}


def replay(steps, **options):
    connection = Connection("client", seed=bytes(32), ping_interval_s=None, **options)
    connection.open_context("c1", None, AudioFormat("pcm_mulaw", 8000))
    done = [apply_to_client(connection, now, what, argument) for now, what, argument, *_ in steps if what != "deadline"]
    return connection, done


def test_client_contexts(vectors):
    for line in vectors("contexts.jsonl"):
        steps = line["steps"]
        if line["role"] != "client" or steps[0][1] == "inactive":
            continue  # A timer cannot be over before anything was sent.
        for number, (now, what, argument, expected, _) in enumerate(steps):
            if what == "deadline":
                connection, _ = replay(steps[:number], inactivity_timeout_s=argument)
                if expected is not None:
                    connection.handle_timeout(expected - 0.001)
                    assert connection.poll_events() == [], line["name"]
                connection.handle_timeout(now + 1e6 if expected is None else expected)
                assert len(connection.poll_events()) == (expected is not None), line["name"]
                continue
            _, done = replay(steps[: number + 1])
            if what == "give_up":
                continue
            if expected in UNSEEN or argument == "other" or what == "lost":
                assert done[-1] in {"nothing", "ignore"}, line["name"]
            else:
                assert done[-1] == expected, line["name"]


def test_constants_of_the_protocol():
    assert SAMPLE_WIDTHS == {"pcm_f32le": 4, "pcm_s16le": 2, "pcm_mulaw": 1, "pcm_alaw": 1}
    assert SAMPLE_RATES == (8000, 16000, 22050, 24000, 44100, 48000)
