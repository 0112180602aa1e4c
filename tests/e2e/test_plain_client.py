"""The server seen by a client that shares no code with it: the ``websockets`` package and messages written by hand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from voxwire import server

PATIENCE_S = 10.0
SENTENCE = "Hello, world! I'm generating audio, number 42."
SUPERSET = {"type", "done", "context_id", "status_code", "error_code", "title", "message", "error", "request_id"}
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}


@contextlib.asynccontextmanager
async def serving(**settings: Any):
    async with server.serve(engine="tone", **({"context_expiry_s": 30} | settings)) as running:
        yield running.url


@pytest.fixture
async def url():
    async with serving() as address:
        yield address


def dial(url: str, version: str = "2026-03-01", **options: Any):
    return connect(f"{url}/tts/websocket", additional_headers={"Cartesia-Version": version}, max_size=2**20, **options)


@pytest.fixture
async def socket(url):
    async with dial(url) as connected:
        yield connected


def request(context_id: str | None, transcript: str | None, **fields: Any) -> dict[str, Any]:
    whole = {
        "model_id": "sonic-3",
        "transcript": transcript,
        "voice": {"mode": "id", "id": "tone-1"},
        "output_format": FORMAT,
        "context_id": context_id,
    } | {name.rstrip("_"): value for name, value in fields.items()}
    return {name: value for name, value in whole.items() if value is not ...}


async def send(socket: ClientConnection, *messages: dict[str, Any] | str | bytes) -> None:
    for message in messages:
        await socket.send(json.dumps(message) if isinstance(message, dict) else message)


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        message = json.loads(await socket.recv())
    assert {"type", "done", "status_code"} <= set(message)
    return message


async def to_the_end(socket: ClientConnection, *ids: str) -> dict[str, list[dict[str, Any]]]:
    """Everything until each context has ended."""
    found: dict[str, list[dict[str, Any]]] = {context_id: [] for context_id in ids}
    live = set(ids)
    while live:
        message = await receive(socket)
        assert message.get("context_id") in live, message
        found[message["context_id"]].append(message)
        if message["type"] in {"done", "error"}:
            live.remove(message["context_id"])
    return found


async def context(socket: ClientConnection, context_id: str) -> list[dict[str, Any]]:
    return (await to_the_end(socket, context_id))[context_id]


async def silence(socket: ClientConnection) -> None:
    """Whatever the server owed would come before this."""
    await send(socket, request("probe", "a"))
    assert (await context(socket, "probe"))[-1]["type"] == "done"


def audio(messages: list[dict[str, Any]]) -> bytes:
    pieces = [base64.b64decode(m["data"], validate=True) for m in messages if m["type"] == "chunk"]
    assert all(pieces)
    return b"".join(pieces)


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for message in messages:
        if not found or found[-1] != message["type"]:
            found.append(message["type"])
    return found


def times(messages: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    found = []
    for message in messages:
        if message["type"] == "timestamps":
            columns = message["word_timestamps"]
            found += list(zip(columns["words"], columns["start"], columns["end"], strict=True))
    return found


async def test_1_one_request(socket):
    assert socket.protocol.extensions == []
    await send(socket, request("c", SENTENCE, continue_=False))
    messages = await context(socket, "c")
    assert kinds(messages) == ["chunk", "done"]
    sizes = [len(base64.b64decode(m["data"])) for m in messages[:-1]]
    assert 0 < sizes[0] <= 4096
    assert max(sizes) <= 16384
    assert all(size % 2 == 0 for size in sizes)
    assert [m["done"] for m in messages] == [False] * len(sizes) + [True]
    assert "data" not in messages[-1]
    await silence(socket)


@pytest.mark.parametrize("close", [{"transcript": ""}, {"transcript": " "}, {"transcript": "Three. "}, ...])
async def test_2_three_inputs_and_a_close(socket, close):
    await send(socket, request("whole", "One. Two. Three. "))
    whole = audio(await context(socket, "whole"))
    last = {"transcript": "Three. "} if close is ... else close
    await send(socket, request("c", "One. ", continue_=True), request("c", "Two. ", continue_=True))
    if last["transcript"] != "Three. ":
        await send(socket, request("c", "Three. ", continue_=True))
    await send(socket, request("c", last["transcript"], continue_=... if close is ... else False))
    messages = await context(socket, "c")
    assert kinds(messages) == ["chunk", "done"]
    assert audio(messages) == whole
    await silence(socket)


async def test_3_contexts_do_not_mix(url):
    async with dial(url) as one, dial(url) as other:
        for id_ in ("a", "b"):
            await send(one, request(id_, f"This is {id_}. ", continue_=True, add_timestamps=True))
        await send(other, request("a", "Another one.", add_timestamps=True))
        for id_ in ("b", "a"):
            await send(one, request(id_, f"End of {id_}.", add_timestamps=True))
        found = await to_the_end(one, "a", "b")
        for id_ in ("a", "b"):
            assert [w for w, _, _ in times(found[id_])] == ["This", "is", f"{id_}.", "End", "of", f"{id_}."]
            assert found[id_][-1]["type"] == "done"
        assert [w for w, _, _ in times(await context(other, "a"))] == ["Another", "one."]


@pytest.mark.parametrize(("version", "labelled"), [("2024-11-13", False), ("2025-04-16", True), ("2026-08-14", True)])
async def test_4_flush(url, version, labelled):
    async with dial(url, version) as socket:
        await send(
            socket,
            request("c", "First part.", continue_=True, add_timestamps=True),
            request("c", "", continue_=True, flush=True),
            request("c", "Second part.", continue_=True),
            request("c", "", continue_=False),
        )
        messages = await context(socket, "c")
    flat = [k for k in kinds(messages) if k != "timestamps"]
    assert [k for i, k in enumerate(flat) if i == 0 or flat[i - 1] != k] == ["chunk", "flush_done", "chunk", "done"]
    at = next(i for i, m in enumerate(messages) if m["type"] == "flush_done")
    assert messages[at] == {
        "type": "flush_done",
        "context_id": "c",
        "done": False,
        "status_code": 206,
        "flush_id": 1,
        "flush_done": True,
    }
    for i, m in enumerate(messages[:-1]):
        if i != at:
            assert m.get("flush_id") == ((1 if i < at else 2) if labelled else None)
    spans = times(messages)
    assert [w for w, _, _ in spans] == ["First", "part.", "Second", "part."]
    assert all(a[2] <= b[1] for a, b in itertools.pairwise(spans))
    assert spans[-1][2] <= len(audio(messages)) / 48000 + 1e-6


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([("Hi.", True, True), ("", False, False)], ["chunk", "flush_done", "done"]),
        ([("Hi.", True, False), ("", False, True)], ["chunk", "flush_done", "done"]),
        ([("Hi.", False, True)], ["chunk", "flush_done", "done"]),
        (
            [("Hi.", True, False), ("", True, True), ("", True, True), ("", False, False)],
            ["chunk", "flush_done", "done"],
        ),
        ([("", True, True)], ["error"]),
    ],
)
async def test_4_every_flush(socket, inputs, expected):
    for text, more, flush in inputs:
        await send(socket, request("c", text, continue_=more, flush=flush))
    messages = await context(socket, "c")
    assert kinds(messages) == expected
    labels = [m["flush_id"] for m in messages if m["type"] == "flush_done"]
    assert labels == list(range(1, len(labels) + 1))
    await silence(socket)


@pytest.mark.parametrize(
    ("delay", "verdict"),
    [
        (0, "flushed"),
        (..., "done"),
        (5000, "done"),
        (None, "done"),
        (2.0, "done"),
        (5001, "error"),
        (-100, "error"),
        ("1", "error"),
        (1e9, "error"),
        (0.5, "error"),
        (True, "error"),
    ],
)
async def test_5_buffer_delay(socket, delay, verdict):
    await send(socket, request("c", "One. ", continue_=True, max_buffer_delay_ms=delay))
    if verdict == "error":
        messages = await context(socket, "c")
        assert kinds(messages) == ["error"]
        assert messages[0]["status_code"] == 400
        assert "max_buffer_delay_ms" in messages[0]["message"]
    else:
        await send(socket, request("c", "Two.", max_buffer_delay_ms=delay))
        messages = await context(socket, "c")
        expected = ["chunk", "flush_done", "chunk", "flush_done", "done"] if verdict == "flushed" else ["chunk", "done"]
        assert kinds(messages) == expected
    await silence(socket)


async def test_6_cancel(socket):
    await send(socket, {"context_id": "never", "cancel": True})
    # before audio
    await send(socket, request("a", SENTENCE, continue_=True), {"cancel": True, "context_id": "a"})
    await silence(socket)
    # during
    await send(socket, request("b", "word " * 3000, continue_=True), request("other", SENTENCE))
    while (await receive(socket))["context_id"] != "b":
        pass
    await send(socket, json.dumps({"cancel": True, "context_id": "b"}, indent=2))
    await send(socket, {"cancel": True, "context_id": "b"})
    await send(socket, request("b", "", continue_=False))
    # a ping is answered after everything before it was read and acted upon
    await (await socket.ping())
    await send(socket, request("probe", "a"))
    done = set()
    while done != {"probe", "other"}:
        message = await receive(socket)
        # Of what was cancelled only audio that was already on its way may come.
        assert message["context_id"] != "b" or message["type"] == "chunk"
        if message["type"] == "done":
            done.add(message["context_id"])
    await silence(socket)
    # after done
    await send(socket, request("d", "a"))
    await context(socket, "d")
    await send(socket, {"cancel": True, "context_id": "d"})
    await silence(socket)


async def test_6_slot_and_cancel_done():
    async with serving(concurrency=1, cancel_done=True) as url, dial(url) as socket:
        await send(socket, request("a", "word " * 2000, continue_=True))
        await receive(socket)
        await send(socket, {"cancel": True, "context_id": "a"})
        while (message := await receive(socket))["type"] == "chunk":
            assert message["context_id"] == "a"
        assert message == {"type": "done", "context_id": "a", "done": True, "status_code": 206}
        await silence(socket)


# --- 7: every cell of the server's table, on the wire

INPUTS: dict[str, dict[str, Any]] = {
    "speakable": {"transcript": "Hello.", "continue_": True},
    "speakable close": {"transcript": "Hello.", "continue_": False},
    "unspeakable": {"transcript": "?", "continue_": True},
    "flush": {"transcript": "", "continue_": True, "flush": True},
    "empty close": {"transcript": "", "continue_": False},
    "blank close": {"transcript": " ", "continue_": False},
    "unspeakable close": {"transcript": "?", "continue_": False},
    "invalid": {"transcript": "Hello.", "continue_": True, "max_buffer_delay_ms": -1},
    "invalid close": {"transcript": "Hello.", "continue_": False, "max_buffer_delay_ms": -1},
    "cancel": {},
}
SPOKEN, REFUSED, NOTHING = ["chunk", "done"], ["error"], []
LATER_REFUSED = ["chunk", "done", "error"]
# What comes back in each state, and the state that follows.
CELLS: dict[str, dict[str, tuple[list[str], str]]] = {
    "none": {
        "speakable": (NOTHING, "open"),
        "speakable close": (SPOKEN, "ended"),
        "unspeakable": (REFUSED, "failed"),
        "flush": (REFUSED, "failed"),
        "empty close": (REFUSED, "none"),
        "blank close": (REFUSED, "none"),
        "unspeakable close": (REFUSED, "none"),
        "invalid": (REFUSED, "failed"),
        "invalid close": (REFUSED, "none"),
        "cancel": (NOTHING, "none"),
    },
    "open": {
        "speakable": (NOTHING, "open"),
        "speakable close": (SPOKEN, "ended"),
        "unspeakable": (NOTHING, "open"),
        "flush": (["chunk", "flush_done"], "open"),
        "empty close": (SPOKEN, "ended"),
        "blank close": (SPOKEN, "ended"),
        "unspeakable close": (SPOKEN, "ended"),
        "invalid": (REFUSED, "failed"),
        "invalid close": (REFUSED, "failed"),
        "cancel": (NOTHING, "cancelled"),
    },
    "draining": {
        "speakable": (LATER_REFUSED, "failed"),
        "speakable close": (LATER_REFUSED, "failed"),
        "unspeakable": (SPOKEN, "ended"),
        "flush": (SPOKEN, "ended"),
        "empty close": (SPOKEN, "ended"),
        "blank close": (SPOKEN, "ended"),
        "unspeakable close": (SPOKEN, "ended"),
        "invalid": (LATER_REFUSED, "failed"),
        "invalid close": (LATER_REFUSED, "failed"),
        "cancel": (NOTHING, "cancelled"),
    },
    "ended": {
        "speakable": (NOTHING, "open"),
        "speakable close": (SPOKEN, "ended"),
        "unspeakable": (NOTHING, "ended"),
        "flush": (NOTHING, "ended"),
        "empty close": (NOTHING, "ended"),
        "blank close": (NOTHING, "ended"),
        "unspeakable close": (NOTHING, "ended"),
        "invalid": (REFUSED, "failed"),
        "invalid close": (REFUSED, "none"),
        "cancel": (NOTHING, "ended"),
    },
    "expired": {
        "speakable": (NOTHING, "open"),
        "speakable close": (SPOKEN, "ended"),
        "unspeakable": (NOTHING, "expired"),
        "flush": (NOTHING, "expired"),
        "empty close": (NOTHING, "ended"),
        "blank close": (["done"], "ended"),
        "unspeakable close": (NOTHING, "ended"),
        "invalid": (REFUSED, "failed"),
        "invalid close": (REFUSED, "none"),
        "cancel": (NOTHING, "expired"),
    },
    "cancelled": {
        "speakable": (NOTHING, "open"),
        "speakable close": (SPOKEN, "ended"),
        "unspeakable": (NOTHING, "cancelled"),
        "flush": (NOTHING, "cancelled"),
        "empty close": (NOTHING, "cancelled"),
        "blank close": (NOTHING, "cancelled"),
        "unspeakable close": (NOTHING, "cancelled"),
        "invalid": (REFUSED, "failed"),
        "invalid close": (REFUSED, "none"),
        "cancel": (NOTHING, "cancelled"),
    },
    "failed": {
        "speakable": (NOTHING, "failed"),
        "speakable close": (NOTHING, "none"),
        "unspeakable": (NOTHING, "failed"),
        "flush": (NOTHING, "failed"),
        "empty close": (NOTHING, "none"),
        "blank close": (REFUSED, "none"),
        "unspeakable close": (NOTHING, "none"),
        "invalid": (NOTHING, "failed"),
        "invalid close": (NOTHING, "none"),
        "cancel": (NOTHING, "none"),
    },
}
# Inputs whose answers tell the states apart: for each state the answers to a blank close, then to a spoken close.
TOLD_BY = {
    "none": (REFUSED, SPOKEN),
    "open": (SPOKEN, SPOKEN),
    "ended": (NOTHING, SPOKEN),
    "cancelled": (NOTHING, SPOKEN),
    "expired": (["done"], SPOKEN),
    "failed": (REFUSED, SPOKEN),
}


async def put(socket: ClientConnection, event: str) -> None:
    if event == "cancel":
        await send(socket, {"cancel": True, "context_id": "c"})
    else:
        await send(socket, request("c", **({"max_buffer_delay_ms": 5000} | INPUTS[event])))


async def bring_to(socket: ClientConnection, state: str) -> None:
    if state in {"open", "expired"}:
        await send(socket, request("c", "Some text before. ", continue_=True, max_buffer_delay_ms=5000))
    if state in {"draining", "ended"}:
        await send(socket, request("c", "word " * 20))
    if state == "cancelled":
        await put(socket, "speakable")
        await put(socket, "cancel")
    if state == "failed":
        await put(socket, "invalid")
        assert (await receive(socket))["type"] == "error"
    if state in {"ended", "expired"}:
        assert (await context(socket, "c"))[-1]["type"] == "done"


async def answers(socket: ClientConnection, expected: list[str]) -> None:
    """Exactly these kinds of message come for the context, and nothing else."""
    got: list[dict[str, Any]] = []
    while expected and (not got or got[-1]["type"] != expected[-1]):
        got.append(await receive(socket))
        assert got[-1]["context_id"] == "c"
    assert kinds(got) == expected
    await send(socket, request("probe", "a"))
    while (message := await receive(socket))["type"] != "done" or message["context_id"] != "probe":
        assert message["type"] == "chunk", message
        # Audio may come of a context that is open, and of one whose cancel is under way.
        assert message["context_id"] == "probe" or expected in (NOTHING, ["chunk", "flush_done"])


@pytest.mark.parametrize("state", CELLS)
async def test_7_every_cell_of_the_table(state):
    settings = {"context_expiry_s": 0.3} if state == "expired" else {}
    async with serving(**settings) as url:
        for event in INPUTS:
            async with dial(url) as socket:
                await bring_to(socket, state)
                await one_cell(socket, state, event)


async def one_cell(socket: ClientConnection, state: str, event: str) -> None:
    expected, following = CELLS[state][event]
    await put(socket, event)
    if state == "draining" and expected is NOTHING:
        # Audio was under way when the cancel came.
        await send(socket, request("probe", "a"))
        while (message := await receive(socket))["type"] != "done":
            assert message["type"] == "chunk"
        assert message["context_id"] == "probe"
    else:
        await answers(socket, expected)
    if state == "expired" and following == "open":
        # It would expire again.
        return
    blank, spoken = TOLD_BY[following]
    if (state, event) == ("open", "flush"):
        # All of its text is spoken already.
        blank = ["done"]
    await put(socket, "blank close")
    await answers(socket, blank)
    await put(socket, "speakable close")
    await answers(socket, spoken)


async def test_8_json(socket):
    whole = request("c", "Hi \u00e9.", language=None, generation_config=None, new_field={"x": [1, {"x": 2}]})
    whole["output_format"] = FORMAT | {"sample_rate": 24000.0, "x": 1}
    await send(socket, json.dumps(whole, indent=4, ensure_ascii=True))
    assert (await context(socket, "c"))[-1]["type"] == "done"
    await send(socket, json.dumps(dict(reversed(whole.items())), ensure_ascii=False))
    assert (await context(socket, "c"))[-1]["type"] == "done"
    await send(socket, json.dumps(whole).encode())
    assert (await context(socket, "c"))[-1]["type"] == "done"
    text = json.dumps(whole)
    await send(socket, text[:-1] + ', "context_id": "c"}')
    refused = await receive(socket)
    assert (refused["type"], refused["status_code"]) == ("error", 400)
    await send(socket, request("d", "word " * 13107))
    messages = await context(socket, "d")
    assert messages[-1]["type"] == "done"


@pytest.mark.parametrize(("size", "fits"), [(2**20, True), (2**20 + 1, False)])
async def test_8_one_mebibyte(socket, size, fits):
    message = json.dumps(request("c", "a", x=""))
    message = message[:-2] + "x" * (size - len(message)) + '"}'
    assert len(message) == size
    await socket.send(message)
    if fits:
        assert (await context(socket, "c"))[-1]["type"] == "done"
    else:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await receive(socket)
        assert caught.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model_id": ""}, 400, "model_not_found"),
        ({"model_id": "nope"}, 400, "model_not_found"),
        ({"voice": {"mode": "id", "id": ""}}, 400, None),
        ({"voice": ""}, 400, None),
        ({"voice": {"mode": "id", "id": "nobody"}}, 404, "voice_not_found"),
        ({"output_format": FORMAT | {"sample_rate": 40}}, 400, None),
        ({"output_format": FORMAT | {"container": "wav"}}, 400, None),
        ({"output_format": FORMAT | {"sample_rate": "24000"}}, 400, None),
        ({"transcript": "?!"}, 400, None),
        ({"transcript": None}, 400, None),
        ({"generation_config": {"speed": 1.6}}, 400, None),
        ({"generation_config": {"volume": 2.1}}, 400, None),
        ({"generation_config": {"volume": 0.4}}, 400, None),
        ({"language": "xx1"}, 400, None),
        ({"language": "en", "locale": "en-US"}, 400, None),
        ({"pronunciation_dict_id": "d"}, 404, None),
    ],
)
async def test_9_errors(url, fields, status, code):
    for version in ("2024-06-10", "2025-04-16", "2026-03-01", "2026-08-14"):
        async with dial(url, version) as socket:
            bad = request("c", SENTENCE, continue_=True) | fields
            await send(socket, bad, bad, request("c", "More. ", continue_=True))
            answer = await receive(socket)
            await silence(socket)
        assert set(answer) == SUPERSET
        assert (answer["type"], answer["done"], answer["context_id"]) == ("error", True, "c")
        assert answer["error"] == f"{answer['title']}: {answer['message']}"
        expected = status if status != 404 or version >= "2026-03-01" else 400
        assert (answer["status_code"], answer["error_code"]) == (expected, code)


@pytest.mark.parametrize(
    ("voice", "version", "good"),
    [
        ("tone-1", "2026-08-14", True),
        ("tone-1", "2024-11-13", True),
        ({"id": "tone-1"}, "2026-03-01", True),
        ({"id": "tone-1", "x": 1}, "2026-08-14", True),
        ({"mode": "other", "id": "tone-1"}, "2026-03-01", False),
        ({"mode": "embedding", "embedding": [0.1] * 192}, "2024-11-13", True),
        (
            {"mode": "embedding", "embedding": [0.1] * 192, "__experimental_controls": {"speed": "fast"}},
            "2024-06-10",
            True,
        ),
        ({"mode": "embedding", "embedding": [0.1] * 192}, "2025-04-16", False),
        (5, "2026-03-01", False),
        (None, "2026-03-01", False),
    ],
)
async def test_12_voices(url, voice, version, good):
    async with dial(url, version) as socket:
        await send(socket, request("c", "Hi.", voice=voice))
        assert (await context(socket, "c"))[-1]["type"] == ("done" if good else "error")


@pytest.mark.parametrize(
    "fields",
    [
        {"language": "en"},
        {"language": "en-US"},
        {"language": "EN-us"},
        {"locale": "en-GB"},
        {"generation_config": {"emotion": "CaLm"}},
        {"generation_config": {"emotion": "Joking/Comedic"}},
        {"generation_config": {"emotion": "unheard of"}},
        {"normalization": "off"},
        {"speed": "slow"},
    ],
)
async def test_12_accepted(socket, fields):
    await send(socket, request("c", "Hi.", **fields))
    assert (await context(socket, "c"))[-1]["type"] == "done"


async def test_14_expiry_and_idle():
    async with serving(context_expiry_s=0.2, idle_timeout_s=0.5) as url, dial(url, ping_interval=0.1) as socket:
        await send(socket, request("c", "Hi. ", continue_=True))
        assert kinds(await context(socket, "c")) == ["chunk", "done"]
        await send(socket, request("c", "", continue_=False))
        with pytest.raises(ConnectionClosed) as caught:
            await receive(socket)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "connection idle timeout")


async def test_14_not_before_the_first_audio():
    async with (
        server.serve(engine="tone", engine_options={"delay_ms_per_word": "400"}, context_expiry_s=0.1) as running,
        dial(running.url) as socket,
    ):
        await send(socket, request("c", "Hi.", continue_=True))
        assert kinds(await context(socket, "c")) == ["chunk", "done"]
