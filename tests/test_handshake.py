"""The HTTP upgrade through the binding, both halves against each other and against bad peers (faults.md A)."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxwire.protocol import LIMITS, ClientHandshake, ServerHandshake

KEY = bytes(range(16))
HEAD = (
    b"GET /tts/websocket?cartesia_version=2026-03-01 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n"
    b"X-Name: caf\xe9\r\n\r\n"
)
ACCEPT = base64.b64encode(
    hashlib.sha1(base64.b64encode(KEY) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
)
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Request-Id: r1\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


def client(**changes):
    values = {"host": "example.com", "target": "/tts/websocket", "headers": [("X-API-Key", "secret")], "key": KEY}
    return ClientHandshake(**{**values, **changes})


def test_both_halves_agree():
    ours, theirs = client(), ServerHandshake()
    request = ours.poll_transmit()
    assert ours.poll_transmit() == b""
    assert theirs.handle_data(request + b"early frame")
    assert theirs.failure is None
    assert theirs.upgrade_failure() is None
    assert (theirs.method, theirs.target) == ("GET", "/tts/websocket")
    assert dict(theirs.headers)["x-api-key"] == "secret"
    assert theirs.remainder == b"early frame"
    assert theirs.received == request + b"early frame"
    answer = theirs.accept([("X-Request-Id", "r1")])
    assert ours.handle_data(answer + b"first frame")
    assert (ours.accepted, ours.failure, ours.status) == (True, None, 101)
    assert dict(ours.headers)["x-request-id"] == "r1"
    assert ours.remainder == b"first frame"


@given(st.lists(st.integers(0, len(HEAD)), max_size=6))
def test_a_request_cut_anywhere_is_the_same(cuts):
    handshake = ServerHandshake()
    places = sorted(cuts)
    answers = [
        handshake.handle_data(HEAD[start:end])
        for start, end in zip([0, *places], [*places, len(HEAD)], strict=True)
        if start != end
    ]
    assert answers == [False] * (len(answers) - 1) + [True]
    assert handshake.headers[-1] == ("x-name", "café")
    assert handshake.target == "/tts/websocket?cartesia_version=2026-03-01"
    assert handshake.upgrade_failure() is None


@given(st.lists(st.integers(0, len(ANSWER)), max_size=6))
def test_an_answer_cut_anywhere_is_the_same(cuts):
    handshake = client()
    places = sorted(cuts)
    for start, end in zip([0, *places], [*places, len(ANSWER)], strict=True):
        complete = handshake.handle_data(ANSWER[start:end])
        assert complete == (end == len(ANSWER))
    assert handshake.accepted


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (place, text)
        for place in ("host", "target", "name", "value")
        for text in ("a\rb", "a\nb", "a\0b", "a\r\nX: y", "a\x7fb")
    ],
)
def test_a14_control_characters_are_refused_before_any_byte(place, text):
    changes = {"host": {"host": text}, "target": {"target": f"/{text}"}}.get(place)
    if changes is None:
        changes = {"headers": [(text, "v") if place == "name" else ("X-Name", text)]}
    with pytest.raises(ValueError, match=r"character|header") as caught:
        client(**changes)
    assert text not in str(caught.value)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="key of 15 bytes"):
        client(key=bytes(15))
    with pytest.raises(TypeError):
        client(key="x" * 16)
    with pytest.raises(ValueError, match="length 2"):
        client(headers=[("only a name",)])
    with pytest.raises(TypeError):
        client(headers=[("X-Name", b"bytes")])
    with pytest.raises(TypeError):
        client().handle_data("text")


def test_a13_a_refusal_carries_its_status_and_a_bounded_body():
    handshake = client()
    body = b"x" * (LIMITS["error_body_bytes"] * 3)
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n" % len(body)
    whole = head + body
    complete = False
    for at in range(0, len(whole), 4096):
        complete = handshake.handle_data(whole[at : at + 4096])
        if complete:
            break
    assert complete
    assert (handshake.accepted, handshake.status, handshake.failure) == (False, 429, None)
    assert dict(handshake.headers)["retry-after"] == "7"
    assert handshake.body == body[: LIMITS["error_body_bytes"]]


def test_a13_a_body_without_length_ends_with_the_stream():
    handshake = client()
    assert not handshake.handle_data(b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}")
    assert handshake.handle_eof()
    assert (handshake.status, handshake.body) == (503, b"{}")
    assert not client().handle_eof()


def test_a13_a_head_without_end_is_refused_at_its_limit():
    handshake = client()
    fed = 0
    line = b"X-Filler: " + b"y" * 1000 + b"\r\n"
    assert not handshake.handle_data(b"HTTP/1.1 101 Switching Protocols\r\n")
    while not handshake.handle_data(line):
        fed += len(line)
        assert fed <= LIMITS["head_bytes"]
    assert handshake.failure is not None
    assert not handshake.accepted


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER.replace(ACCEPT, base64.b64encode(bytes(20))),
        ANSWER.replace(b"Upgrade: websocket\r\n", b""),
        ANSWER.replace(b"Connection: Upgrade\r\n", b""),
        ANSWER.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        ANSWER.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_a_rule_is_a_failure(answer):
    handshake = client()
    assert handshake.handle_data(answer)
    assert not handshake.accepted
    assert handshake.failure
    assert handshake.failure == handshake.failure.strip().splitlines()[0]


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"HTTP/1.1", b"HTTP/1.0", 505),
        (b"Host: example.com\r\n", b"Host: a\r\nHost: b\r\n", 400),
        (b"Host:", b"Host :", 400),
        (b"\r\nX-Name: caf\xe9", b"\nX-Name: a", 400),
        (b"X-Name: caf\xe9", b"X-Name: a\r\n b", 400),
        (b"X-Name: caf\xe9", b"X-Name: a\0b", 400),
        (b"/tts/websocket", b"/" + b"a" * 9000, 414),
        (b"X-Name: caf\xe9", b"X-Name: " + b"a" * 9000, 431),
        (b"X-Name: caf\xe9", b"\r\n".join(b"X-%d: a" % number for number in range(70)), 431),
    ],
)
def test_a_bad_head_is_refused_at_once(old, new, status):
    handshake = ServerHandshake()
    assert handshake.handle_data(HEAD.replace(old, new, 1))
    assert handshake.failure is not None
    assert handshake.failure[0] == status
    assert repr(handshake) == f"<ServerHandshake refused={status}>"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET", b"POST", 405),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", 426),
        (b"Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n", b"", 400),
        (b"AAECAwQFBgcICQoLDA0ODw==", b"AAECAwQFBgcICQoLDA0O", 400),
        (b"Upgrade: websocket\r\n", b"", 400),
    ],
)
def test_a_request_that_is_no_upgrade_says_why(old, new, status):
    handshake = ServerHandshake()
    assert handshake.handle_data(HEAD.replace(old, new, 1))
    assert handshake.failure is None
    failure = handshake.upgrade_failure()
    assert failure is not None
    assert failure[0] == status


def test_a_refusal_is_a_whole_answer():
    answer = ServerHandshake.refuse(401, [("Content-Type", "application/json")], b'{"title":"x"}')
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"content-length: 13" in head.lower()
    assert b"connection: close" in head.lower()
    assert body == b'{"title":"x"}'
    with pytest.raises(ValueError, match=r"character|header"):
        ServerHandshake.refuse(401, [("X-Name", "a\r\nb")], b"")
    handshake = client()
    assert handshake.handle_data(answer)
    assert (handshake.status, handshake.body) == (401, body)


def test_reprs_show_no_header():
    handshake = client()
    assert repr(handshake) == "<ClientHandshake>"
    handshake.handle_data(b"HTTP/1.1 401 Unauthorized\r\nX-API-Key: secret\r\nContent-Length: 0\r\n\r\n")
    assert repr(handshake) == "<ClientHandshake status=401>"
    other = ServerHandshake()
    other.handle_data(HEAD)
    assert repr(other) == "<ServerHandshake>"
