"""Faults of sinks (faults.md G3, I5, I6): each in a real play, beside another context on the same client that goes on.

I1 and I4 are among the tests of ``voxwire-file``, the device's share of I5 among those of ``voxwire-alsa``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import textwrap
import threading
import time
from dataclasses import replace

import paced_sink
import pytest
from paced_sink import NativePacedSink, PacedSink

import voxwire
from voxwire import plugins
from voxwire.exceptions import DrainTimeout, PluginError, SinkClosed, SinkError, SinkLost, VoxwireError
from voxwire.guard import Blocked, Guard, call_once
from voxwire.playback import host as host_module
from voxwire.playback import output as output_module
from voxwire.sinks import AsyncSink, ThreadSink
from voxwire.sinks.null import NullSink

PATIENCE_S = 20
TEXT = "One two three four five. Six seven eight nine ten."
LONG = " ".join(f"word{number}" for number in range(150))
NAME = "sink 'acme' of acme-sink 0.3"


@pytest.fixture
def patient(monkeypatch):
    """Time for the audio to come, while the sink stands still."""
    monkeypatch.setattr(output_module, "STALL_TIMEOUT_S", 4.0)


@pytest.fixture
def release(monkeypatch):
    """Sinks that never return do so at the end of the test, and the host has little patience with them."""
    monkeypatch.setattr(host_module, "BLOCKED_S", 0.5)
    monkeypatch.setattr(host_module, "OPEN_TIMEOUT_S", 0.5)
    paced_sink.RELEASE.clear()
    yield paced_sink.RELEASE
    paced_sink.RELEASE.set()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a plugin ``acme`` of the distribution acme-sink 0.3, whose class ``Sink`` has this body."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(body, base="PacedSink"):
        source = textwrap.dedent(
            f"""
            import time
            from dataclasses import replace
            from paced_sink import RELEASE, PacedSink
            from voxwire.exceptions import ConnectionLost, SinkLost
            from voxwire.sinks import AsyncSink, ThreadSink
            def hang(*_): RELEASE.wait()
            class Sink({base}):
            """
        )
        source += textwrap.indent(textwrap.dedent(body), "    ")
        (tmp_path / "acme_sink.py").write_text(source)
        folder = tmp_path / "acme_sink-0.3.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-sink\nVersion: 0.3\n")
        (folder / "entry_points.txt").write_text("[voxwire.sinks]\nacme = acme_sink:Sink\n")
        plugins.refresh()

    yield add
    sys.modules.pop("acme_sink", None)
    plugins.refresh()


class Beside:
    """A client with a context that plays well, into a device of its own, the whole time."""

    def __init__(self, **settings):
        self.client = voxwire.Client("embedded:tone", **settings)
        self.device = PacedSink(speed=20.0)

    async def __aenter__(self):
        self.stack = contextlib.AsyncExitStack()
        await self.stack.enter_async_context(self.client)
        line = await self.stack.enter_async_context(voxwire.open_sink(self.device))
        self.context = await self.stack.enter_async_context(self.client.context())
        self.playback = await self.context.play(line)
        await self.context.push(TEXT)
        return self

    async def __aexit__(self, kind, error, trace):
        async with asyncio.timeout(PATIENCE_S):
            if kind is None:
                # Text that is pushed after the fault is spoken and heard like that before it.
                await self.context.push(" Eleven twelve.")
                await self.context.finish()
                heard = await self.playback.wait()
                assert heard.text == TEXT + " Eleven twelve."
                assert heard.unheard == heard.half_heard == ()
                assert len(self.device.played_audio) == 2 * round(heard.played_s * 24000)
            await self.stack.aclose()


async def fails(client, sink, *, text=TEXT, interrupt=False, **options):
    """Plays a text into a sink and returns the error that it ends with."""
    with pytest.raises(VoxwireError) as caught:
        async with asyncio.timeout(PATIENCE_S), client.context(text, **options) as context:
            playback = await context.play(sink)
            if interrupt:
                while not playback.played_s:
                    await asyncio.sleep(0.002)
                await playback.interrupt()
            await playback.wait()
    assert context.outcome in {"failed", "cancelled"}
    return caught.value


# --- I6: a plugin raises

METHODS = ["capabilities", "open", "write", "finish", "position", "clear", "close"]
RAISED = [
    *((method, error) for method in METHODS for error in ("KeyError('port')", "SystemExit(3)")),
    *(("write", error) for error in ("ConnectionLost('not yours')", "KeyboardInterrupt()", "GeneratorExit()")),
    ("close", "KeyboardInterrupt()"),
]


@pytest.mark.parametrize(("method", "error"), RAISED)
async def test_i6_whatever_a_method_raises_fails_its_context_and_names_the_plugin(install, method, error):
    install(
        f"""
        def {method}(self, *arguments):
            PacedSink.close(self)
            raise {error}
        """
    )
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:", interrupt=method == "clear")
    kind = error.partition("(")[0]
    assert type(caught) is SinkError
    assert str(caught).startswith(f"{NAME} failed in {method}: {kind}: ")
    assert type(caught.__cause__).__name__ == kind


@pytest.mark.parametrize("method", ["pause", "resume"])
async def test_i6_a_pause_that_raises_fails_its_context_and_names_the_plugin(install, method):
    install(f"def {method}(self): raise KeyError('port')")
    async with Beside() as beside, beside.client.context(LONG) as context:
        playback = await context.play("acme:")
        while not playback.played_s:
            await asyncio.sleep(0.002)
        playback.pause()
        playback.resume()
        with pytest.raises(SinkError) as caught:
            await asyncio.wait_for(playback.wait(), PATIENCE_S)
    assert str(caught.value) == f"{NAME} failed in {method}: KeyError: 'port'"


async def test_i6_an_own_exception_that_no_handler_knows_is_contained(install):
    install("def write(self, data): raise type('Panic', (BaseException,), {})('native code')")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert str(caught) == f"{NAME} failed in write: Panic: native code"


async def test_i6_the_words_of_a_sink_stay_its_own(install):
    install("def write(self, data): raise SinkLost('line is dead', errno=5)")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert (type(caught), str(caught), caught.errno) == (SinkLost, "line is dead", 5)


async def test_i6_an_error_that_is_its_own_cause_is_passed_on(install):
    install(
        """
        def write(self, data):
            error = SinkLost("line is dead")
            raise error from error
        """
    )
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert str(caught) == "line is dead"


@pytest.mark.parametrize("base", ["ThreadSink", "AsyncSink"])
@pytest.mark.parametrize("hook", ["start", "send", "drained", "stop"])
async def test_i6_a_hook_that_raises_is_named_with_its_plugin(install, base, hook):
    word = "async def" if base == "AsyncSink" else "def"
    install(
        f"""
        {word} send(self, data): pass
        {word} {hook}(self, *arguments): raise KeyError("port")
        """,
        base,
    )
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert isinstance(caught, SinkError)
    assert NAME in str(caught)
    assert "KeyError" in str(caught)


async def test_i6_a_constructor_that_ends_the_program_is_a_plugin_error(install):
    install("def __init__(self, address): raise SystemExit(3)")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert type(caught) is PluginError
    assert str(caught) == f"{NAME} cannot be made: SystemExit: 3"


async def test_i6_a_plugin_that_cannot_be_imported_is_a_plugin_error(install):
    install("import a_module_that_nobody_has")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert type(caught) is PluginError
    assert str(caught).startswith(f"{NAME} cannot be imported from acme_sink:Sink: ModuleNotFoundError: ")


# --- I6: a plugin does not return


@pytest.mark.parametrize("method", ["capabilities", "write", "finish", "position", "clear"])
async def test_i6_a_method_that_never_returns_is_given_up(install, release, method):
    install(f"{method} = hang")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:", interrupt=method == "clear")
        assert str(caught) == f"{NAME} did not return from {method} within 0.5 s, must not block"
        # It is asked no more: the next context is told at once.
        assert type(await fails(beside.client, "acme:", interrupt=method == "clear")) is SinkError
        release.set()


async def test_i6_an_open_that_never_returns_is_given_up(install, release):
    install("open = hang")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
        assert str(caught) == f"{NAME} did not open within 0.5 s"
        release.set()


async def test_i6_a_close_that_never_returns_is_given_up(install, release):
    install("close = hang")
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
        assert str(caught) == f"{NAME} did not close within 2 s"
        with pytest.raises(SinkError, match="did not close"):
            async with voxwire.open_sink("acme:") as line, beside.client.context("One.") as context:
                await (await context.play(line)).wait()
        release.set()


async def test_i6_a_sink_that_is_slow_once_is_not_given_up(install):
    install(
        """
        slow = True
        def write(self, data):
            if data and self.slow:
                self.slow = False
                time.sleep(0.1)
            return super().write(data)
        """
    )
    async with Beside() as beside:
        record = await beside.client.say(TEXT, sink="acme:")
    assert record.outcome == "finished"


# --- I6: a plugin returns something else


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def write(self, data): return float(super().write(data))", r"returned \d+.0 from write, .* frames, an int"),
        ("def write(self, data): return super().write(data) > 0", r"returned (True|False) from write, .*, an int"),
        ("def write(self, data): super().write(data)", "returned None from write"),
        ("def write(self, data): return -1", "returned -1 from write, must be 0 to"),
        ("def write(self, data): return super().write(data) + 1", "returned .* from write, must be 0 to"),
        ("def position(self): return 7", "returned int from position, must be Position"),
        ("def position(self): return replace(super().position(), played=None)", "returned played None from position"),
        ("def position(self): return replace(super().position(), played=-5)", "returned played -5 from position"),
        ("def position(self): return replace(super().position(), bound=0.5)", "returned bound 0.5 from position"),
        ("def position(self): return replace(super().position(), xruns=True)", "returned xruns True from position"),
        ("def position(self): return replace(super().position(), bound=10**400)", "returned bound 1000"),
        ("def position(self): return replace(super().position(), quality='sure')", "returned quality 'sure'"),
        ("def clear(self): return None", "returned NoneType from clear, must be Position"),
        ("def capabilities(self): return None", "returned NoneType from capabilities, must be Capabilities"),
        ("def capabilities(self): return replace(super().capabilities(), max_lead_ms=None)", "with max_lead_ms None"),
        ("def capabilities(self): return replace(super().capabilities(), formats=('wav',))", "with formats .'wav',"),
        ("def capabilities(self): return replace(super().capabilities(), clock='sundial')", "with clock 'sundial'"),
        (
            "def capabilities(self): return replace(super().capabilities(), can_clear=1)",
            "with can_clear 1, must be bool",
        ),
        ("def open(self, formats, wake): return super().open(formats, wake).format", "returned AudioFormat from open"),
        ("def open(self, formats, wake): return replace(super().open(formats, wake), buffer=0)", "a buffer of 0"),
        ("def open(self, formats, wake): return replace(super().open(formats, wake), format='wav')", "opened 'wav'"),
    ],
    ids=lambda value: value if value.startswith("def") else "",
)
async def test_i6_a_wrong_answer_fails_its_context_and_names_the_plugin(install, body, message):
    install(body)
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:", interrupt="clear" in body.partition("(")[0])
    assert type(caught) is SinkError
    assert str(caught).startswith(f"{NAME} ")
    assert re.search(message, str(caught)), str(caught)


@pytest.mark.parametrize("body", ["options = ['speed']", "options = None", "def __init__(self): pass"])
async def test_i6_a_class_that_cannot_be_made_is_a_plugin_error(install, body):
    install(body)
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:?speed=1")
    assert type(caught) is PluginError
    assert str(caught).startswith(f"{NAME} cannot be made: ")


async def test_i6_a_position_that_swings_takes_nothing_back():
    class Swinging(PacedSink):
        readings = 0

        def read(self, discarded):
            position = super().read(discarded)
            self.readings += 1
            if discarded:
                return position
            return replace(position, played=max(0, position.played - 400 * (self.readings % 2)))

    device = Swinging()
    async with Beside() as beside, voxwire.open_sink(device) as line, beside.client.context(TEXT) as context:
        playback = await context.play(line)
        last = 0.0
        while not playback.over:
            assert playback.played_s >= last
            last = playback.played_s
            await asyncio.sleep(0.002)
        heard = await playback.wait()
    assert len(device.played_audio) == 2 * round(heard.played_s * 24000)


async def test_i6_a_position_beyond_what_was_written_is_not_believed():
    class Boasting(PacedSink):
        def read(self, discarded):
            return replace(super().read(discarded), played=10_000_000)

    async with Beside() as beside, voxwire.open_sink(Boasting()) as line, beside.client.context(TEXT) as context:
        playback = await context.play(line)
        heard = await playback.wait()
        assert heard.played_s <= context.record.audio_s


# --- wakes


async def test_a_sink_that_forgets_the_wake_after_finish_is_asked():
    class Forgetful(PacedSink):
        def tick(self, due):
            finishing = self.finishing
            return super().tick(due) and not finishing

    async with Beside() as beside, voxwire.open_sink(Forgetful()) as line, beside.client.context(TEXT) as context:
        assert (await (await context.play(line)).wait()).text == TEXT


async def test_a_sink_that_never_drains_is_a_drain_timeout_of_the_host(install, monkeypatch):
    monkeypatch.setattr(output_module, "STALL_TIMEOUT_S", 1.5)
    install(
        """
        def tick(self, due):
            return super().tick(min(due, max(0, 4000 - self.played)))
        """
    )
    async with Beside() as beside:
        caught = await fails(beside.client, "acme:")
    assert type(caught) is DrainTimeout
    assert str(caught) == f"{NAME} played nothing for 1.5 s"


async def test_a_sink_that_takes_nothing_at_first_is_waited_for():
    class Late(PacedSink):
        def write(self, data):
            if not self.ready.is_set():
                return 0
            return super().write(data)

    device = Late(ready=threading.Event())
    async with Beside() as beside, voxwire.open_sink(device) as line, beside.client.context(TEXT) as context:
        playback = await context.play(line)
        while not playback.buffered_bytes:
            await asyncio.sleep(0.005)
        device.ready.set()
        device.wake()
        assert (await playback.wait()).text == TEXT


async def test_a_million_wakes_stop_nobody():
    class Nagging(PacedSink):
        def open(self, formats, wake):
            self.nagging = threading.Thread(target=self.nag, args=(wake,))
            opened = super().open(formats, wake)
            self.nagging.start()
            return opened

        def nag(self, wake):
            self.wakes = 0
            while self.wakes < 1_000_000 and not self.stopping.is_set():
                wake()
                self.wakes += 1

        def close(self):
            super().close()
            self.nagging.join()

    device = Nagging()
    async with Beside() as beside, voxwire.open_sink(device) as line:
        async with beside.client.context(LONG) as context:
            playback = await context.play(line)
            while device.wakes < 1_000_000 and not playback.over:
                await asyncio.sleep(0.01)
            await playback.interrupt()
        assert device.wakes > 10_000
        await beside.client.say("Still here.", sink="null:")


async def test_native_code_wakes_through_the_descriptor():
    device = NativePacedSink(buffer_ms=40)
    async with Beside() as beside, voxwire.open_sink(device) as line, beside.client.context(TEXT) as context:
        heard = await (await context.play(line)).wait()
    assert heard.text == TEXT
    assert len(device.played_audio) == 2 * round(heard.played_s * 24000)


async def test_a_wake_after_the_close_does_no_harm():
    device = PacedSink()
    async with Beside() as beside:
        async with voxwire.open_sink(device) as line, beside.client.context("One.") as context:
            await (await context.play(line)).wait()
        for _ in range(100):
            device.wake()


# --- I5: a device goes


async def test_i5_a_device_that_goes_is_lost_for_all_that_play_there():
    device = PacedSink(speed=1.0)
    async with Beside() as beside, voxwire.open_sink(device) as line:
        async with beside.client.context(LONG) as first, beside.client.context(TEXT) as second:
            playing = await first.play(line)
            waiting = await second.play(line)
            while playing.played_s < 0.2:
                await asyncio.sleep(0.005)
            device.lose(SinkLost("device unplugged", errno=19))
            for playback, context in ((playing, first), (waiting, second)):
                with pytest.raises(SinkLost, match=r"^device unplugged$") as caught:
                    await asyncio.wait_for(playback.wait(), PATIENCE_S)
                assert (caught.value.errno, caught.value.context_id) == (19, context.id)
                assert context.outcome == "failed"
            assert len(device.played_audio) == 2 * round(playing.heard.played_s * 24000)
            assert waiting.heard.played_s == 0
        with pytest.raises(SinkLost, match="device unplugged"):
            async with beside.client.context("One.") as third:
                await third.play(line)
    assert device.closed


async def test_i5_a_device_that_goes_while_it_plays_out_is_noticed():
    device = PacedSink(speed=0.2)
    async with Beside() as beside, voxwire.open_sink(device) as line, beside.client.context("One.") as context:
        playback = await context.play(line)
        while not device.finishing:
            await asyncio.sleep(0.005)
        device.lose(SinkLost("device unplugged", errno=19))
        with pytest.raises(SinkLost, match="unplugged"):
            await asyncio.wait_for(playback.wait(), PATIENCE_S)


# --- G3: a sink that takes nothing, or little

BOUND = 200_000


class Stuck(ThreadSink):
    """Its send never returns."""

    release: threading.Event

    def send(self, data):
        self.release.wait()


class Disk(ThreadSink):
    """Stores 100 kB a second."""

    can_clear = False
    quality = "written"
    stored = b""

    def send(self, data):
        time.sleep(len(data) / 100_000)
        self.stored += data


class Closed(PacedSink):
    """Takes nothing at all."""

    def write(self, data):
        with self.lock:
            self.check()
        return 0


async def fails_at_its_bound(beside, sink):
    """Plays a long text, watching what waits; returns the playback."""
    most = 0
    line = voxwire.open_sink(sink)
    line.enter()
    try:
        async with beside.client.context(LONG) as context:
            playback = await context.play(line)
            while not playback.over:
                most = max(most, playback.buffered_bytes)
                await asyncio.sleep(0.002)
            with pytest.raises(VoxwireError) as caught:
                await playback.wait()
            assert caught.value.code == "consumer_too_slow"
            assert str(BOUND) in str(caught.value)
            assert context.outcome == "failed"
            assert caught.value.context_id == context.id
    finally:
        await line.close()
    # What one read brought may come on top.
    assert BOUND < most < BOUND + 1024 * 1024
    return playback


async def test_g3_a_sink_that_blocks_fails_its_context_at_the_bound(patient, release):
    sink = Stuck(PacedSink().address)
    sink.release, sink.close_timeout_s = release, 0.1
    async with Beside(max_buffered_bytes=BOUND) as beside:
        playback = await fails_at_its_bound(beside, sink)
    assert playback.heard.played_s == 0


async def test_g3_a_sink_that_takes_nothing_fails_its_context_at_the_bound(patient):
    async with Beside(max_buffered_bytes=BOUND) as beside:
        await fails_at_its_bound(beside, Closed())


async def test_g3_a_slow_disk_fails_its_context_at_the_bound_and_stores_what_it_took(patient):
    sink = Disk(PacedSink().address)
    async with Beside(max_buffered_bytes=BOUND) as beside:
        whole = b"".join([event.data async for event in spoken(beside.client, LONG)])
        playback = await fails_at_its_bound(beside, sink)
    assert sink.stored == whole[: len(sink.stored)]
    assert len(sink.stored) == 2 * round(playback.heard.played_s * 24000)
    assert BOUND <= len(sink.stored) < len(whole)


async def spoken(client, text):
    async with client.context(text) as context:
        async for event in context:
            if isinstance(event, voxwire.Audio):
                yield event


# --- opening while others wait, and while it closes


class SlowToOpen(PacedSink):
    def open(self, formats, wake):
        assert self.may_open.wait(PATIENCE_S)
        return super().open(formats, wake)

    def close(self):
        super().close()
        raise SinkError("cannot close")


async def test_two_plays_wait_for_one_opening():
    device = SlowToOpen(may_open=threading.Event())
    async with Beside() as beside:
        with pytest.raises(SinkError, match="cannot close"):
            async with (
                voxwire.open_sink(device) as line,
                beside.client.context("One.") as first,
                beside.client.context("Two.") as second,
            ):
                plays = [asyncio.ensure_future(context.play(line)) for context in (first, second)]
                await asyncio.sleep(0)
                device.may_open.set()
                for playback in await asyncio.gather(*plays):
                    await playback.wait()
    assert device.played_audio


async def test_a_sink_that_opens_too_late_is_closed(monkeypatch):
    monkeypatch.setattr(output_module, "CLOSE_TIMEOUT_S", 0.1)
    device = SlowToOpen(may_open=threading.Event())
    async with Beside() as beside:
        line = voxwire.open_sink(device)
        line.enter()
        async with beside.client.context("One.") as context:
            playing = asyncio.ensure_future(context.play(line))
            await asyncio.sleep(0)
            closing = line.start_close()
            device.may_open.set()
            with pytest.raises(SinkClosed, match="is closed"):
                await playing
            with pytest.raises(SinkError, match="cannot close"):
                await asyncio.wait_for(closing, PATIENCE_S)
    assert device.closed
    assert not device.played_audio


# --- how a call is bounded


def test_an_interrupt_of_the_user_passes_through_a_sink_that_is_called_in_the_loop():
    class Interrupted(PacedSink):
        inline = True

        def write(self, data):
            raise KeyboardInterrupt

    host = host_module.SinkHost(Interrupted(), lambda: None)
    with pytest.raises(KeyboardInterrupt):
        host.write(b"", 0)


def test_a_guard_makes_calls_on_one_thread_and_passes_on_what_they_raise():
    guard = Guard("test")
    idents = {guard.call(threading.get_ident, 5).result for _ in range(3)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents
    assert isinstance(guard.call(lambda: 1 / 0, 5).error, ZeroDivisionError)
    assert guard.call(lambda: "again", 5).result == "again"
    guard.end()
    with pytest.raises(Blocked):
        guard.call(lambda: "late", 5)


def test_a_guard_that_was_left_behind_answers_nothing_more(release):
    guard = Guard("test")
    with pytest.raises(Blocked):
        guard.call(release.wait, 0.05)
    release.set()
    with pytest.raises(Blocked):
        guard.call(lambda: "the answer to another question", 5)


def test_guards_end_their_threads():
    before = threading.active_count()
    for _ in range(10):
        assert call_once(lambda: 7, 5, "test").result == 7
    guard = Guard("test")
    guard.call(int, 5)
    del guard
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("kind", "inline"),
    [
        (NullSink, True),
        (type("Plain", (ThreadSink,), {"send": None}), True),
        (type("Plain", (AsyncSink,), {"send": None}), True),
        (type("Overriding", (ThreadSink,), {"write": None}), False),
        (type("Vouching", (ThreadSink,), {"write": None, "inline": True}), True),
        (type("Derived", (type("Vouching", (PacedSink,), {"inline": True}),), {}), True),
        (type("Derived", (type("Vouching", (PacedSink,), {"inline": True}),), {"clear": None}), False),
        (PacedSink, False),
        (object, False),
        (type("Revoking", (NullSink,), {"inline": False}), False),
    ],
)
def test_only_what_is_ours_or_vouched_for_is_called_in_the_loop(kind, inline):
    assert host_module._is_inline(kind, host_module._IN_TURN) is inline
