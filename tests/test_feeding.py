"""Text from iterables: sent as it comes, closed whatever happens, going on after an expiry."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import PATIENCE_S, Peer, chunk, done, error, timestamps
from test_context import collect, connected, ending, options

import voxwire
from voxwire.client.alignment import Aligner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECOND = bytes(16_000)


class Tokens:
    """An asynchronous source that a test drives, and that notes its end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.asked = 0

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            while True:
                self.asked += 1
                token = await self.queue.get()
                if token is None:
                    return
                if isinstance(token, Exception):
                    raise token
                yield token
        finally:
            self.closed.set()


async def test_pieces_are_sent_as_they_come() -> None:
    tokens = Tokens()
    async with connected() as (client, peer), client.context(tokens, **options()) as context:
        for token in ("Hel", "lo ", "world."):
            tokens.queue.put_nowait(token)
            message = await peer.receive()
            assert (message["transcript"], message["continue"]) == (token, True)
        tokens.queue.put_nowait(None)
        message = await peer.receive()
        assert (message["transcript"], message["continue"]) == ("", False)
        peer.send(done(context.id))
        await collect(context)
        assert tokens.closed.is_set()
        assert context.outcome == "finished"


async def test_what_may_not_open_a_context_waits_for_the_first_word() -> None:
    async with (
        connected() as (client, peer),
        client.context(["", "\n", " «", "Hi", "", "!", " "], **options()) as context,
    ):
        messages = [await peer.receive() for _ in range(4)]
        assert [m["transcript"] for m in messages] == ["\n «Hi", "!", " ", ""]
        peer.send(done(context.id))
        await collect(context)
        assert context.pushed_text == "\n «Hi! "
        assert context.record.characters == 7


async def test_no_text_at_all_finishes_without_a_message_and_punctuation_alone_is_left_to_the_server() -> None:
    async with connected() as (client, peer):
        async with client.context([], **options()) as context:
            assert await collect(context) == []
            assert context.outcome == "finished"
        async with client.context(["..", "."], **options()) as context:
            message = await peer.receive()
            assert (message["transcript"], message["continue"]) == ("...", False)


async def test_a_synchronous_iterator_runs_in_its_own_thread_and_is_not_read_ahead() -> None:
    threads: list[int] = []
    release = threading.Event()

    def tokens() -> Iterator[str]:
        try:
            threads.append(threading.get_ident())
            yield "one "
            release.wait(PATIENCE_S)
            yield "two "
        finally:
            threads.append(threading.get_ident())

    async with connected() as (client, peer), client.context(**options()) as context:
        feed = asyncio.create_task(context.feed(tokens(), finish=False))
        assert (await peer.receive())["transcript"] == "one "
        assert not feed.done()
        release.set()
        assert (await peer.receive())["transcript"] == "two "
        await feed
        await context.push("three")
        assert (await peer.receive())["continue"] is True
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


class Closable:
    """A synchronous iterator that notes its close."""

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = iter(pieces)
        self.closed = threading.Event()

    def __iter__(self) -> Closable:
        return self

    def __next__(self) -> Any:
        piece = next(self.pieces)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
async def test_an_exception_of_the_iterator_leaves_feed_unchanged(kind: str) -> None:
    fault = KeyError("mine")
    source: Any
    if kind == "asynchronous":
        source = Tokens()
        source.queue.put_nowait("a")
        source.queue.put_nowait(fault)
    else:
        source = Closable(["a", fault])
    async with connected() as (client, peer), client.context(**options()) as context:
        with pytest.raises(KeyError) as caught:
            await context.feed(source)
        assert caught.value is fault
        assert source.closed.is_set()
        assert context.outcome is None
        await context.push("b")
        assert [(await peer.receive())["transcript"] for _ in range(2)] == ["a", "b"]


async def test_an_exception_of_text_given_to_the_context_cancels_it_and_the_consumer_raises_it() -> None:
    fault = KeyError("mine")
    async with connected() as (client, peer), client.context(Closable(["a", fault]), **options()) as context:
        with pytest.raises(KeyError) as caught:
            await collect(context)
        assert caught.value is fault
        assert context.outcome == "cancelled"
        assert [("cancel" in await peer.receive()) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("piece", [5, b"x", None])
async def test_a_piece_that_is_no_text_is_a_type_error(piece: Any) -> None:
    async with connected() as (client, _), client.context(**options()) as context:
        if piece is None:
            with pytest.raises(TypeError, match="text must be"):
                await context.feed(piece)  # type: ignore[arg-type]
        else:
            source = Closable([piece])
            with pytest.raises(TypeError, match="piece of text"):
                await context.feed(source)
            assert source.closed.is_set()


async def test_a_cancel_lets_a_running_feed_return_and_closes_its_iterator() -> None:
    tokens = Tokens()
    async with connected() as (client, peer), client.context(**options()) as context:
        feed = asyncio.create_task(context.feed(tokens))
        tokens.queue.put_nowait("a")
        await peer.receive()
        await context.cancel()
        await feed
        assert tokens.closed.is_set()
        with pytest.raises(voxwire.ContextEnded):
            await context.feed("more")


async def test_a_cancelled_feed_closes_its_iterator_and_leaves_the_context_open() -> None:
    tokens = Tokens()
    async with connected() as (client, peer), client.context(**options()) as context:
        feed = asyncio.create_task(context.feed(tokens))
        tokens.queue.put_nowait("a")
        await peer.receive()
        feed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await feed
        assert tokens.closed.is_set()
        assert context.outcome is None


async def test_leaving_the_block_closes_the_iterator_of_the_text() -> None:
    tokens = Tokens()
    async with connected() as (client, peer):
        async with client.context(tokens, **options()):
            tokens.queue.put_nowait("a")
            await peer.receive()
        assert tokens.closed.is_set()


async def test_a_blocked_synchronous_iterator_holds_nobody_up_and_is_closed_when_it_returns() -> None:
    entered, release, closed = threading.Event(), threading.Event(), threading.Event()

    def tokens() -> Iterator[str]:
        try:
            entered.set()
            release.wait(PATIENCE_S)
            yield "late"
        finally:
            closed.set()

    async with connected(close_timeout_s=0.05) as (client, peer):
        async with client.context(tokens(), **options()) as context:
            await asyncio.to_thread(entered.wait, PATIENCE_S)
        assert context.outcome == "cancelled"
        assert not closed.is_set()
        release.set()
        assert await asyncio.to_thread(closed.wait, PATIENCE_S)
        assert peer.pending == 0


async def test_a_failure_is_raised_by_feed_only_where_no_consumer_is() -> None:
    async with connected() as (client, peer):
        for consumed in (False, True):
            tokens = Tokens()
            async with client.context(**options()) as context:
                consumer = asyncio.create_task(collect(context)) if consumed else None
                feed = asyncio.create_task(context.feed(tokens))
                tokens.queue.put_nowait("a")
                await peer.receive()
                peer.send(error(context.id, status_code=500, message="m"))
                if consumer is None:
                    with pytest.raises(voxwire.ServerError):
                        await feed
                else:
                    await feed
                    with pytest.raises(voxwire.ServerError):
                        await consumer
                assert tokens.closed.is_set()


async def settle(client: voxwire.Client, peer: Peer) -> None:
    """Returns once the client has read everything that was sent before."""
    async with client.context("marker", **options()) as marker:
        await peer.receive()
        peer.send(done(marker.id))
        await collect(marker)


@pytest.fixture
def processed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs count as processed at once, not only after a second."""
    monkeypatch.setattr("voxwire.client.wire._UNPROCESSED_S", -1.0)


@pytest.mark.usefixtures("processed")
async def test_an_early_done_is_survived_by_a_fresh_context() -> None:
    tokens = Tokens()
    async with connected() as (client, peer), client.context(tokens, **options(add_timestamps=True)) as context:
        tokens.queue.put_nowait("One. ")
        first = (await peer.receive())["context_id"]
        peer.send(chunk(first, SECOND), timestamps(first, ("One.", 0, 0.9)))
        events = [await anext(context), await anext(context)]
        peer.send(done(first))
        await settle(client, peer)
        tokens.queue.put_nowait("Two.")
        message = await peer.receive()
        second = message["context_id"]
        assert second != first
        assert message["transcript"] == "Two."
        assert message["voice"] == {"mode": "id", "id": "v1"}
        assert context.id == second
        tokens.queue.put_nowait(None)
        assert (await peer.receive())["continue"] is False
        # Audio alone in a read, then what is not only audio.
        peer.send(chunk(second, b"\1\0"))
        events.append(await anext(context))
        peer.send(timestamps(second, ("Two.", 0.25, 0.5)), done(second))
        events += await collect(context)
        assert ending(context) == ("finished", None)
        assert context.record.context_ids == (first, second)
    assert [event.start_s for event in events if isinstance(event, voxwire.Audio)] == [0.0, 1.0]
    words = [word for event in events if isinstance(event, voxwire.Words) for word in event.items]
    assert words == [
        voxwire.Word("One.", 0.0, 0.9, (0, 4)),
        voxwire.Word("Two.", 1.25, 1.5, (5, 9)),
    ]


async def test_inputs_that_an_expiry_cannot_have_seen_are_sent_again() -> None:
    tokens = Tokens()
    async with connected() as (client, peer), client.context(tokens, **options()) as context:
        for token in ("One ", "two", "."):
            tokens.queue.put_nowait(token)
        first, *_ = [(await peer.receive())["context_id"] for _ in range(3)]
        peer.send(done(first))
        again = [await peer.receive() for _ in range(3)]
        assert [m["transcript"] for m in again] == ["One ", "two", "."]
        second = again[0]["context_id"]
        assert {m["context_id"] for m in again} == {second}
        assert second != first
        tokens.queue.put_nowait(None)
        await peer.receive()
        peer.send(done(second))
        await collect(context)
        assert context.pushed_text == "One two."
        assert context.record.characters == 8


@pytest.mark.usefixtures("processed")
async def test_an_early_done_with_nothing_more_to_say_is_a_good_end() -> None:
    tokens = Tokens()
    async with connected() as (client, peer):
        async with client.context(tokens, **options()) as context:
            tokens.queue.put_nowait("One.")
            first = (await peer.receive())["context_id"]
            peer.send(chunk(first, SECOND))
            await anext(context)
            peer.send(done(first))
            await settle(client, peer)
            tokens.queue.put_nowait(None)
            assert await collect(context) == []
            assert context.outcome == "finished"
        assert peer.pending == 0


@pytest.mark.usefixtures("processed")
async def test_an_expiry_that_no_feed_survives_ends_the_context() -> None:
    tokens = Tokens()
    async with connected() as (client, peer), client.context(**options()) as context:
        feed = asyncio.create_task(context.feed(tokens, finish=False))
        tokens.queue.put_nowait("One.")
        await peer.receive()
        peer.send(done(context.id))
        await settle(client, peer)
        assert ending(context)[0] is None
        tokens.queue.put_nowait(None)
        await feed
        assert ending(context) == ("finished", "expired")
        with pytest.raises(voxwire.ContextExpired):
            await context.push("more")


# --- spans


def spans(text: str, words: list[str]) -> list[str | None]:
    aligner = Aligner()
    aligner.push(text)
    found = [aligner.find(word) for word in words]
    assert all(span is None or text[span[0] : span[1]] == word for span, word in zip(found, words, strict=True))
    starts = [span[0] for span in found if span is not None]
    assert starts == sorted(starts)
    return [None if span is None else text[span[0] : span[1]] for span in found]


@pytest.mark.parametrize(
    ("text", "words", "lost"),
    [
        ("Hello, world!", ["Hello,", "world!"], []),
        ("Hello, world!", ["Hello", "world"], []),
        ("the theme of the day", ["the", "theme", "of", "the", "day"], []),
        ("I have 4 cats", ["I", "have", "four", "cats"], ["four"]),
        ("4 for you", ["four", "for", "you"], ["four"]),
        ('a <break time="1s"/> b <spell>12</spell>. c', ["a", "b", "<spell>12</spell>.", "c"], []),
        ('<speed ratio="1.5"/>speed up', ["speed", "up"], []),
        ("今天4月好。", ["今", "天", "四", "月", "好", "。"], ["四"]),
        ("naïve 👩‍🚀 ok", ["naïve", "👩‍🚀", "ok"], []),
    ],
)
def test_words_are_found_in_the_text(text: str, words: list[str], lost: list[str]) -> None:
    assert spans(text, words) == [None if word in lost else word for word in words]


def test_a_word_is_not_looked_for_far_away() -> None:
    assert spans("4 " + "x" * 500 + " four", ["four"]) == [None]


def test_spans_count_in_the_whole_text_however_it_came() -> None:
    aligner = Aligner()
    text = ""
    for n in range(3000):
        word = f"w{n}"
        aligner.push(f"{word} ")
        assert aligner.find(word) == (len(text), len(text) + len(word))
        text += f"{word} "
