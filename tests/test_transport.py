"""The asyncio side of a socket: liveness behind a full queue, fairness between sockets, ends at awkward moments."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from voxwire.protocol import ClientHandshake, Closed, Connection, Message
from voxwire.transport import Endpoint, HandshakeRefused, Transport, attach_socket, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from voxwire.protocol import Event

PATIENCE_S = 10.0
PING_S = 0.1
PONG_S = 0.4


def _loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    try:
        import uvloop
    except ImportError:
        return [asyncio.new_event_loop]
    return [asyncio.new_event_loop, uvloop.new_event_loop]


def run(loop: Callable[[], asyncio.AbstractEventLoop], test: Callable[[], Awaitable[None]]) -> None:
    """Runs a test on a loop; what the loop would only have logged fails it."""
    faults: list[str] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context)))
        async with asyncio.timeout(PATIENCE_S):
            await test()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(watched())
    assert not faults


class Notes:
    """A handler that keeps what it is told."""

    def __init__(self, name: str = "", journal: list[str] | None = None) -> None:
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self.count = 0
        self._name = name
        self._journal = journal

    def handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Message):
                self.count += 1
                if self._journal is not None:
                    self._journal.append(self._name)
            elif isinstance(event, Closed):
                self.closed.set_result(event)


def server_core(now: float) -> Connection:
    return Connection("server", messages=False, ping_interval_s=PING_S, ping_timeout_s=PONG_S, now=now)


async def open_server(ours: socket.socket) -> tuple[Transport, Notes]:
    notes = Notes()
    return await attach_socket(ours, server_core(asyncio.get_running_loop().time()), notes), notes


@pytest.fixture(params=_loops(), ids=lambda loop: loop.__module__.split(".")[0])
def loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return request.param


@pytest.mark.skipif(sys.platform != "linux", reason="what a socket's queue holds is known on Linux only")
class TestLiveness:
    def test_a_slow_reader_is_not_dead_while_our_ping_stands_behind_audio(self, loop, monkeypatch):
        monkeypatch.setattr("voxwire.transport.stream._LOOK_S", 0.05)

        async def test() -> None:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            transport, notes = await open_server(ours)
            running = asyncio.get_running_loop()
            transport.connection.send_binary(bytes(2_000_000))
            transport.flush()
            began = running.time()
            taken = 0
            # The pace of a listener: all of it takes several times as long as a pong may.
            while taken < 2_000_000:
                taken += len(await running.sock_recv(theirs, 32_768))
                await asyncio.sleep(0.02)
            assert running.time() - began > 2 * (PING_S + PONG_S)
            assert not notes.closed.done()
            # Now that nothing is in flight a peer without a pong is dead in time.
            began = running.time()
            closed = await notes.closed
            assert closed.timed_out == "ping"
            assert running.time() - began < PING_S + PONG_S + 0.5
            theirs.close()
            await transport.wait_closed()

        run(loop, test)

    def test_a_late_pong_does_not_put_off_the_next_ping(self, loop, monkeypatch):
        monkeypatch.setattr("voxwire.transport.stream._LOOK_S", 60.0)

        async def test() -> None:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            running = asyncio.get_running_loop()
            core = Connection("server", messages=False, ping_interval_s=PING_S, ping_timeout_s=60.0, now=running.time())
            transport = await attach_socket(ours, core, Notes())
            peer = Connection("client", messages=False, ping_interval_s=None)
            peer.handle_data(await running.sock_recv(theirs, 100))
            # Later than the next ping would have been: that is the case.
            await asyncio.sleep(2 * PING_S)
            await running.sock_sendall(theirs, peer.poll_transmit())
            # Waits for the next ping, not for the time at which the first would have been given up.
            assert await running.sock_recv(theirs, 100)
            transport.abort()
            theirs.close()
            await transport.wait_closed()

        run(loop, test)

    def test_a_peer_that_takes_nothing_is_dead_in_time(self, loop, monkeypatch):
        monkeypatch.setattr("voxwire.transport.stream._LOOK_S", 0.05)

        async def test() -> None:
            ours, theirs = socket.socketpair()
            transport, notes = await open_server(ours)
            transport.connection.send_binary(bytes(2_000_000))
            transport.flush()
            assert transport.unsent_bytes
            began = asyncio.get_running_loop().time()
            assert (await notes.closed).timed_out == "ping"
            assert asyncio.get_running_loop().time() - began < PING_S + PONG_S + 0.5
            theirs.close()
            await transport.wait_closed()

        run(loop, test)


class TestFairness:
    def test_a_flood_on_one_socket_lets_the_others_have_their_turn(self, loop):
        async def test() -> None:
            journal: list[str] = []
            ends = []
            for name in ("flood", "other"):
                ours, theirs = socket.socketpair()
                notes = Notes(name, journal)
                core = Connection("server", messages=False, ping_interval_s=None)
                ends.append((await attach_socket(ours, core, notes), notes, theirs))
            await asyncio.sleep(0.01)
            # Both wait in their sockets before anything is read.
            for (_, _, theirs), count in zip(ends, (5_000, 1), strict=True):
                client = Connection("client", messages=False, ping_interval_s=None)
                for _ in range(count):
                    client.send_text("0123456789")
                theirs.sendall(client.poll_transmit())
            while ends[0][1].count < 5_000:
                await asyncio.sleep(0.001)
            for transport, _, theirs in ends:
                theirs.close()
                await transport.wait_closed()
            assert journal.index("other") < 3_000

        run(loop, test)


class TestAwkwardMoments:
    def test_a_deadline_that_has_passed(self, loop):
        async def test() -> None:
            ours, theirs = socket.socketpair()
            notes = Notes()
            # Its ping has been due since the clock began.
            transport = await attach_socket(ours, server_core(0.0), notes)
            transport.flush()
            transport.connection.send_text("one")
            transport.flush()
            theirs.close()
            await notes.closed
            await transport.wait_closed()

        run(loop, test)

    def test_a_socket_that_ends_before_its_core_begins(self, loop):
        async def test() -> None:
            ours, theirs = socket.socketpair()
            notes = Notes()
            handshake = ClientHandshake(host="h", target="/", key=bytes(16))
            transport = Transport(notes, write_limit_bytes=1000, handshake=handshake)
            await asyncio.get_running_loop().create_connection(lambda: transport, sock=ours)
            # After its upgrade, and before whoever awaits that runs.
            transport.abort()
            theirs.close()
            await transport.wait_closed()
            core = Connection("client", messages=False)
            transport.start(core, b"")
            assert (await notes.closed).code == 1006
            assert core.state == "closed"

        run(loop, test)

    def test_nothing_is_written_to_a_socket_that_is_reset(self, loop, caplog):
        async def test() -> None:
            ours, theirs = socket.socketpair()
            notes = Notes()
            transport = await attach_socket(ours, Connection("server", messages=False), notes)
            theirs.close()
            for _ in range(20):
                transport.connection.send_text("x")
                transport.flush()
            await notes.closed
            await transport.wait_closed()

        run(loop, test)
        assert "socket.send" not in caplog.text


@pytest.fixture
async def refusing() -> AsyncIterator[Callable[[bytes], Awaitable[Endpoint]]]:
    """A server that answers every upgrade with given bytes, and then says nothing more."""
    servers = []

    async def serve(answer: bytes) -> Endpoint:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await reader.read()
            writer.close()

        started = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(started)
        return Endpoint.parse(f"ws://127.0.0.1:{started.sockets[0].getsockname()[1]}/")

    yield serve
    for started in servers:
        started.close()


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n", b"", b"Transfer-Encoding: chunked\r\n"])
async def test_a_refusal_counts_also_when_its_body_never_ends(refusing, head):
    endpoint = await refusing(b"HTTP/1.1 401 Unauthorized\r\n" + head + b"\r\n")
    with pytest.raises(HandshakeRefused) as caught:
        await connect(
            endpoint,
            Notes(),
            headers=(),
            ssl_context=None,
            timeout_s=0.3,
            make_connection=lambda now: Connection("client", now=now),
        )
    assert caught.value.status == 401
