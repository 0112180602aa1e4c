"""Faults of the network, the process and the caller, each at the place where a user would meet it.

The rows of faults.md that are not here: A1 to A11 in ``test_faults_handshake.py``, A12, F5 and F7 in ``test_fleet.py``,
A14 in ``test_handshake.py``, F1 in ``test_faults_network.py``, F6 in ``test_client_tls.py``, G1 and G4 in
``test_faults_server.py``, G5, I2 and I3 in ``e2e/test_server_process.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import subprocess
import sys
import textwrap
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import FORMAT, PATIENCE_S, Peer, ScriptedServer, chunk, done
from test_context import collect, connected, options

import voxwire
from voxwire import server
from voxwire.protocol import LIMITS, Audio, FlushDone
from voxwire.testing import connected_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\n"


# --- A: the answer to the upgrade


@contextlib.asynccontextmanager
async def endless(head: bytes, filler: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers with a head and then with filler for as long as anyone reads; how much it could write."""
    written = [0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while True:
                writer.write(filler)
                await writer.drain()
                written[0] += len(filler)
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listener:
        yield f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}", written


@pytest.mark.parametrize(
    ("head", "filler"),
    [
        (UPGRADE, b"X-Long: " + bytes(b"x" * 8000) + b"\r\n"),
        (UPGRADE + b"X-Long: ", b"x" * 8192),
        (b"HTTP/1.1 ", b"1" * 8192),
        (UPGRADE, b"X-Many: 1\r\n" * 100),
        (b"", b"\0" * 8192),
    ],
    ids=["many-headers", "one-header", "status-line", "short-headers", "no-http"],
)
async def test_a13_a_head_without_end_is_a_protocol_error(head: bytes, filler: bytes) -> None:
    async with endless(head, filler) as (url, _), voxwire.Client(url) as client:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(voxwire.ProtocolError) as caught:
                await client.connect()
        assert caught.value.code == "handshake"
        assert not caught.value.retryable
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("length", [b"Content-Length: 10000000000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_a13_of_an_endless_error_body_a_little_is_read(length: bytes) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\n" + length + b"\r\n"
    piece = b"x" * 65536
    filler = b"10000\r\n" + piece + b"\r\n" if b"chunked" in length else piece
    async with endless(head, filler) as (url, written), voxwire.Client(url) as client:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(voxwire.PermissionDenied) as caught:
                await client.connect()
        assert caught.value.status == 403
        assert len(str(caught.value)) < 2000
        # What the buffers of two sockets hold, some 40 MiB at most, not what the server would send.
        assert written[0] < 1024 * LIMITS["error_body_bytes"]


# --- B15: the end without a Close


async def test_b15_an_end_without_a_close_fails_live_contexts_retryable() -> None:
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(chunk(context.id, b"\1\0"))
        socket_transport = peer.transport._socket
        assert socket_transport is not None
        socket_transport.close()
        got: list[bytes] = []
        with pytest.raises(voxwire.ConnectionLost) as caught:
            async for event in context:
                got.append(event.data)
        assert got == [b"\1\0"]
        assert (caught.value.code, caught.value.retryable, caught.value.context_id) == (
            "connection_lost",
            True,
            context.id,
        )


# --- D: audio


async def test_d3_a_hundred_thousand_chunks_of_one_byte() -> None:
    count = 100_000
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()

        async def send() -> None:
            message = chunk(context.id, b"\1")
            for _ in range(count // 1000):
                peer.send(*[message] * 1000)
                await peer.transport.drain()
            peer.send(done(context.id))

        sending = asyncio.create_task(send())
        audio = b"".join([event.data async for event in context])
        await sending
        assert audio == b"\1" * count


async def test_d5_bytes_of_another_format_pass_as_they_came() -> None:
    # Nothing on the wire tells the format of a chunk: here samples of four bytes came instead of two.
    async with connected() as (client, peer), client.context("a", **options()) as context:
        await peer.receive()
        peer.send(chunk(context.id, b"\0\0\x80?" * 3), done(context.id))
        (event,) = await collect(context)
        assert (event.data, event.format) == (b"\0\0\x80?" * 3, FORMAT)


# --- I7: cancelled at each await


class _CancelledAt:
    """Runs a coroutine and cancels its task at the n-th place where it waits."""

    def __init__(self, coroutine: Any, place: int) -> None:
        self._steps = coroutine.__await__()
        self._left = place

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waited_for = next(self._steps)
            while True:
                if self._left == 0:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                self._left -= 1
                try:
                    value = yield waited_for
                except BaseException as error:  # noqa: BLE001 - the coroutine decides, as under any task
                    waited_for = self._steps.throw(error)
                else:
                    waited_for = self._steps.send(value)
        except StopIteration as stop:
            return stop.value

    @property
    def reached(self) -> bool:
        return self._left < 0


async def _say(client: voxwire.Client) -> None:
    await client.say("Hello there.", sink="null:", voice="tone-1")


async def _iterate(client: voxwire.Client) -> None:
    async with client.context(voice="tone-1") as context:
        await context.push("Hello ")
        await context.push("there.", flush=True)
        await context.feed(["And ", "again."])
        async for _ in context:
            pass


async def _play(client: voxwire.Client) -> None:
    async with voxwire.open_sink("null:") as line, client.context("Hello there, friend.", voice="tone-1") as context:
        playback = await context.play(line)
        await playback.wait()


async def _interrupt(client: voxwire.Client) -> None:
    async with client.context("Hello there. " * 50, voice="tone-1") as context:
        playback = await context.play("null:")
        await playback.interrupt(at="sentence")


async def _cancel(client: voxwire.Client) -> None:
    async with client.context("Hello there. " * 50, voice="tone-1") as context:
        async for _ in context.batches():
            await context.cancel()


@pytest.mark.parametrize("scenario", [_say, _iterate, _play, _interrupt, _cancel], ids=lambda f: f.__name__[1:])
async def test_i7_cancelled_at_each_await_nothing_is_left(
    scenario: Callable[[voxwire.Client], Awaitable[None]],
) -> None:
    async with server.serve(engine="tone", context_expiry_s=30) as running:
        before = asyncio.all_tasks()
        for place in range(1000):
            client = voxwire.Client(running.url)
            async with asyncio.timeout(PATIENCE_S):
                async with client:
                    run = _CancelledAt(scenario(client), place)

                    async def cancelled(run: _CancelledAt = run) -> None:
                        await run

                    task = asyncio.create_task(cancelled())
                    await asyncio.wait({task})
                    assert task.cancelled() or task.exception() is None
                    # The client is as good as new.
                    await client.say("Hi.", sink="null:", voice="tone-1")
            if not run.reached:
                break
        else:
            pytest.fail("the scenario has no end")
        assert place > 0
        # The tasks of a client are named after it; those of the server end with its sockets.
        left = {task.get_name() for task in asyncio.all_tasks() - before}
        assert [name for name in left if name.startswith("voxwire")] == []


# --- I7: loops, processes, the end of the interpreter


async def test_i7_a_client_of_an_ended_loop_is_refused_by_another() -> None:
    async with ScriptedServer() as peer_server:
        client = voxwire.Client(peer_server.url)

        async def use() -> None:
            await client.connect()
            await client.close()

        def elsewhere() -> None:
            asyncio.run(use())

        await asyncio.to_thread(elsewhere)
        for call in (client.connect, client.close, client.voices):
            with pytest.raises(RuntimeError, match=r"loop|closed"):
                await call()


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_i7_a_fork_after_connect_leaves_the_parent_its_connection(runner: str) -> None:
    result = _run(f"""
        import gc, os, asyncio, {runner} as runner, warnings
        import voxwire
        from voxwire import server

        async def main():
            async with server.serve(engine="tone") as running:
                client = voxwire.Client(running.url)
                await client.connect()
                if (child := os.fork()) == 0:
                    warnings.simplefilter("ignore")
                    del client
                    gc.collect()
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                record = await client.say("Hello.", sink="null:")
                await client.close()
                print(record.outcome)

        runner.run(main())
    """)
    assert (result.returncode, result.stdout.strip()) == (0, "finished"), result.stderr


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_i7_the_interpreter_ends_with_open_connections(runner: str) -> None:
    result = _run(f"""
        import asyncio, {runner} as runner
        import voxwire
        from voxwire import server

        async def main():
            global client, context, running
            running = await server.serve(engine="tone").__aenter__()
            client = voxwire.Client(running.url)
            context = client.context("Hello there. " * 100)
            await context.__aenter__()
            await anext(context)
            print("open")

        loop = runner.new_event_loop()
        loop.run_until_complete(main())
    """)
    assert (result.returncode, result.stdout.strip()) == (0, "open"), result.stderr
    assert "Traceback" not in result.stderr
    assert "Fatal" not in result.stderr


def test_i7_the_interpreter_ends_with_an_open_blocking_client() -> None:
    result = _run("""
        import voxwire.sync

        client = voxwire.sync.Client()
        context = client.context("Hello there. " * 100)
        context.__enter__()
        next(context)
        print("open")
    """)
    assert (result.returncode, result.stdout.strip()) == (0, "open"), result.stderr
    assert "Traceback" not in result.stderr
    assert "Fatal" not in result.stderr


async def test_i7_cycles_through_a_context_are_collected() -> None:
    async with connected_pair() as (client, _):

        async def cycle() -> weakref.ref[voxwire.Context]:
            async with client.context("Hi.") as context:
                context.own = [context]  # type: ignore[attr-defined]
                async for _ in context:
                    pass
            return weakref.ref(context)

        kept = await cycle()
        gc.collect()
        assert kept() is None


def test_i7_a_million_objects_leave_no_memory_behind() -> None:
    data = bytes(32)

    def make(count: int) -> None:
        for number in range(count):
            Audio(data, FORMAT, 0.5, number)
            FlushDone(number)

    make(10_000)
    allocated = sys.getallocatedblocks()
    high_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    make(500_000)
    assert abs(sys.getallocatedblocks() - allocated) < 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - high_kib < 8192


def test_i7_audio_outlives_all_that_brought_it() -> None:
    async def bring() -> memoryview:
        async with connected() as (client, peer), client.context("a", **options()) as context:
            await _answer(peer, context)
            (event,) = await collect(context)
            return memoryview(event.data)

    view = asyncio.run(bring())
    gc.collect()
    assert bytes(view) == bytes(range(200))


async def _answer(peer: Peer, context: voxwire.Context) -> None:
    await peer.receive()
    peer.send(chunk(context.id, bytes(range(200))), done(context.id))
