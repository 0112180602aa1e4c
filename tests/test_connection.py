"""The connection through the binding: events, arguments, ownership of memory, threads, garbage."""

from __future__ import annotations

import array
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxwire import protocol
from voxwire.audio import AudioFormat
from voxwire.protocol import (
    CLOSE_CODES,
    LIMITS,
    Audio,
    Cancel,
    Closed,
    Connection,
    Failed,
    Finished,
    FlushDone,
    Message,
    Request,
    Timestamps,
    Unusable,
)

S16 = AudioFormat("pcm_s16le", 24000)
SEED = bytes(32)
SETTINGS = b'{"model_id":"m","voice":{"mode":"id","id":"v"}}'


class Owner:
    """What a context belongs to; can be referred to weakly and closes a cycle."""

    def __init__(self):
        self.events = []
        self.connection = None


def client(*ids, **options):
    """A client whose contexts wait for an answer, and their owners."""
    connection = Connection("client", seed=SEED, **options)
    owners = [Owner() for _ in ids]
    for context_id, owner in zip(ids, owners, strict=True):
        connection.open_context(context_id, owner, S16)
        assert connection.send_input(context_id, "Hi.", continues=False, settings=SETTINGS) == "sent"
    connection.poll_transmit()
    return (connection, *owners)


def from_server(act):
    """The bytes that a server sends when ``act`` is done to it."""
    server = Connection("server")
    act(server)
    return server.poll_transmit()


def raw_from_server(*payloads):
    server = Connection("server", messages=False)
    for payload in payloads:
        server.send_text(payload)
    return server.poll_transmit()


def feed(connection, wire, **arguments):
    connection.handle_data(wire, **arguments)
    return connection.poll_events()


def exchange(one, other):
    """Carries bytes both ways until nobody has any; returns the events of both."""
    events = ([], [])
    while True:
        there, back = one.poll_transmit(), other.poll_transmit()
        if not there and not back:
            return events
        events[1].extend(feed(other, there))
        events[0].extend(feed(one, back))


# --- the way of events --------------------------------------------------------------------------------------------


def test_a_conversation():
    ours, owner = client("c1")
    theirs = Connection("server")
    ours.open_context("c2", "a string may own too", S16)
    verdict = ours.send_input("c2", 'Grüß "dich"', continues=True, flush=True, settings=SETTINGS)
    assert verdict == "sent"
    (request,) = exchange(ours, theirs)[1]
    assert isinstance(request, Request)
    assert request.context_id == "c2"
    assert request.fields == {
        "model_id": "m",
        "voice": {"mode": "id", "id": "v"},
        "context_id": "c2",
        "transcript": 'Grüß "dich"',
        "continue": True,
        "flush": True,
    }
    data = bytes(range(256)) * 20
    theirs.send_timestamps("c1", "words", [("Hi.", 0, 0.5)], flush_id=1)
    theirs.send_timestamps("c1", "phonemes", [("h", 0.0, 0.25)])
    theirs.send_chunk("c1", data, step_time_ms=1.5, flush_id=1)
    theirs.send_chunk("c1", memoryview(bytearray(data)), step_time_ms=0)
    theirs.send_flush_done("c1", 1)
    theirs.send_done("c1")
    theirs.send_error("c2", status=429, title="Busy", message="later", request_id="r", code="concurrency_limited")
    assert theirs.transmit_size > 2 * len(data)
    words, phonemes, first, second, flushed, finished, failed = exchange(ours, theirs)[0]
    assert isinstance(words, Timestamps)
    assert (words.kind, words.items, words.flush_id) == ("words", [("Hi.", 0.0, 0.5)], 1)
    assert (phonemes.kind, phonemes.items, phonemes.flush_id) == ("phonemes", [("h", 0.0, 0.25)], None)
    assert isinstance(first, Audio)
    assert type(first.data) is bytes
    assert (first.data, first.start_s, first.flush_id) == (data, 0.0, 1)
    assert first.format is S16
    assert (second.data, second.start_s, second.flush_id) == (data, len(data) / 48000, None)
    assert isinstance(flushed, FlushDone)
    assert flushed.flush_id == 1
    assert isinstance(finished, Finished)
    assert not finished.expired
    assert all(event.context is owner for event in (words, phonemes, first, second, flushed, finished))
    assert isinstance(failed, Failed)
    assert failed.context == "a string may own too"
    seen = (failed.side, failed.code, failed.status, failed.message, failed.request_id)
    assert seen == ("remote", "concurrency_limited", 429, "Busy: later", "r")
    ours.close(1000, "bye", now=5.0)
    assert (ours.state, ours.poll_timeout()) == ("closing", 7.0)
    (mine,), (other,) = exchange(ours, theirs)
    assert isinstance(mine, Closed)
    assert (mine.code, mine.reason, mine.clean, mine.error, mine.timed_out) == (1000, "bye", True, None, None)
    assert (other.code, other.reason, other.clean) == (1000, "bye", True)
    assert (ours.state, theirs.state) == ("closed", "closed")
    assert ours.counters["messages"] == 7


def test_a_server_hears_cancels_and_unusable_messages():
    ours, _ = client("c1")
    theirs = Connection("server")
    assert ours.send_cancel("c1")
    assert not ours.send_cancel("c1")
    (cancel,) = exchange(ours, theirs)[1]
    assert isinstance(cancel, Cancel)
    assert cancel.context_id == "c1"
    plain = Connection("client", messages=False, seed=SEED)
    plain.send_text('{"context_id":"c9","continue":true}')
    plain.send_binary(b"\xff")
    first, second = feed(theirs, plain.poll_transmit())
    assert isinstance(first, Unusable)
    assert (first.context_id, first.continues) == ("c9", True)
    assert (second.context_id, second.continues) == (None, False)
    assert second.reason
    assert theirs.state == "open"


def test_the_tenth_unusable_message_is_answered_before_the_close():
    plain = Connection("client", messages=False, seed=SEED)
    theirs = Connection("server")
    for _ in range(12):
        plain.send_text("[]")
    events = feed(theirs, plain.poll_transmit())
    assert len(events) == LIMITS["unusable_messages"]
    assert [event.last for event in events] == [False] * (len(events) - 1) + [True]
    for event in events:
        theirs.send_error(None, status=400, title="Invalid message", message=event.reason, request_id="r")
    *answers, closed = feed(plain, theirs.poll_transmit())
    assert len(answers) == LIMITS["unusable_messages"]
    assert all('"status_code":400' in answer.data for answer in answers)
    assert (closed.code, closed.clean) == (CLOSE_CODES["policy"], True)


def test_values_of_every_kind_reach_python():
    theirs = Connection("server")
    plain = Connection("client", messages=False, seed=SEED)
    plain.send_text(
        '{"transcript":"\\u00e9\\ud83d\\ude00","voice":{"a":[1,-2.5,true,false,null,{"b":"c"}],"big":1e400},'
        '"language":null,"max_buffer_delay_ms":9223372036854775807,"model_id":18446744073709551616,"unknown":[1]}'
    )
    (request,) = feed(theirs, plain.poll_transmit())
    assert request.context_id is None
    assert request.fields == {
        "transcript": "é😀",
        "voice": {"a": [1, -2.5, True, False, None, {"b": "c"}], "big": float("inf")},
        "language": None,
        "max_buffer_delay_ms": 2**63 - 1,
        "model_id": float("inf"),
    }


def test_plain_messages():
    ends = Connection("client", messages=False, seed=SEED), Connection("server", messages=False)
    for one, other in (ends, ends[::-1]):
        one.send_text("grüß")
        one.send_text(b"dich")
        one.send_binary(array.array("h", [1, 2]))
        events = exchange(one, other)[1]
        assert all(isinstance(event, Message) for event in events)
        assert [event.data for event in events] == ["grüß", "dich", b"\1\0\2\0"]


@pytest.mark.parametrize("last", ["close", "violation"])
def test_what_came_before_the_end_can_be_answered(last):
    ours = Connection("client", messages=False, seed=SEED)
    theirs = Connection("server", messages=False)
    theirs.send_text("question")
    if last == "close":
        theirs.close(1000)
    message, closed = feed(ours, theirs.poll_transmit() + (b"" if last == "close" else b"\xc1\x00"))
    assert (message.data, closed.clean) == ("question", last == "close")
    ours.send_text("answer")
    (answer, *_) = feed(Connection("server", messages=False), ours.poll_transmit())
    assert answer.data == "answer"
    assert ours.state == "closed"
    with pytest.raises(RuntimeError, match="closing"):
        ours.send_text("late")


def test_a_violation_says_what_and_where():
    ours, owner = client("c1")
    wire = from_server(lambda server: server.send_chunk("c1", bytes(20), step_time_ms=1))
    audio, closed = feed(ours, wire + b"\xc1\x00")
    assert audio.context is owner
    assert (closed.code, closed.clean) == (CLOSE_CODES["protocol_error"], False)
    assert closed.error.endswith(f"byte {len(wire)}")
    assert ours.poll_transmit()
    assert feed(ours, wire) == []
    assert ours.send_input("c1", "x", continues=True, settings=b"{}") == "failed"


def test_the_end_without_a_close():
    ours, _ = client("c1")
    ours.handle_eof()
    ours.handle_eof(now=3.0)
    (closed,) = ours.poll_events()
    assert (closed.code, closed.clean, closed.error) == (CLOSE_CODES["abnormal"], False, None)


def test_timers_of_faults():
    ours, owner = client("c1", now=100.0)
    assert ours.poll_timeout() == 110.0
    ours.handle_timeout(110.0)
    (failed,) = ours.poll_events()
    assert failed.context is owner
    assert (failed.side, failed.code, failed.status) == ("local", "inactivity", None)
    assert b"cancel" in from_masked(ours.poll_transmit())
    assert ours.poll_timeout() == 120.0
    ours.handle_timeout(120.0)
    assert from_masked(ours.poll_transmit())
    ours.handle_timeout(140.0)
    (closed,) = ours.poll_events()
    assert (closed.timed_out, closed.code, closed.clean) == ("ping", CLOSE_CODES["abnormal"], False)
    assert ours.poll_timeout() is None
    slow = Connection("server", now=100.0)
    slow.handle_timeout(120.0)
    slow.handle_progress(130.0)
    assert slow.poll_timeout() == 150.0
    closing = Connection("server", close_timeout_s=1.5)
    closing.close(now=10.0)
    closing.handle_timeout(11.5)
    assert closing.poll_events()[0].timed_out == "close"


def from_masked(wire):
    """What a client sent, unmasked: one frame."""
    size = wire[1] & 0x7F
    at = 2 if size < 126 else 4
    mask, payload = wire[at : at + 4], wire[at + 4 :]
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) or b"empty"


# --- the same events whatever the cut -----------------------------------------------------------------------------


def recorded():
    """Everything at once, and data after the close that must not be looked at."""

    def act(server):
        server.send_chunk("a", bytes(range(201)), step_time_ms=1, flush_id=1)
        server.send_ping(b"between")
        server.send_timestamps("b", "words", [("grüß", 0, 1), ("ä", 1, 2)])
        server.send_chunk("b", bytes(range(256)), step_time_ms=2.5)
        server.send_flush_done("a", 1)
        server.send_chunk("a", b"\7", step_time_ms=1)
        server.send_error("b", status=500, title="Gone", message="é", request_id="r")
        server.send_done("a")

    wire = from_server(act)
    half = len(payload := raw_from_server('{"type":"chunk","context_id":"c","data":"AAECAw=="}')) // 2
    body = payload[2:]
    # A fragmented message with a ping inside.
    wire += bytes([0x01, half]) + body[:half] + b"\x89\x01p" + bytes([0x80, len(body) - half]) + body[half:]
    wire += raw_from_server('{"type":"news"}', '{"type":"chunk","context_id":"c","data":"A-_="}')
    wire += from_server(lambda server: server.close(1001, "so länger"))
    return wire + raw_from_server("not looked at")


def seen(event):
    names = [name for name in dir(event) if not name.startswith("_")]
    return [type(event).__name__, *((name, getattr(event, name)) for name in names if name != "context")]


def run(wire, cuts):
    ours, *_ = client("a", "b", "c")
    events, sent = [], b""
    places = sorted(cuts)
    for start, end in zip([0, *places], [*places, len(wire)], strict=True):
        events += [seen(event) for event in feed(ours, wire[start:end])]
        sent += ours.poll_transmit()
    return events, sent, ours.counters, ours.state


def test_every_single_cut_gives_the_same_events():
    wire = recorded()
    whole = run(wire, [])
    names = ["Audio", "Timestamps", "Audio", "FlushDone", "Audio", "Failed", "Finished", "Audio", "Failed", "Closed"]
    assert [event[0] for event in whole[0]] == names
    for cut in range(len(wire) + 1):
        assert run(wire, [cut]) == whole, cut
    assert run(wire, range(len(wire))) == whole


@given(st.lists(st.integers(0, 1000), max_size=30))
def test_random_cuts_give_the_same_events(cuts):
    wire = recorded()
    assert run(wire, [cut % (len(wire) + 1) for cut in cuts]) == run(wire, [])


@given(st.binary(max_size=300), st.sampled_from(["client", "server"]), st.booleans())
def test_no_bytes_can_do_more_than_close(data, role, messages):
    connection = Connection(role, messages=messages, seed=SEED)
    events = feed(connection, data)
    assert all(not isinstance(event, Closed) for event in events[:-1])
    connection.handle_eof()
    events += connection.poll_events()
    assert isinstance(events[-1], Closed)
    assert connection.state == "closed"


@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=8))
def test_audio_arrives_exactly_however_it_was_chunked(pieces):
    data = b"".join(pieces)
    pieces.append(b"\0" * (1 + len(data) % 2))
    data += pieces[-1]
    ours, _ = client("c1")

    def act(server):
        for piece in pieces:
            server.send_chunk("c1", piece, step_time_ms=1)
        server.send_done("c1")

    if len(data) % 2:
        data += b"\0"
        pieces.append(b"\0")
    *heard, finished = feed(ours, from_server(act))
    assert isinstance(finished, Finished)
    assert b"".join(event.data for event in heard) == data
    at = 0
    for event in heard:
        assert event.start_s == at / 24000
        at += len(event.data) // 2


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"role": "peer"}, "role"),
        ({"role": "client", "seed": bytes(31)}, "seed of 31 bytes"),
        ({"role": "client", "ping_interval_s": 0}, "ping_interval_s"),
        ({"role": "client", "ping_timeout_s": -1.0}, "ping_timeout_s"),
        ({"role": "client", "close_timeout_s": float("nan")}, "close_timeout_s"),
        ({"role": "client", "inactivity_timeout_s": float("inf")}, "inactivity_timeout_s"),
        ({"role": "client", "now": float("nan")}, "now"),
    ],
)
def test_wrong_values_of_a_new_connection(arguments, message):
    with pytest.raises(ValueError, match=message):
        Connection(**arguments)


def test_wrong_types_are_type_errors():
    ours, _ = client("c1")
    for call in (
        lambda: Connection(5),
        lambda: Connection("client", SEED),
        lambda: ours.handle_data("text"),
        lambda: ours.handle_data(None),
        lambda: ours.handle_data(b"", "now"),
        lambda: ours.send_text(5),
        lambda: ours.send_binary("text"),
        lambda: ours.open_context(b"c2", None, S16),
        lambda: ours.open_context("c2", None, "pcm_s16le"),
        lambda: ours.send_input("c1", b"x", continues=True, settings=b"{}"),
        lambda: ours.send_input("c1", "x", continues=True, settings="{}"),
        lambda: Audio("text", S16, 0.0, None),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(BufferError):
        ours.handle_data(memoryview(b"abcdef")[::2])
    assert ours.state == "open"


def test_wrong_values_are_value_errors_and_send_nothing():
    ours, _ = client("c1")
    for call, message in (
        (lambda: ours.open_context("c1", None, S16), "in use"),
        (lambda: ours.open_context("", None, S16), "1 to 256 characters"),
        (lambda: ours.open_context("x" * 257, None, S16), "1 to 256 characters"),
        (lambda: ours.send_input("c9", "x", continues=True, settings=b"{}"), "not opened"),
        (lambda: ours.send_input("c1", "x", continues=True, settings=b"[]"), "settings"),
        (lambda: ours.send_input("c1", "x", continues=True, settings=b'{"transcript":"y"}'), "settings"),
        (lambda: ours.send_input("c1", "\ud800", continues=True, settings=b"{}"), "surrogates"),
        (lambda: ours.send_text(b"x\xff"), "utf-8 at byte 1"),
        (lambda: ours.send_ping(bytes(126)), "125"),
        (lambda: ours.close(1006), "1006"),
        (lambda: ours.close(1000, "x" * 124), "124"),
        (lambda: ours.handle_timeout(float("nan")), "now"),
        (lambda: ours.handle_progress(float("nan")), "now"),
        (lambda: Connection("server").send_chunk("c1", b"", step_time_ms=1), "without audio"),
        (lambda: Connection("server").send_timestamps("c1", "letters", []), "words or phonemes"),
        (lambda: Connection("server").handle_context("c1", "other"), "event"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert ours.transmit_size == 0


def test_calls_at_the_wrong_moment_are_runtime_errors():
    ours, _ = client("c1")
    with pytest.raises(RuntimeError, match="server"):
        ours.send_done("c1")
    with pytest.raises(RuntimeError, match="client"):
        Connection("server").send_cancel("c1")
    ours.close()
    ours.close(1001)
    for call in (
        lambda: ours.send_text("x"),
        ours.send_ping,
        lambda: ours.open_context("c2", None, S16),
        lambda: ours.send_input("c1", "x", continues=True, settings=b"{}"),
    ):
        with pytest.raises(RuntimeError, match="closing"):
            call()


def test_defaults_are_those_of_the_reference():
    server = Connection("server")
    assert server.poll_timeout() == 20.0
    server.handle_timeout(20.0)
    assert server.poll_timeout() == 40.0
    server.close()
    assert server.poll_timeout() == 22.0
    limits = {"client": LIMITS["client_message_bytes"], "server": LIMITS["server_message_bytes"]}
    for role, limit in limits.items():
        mask = b"\0\0\0\0" if role == "server" else b""
        for size, state in ((limit, "open"), (limit + 1, "closed")):
            connection = Connection(role, seed=SEED)
            connection.handle_data(bytes([0x81, 0xFF if mask else 127]) + size.to_bytes(8, "big") + mask)
            connection.poll_events()
            connection.poll_transmit()
            assert connection.state == state


def test_only_two_events_can_be_made():
    audio = Audio(b"\0\0", S16, 1.5, None)
    assert (audio.data, audio.format, audio.start_s, audio.flush_id, audio.context) == (b"\0\0", S16, 1.5, None, None)
    assert FlushDone(3, "owner").context == "owner"
    for kind in (Timestamps, Finished, Failed, Message, Request, Cancel, Unusable, Closed):
        with pytest.raises(TypeError):
            kind()
    with pytest.raises(AttributeError):
        audio.data = b""


def test_reprs_show_sizes_only():
    ours, _ = client("secret-id")
    wire = from_server(
        lambda server: [
            server.send_timestamps("secret-id", "words", [("secret", 0, 1)]),
            server.send_chunk("secret-id", b"secret" * 2, step_time_ms=1, flush_id=4),
            server.send_flush_done("secret-id", 4),
            server.send_done("secret-id"),
            server.send_error(None, status=400, title="secret", message="secret", request_id="secret"),
            server.close(1000, "secret"),
        ]
    )
    theirs = Connection("server")
    plain = Connection("client", messages=False, seed=SEED)
    plain.send_text('{"transcript":"secret","context_id":"secret"}')
    plain.send_text('{"cancel":true,"context_id":"secret"}')
    plain.send_text('{"secret":"secret","context_id":"secret"}')
    events = [*feed(ours, wire), *feed(theirs, plain.poll_transmit()), ours, theirs]
    ours.send_input("secret-id", "secret", continues=True, settings=b"{}")
    shown = " ".join(map(repr, events))
    assert "secret" not in shown
    assert "<Audio of 12 bytes, start_s=0, flush_id=4>" in shown
    assert "<Connection role=client state=closed>" in shown


# --- memory -------------------------------------------------------------------------------------------------------


def test_data_is_not_kept():
    """A buffer is the caller's again after the call, also in the middle of a frame."""
    ours, _ = client("c1")
    wire = from_server(lambda server: server.send_chunk("c1", bytes(range(200)), step_time_ms=1))
    for cut in (1, 3, 60, len(wire)):
        ours, _ = client("c1")
        buffer = bytearray(wire)
        view = memoryview(buffer)
        ours.handle_data(view[:cut])
        rest = bytes(view[cut:])
        view.release()
        buffer[:] = b"\xff" * len(buffer)
        buffer.clear()
        ours.handle_data(rest)
        (audio,) = ours.poll_events()
        assert audio.data == bytes(range(200))
    owned = sys.getrefcount(wire)
    ours, _ = client("c1")
    ours.handle_data(wire)
    assert sys.getrefcount(wire) == owned


def test_audio_lives_as_long_as_a_view_of_it():
    ours, _ = client("c1")
    (audio,) = feed(ours, from_server(lambda server: server.send_chunk("c1", bytes(range(100)), step_time_ms=1)))
    view = memoryview(audio.data)
    del audio, ours
    gc.collect()
    assert bytes(view) == bytes(range(100))


def test_owners_are_counted_exactly():
    connection, owner = client("c1")
    context = weakref.ref(owner)
    before = sys.getrefcount(owner)
    wire = from_server(lambda server: server.send_chunk("c1", bytes(20), step_time_ms=1))
    connection.handle_data(wire * 10)
    assert sys.getrefcount(owner) == before + 10
    events = connection.poll_events()
    assert sys.getrefcount(owner) == before + 10
    del events
    assert sys.getrefcount(owner) == before
    # The last event takes the connection's own reference with it.
    feed(connection, from_server(lambda server: server.send_done("c1")))
    del owner
    assert context() is None


@pytest.mark.parametrize("how", ["cancel", "forget", "lost"])
def test_an_ended_context_lets_its_owner_go(how):
    connection, owner = client("c1")
    context = weakref.ref(owner)
    del owner
    assert context() is not None
    if how == "cancel":
        connection.send_cancel("c1")
    elif how == "forget":
        connection.forget_context("c1")
    else:
        connection.handle_eof()
        connection.poll_events()
    assert context() is None


@pytest.mark.parametrize("ended", [False, True])
def test_cycles_are_collected(ended):
    connection, owner = client("c1", "c2")[:2]
    owner.connection = connection
    wire = from_server(lambda server: server.send_chunk("c1", bytes(20), step_time_ms=1))
    owner.events += feed(connection, wire)
    connection.handle_data(wire)
    if ended:
        owner.events += feed(connection, from_server(lambda server: server.send_done("c1")))
        assert len(owner.events) == 3
    context = weakref.ref(owner)
    del connection, owner
    gc.collect()
    assert context() is None


def test_cycles_through_batches_are_collected():
    connection, owner = client("c1", batched=True)
    wire = from_server(lambda server: server.send_chunk("c1", bytes(20), step_time_ms=1))
    (batch,) = feed(connection, wire * 3)
    owner.connection, owner.batch = connection, batch
    connection.handle_data(wire)
    context = weakref.ref(owner)
    del connection, owner, batch
    gc.collect()
    assert context() is None


def test_a_batch_holds_what_a_read_brought_for_one_context():
    connection, first, second = client("c1", "c2", batched=True)

    def act(server):
        server.send_chunk("c1", b"\1\0", step_time_ms=1)
        server.send_chunk("c2", b"\2\0", step_time_ms=1)
        server.send_chunk("c1", b"\3\0\4\0", step_time_ms=1)
        server.send_flush_done("c2", 1)
        server.close()

    *batches, closed = feed(connection, from_server(act))
    assert isinstance(closed, Closed)
    assert [(batch.context, batch.audio_bytes) for batch in batches] == [(first, 6), (second, None)]
    assert [event.data for event in batches[0].events] == [b"\1\0", b"\3\0\4\0"]
    assert [type(event) for event in batches[1].events] == [Audio, FlushDone]
    assert repr(batches[0]) == "<Batch of 2 events>"
    assert {event.context for event in batches[0].events} == {None}


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts pages as Linux does")
def test_memory_is_flat_once_the_memory_of_ended_ids_is_full():
    """A hundred thousand messages of twenty thousand contexts, with every ending."""
    connection = Connection("client", seed=SEED)
    theirs = Connection("server")

    def turn(number):
        context_id = f"context {number}"
        connection.open_context(context_id, object(), S16)
        connection.send_input(context_id, "Hi.", continues=False, settings=SETTINGS)
        feed(theirs, connection.poll_transmit())
        for size in (3, 200, 1, 4000):
            theirs.send_chunk(context_id, bytes(size), step_time_ms=1)
        theirs.send_timestamps(context_id, "words", [("Hi.", 0, 1)] * 10)
        theirs.send_flush_done(context_id, 1)
        if number % 3 == 0:
            theirs.send_error(context_id, status=500, title="t", message="m", request_id="r")
        elif number % 3 == 1:
            theirs.send_done(context_id)
        events = feed(connection, theirs.poll_transmit())
        assert len(events) >= 5
        if number % 3 == 2:
            connection.send_cancel(context_id)
            theirs.handle_data(connection.poll_transmit())
            theirs.poll_events()

    for number in range(2 * LIMITS["remembered_contexts"]):
        turn(number)
    gc.collect()
    blocks, resident = sys.getallocatedblocks(), resident_bytes()
    for number in range(10_000, 10_000 + 3 * LIMITS["remembered_contexts"]):
        turn(number)
    gc.collect()
    assert abs(sys.getallocatedblocks() - blocks) < 200
    assert resident_bytes() - resident < 2 * 1024 * 1024
    assert not [one for one in gc.get_referents(connection) if type(one) is object]


def test_events_and_connections_by_the_hundred_thousand():
    wire = from_server(lambda server: server.send_chunk("c1", bytes(64), step_time_ms=1)) * 100
    ours, _ = client("c1")
    feed(ours, wire)
    allocated = sys.getallocatedblocks()
    for _ in range(1000):
        assert len(feed(ours, wire)) == 100
    for _ in range(2000):
        client("c1")[0].close()
    gc.collect()
    assert abs(sys.getallocatedblocks() - allocated) < 200


SCARCE = """
import base64, pathlib, resource
from voxwire.audio import AudioFormat, decode_base64
from voxwire.protocol import CLOSE_CODES, LIMITS, Closed, Connection

size = LIMITS["client_message_bytes"] // 2
text = base64.b64encode(bytes(size))
payload = b'{"type":"chunk","context_id":"c1","data":"' + text + b'"}'
wire = b"\\x81\\x7f" + len(payload).to_bytes(8, "big") + payload
clients = [Connection("client") for _ in range(3)]
for client in clients:
    client.open_context("c1", None, AudioFormat())
    client.send_input("c1", "Hi.", continues=False, settings=b"{}")
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size // 2, limits[1]))
try:
    # A message that is whole needs the audio only, one in pieces a buffer of its own too.
    clients[0].handle_data(wire)
    for at in range(0, len(wire), 1 << 20):
        clients[1].handle_data(wire[at : at + (1 << 20)])
    try:
        decode_base64(text)
    except MemoryError:
        failed = True
finally:
    resource.setrlimit(resource.RLIMIT_AS, limits)
for client in clients[:2]:
    (closed,) = client.poll_events()
    assert isinstance(closed, Closed)
    assert (closed.code, closed.clean, closed.error) == (CLOSE_CODES["internal"], False, None), closed.code
assert failed
clients[2].handle_data(wire)
(audio,) = clients[2].poll_events()
assert len(audio.data) == size
print("lives")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts pages as Linux does")
def test_i8_without_memory_the_connection_fails_and_the_process_lives():
    done = subprocess.run([sys.executable, "-c", SCARCE], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, "lives\n"), done.stderr


# --- threads and re-entrance --------------------------------------------------------------------------------------


def test_a_call_from_inside_a_call_is_a_runtime_error():
    """Letting go of an owner runs its finaliser while the connection is at work."""
    ours, _ = client("c1")
    caught = []

    class Nosy:
        def __del__(self):
            try:
                ours.handle_data(b"")
            except RuntimeError as error:
                caught.append(str(error))

    ours.open_context("c2", Nosy(), S16)
    ours.send_cancel("c2")
    assert len(caught) == 1
    assert "borrowed" in caught[0]
    assert ours.state == "open"


def test_events_are_made_while_the_connection_is_free():
    ours, _ = client("c1")
    seen_states = []

    class Curious:
        def __del__(self):
            seen_states.append(ours.state)
            ours.poll_events()

    ours.open_context("c2", Curious(), S16)
    ours.send_input("c2", "Hi.", continues=False, settings=b"{}")
    feed(ours, from_server(lambda server: server.send_done("c2")))
    assert seen_states == ["open"]


def test_threads_never_break_it():
    """Whoever comes while another is inside gets a RuntimeError; no byte is lost to those who were let in."""
    connection = Connection("server", messages=False)
    receiver = Connection("client", messages=False, seed=SEED)
    refused = []
    sent = []
    begin = threading.Barrier(4)

    def work(name):
        begin.wait(timeout=10)
        for number in range(3000):
            try:
                connection.send_text(f"{name} {number}")
            except RuntimeError:
                refused.append(number)
            else:
                sent.append(f"{name} {number}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)
    events = feed(receiver, connection.poll_transmit())
    assert sorted(event.data for event in events) == sorted(sent)
    assert len(sent) + len(refused) == 12_000


def test_a_connection_may_move_between_threads():
    ours, owner = client("c1")
    wire = from_server(lambda server: server.send_chunk("c1", bytes(20), step_time_ms=1))
    events = []
    thread = threading.Thread(target=lambda: events.extend(feed(ours, wire)))
    thread.start()
    thread.join(timeout=10)
    assert events[0].context is owner


def test_the_door_shows_every_event():
    assert set(protocol.__all__) >= {kind.__name__ for kind in protocol.Event.__args__}
