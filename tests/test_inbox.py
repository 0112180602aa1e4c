"""What an iteration takes events from: each comes once, in order, and none is lost to a wait that was given up."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
import time
import weakref

import pytest

from voxwire.audio import AudioFormat
from voxwire.protocol import Audio, AudioTally, Connection, Inbox


class Owner:
    """Whose events they are; by it a wait ends where nothing more comes."""

    def __init__(self, *batches, limit_bytes=1 << 20):
        self.tally = AudioTally()
        self.inbox = Inbox(self, self.tally, limit_bytes)
        self.refusal = None
        self.questions = []
        for batch in batches:
            self.inbox.put(list(batch), len(batch))

    def check_wait(self):
        self.questions.append("wait")
        if self.refusal is not None and not self.inbox:
            raise self.refusal

    def check_end(self):
        self.questions.append("end")
        if self.refusal is not None and not self.inbox:
            raise self.refusal

    def open(self):
        self.inbox.open(asyncio.get_running_loop())
        return self.inbox

    def end(self):
        self.refusal = StopAsyncIteration()
        self.inbox.close()
        self.inbox.wake()


async def waiting(inbox, awaitable):
    """Starts a task and returns it when it waits."""
    task = asyncio.create_task(awaitable)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_events_come_once_and_in_order():
    owner = Owner([1], [2, 3, 4], [5, 6])
    owner.open()
    owner.end()
    assert [event async for event in owner.inbox] == [1, 2, 3, 4, 5, 6]
    assert not owner.inbox


async def test_batches_come_as_they_were_put_and_what_is_left_of_one():
    owner = Owner([1], [2, 3, 4], [5])
    inbox = owner.open()
    assert inbox.size_bytes == 5
    assert await inbox.next_batch() == [1]
    assert inbox.size_bytes == 4
    assert await anext(inbox) == 2
    # Whoever took the first of a batch has it all.
    assert inbox.size_bytes == 1
    assert await inbox.next_batch() == [3, 4]
    assert await inbox.next_batch() == [5]
    assert inbox.size_bytes == 0


# An exception that carries these to whoever iterates would take them apart, or be them.
@pytest.mark.parametrize("event", [None, (), (1, 2), StopIteration(3), StopAsyncIteration(), ValueError("x"), []])
async def test_an_event_may_be_anything(event):
    inbox = Owner([event, event]).open()
    assert await anext(inbox) is event
    with pytest.raises(StopIteration) as caught:
        next(iter(anext(inbox).__await__()))
    assert caught.value.value is event


async def test_what_waits_can_be_taken_together_or_forgotten():
    inbox = Owner([1, 2, 3], [4]).open()
    assert await anext(inbox) == 1
    assert inbox
    assert inbox.take() == [2, 3]
    assert inbox.take() == [4]
    assert not inbox
    with pytest.raises(IndexError, match="empty"):
        inbox.take()
    inbox.put([5, 6], 2)
    assert await anext(inbox) == 5
    inbox.put([7], 1)
    inbox.clear()
    assert not inbox
    assert inbox.size_bytes == 0


async def test_waiting_tasks_get_what_comes():
    inbox = Owner().open()
    for ask, expected in ((inbox.__anext__, "a"), (inbox.next_batch, ["a"])):
        task = await waiting(inbox, ask())
        inbox.put(["a"], 1)
        assert await task == expected


async def test_who_is_woken_for_nothing_waits_on():
    inbox = Owner().open()
    task = await waiting(inbox, anext(inbox))
    for _ in range(3):
        inbox.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
    inbox.put([1], 1)
    assert await task == 1


async def test_an_anext_that_nobody_awaits_takes_nothing():
    inbox = Owner(["a", "b"]).open()
    anext(inbox)
    task = asyncio.ensure_future(anext(inbox))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inbox.take() == ["a", "b"]


@pytest.mark.parametrize("late", [False, True])
async def test_a_cancelled_wait_loses_nothing(late):
    inbox = Owner().open()
    task = await waiting(inbox, anext(inbox))
    if late:
        # It was woken already, and has not run.
        inbox.put(["a"], 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if not late:
        inbox.put(["a"], 1)
    assert await anext(inbox) == "a"


async def test_an_awaitable_is_spent_by_its_await():
    inbox = Owner([1, 2]).open()
    first = anext(inbox)
    assert await first == 1
    with pytest.raises(RuntimeError, match="was awaited"):
        await first
    assert await anext(inbox) == 2


async def test_a_second_consumer_is_told():
    inbox = Owner().open()
    first = await waiting(inbox, anext(inbox))
    for ask in (inbox.__anext__, inbox.next_batch):
        with pytest.raises(RuntimeError, match="second consumer"):
            await ask()
    inbox.put([1], 1)
    assert await first == 1


async def test_a_wait_that_is_given_up_leaves_its_place_to_the_next():
    inbox = Owner().open()
    closed, thrown, dropped = anext(inbox), anext(inbox), anext(inbox)
    assert asyncio.isfuture(closed.send(None))
    closed.close()
    assert asyncio.isfuture(thrown.send(None))
    with pytest.raises(ValueError, match="x"):
        thrown.throw(ValueError("x"))
    assert asyncio.isfuture(dropped.send(None))
    del dropped
    task = await waiting(inbox, anext(inbox))
    inbox.put([1], 1)
    assert await task == 1


async def test_giving_up_late_does_not_take_the_place_of_another():
    inbox = Owner().open()
    woken = anext(inbox)
    woken.send(None)
    inbox.wake()
    task = await waiting(inbox, anext(inbox))
    woken.close()
    inbox.put([1], 1)
    assert await task == 1


async def test_a_cycle_is_collected():
    owner = Owner()
    inbox = owner.open()
    inbox.put([owner], 1)
    gone = weakref.ref(owner)
    del owner, inbox
    gc.collect()
    assert gone() is None


async def test_a_cycle_through_a_wait_is_collected():
    owner = Owner()
    step = anext(owner.open())
    step.send(None)
    owner.step = step
    gone = weakref.ref(owner)
    del owner, step
    gc.collect()
    assert gone() is None


def audio_frame(context_id, samples):
    """A chunk, as a server sends it."""
    data = base64.b64encode(samples).decode()
    text = json.dumps({"type": "chunk", "data": data, "done": False, "status_code": 206, "context_id": context_id})
    return b"\x81\x7e" + len(text).to_bytes(2, "big") + text.encode()


def connection_to(owner):
    connection = Connection("client", batched=True)
    connection.open_context("c", owner.inbox, AudioFormat())
    connection.send_input("c", "Hi.", continues=True, settings=b"{}", now=0.0)
    connection.poll_transmit()
    return connection


async def test_audio_comes_straight_here_and_is_counted():
    owner = Owner()
    owner.tally.bytes_per_s = 48000
    inbox = owner.open()
    connection = connection_to(owner)
    task = await waiting(inbox, inbox.next_batch())
    connection.handle_data(audio_frame("c", b"\1\0" * 240) + audio_frame("c", b"\2\0" * 240), 1.0)
    before_s = time.monotonic()
    assert connection.poll_events() == []
    events = await task
    assert [event.data[:1] for event in events] == [b"\1", b"\2"]
    assert owner.tally.size_bytes == 960
    assert owner.tally.duration_s == 960 / 48000
    assert before_s <= owner.tally.first_at_s <= time.monotonic()
    assert owner.tally.stalls == 0


async def test_the_owner_of_a_closed_or_full_inbox_is_told_instead():
    full, closed = Owner(limit_bytes=607), Owner()
    full.open()
    for owner in (full, closed):
        connection = connection_to(owner)
        connection.handle_data(audio_frame("c", bytes(480)), 1.0)
        (batch,) = connection.poll_events()
        assert batch.context is owner
        assert batch.audio_bytes == 480
        assert not owner.inbox
        assert owner.tally.size_bytes == 0
    assert 480 + Inbox.EVENT_BYTES == 608


async def test_what_is_not_only_audio_goes_to_the_owner_with_the_audio_before_it():
    owner = Owner()
    owner.open()
    connection = connection_to(owner)
    done = b'{"type":"done","done":true,"status_code":200,"context_id":"c"}'
    connection.handle_data(audio_frame("c", bytes(480)) + b"\x81" + bytes([len(done)]) + done, 1.0)
    (batch,) = connection.poll_events()
    assert [type(event).__name__ for event in batch.events] == ["Audio", "Finished"]
    assert batch.context is batch.events[-1].context is owner


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
    inbox = Owner([1], [2, 3]).open()
    for expected in (1, 2, 3):
        assert await asyncio.create_task(anext(inbox)) == expected
    inbox.put([4], 1)
    task = asyncio.create_task(anext(inbox))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inbox.take() == [4]


async def test_a_task_of_pure_python_can_wait_here_too():
    inbox = Owner().open()

    async def consume():
        return [await anext(inbox), await inbox.next_batch()]

    loop = asyncio.get_running_loop()
    # It has the waits of a task written out: what a debugger or a patched loop runs.
    task = asyncio.tasks._PyTask(consume(), loop=loop)
    for event in (1, 2):
        await asyncio.sleep(0)
        inbox.put([event], 1)
        await asyncio.sleep(0)
    assert await task == [1, [2]]


async def test_an_awaitable_is_closed_and_thrown_into_as_a_coroutine_is():
    inbox = Owner([1]).open()
    closed = anext(inbox)
    assert closed.close() is None
    with pytest.raises(RuntimeError, match="was awaited"):
        closed.send(None)
    for thrown in ((ValueError("x"),), (ValueError, "x"), (ValueError, ValueError("x"), None)):
        with pytest.raises(ValueError, match="x"):
            anext(inbox).throw(*thrown)
    with pytest.raises(TypeError, match="BaseException"):
        anext(inbox).throw("x")
    with pytest.raises(StopIteration) as caught:
        anext(inbox).send(None)
    assert caught.value.value == 1


async def test_who_was_about_to_take_what_is_forgotten_finds_the_end():
    owner = Owner([1])
    step = anext(owner.open())
    owner.inbox.clear()
    owner.end()
    with pytest.raises(StopAsyncIteration):
        await step


async def test_the_owner_is_asked_while_the_inbox_is_closed():
    owner = Owner([1], [2])
    inbox = owner.open()
    assert await anext(inbox) == 1
    assert owner.questions == []
    owner.end()
    assert await inbox.next_batch() == [2]
    for ask in (inbox.__anext__, inbox.next_batch):
        with pytest.raises(StopAsyncIteration):
            await ask()
    assert owner.questions == ["wait"] * 3


async def test_who_waits_when_the_end_comes_is_only_told_of_that():
    owner = Owner()
    inbox = owner.open()
    for ask in (inbox.__anext__, inbox.next_batch):
        owner.refusal = None
        inbox.open(asyncio.get_running_loop())
        task = await waiting(inbox, ask())
        owner.end()
        with pytest.raises(StopAsyncIteration):
            await task
    assert owner.questions == ["end"] * 2


async def test_another_thread_is_sent_to_who_can_refuse_it():
    owner = Owner([1, 2])
    inbox = owner.open()
    owner.check_wait = refuse
    for ask in (inbox.__anext__, inbox.next_batch):
        with pytest.raises(RuntimeError, match="elsewhere"):
            await asyncio.to_thread(lambda ask=ask: asyncio.run(ask()))
    assert await anext(inbox) == 1
    with pytest.raises(RuntimeError, match="elsewhere"):
        await asyncio.to_thread(lambda: asyncio.run(anext(inbox)))
    assert inbox.take() == [2]


def refuse():
    raise RuntimeError("elsewhere")


async def test_what_comes_while_a_wait_begins_is_not_waited_for():
    loop = asyncio.get_running_loop()
    came = []
    for comes in (lambda owner: owner.inbox.put([1], 1), lambda owner: owner.end()):
        owner = Owner()

        class Loop:
            """Runs what a collector may run where a future is made."""

            def is_running(self):
                return True

            def create_future(self, owner=owner, comes=comes):
                comes(owner)
                return loop.create_future()

        owner.inbox.open(Loop())
        came.append(await asyncio.wait_for(anext(owner.inbox, "end"), 5))
    assert came == [1, "end"]


async def test_audio_does_not_overtake_what_a_failure_kept_back():
    class Stubborn:
        """A loop whose futures refuse to be done."""

        def is_running(self):
            return True

        def create_future(self):
            return self

        def done(self):
            return False

        def set_result(self, result):
            raise ValueError("stubborn")

    failing, other = Owner(), Owner()
    failing.inbox.open(Stubborn())
    other.open()
    connection = connection_to(failing)
    connection.open_context("d", other.inbox, AudioFormat())
    connection.send_input("d", "Hi.", continues=True, settings=b"{}", now=0.0)
    waiting_step = anext(failing.inbox)
    waiting_step.send(None)
    flush_done = b'{"type":"flush_done","flush_id":1,"status_code":206,"context_id":"d"}'
    connection.handle_data(audio_frame("c", bytes(480)) + b"\x81" + bytes([len(flush_done)]) + flush_done, 1.0)
    with pytest.raises(ValueError, match="stubborn"):
        connection.poll_events()
    connection.handle_data(audio_frame("d", bytes(480)), 1.0)
    first, second = connection.poll_events()
    assert [type(event).__name__ for event in first.events + second.events] == ["FlushDone", "Audio"]
    assert not other.inbox
    connection.handle_data(audio_frame("d", bytes(480)), 1.0)
    assert connection.poll_events() == []
    assert other.inbox


@pytest.mark.parametrize("waits", [False, True])
def test_another_loop_of_the_same_thread_too(waits):
    owner = Owner(*([[1]] if waits else []))
    owner.check_wait = refuse

    async def enter():
        owner.open()

    async def take(ask):
        await ask()

    asyncio.run(enter())
    for ask in (owner.inbox.__anext__, owner.inbox.next_batch):
        with pytest.raises(RuntimeError, match="elsewhere"):
            asyncio.run(take(ask))
    assert bool(owner.inbox) == waits


async def test_a_wait_that_the_collector_took_leaves_its_place():
    owner = Owner()
    inbox = owner.open()
    step = anext(inbox)
    step.send(None)
    cycle = [step]
    cycle.append(cycle)
    del step, cycle
    gc.collect()
    task = await waiting(inbox, anext(inbox))
    inbox.put([1], 1)
    assert await task == 1


async def test_what_is_let_go_of_may_look_at_the_inbox():
    inbox = Owner().open()
    seen = []

    class Event:
        def __del__(self):
            seen.append(inbox.size_bytes)
            inbox.clear()

    for _ in range(3):
        inbox.put([Event(), Event()], 2)
    assert isinstance(await anext(inbox), Event)
    inbox.clear()
    gc.collect()
    assert len(seen) == 6


async def test_references_of_a_wait_are_given_back_at_once():
    loop = asyncio.get_running_loop()
    inbox = Owner().open()
    before = sys.getrefcount(loop)
    for _ in range(5):
        step = anext(inbox)
        step.send(None)
        step.close()
    assert sys.getrefcount(loop) == before


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
