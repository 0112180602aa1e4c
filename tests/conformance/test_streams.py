"""Requests, inputs, contexts, flushes, formats (protocol.md 15, server items 1 to 5 and 16)."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from conformance.exchange import FLUSH, UPGRADE, VERSIONS, at, raw, until
from raw_client import RawClient, audio_of, kinds_of, request, words_of

from voxwire.audio import SAMPLE_RATES, SAMPLE_WIDTHS, decode_base64

SENTENCE = "One two three."


def chunks(messages) -> list[int]:
    """Sizes of the chunks in bytes."""
    return [len(decode_base64(message["data"])) for message in messages if message["type"] == "chunk"]


class TestItem01SingleRequest:
    @pytest.mark.parametrize("encoding", SAMPLE_WIDTHS)
    async def test_chunks_then_one_done(self, plain, encoding):
        output = {"container": "raw", "encoding": encoding, "sample_rate": 44100}
        async with await RawClient.open(plain.url) as client:
            messages = await client.say("c1", "A sentence of several words.", output_format=output)
            await client.silence()
        assert kinds_of(messages) == ["chunk", "done"]
        assert [message["type"] for message in messages].count("done") == 1
        sizes = chunks(messages)
        assert sizes[0] <= 4096
        assert all(0 < size <= 16_384 for size in sizes)
        assert all(size % SAMPLE_WIDTHS[encoding] == 0 for size in sizes)

    async def test_compression_is_declined(self, plain):
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\n\n"
        answer = await raw(plain.url, UPGRADE + offer)
        assert answer.startswith("http/1.1 101 ")
        assert "sec-websocket-extensions" not in answer
        assert "x-request-id: " in answer


class TestItem02ThreeInputs:
    @pytest.mark.parametrize(
        "last",
        [
            {"transcript": "", "continue": False},
            {"transcript": " ", "continue": False},
            {"transcript": "three.", "continue": False},
            {"transcript": "three."},
        ],
        ids=["empty", "one blank", "text", "without continue"],
    )
    async def test_closed_by(self, plain, last):
        texts = ["One ", "two ", "three. "]
        if last["transcript"].strip():
            texts[-1] = ""
        async with await RawClient.open(plain.url) as client:
            for text in texts[:1]:
                client.send(request("c1", text, continue_=True))
            for text in texts[1:]:
                client.send({"context_id": "c1", "transcript": text, "continue": True})
            client.send({"context_id": "c1", **last})
            messages = await client.context("c1")
            whole = await client.say("c2", "One two three.")
            await client.silence()
        assert kinds_of(messages) == ["chunk", "done"]
        assert audio_of(messages) == audio_of(whole)


class TestItem03TwoContexts:
    async def test_interleaved_on_one_socket(self, slow):
        texts = {"a": "One two three four five six.", "b": "Ten nine eight seven six five."}
        async with await RawClient.open(slow.url) as client:
            for context_id, text in texts.items():
                client.send(request(context_id, text, continue_=False))
            order = []
            found = {context_id: [] for context_id in texts}
            while any(kinds_of(messages)[-1:] != ["done"] for messages in found.values()):
                message = await client.receive()
                order.append(message["context_id"])
                found[message["context_id"]].append(message)
            assert "aba" in "".join(order) or "bab" in "".join(order)
            for context_id, text in texts.items():
                assert [message["type"] for message in found[context_id]].count("done") == 1
                assert audio_of(found[context_id]) == audio_of(await client.say("alone", text))
            await client.silence()

    async def test_the_same_id_on_two_sockets(self, plain):
        async with await RawClient.open(plain.url) as first, await RawClient.open(plain.url) as second:
            first.send(request("c1", "One ", continue_=True))
            second.send(request("c1", "Ten ", continue_=True))
            first.send({"context_id": "c1", "transcript": "two."})
            second.send({"context_id": "c1", "cancel": True})
            assert audio_of(await first.context("c1")) == audio_of(await first.say("c2", "One two."))
            await second.silence()


class TestItem04Flush:
    async def test_labels_and_times_go_on(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "One two.", continue_=True, add_timestamps=True))
            client.send({"context_id": "c1", **FLUSH})
            client.send({"context_id": "c1", "transcript": "Three four.", "continue": False})
            messages = await client.context("c1")
        kinds = [kind for kind in kinds_of(messages) if kind != "timestamps"]
        assert [kind for index, kind in enumerate(kinds) if kinds[index - 1 : index] != [kind]] == [
            "chunk",
            "flush_done",
            "chunk",
            "done",
        ]
        place = next(index for index, message in enumerate(messages) if message["type"] == "flush_done")
        assert messages[place]["flush_id"] == 1
        assert messages[place]["done"] is False
        labels = [message["flush_id"] for message in messages if message["type"] in {"chunk", "timestamps"}]
        assert labels == sorted(labels)
        assert {message["flush_id"] for message in messages[:place]} == {1}
        assert {message["flush_id"] for message in messages[place + 1 : -1]} == {2}
        words = words_of(messages)
        assert [word for word, _, _ in words] == ["One", "two.", "Three", "four."]
        assert all(end <= start for (_, _, end), (_, start, _) in itertools.pairwise(words))

    async def test_with_nothing_buffered_it_counts(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "One.", continue_=True))
            client.send({"context_id": "c1", **FLUSH})
            client.send({"context_id": "c1", **FLUSH})
            client.send({"context_id": "c1", "transcript": "Two."})
            messages = await client.context("c1")
        assert kinds_of(messages) == ["chunk", "flush_done", "chunk", "done"]
        assert [message["flush_id"] for message in messages if message["type"] == "flush_done"] == [1, 2]
        assert {message["flush_id"] for message in messages[-3:-1] if message["type"] == "chunk"} == {3}

    async def test_together_with_text(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "One two", continue_=True, flush=True))
            client.send({"context_id": "c1", "transcript": ""})
            messages = await client.context("c1")
            assert kinds_of(messages) == ["chunk", "flush_done", "done"]
            assert audio_of(messages) == audio_of(await client.say("c2", "One two"))

    async def test_together_with_the_close(self, plain):
        async with await RawClient.open(plain.url) as client:
            messages = await client.say("c1", "One two.", flush=True)
            assert kinds_of(messages) == ["chunk", "flush_done", "done"]
            await client.silence()

    async def test_without_a_live_context(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("unknown", **FLUSH))
            assert kinds_of(await client.context("unknown")) == ["error"]
            await client.say("ended", "One.")
            client.send(request("ended", **FLUSH))
            await client.silence()

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_labels_by_version(self, plain, version):
        async with await RawClient.open(plain.url, **at(version)) as client:
            client.send(request("c1", "One.", continue_=True, flush=True, add_timestamps=True))
            client.send({"context_id": "c1", "transcript": "Two."})
            messages = await client.context("c1")
        labelled = {message["type"]: "flush_id" in message for message in messages}
        expected = version >= "2025-04-16"
        assert labelled == {"chunk": expected, "timestamps": expected, "flush_done": True, "done": False}


class TestItem05BufferDelay:
    async def test_zero_flushes_after_each_input(self, plain):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "One.", continue_=True, max_buffer_delay_ms=0))
            client.send({"context_id": "c1", "transcript": "Two", "continue": True, "max_buffer_delay_ms": 0})
            client.send({"context_id": "c1", "transcript": "", "continue": False})
            messages = await client.context("c1")
        assert kinds_of(messages) == ["chunk", "flush_done", "chunk", "flush_done", "done"]
        assert [message["flush_id"] for message in messages if message["type"] == "flush_done"] == [1, 2]

    @pytest.mark.parametrize("delay", [..., None, 5000, 3000.0], ids=["absent", "null", "5000", "3000.0"])
    async def test_accepted_and_waits(self, plain, delay):
        async with await RawClient.open(plain.url) as client:
            client.send(request("c1", "This may go on", continue_=True, max_buffer_delay_ms=delay))
            # Nothing ends the text, so it waits: what is asked later is answered before it.
            await client.say("c2", "Hi.")
            client.send({"context_id": "c1", "transcript": ""})
            assert kinds_of(await client.context("c1")) == ["chunk", "done"]

    @pytest.mark.parametrize("delay", [5001, -100, -1, "1", True, 0.5, 1e9, [], {}], ids=repr)
    async def test_refused(self, plain, delay):
        async with await RawClient.open(plain.url) as client:
            (error,) = await client.say("c1", "Hi.", max_buffer_delay_ms=delay)
            assert (error["type"], error["status_code"]) == ("error", 400)
            assert "max_buffer_delay_ms" in error["title"]
            await client.silence()


async def test_item_16_every_encoding_at_every_rate(plain):
    async with await RawClient.open(plain.url) as client:
        base = len(audio_of(await client.say("base", SENTENCE))) // 2
        formats = [(encoding, rate) for encoding in SAMPLE_WIDTHS for rate in SAMPLE_RATES]
        for encoding, rate in formats:
            output = {"container": "raw", "encoding": encoding, "sample_rate": rate}
            client.send(request(f"{encoding} {rate}", SENTENCE, output_format=output, continue_=False))
        found = await until(client, {f"{encoding} {rate}": 1 for encoding, rate in formats})
    assert len(formats) == 24
    for encoding, rate in formats:
        messages = found[f"{encoding} {rate}"]
        assert messages[-1]["type"] == "done"
        samples, rest = divmod(len(audio_of(messages)), SAMPLE_WIDTHS[encoding])
        assert rest == 0
        # Whole samples: the end may fall between two of them.
        assert abs(samples - base * rate / 24_000) <= 1, (encoding, rate)


async def test_sixty_four_contexts_at_once_each_end_once(slow):
    async with asyncio.timeout(20), await RawClient.open(slow.url) as client:
        names = [f"context {number}" for number in range(64)]
        for name in names:
            client.send(request(name, "One two.", continue_=False))
        found = await until(client, dict.fromkeys(names, 1))
        assert {kinds_of(messages)[-1] for messages in found.values()} == {"done"}
        assert len({audio_of(messages) for messages in found.values()}) == 1
        await client.silence()
