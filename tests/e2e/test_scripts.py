"""Many random contexts over many sockets at once: each sounds as if it were alone, and ends once.

``VOXWIRE_SCRIPTS`` and ``VOXWIRE_SEED`` choose how many scripts there are, and which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from dataclasses import dataclass, field
from typing import Any

from raw_client import RawClient, audio_of, request, words_of
from strict_messages import check_message

from voxwire import server
from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS

_SCRIPTS = int(os.environ.get("VOXWIRE_SCRIPTS", "200"))
_SEED = int(os.environ.get("VOXWIRE_SEED", "1"))
_SOCKETS = 10
#: Far more than what lies between two inputs of one script.
_EXPIRY_S = 3.0
_PATIENCE_S = 50.0
_FATAL = "boom"

_TEXTS = (
    "Yes. ",
    "One two three. ",
    "Hello, world! ",
    "and so on, as it goes; ",
    "7 ",
    "élan ",
    'wait <break time="120ms"/>now ',
    '<speed ratio="1.25"/>faster ',
    '<volume ratio="0.5"/>softer ',
    "<spell>A1b</spell> done. ",
    "A long sentence, with a clause or two - so that it begins early; it never seems to end ",
    "... ",
    " ",
)
#: Words that come in two inputs: only where no deadline can fall between them.
_CUT = ("Hel", "lo the", "re. ")


@dataclass
class _Input:
    text: str
    fields: dict[str, Any]


@dataclass
class _Script:
    """One context: its inputs, and how it is to end."""

    context_id: str
    first: dict[str, Any]
    frame_bytes: int
    inputs: list[_Input]
    #: close, expire, cancel, invalid or fail.
    end: str
    #: Of a close: the last transcript.
    last: str
    #: Messages to wait for before a cancel or an invalid input.
    after: int

    def messages(self) -> list[dict[str, Any]]:
        sent = []
        for index, given in enumerate(self.inputs):
            fields = {**(self.first if not index else {}), **given.fields, "continue": True}
            sent.append(request(self.context_id, given.text, **fields))
        return sent

    def closing(self) -> dict[str, Any]:
        return request(self.context_id, self.last, continue_=False, **self.inputs[-1].fields)


def _script(context_id: str, chance: random.Random) -> _Script:
    encoding = chance.choice(sorted(SAMPLE_WIDTHS))
    output = {"container": "raw", "encoding": encoding, "sample_rate": chance.choice(sorted(SAMPLE_RATES))}
    first = {"output_format": output, "add_timestamps": True, "voice": f"tone-{chance.randint(1, 8)}"}
    if chance.random() < 0.3:
        first["add_phoneme_timestamps"] = True
    end = chance.choice(("close",) * 5 + ("expire", "cancel", "cancel", "invalid", "fail"))
    # What is left open is spoken only after the delay.
    delay_ms = chance.choice((0, 100) if end == "expire" else (None, None, 0, 100, 5000))
    # Whether punctuation alone belongs to what was before it is a matter of time where the delay is short.
    later = _TEXTS[:-2] if delay_ms == 100 else _TEXTS
    texts = [chance.choice(_TEXTS[:-2]), *chance.choices(later, k=chance.randint(0, 4))]
    if delay_ms in {None, 5000} and chance.random() < 0.3:
        texts += _CUT
    if end == "fail":
        texts[-1] = f"and {_FATAL} it goes. "
    inputs = []
    for text in texts:
        fields: dict[str, Any] = {} if delay_ms is None else {"max_buffer_delay_ms": delay_ms}
        if chance.random() < 0.3:
            fields["generation_config"] = {"speed": chance.choice((0.6, 0.9, 1.5)), "volume": chance.choice((0.5, 2.0))}
        if chance.random() < 0.15 and not text.startswith("lo"):
            fields["flush"] = True
        inputs.append(_Input(text, fields))
    return _Script(
        context_id=context_id,
        first=first,
        frame_bytes=SAMPLE_WIDTHS[encoding],
        inputs=inputs,
        end=end,
        # A failed context answers a close with whitespace once more.
        last="" if end == "fail" else chance.choice(("", " ", "Goodbye.")),
        after=chance.randint(0, 4),
    )


@dataclass
class _Heard:
    """What came for one context: a part for each flush, and its end."""

    frame_bytes: int
    parts: list[dict[str, Any]] = field(default_factory=list)
    messages: int = 0
    end: dict[str, Any] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.parts.append({"audio": bytearray(), "words": [], "phonemes": [], "flushed": False})

    def take(self, message: dict[str, Any]) -> None:
        check_message(message, frame_bytes=self.frame_bytes)
        assert self.end is None, f"{message['type']} after {self.end['type']}"
        part = self.parts[-1]
        kind = message["type"]
        self.messages += 1
        if kind in {"done", "error"}:
            self.end = message
        else:
            assert message["flush_id"] == len(self.parts)
        if kind == "chunk":
            data = audio_of([message])
            assert part["audio"] or len(self.parts) > 1 or len(data) <= 4096
            part["audio"] += data
        part["words"] += words_of([message])
        part["phonemes"] += words_of([message], "phoneme")
        if kind == "flush_done":
            part["flushed"] = True
            self._begin()
        self.moved.set()

    async def wait(self, count: int | None = None) -> None:
        """Waits for so many messages, or the end."""
        while self.end is None and (count is None or self.messages < count):
            self.moved.clear()
            await self.moved.wait()

    def assert_begins(self, whole: _Heard) -> None:
        """All that came is the beginning of what comes alone."""
        assert len(self.parts) <= len(whole.parts)
        for index, part in enumerate(self.parts):
            expected = whole.parts[index]
            if part["flushed"]:
                assert part == expected
            for name in ("audio", "words", "phonemes"):
                assert part[name] == expected[name][: len(part[name])], name


class _Line:
    """One socket with its scripts; every message goes to the context that it names."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self.heard: dict[str, _Heard] = {}

    async def read(self) -> None:
        while True:
            message = await self._client.receive(_PATIENCE_S)
            context_id = message["context_id"]
            if context_id == "last":
                return
            self.heard[context_id].take(message)

    async def play(self, script: _Script, chance: random.Random) -> None:
        heard = self.heard[script.context_id] = _Heard(script.frame_bytes)
        for message in script.messages():
            self._client.send(message)
            for _ in range(chance.randint(0, 20)):
                await asyncio.sleep(0)
        if script.end == "cancel":
            # Without a flush or a close, text may wait in the buffer for long.
            await heard.wait(script.after if script.inputs[-1].fields.get("flush") else 0)
            self._client.send({"context_id": script.context_id, "cancel": True})
            return
        if script.end == "invalid":
            self._client.send(request(script.context_id, "x", continue_=True, max_buffer_delay_ms=-100))
        elif script.end != "expire":
            self._client.send(script.closing())
        await heard.wait()

    def end(self) -> None:
        self._client.send(request("last", "", continue_=False))


async def _alone(client: RawClient, script: _Script) -> _Heard:
    """The same inputs, closed, with nothing else going on."""
    heard = _Heard(script.frame_bytes)
    for message in script.messages():
        client.send(message)
    if script.end == "expire":
        client.send(request(script.context_id, "", continue_=False))
    else:
        client.send(script.closing())
    while heard.end is None:
        heard.take(await client.receive())
    return heard


async def test_each_sounds_as_if_it_were_alone():
    chance = random.Random(_SEED)
    scripts = [_script(f"{number}", chance) for number in range(_SCRIPTS)]
    options = {"fail_on": _FATAL}
    async with (
        server.serve(engine="tone", engine_options=options, context_expiry_s=30) as quiet,
        await RawClient.open(quiet.url) as client,
    ):
        wholes = {script.context_id: await _alone(client, script) for script in scripts}
    async with (
        server.serve(engine="tone", engine_options=options, context_expiry_s=_EXPIRY_S) as busy,
        contextlib.AsyncExitStack() as sockets,
        asyncio.timeout(_PATIENCE_S),
    ):
        clients = [await sockets.enter_async_context(await RawClient.open(busy.url)) for _ in range(_SOCKETS)]
        lines = [_Line(client) for client in clients]
        async with asyncio.TaskGroup() as readers:
            for line in lines:
                readers.create_task(line.read())
            async with asyncio.TaskGroup() as players:
                for index, script in enumerate(scripts):
                    players.create_task(lines[index % _SOCKETS].play(script, chance))
            for line in lines:
                line.end()
    for index, script in enumerate(scripts):
        _judge(script, lines[index % _SOCKETS].heard[script.context_id], wholes[script.context_id])


def _judge(script: _Script, heard: _Heard, whole: _Heard) -> None:
    if script.end == "cancel":
        # A cancel that comes after the failure of its context is ignored.
        assert heard.end is None
        heard.assert_begins(whole)
        return
    assert heard.end is not None
    if script.end == "invalid":
        assert (heard.end["type"], heard.end["status_code"]) == ("error", 400)
        heard.assert_begins(whole)
    elif script.end == "fail":
        assert heard.end["error_code"] == whole.end["error_code"] == "engine_failed"
        assert heard.parts == whole.parts
    else:
        assert heard.end == whole.end
        assert heard.end["type"] == "done"
        assert heard.parts == whole.parts
