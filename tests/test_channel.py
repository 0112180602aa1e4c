"""The socket that the core reads itself: opened, written under limits, ended, failed, on each kind of loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import ssl
import struct
import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
import trustme
import uvloop
from raw_server import raw_server
from scripted_server import ScriptedServer
from test_client_tls import serving
from test_transport import PATIENCE_S, Notes, run

from voxwire.audio import AudioFormat
from voxwire.exceptions import ConnectError, ConnectionLost, ConnectTimeout
from voxwire.protocol import AudioTally, Closed, Connection, Inbox, ReadBuffer, Reader, Socket, TlsContext
from voxwire.transport import Endpoint, Transport, attach_socket, connect
from voxwire.transport.channel import Channel, can_watch

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


async def attached(sock: socket.socket, **options: int) -> tuple[Transport, Notes]:
    notes = Notes()
    core = Connection("server", messages=False, ping_interval_s=None)
    return await attach_socket(sock, core, notes, **options), notes


async def dial(port: int, timeout_s: float = PATIENCE_S, sock: socket.socket | None = None) -> Transport:
    return await connect(
        Endpoint.parse(f"ws://127.0.0.1:{port}/"),
        Notes(),
        headers=(),
        ssl_context=None,
        timeout_s=timeout_s,
        make_connection=lambda now: Connection("client", now=now),
        sock=sock,
    )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def address(port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))


class TestOpening:
    @LOOPS
    def test_a_refused_connection_says_so_in_the_same_words_on_every_loop(self, loop):
        async def test() -> None:
            port = unused_port()
            with pytest.raises(ConnectError) as caught:
                await dial(port)
            assert str(caught.value) == f"cannot connect to ws://127.0.0.1:{port}: connection refused"

        run(loop, test)

    @LOOPS
    def test_addresses_are_tried_in_order(self, loop, monkeypatch):
        async def test() -> None:
            async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                del writer
                arrived.set()
                await reader.read()

            arrived = asyncio.Event()
            async with raw_server(silent) as place:

                async def addresses(host: str, port: int) -> list[object]:
                    del host, port
                    return [address(unused_port()), address(int(place.rsplit(":")[1]))]

                monkeypatch.setattr("voxwire.transport.addresses._addresses", addresses)
                with pytest.raises(ConnectTimeout):
                    await dial(1, timeout_s=0.2)
                assert arrived.is_set()

        run(loop, test)

    @LOOPS
    def test_each_address_tells_why_where_they_differ(self, loop, monkeypatch):
        async def test() -> None:
            async def addresses(host: str, port: int) -> list[object]:
                del host, port
                # The second is no address of its family.
                return [address(unused_port()), (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("255.255.255.255", 9))]

            monkeypatch.setattr("voxwire.transport.addresses._addresses", addresses)
            with pytest.raises(ConnectError, match=r"connect to ws://127.0.0.1:1: connection refused, .+"):
                await dial(1)

        run(loop, test)

    @pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
    @LOOPS
    @pytest.mark.parametrize("stage", ["lookup", "connect", "upgrade"])
    def test_cancelled_at_any_stage_it_leaves_no_descriptor(self, loop, stage, monkeypatch):
        async def test() -> None:
            reached = asyncio.Event()

            async def stuck(*_: object) -> None:
                reached.set()
                await asyncio.get_running_loop().create_future()

            async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                reached.set()
                await reader.read()
                writer.close()
                gone.set()

            gone = asyncio.Event()
            async with raw_server(silent) as place:
                port = int(place.rsplit(":")[1])
                before = descriptors()
                if stage == "lookup":
                    monkeypatch.setattr("voxwire.transport.addresses._addresses", stuck)
                elif stage == "connect":
                    # Nobody accepts, and the queue is full: the third handshake waits.
                    full = socket.create_server(("127.0.0.1", 0), backlog=0)
                    port = full.getsockname()[1]
                    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(1)]
                    reached.set()
                dialling = asyncio.ensure_future(dial(port))
                await reached.wait()
                await asyncio.sleep(0.01)
                dialling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await dialling
                if stage == "connect":
                    for sock in (*waiting, full):
                        sock.close()
                if stage == "upgrade":
                    await gone.wait()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert descriptors() <= before

        run(loop, test)


class TestWriting:
    @LOOPS
    def test_a_full_socket_pauses_the_writer_until_its_peer_has_taken_most(self, loop):
        async def test() -> None:
            ours, theirs = socket.socketpair()
            theirs.settimeout(0)
            transport, _ = await attached(ours, write_limit_bytes=100_000)
            transport.connection.send_binary(bytes(900_000))
            transport.flush()
            assert not transport.writable
            drained = asyncio.ensure_future(transport.drain())
            taken = 0
            while not drained.done():
                taken += len(await asyncio.get_running_loop().sock_recv(theirs, 65_536))
                await asyncio.sleep(0)
            assert transport.writable
            assert transport.unsent_bytes <= 25_000
            while taken < 900_010:
                taken += len(await asyncio.get_running_loop().sock_recv(theirs, 65_536))
            assert taken == 900_010
            theirs.close()
            await transport.wait_closed()
            with pytest.raises(ConnectionLost):
                await transport.drain()

        run(loop, test)

    @LOOPS
    def test_our_stream_ends_behind_all_that_waits_and_theirs_goes_on(self, loop):
        async def test() -> None:
            ours, theirs = socket.socketpair()
            theirs.settimeout(0)
            transport, notes = await attached(ours)
            transport.connection.send_binary(bytes(500_000))
            client = Connection("client", messages=False, ping_interval_s=None)
            client.close(1000, "", 0.0)
            theirs.send(client.poll_transmit())
            assert (await notes.closed).code == 1000
            assert transport.unsent_bytes
            while data := await asyncio.get_running_loop().sock_recv(theirs, 65_536):
                client.handle_data(data, 0.0)
            events = client.poll_events()
            assert len(events[0].data) == 500_000
            assert (events[-1].code, events[-1].clean) == (1000, True)
            assert not transport.closed
            theirs.send(b"more that nobody wants")
            theirs.close()
            await transport.wait_closed()

        run(loop, test)


class TestEnds:
    @LOOPS
    def test_a_reset_is_an_abnormal_end(self, loop):
        async def test() -> None:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                ours = socket.create_connection(listener.getsockname())
                theirs, _ = listener.accept()
            transport, notes = await attached(ours)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            assert (await notes.closed).code == 1006
            await transport.wait_closed()
            assert ours.fileno() == -1

        run(loop, test)

    @LOOPS
    def test_a_handler_that_fails_ends_its_connection_and_the_loop_is_told(self, loop):
        async def test() -> None:
            told: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            ours, theirs = socket.socketpair()
            transport, notes = await attached(ours)

            class Failing(Notes):
                def handle_events(self, events: list[object]) -> None:
                    transport.handler = notes
                    raise LookupError("of the handler")

            transport.handler = Failing()
            client = Connection("client", messages=False, ping_interval_s=None)
            client.send_text("x")
            theirs.send(client.poll_transmit())
            assert (await notes.closed).code == 1006
            await transport.wait_closed()
            assert [type(context["exception"]) for context in told] == [LookupError]
            theirs.close()

        run(loop, test)

    @LOOPS
    def test_numbers_that_are_used_again_are_watched_for_their_new_sockets_only(self, loop):
        async def test() -> None:
            client = Connection("client", messages=False, ping_interval_s=None)
            numbers = []
            for _ in range(20):
                ours, theirs = socket.socketpair()
                numbers.append(ours.fileno())
                transport, notes = await attached(ours)
                client.send_text("x")
                theirs.send(client.poll_transmit())
                while not notes.count:
                    await asyncio.sleep(0)
                transport.abort()
                await transport.wait_closed()
                assert notes.count == 1
                theirs.close()
                # The loop lets go of the number in the turn after the owner was told.
                await asyncio.sleep(0)
            assert len(set(numbers)) < 20

        run(loop, test)


class TestTls:
    @LOOPS
    def test_encrypted_bytes_go_in_and_messages_come_out(self, loop, tmp_path):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        certificate = authority.issue_cert("127.0.0.1")

        async def test() -> None:
            async with ScriptedServer(ssl_context=serving(certificate)) as server:
                notes = Notes()
                transport = await connect(
                    Endpoint.parse(server.url),
                    notes,
                    headers=(),
                    ssl_context=TlsContext(ca_file=tmp_path / "authority.pem"),
                    timeout_s=PATIENCE_S,
                    make_connection=lambda now: Connection("client", messages=False, now=now),
                )
                assert isinstance(transport._socket, Channel)
                peer = await server.accept()
                # More than a read, and records of every fill.
                sent = [{"type": "x", "text": "y" * (7919 * index)} for index in range(60)]
                told: list[object] = []
                notes.handle_events = told.extend
                for message in sent:
                    peer.send(message)
                transport.connection.send_text('{"big":"' + "z" * 300_000 + '"}')
                transport.flush()
                assert len((await peer.receive())["big"]) == 300_000
                while len(told) < len(sent):
                    await asyncio.sleep(0)
                assert [json.loads(event.data) for event in told] == sent
                await transport.close()
                assert (await peer.wait_closed()).clean

        run(loop, test)


@pytest.mark.parametrize("ours_to_read", [True, False], ids=["channel", "asyncio"])
async def test_a_loop_that_watches_no_descriptors_has_transports_of_its_own(ours_to_read, monkeypatch):
    monkeypatch.setattr("voxwire.transport.opening.can_watch", lambda loop: ours_to_read)
    ours, theirs = socket.socketpair()
    transport, notes = await attached(ours)
    assert isinstance(transport._socket, Channel) == ours_to_read
    theirs.close()
    async with asyncio.timeout(PATIENCE_S):
        assert (await notes.closed).code == 1006
        await transport.wait_closed()


def test_what_a_loop_can_watch() -> None:
    class Proactor(asyncio.AbstractEventLoop):
        """Knows no readers."""

    assert not can_watch(Proactor())
    for make in (asyncio.new_event_loop, uvloop.new_event_loop):
        with contextlib.closing(make()) as loop:
            assert can_watch(loop)


def reader(
    sock: socket.socket, connection: Connection, *, size: int, now_s: float = 1.0
) -> tuple[Socket, Reader, list[object]]:
    """Returns socket, reader and what that tells."""
    told: list[object] = []

    def tell(ended: bool, failure: Exception | None) -> None:
        told.append(failure or ("end" if ended else "more"))

    link = Socket(sock.fileno())
    return link, Reader(link, connection, ReadBuffer(size), lambda: now_s, tell), told


class TestNative:
    def test_a_read_goes_to_the_core_where_it_lies(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(0)
            server = Connection("server", messages=False, ping_interval_s=None)
            client = Connection("client", messages=False, ping_interval_s=None)
            link, read, told = reader(ours, server, size=16)
            read()
            assert told == []
            client.send_text("0123456789")
            theirs.send(client.poll_transmit() * 2)
            for _ in range(3):
                read()
            assert told == ["more"] * 2
            assert [event.data for event in server.poll_events()] == ["0123456789"] * 2
            theirs.send(b"abc")
            theirs.shutdown(socket.SHUT_WR)
            assert link.receive_bytes(ReadBuffer(16)) == (b"abc", False)
            assert link.receive_bytes(ReadBuffer(16)) == (b"", True)
            read()
            assert told.pop() == "end"
            link.close()
            read()
            assert isinstance(told.pop(), OSError)

    def test_a_read_tells_whether_there_is_something_to_be_seen_to(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(0)
            client = Connection("client", batched=True, ping_interval_s=30.0, now=0.0)
            link, read, told = reader(ours, client, size=1024)
            due = client.poll_timeout()
            assert due is not None
            pong, ping, message, close = b"\x8a\x00", b"\x89\x00", b"\x81\x02{}", b"\x88\x00"
            # At first nobody looks at the clock.
            for timer_due, sent, expected in (
                (None, pong, ["more"]),
                (due, pong, []),
                (due + 100.0, pong, ["more"]),
                (due, ping, ["more"]),
                (due, message, []),
            ):
                client.note_timer(timer_due)
                theirs.send(sent)
                read()
                assert told == expected
                told.clear()
                client.poll_transmit()
            theirs.send(close)
            read()
            assert told == ["more"]
            assert [type(event) for event in client.poll_events()] == [Closed]
            client.poll_transmit()
            client.note_timer(client.poll_timeout())
            theirs.send(pong)
            read()
            assert told == ["more"]
            # What the system has not taken is to be sent when it can.
            assert link.send(bytes(1 << 20))
            theirs.send(pong)
            read()
            assert told == ["more"] * 2

    def test_what_is_to_end_the_program_passes(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(0)

            def interrupted() -> float:
                raise KeyboardInterrupt

            read = Reader(
                Socket(ours.fileno()),
                Connection("server", messages=False),
                ReadBuffer(8),
                interrupted,
                lambda ended, failure: pytest.fail(f"told of {ended} {failure}"),
            )
            with pytest.raises(KeyboardInterrupt):
                read()

    def test_foreign_code_that_a_delivery_runs_may_send(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(0)
            core = Connection("client", batched=True, ping_interval_s=None)
            link, read, told = reader(ours, core, size=1024)

            class Loop:
                """Runs what a collector or a patched loop may run."""

                def is_running(self) -> bool:
                    return True

                def create_future(self) -> Any:
                    return self

                def done(self) -> bool:
                    return False

                def set_result(self, result: None) -> None:
                    link.send(b"meanwhile")

            inbox = Inbox(None, AudioTally(), 1 << 20)
            inbox.open(cast("asyncio.AbstractEventLoop", Loop()))
            core.open_context("c", inbox, AudioFormat())
            core.send_input("c", "Hi.", continues=True, settings=b"{}", now=1.0)
            core.poll_transmit()
            core.note_timer(core.poll_timeout())
            waiting = anext(inbox)
            waiting.send(None)
            text = b'{"type":"chunk","data":"AAAA","status_code":206,"context_id":"c"}'
            theirs.send(b"\x81" + bytes([len(text)]) + text)
            read()
            assert told == []
            assert theirs.recv(100) == b"meanwhile"
            assert inbox.take()[0].data == b"\0\0"

    def test_errors_of_the_system_have_their_classes(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(0)
            link = Socket(ours.fileno())
            theirs.close()
            with pytest.raises(BrokenPipeError, match="Broken pipe"):
                link.send(b"x")

    def test_a_time_that_is_none_and_a_buffer_without_room_are_refused(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(0)
            core = Connection("server", messages=False)
            _, read, told = reader(ours, core, size=8, now_s=float("nan"))
            read()
            assert isinstance(told[0], ValueError)
            assert "now must be a finite number" in str(told[0])
        with pytest.raises(ValueError, match="size of 0 bytes"):
            ReadBuffer(0)


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection; the first does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours.settimeout(0)
        yield ours, theirs


def is_readable(sock: socket.socket, patience_s: float = 0.0) -> bool:
    return bool(select.select([sock], [], [], patience_s)[0])


def frames(*texts: str) -> bytes:
    server = Connection("server", messages=False, ping_interval_s=None)
    for text in texts:
        server.send_text(text)
    return server.poll_transmit()


class Records:
    """The end of a TLS session that makes records, which the test sends as it likes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self, ours: Socket, theirs: socket.socket) -> None:
        theirs.settimeout(PATIENCE_S)
        is_done = False
        while not is_done:
            self._incoming.write(theirs.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                self._session.do_handshake()
                is_done = True
            theirs.sendall(self._outgoing.read())
            ours.receive_bytes(ReadBuffer(65536))

    def encrypt(self, plain: bytes) -> bytes:
        self._session.write(plain)
        return self._outgoing.read()


@pytest.mark.skipif(sys.platform != "linux", reason="only this system is asked to wait for more")
class TestWaitingForMore:
    """A long message that comes in many segments wakes its reader no more often than needed, and never too seldom."""

    def test_the_rest_of_a_message_is_waited_for_in_one(self) -> None:
        with tcp_pair() as (ours, theirs):
            client = Connection("client", messages=False, ping_interval_s=None)
            _, read, _ = reader(ours, client, size=262_144)
            wire = frames("x" * 40_000)
            theirs.sendall(wire[:1000])
            assert is_readable(ours, PATIENCE_S)
            read()
            for start in range(1000, 8_000, 1000):
                theirs.sendall(wire[start : start + 1000])
                assert not is_readable(ours)
            theirs.sendall(wire[8_000:-1])
            assert not is_readable(ours)
            theirs.sendall(wire[-1:])
            assert is_readable(ours, PATIENCE_S)
            read()
            assert [len(event.data) for event in client.poll_events()] == [40_000]
            # And then for nothing in particular.
            theirs.sendall(frames(""))
            assert is_readable(ours, PATIENCE_S)

    def test_no_more_is_waited_for_than_shows_that_a_slow_peer_lives(self) -> None:
        with tcp_pair() as (ours, theirs):
            client = Connection("client", messages=False, ping_interval_s=None)
            _, read, _ = reader(ours, client, size=262_144)
            wire = frames("x" * 1_000_000)
            theirs.sendall(wire[:1000])
            assert is_readable(ours, PATIENCE_S)
            read()
            theirs.sendall(wire[1000 : 1000 + 65_535])
            assert not is_readable(ours)
            theirs.sendall(wire[1000 + 65_535 : 1000 + 65_536])
            assert is_readable(ours, PATIENCE_S)

    @pytest.mark.parametrize("is_reset", [False, True])
    def test_the_end_of_the_stream_is_not_waited_for(self, is_reset) -> None:
        with tcp_pair() as (ours, theirs):
            client = Connection("client", messages=False, ping_interval_s=None)
            _, read, told = reader(ours, client, size=262_144)
            theirs.sendall(frames("x" * 40_000)[:1000])
            assert is_readable(ours, PATIENCE_S)
            read()
            theirs.sendall(b"y" * 1000)
            assert not is_readable(ours)
            if is_reset:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            assert is_readable(ours, PATIENCE_S)
            while told[-1:] in ([], ["more"]):
                read()
            assert isinstance(told[-1], ConnectionResetError) if is_reset else told[-1] == "end"

    @pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("size", [24 * 1024, 256 * 1024])
    def test_what_came_whole_is_read_however_it_was_cut(self, is_secure, size, tmp_path) -> None:
        # A socket that is not readable though a message lies in it would keep it until the next one.
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        context = serving(authority.issue_cert("127.0.0.1"))
        random = Random(20 * size + is_secure)
        failures: list[Exception] = []

        def note(_: bool, failure: Exception | None) -> None:
            if failure is not None:
                failures.append(failure)

        for _ in range(40):
            with tcp_pair() as (ours, theirs):
                client = Connection("client", messages=False, ping_interval_s=None)
                if is_secure:
                    tls = TlsContext(ca_file=tmp_path / "authority.pem")
                    link = Socket(ours.fileno(), tls=tls, server_name="127.0.0.1")
                    records = Records(context)
                    records.shake_hands(link, theirs)
                else:
                    link = Socket(ours.fileno())
                read = Reader(link, client, ReadBuffer(size), lambda: 1.0, note)
                lengths = [random.choice([5, 3_000, 6_000, 17_000, 50_000, 120_000]) for _ in range(6)]
                for length in lengths:
                    plain = frames("x" * (length + random.randrange(2_000)))
                    wire = records.encrypt(plain) if is_secure else plain
                    places = sorted(random.randrange(len(wire)) for _ in range(random.randrange(5)))
                    for start, end in pairwise([0, *places, len(wire)]):
                        theirs.sendall(wire[start:end])
                        while is_readable(ours) and not failures:
                            read()
                    while not (events := client.poll_events()):
                        assert is_readable(ours, PATIENCE_S), f"{len(plain)} bytes cut at {places}"
                        read()
                        assert failures == []
                    assert len(events) == 1
                link.close()
