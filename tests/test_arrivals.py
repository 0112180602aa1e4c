"""What an ``async for`` takes events from: each comes once, in order, and none is lost to a wait that was given up."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from voxwire.audio import AudioFormat
from voxwire.protocol import Arrivals, Audio


class Source:
    """Gives batches: the first event at once, the others by what it is asked through."""

    def __init__(self, *batches):
        self.batches = list(batches)
        self.arrivals = Arrivals(self.more)

    async def more(self):
        if not self.batches:
            raise StopAsyncIteration
        first, *others = self.batches.pop(0)
        self.arrivals.put(others)
        return first


async def test_events_come_once_and_in_order():
    source = Source([1], [2, 3, 4], [5, 6])
    assert [event async for event in source.arrivals] == [1, 2, 3, 4, 5, 6]
    assert not source.arrivals


# An exception that carries these to whoever iterates would take them apart, or be them.
@pytest.mark.parametrize("event", [None, (), (1, 2), StopIteration(3), StopAsyncIteration(), ValueError("x"), []])
async def test_an_event_may_be_anything(event):
    arrivals = Arrivals(None)
    arrivals.put([event, event])
    assert await anext(arrivals) is event
    with pytest.raises(StopIteration) as caught:
        next(iter(anext(arrivals).__await__()))
    assert caught.value.value is event


async def test_what_waits_can_be_taken_together_or_forgotten():
    arrivals = Arrivals(None)
    arrivals.put([1, 2, 3])
    arrivals.put([4])
    assert await anext(arrivals) == 1
    assert arrivals
    assert arrivals.take() == [2, 3, 4]
    assert not arrivals
    assert arrivals.take() == []
    arrivals.put([5])
    arrivals.clear()
    assert not arrivals


async def test_an_anext_that_nobody_awaits_takes_nothing():
    arrivals = Arrivals(None)
    arrivals.put(["a", "b"])
    anext(arrivals)
    task = asyncio.ensure_future(anext(arrivals))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert arrivals.take() == ["a", "b"]


async def test_an_awaitable_is_spent_by_its_await():
    arrivals = Arrivals(None)
    arrivals.put([1, 2])
    first = anext(arrivals)
    assert await first == 1
    with pytest.raises(RuntimeError, match="was awaited"):
        await first
    assert await anext(arrivals) == 2


async def test_a_second_consumer_is_told():
    arrivals = Arrivals(None)
    arrivals.put([1])
    mine, theirs = anext(arrivals), anext(arrivals)
    assert await mine == 1
    with pytest.raises(RuntimeError, match="second consumer"):
        await theirs


async def test_a_cycle_is_collected():
    class Owner:
        async def more(self):
            return self

    owner = Owner()
    owner.arrivals = Arrivals(owner.more)
    owner.arrivals.put([owner])
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_audio_is_unknown_to_the_garbage_collector_unless_it_knows_its_context():
    audio = Audio(b"\0\0", AudioFormat(), 0.0, None)
    assert not gc.is_tracked(audio)

    class Owner:
        pass

    owner = Owner()
    owner.heard = [Audio(b"\0\0", AudioFormat(), 0.0, 1, context=owner)]
    assert gc.is_tracked(owner.heard[0])
    assert owner.heard[0].context is owner
    assert isinstance(owner.heard[0], Audio)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        (("text", AudioFormat(), 0.0, None), TypeError),
        ((b"", AudioFormat(), "0", None), TypeError),
        ((b"", AudioFormat(), 0.0, "1"), TypeError),
        ((b"", AudioFormat(), 0.0, -1), OverflowError),
        ((b"", AudioFormat(), 0.0, 1 << 64), OverflowError),
    ],
)
def test_wrong_audio_is_refused(arguments, error):
    with pytest.raises(error):
        Audio(*arguments)


def test_audio_is_read_only():
    audio = Audio(data=b"\0\0", format=AudioFormat(), start_s=0.5, flush_id=3)
    for name in ("data", "format", "start_s", "flush_id", "context", "other"):
        with pytest.raises(AttributeError):
            setattr(audio, name, None)


async def test_a_task_can_be_made_of_it_whether_or_not_an_event_waits():
    source = Source([1], [2, 3])
    for expected in (1, 2, 3):
        assert await asyncio.create_task(anext(source.arrivals)) == expected
    source.arrivals.put([4])
    task = asyncio.create_task(anext(source.arrivals))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.arrivals.take() == [4]


def test_an_awaitable_is_closed_and_thrown_into_as_a_coroutine_is():
    arrivals = Arrivals(None)
    arrivals.put([1])
    closed = anext(arrivals)
    assert closed.close() is None
    with pytest.raises(RuntimeError, match="was awaited"):
        closed.send(None)
    for thrown in ((ValueError("x"),), (ValueError, "x"), (ValueError, ValueError("x"), None)):
        with pytest.raises(ValueError, match="x"):
            anext(arrivals).throw(*thrown)
    with pytest.raises(TypeError, match="BaseException"):
        anext(arrivals).throw("x")
    with pytest.raises(StopIteration) as caught:
        anext(arrivals).send(None)
    assert caught.value.value == 1


async def test_who_was_about_to_take_what_is_forgotten_finds_the_end():
    arrivals = Arrivals(None)
    arrivals.put([1])
    step = anext(arrivals)
    arrivals.clear()
    with pytest.raises(StopAsyncIteration):
        await step


async def test_another_thread_is_sent_to_who_can_refuse_it():
    source = Source([1, 2])
    assert await anext(source.arrivals) == 1
    with pytest.raises(StopAsyncIteration):
        await asyncio.to_thread(lambda: asyncio.run(source.more()))
    source.batches = [["refused"]]
    assert await asyncio.to_thread(lambda: asyncio.run(source.arrivals.__anext__())) == "refused"
    assert source.arrivals.take() == [2]


def test_audio_is_a_class_of_its_own_for_good():
    class Derived(Audio):
        pass

    with pytest.raises(TypeError, match="cannot be derived from"):
        Derived(b"\0\0", AudioFormat(), 0.0, None)
    with pytest.raises(TypeError):
        Audio.__new__ = object.__new__

    class Bytes(bytes):
        pass

    with pytest.raises(TypeError, match="must be bytes"):
        Audio(Bytes(b"\0\0"), AudioFormat(), 0.0, None)
