"""What connections, contexts and messages hold in memory, as growth of a process of their own.

``python benches/memory.py`` prints a table and, last, one line of JSON; ``--short`` takes fewer of each. The audio of
every burst is compared with what was sent before a figure counts. Figures are of the proportional set size, which
counts what the system gave, fragmentation included.

| figure | how |
|---|---|
| context | contexts of one connection, each after a burst of 200 ms of audio, all open and idle |
| connection | connections of a client of their own, each after the same burst, all open and idle |
| message | highest resident size while one message of 16 MiB arrives in pieces, less that before |
| growth | of the resident size from the first tenth of very many short contexts to the last |
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import re
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import trustme
import uvloop

import voxwire
from voxwire.audio import AudioFormat, encode_base64
from voxwire.protocol import LIMITS, Audio, Connection, Message, ServerHandshake

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = AudioFormat()
BURST = bytes(range(256)) * 37 + bytes(128)
FIGURES = {
    "context": ("idle context", 2048),
    "connection": ("idle connection, ws", 16 * 1024),
    "connection-tls": ("idle connection, wss", 48 * 1024),
    "message": ("peak while a message of 16 MiB arrives", None),
    "growth": ("growth over all contexts", None),
}
COUNTS = {"context": 10_000, "connection": 1000, "connection-tls": 400, "message": 1, "growth": 1_000_000}
SHORT_COUNTS = {"context": 2000, "connection": 200, "connection-tls": 100, "message": 1, "growth": 20_000}


class Peer(asyncio.Protocol):
    """A server that answers every input with the burst, and a closed input with ``done``."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.handshake = ServerHandshake()
        self.connection: Connection | None = None

    def data_received(self, data: bytes) -> None:
        if self.connection is None:
            if not self.handshake.handle_data(data):
                return
            self.transport.write(self.handshake.accept())
            self.connection, data = Connection("server", messages=False), self.handshake.remainder
        self.connection.handle_data(data)
        for event in self.connection.poll_events():
            if isinstance(event, Message):
                self.answer(self.connection, orjson.loads(event.data))
        self.transport.write(self.connection.poll_transmit())

    def answer(self, connection: Connection, message: dict[str, Any]) -> None:
        context_id = message["context_id"]
        if "cancel" in message:
            return
        if message["transcript"]:
            connection.send_text(
                orjson.dumps(
                    {"type": "chunk", "context_id": context_id, "data": encode_base64(BURST), "status_code": 206}
                )
            )
        if not message["continue"]:
            connection.send_text(orjson.dumps({"type": "done", "context_id": context_id, "status_code": 206}))


async def serve(certificate: str | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with the program that started it: that is when its standard input does.
    await asyncio.to_thread(sys.stdin.read)


def resident_bytes() -> int:
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) * 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def burst(context: voxwire.Context) -> None:
    """Pushes a text and takes its audio, which must be right; the context stays open."""
    await context.push("word ")
    received = b""
    while len(received) < len(BURST):
        event = await anext(context)
        assert isinstance(event, Audio)
        received += event.data
    assert received == BURST, "the audio is not what was sent"


def open_client(port: int, ca: str | None) -> voxwire.Client:
    # The core's own TLS, not Python's.
    context = voxwire.TlsContext(ca_file=ca) if ca is not None else None
    scheme = "wss" if ca is not None else "ws"
    return voxwire.Client(
        f"{scheme}://localhost:{port}", ssl_context=context, inactivity_timeout_s=None, ping_interval_s=None
    )


def open_context(client: voxwire.Client) -> voxwire.Context:
    return client.context(voice="v", output_format=FORMAT)


async def contexts(port: int, count: int) -> float:
    async with open_client(port, None) as client:
        held = []

        async def more(number: int) -> None:
            for _ in range(number):
                # Without ``async with``: what a stack of such blocks holds is not the context's.
                context = await open_context(client).__aenter__()
                await burst(context)
                held.append(context)

        await more(count // 10)
        before = resident_bytes()
        await more(count)
        growth = (resident_bytes() - before) / count
        for context in held:
            await context.__aexit__(None, None, None)
        return growth


async def connections(port: int, count: int, ca: str | None) -> float:
    async with contextlib.AsyncExitStack() as stack:
        held = []

        async def more(number: int) -> None:
            for _ in range(number):
                client = await stack.enter_async_context(open_client(port, ca))
                held.append(client)
                async with open_context(client) as context:
                    await burst(context)

        await more(count // 10)
        before = resident_bytes()
        await more(count)
        return (resident_bytes() - before) / count


async def message() -> float:
    """In pieces of 64 KiB, as a socket brings them, into the core alone."""
    limit = LIMITS["client_message_bytes"]
    envelope = orjson.dumps({"type": "chunk", "context_id": "c", "status_code": 206, "data": ""})
    characters = (limit - len(envelope)) // 4 * 4
    payload = envelope[:-2] + b"AAAA" * (characters // 4) + envelope[-2:]
    wire = b"\x81\x7f" + len(payload).to_bytes(8, "big") + payload
    connection = Connection("client", inactivity_timeout_s=None, ping_interval_s=None)
    connection.open_context("c", None, FORMAT)
    connection.send_input("c", "Hi.", continues=True, settings=b"{}")
    connection.poll_transmit()
    before = resident_bytes()
    reset_peak()
    for start in range(0, len(wire), 65536):
        connection.handle_data(wire[start : start + 65536])
    (audio,) = connection.poll_events()
    # Before the comparison, which makes as much again.
    peak = peak_bytes() - before
    assert isinstance(audio, Audio)
    assert audio.data == bytes(characters // 4 * 3)
    return peak


async def growth(port: int, count: int) -> float:
    async with open_client(port, None) as client:

        async def speak(number: int) -> None:
            for _ in range(number):
                async with client.context("word ", voice="v", output_format=FORMAT) as context:
                    data = b"".join([event.data async for event in context if isinstance(event, Audio)])
                assert data == BURST, "the audio is not what was sent"

        async def spread(number: int) -> None:
            await asyncio.gather(*(speak(number // 10) for _ in range(10)))

        await spread(count // 10)
        before = resident_bytes()
        await spread(count - count // 10)
        return resident_bytes() - before


async def measure(name: str, port: int, count: int, ca: str | None) -> float:
    match name:
        case "context":
            return await contexts(port, count)
        case "connection" | "connection-tls":
            return await connections(port, count, ca)
        case "message":
            return await message()
        case _:
            return await growth(port, count)


@contextlib.contextmanager
def peer(certificate: str | None) -> Iterator[int]:
    command = [sys.executable, __file__, "--peer", certificate or ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def run(*, short: bool) -> list[dict[str, Any]]:
    """Measures each figure in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        ca, certificate = f"{folder}/ca.pem", f"{folder}/server.pem"
        authority.cert_pem.write_to_path(ca)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        for name, (title, wanted) in FIGURES.items():
            count = (SHORT_COUNTS if short else COUNTS)[name]
            tls = name.endswith("-tls")
            with peer(certificate if tls else None) as port:
                command = [sys.executable, __file__, "--figure", name, "--port", str(port), "--count", str(count)]
                command += ["--ca", ca] if tls else []
                output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800).stdout
            rows.append({"figure": title, "count": count, "bytes": round(float(output)), "wanted_bytes": wanted})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer of each")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--figure", choices=FIGURES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ca", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer is not None:
        uvloop.run(serve(arguments.peer or None))
    elif arguments.figure is not None:
        print(uvloop.run(measure(arguments.figure, arguments.port, arguments.count, arguments.ca)))
    else:
        rows = run(short=arguments.short)
        for row in rows:
            wanted = "" if row["wanted_bytes"] is None else f"  wanted under {row['wanted_bytes']:,} B"
            print(f"{row['figure']:40} {row['bytes']:12,} B  (of {row['count']:,}){wanted}")
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
