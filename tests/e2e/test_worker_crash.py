"""A speech worker that is killed in mid-speech takes its own context along, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

import voxwire

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds workers through /proc")

VOXWIRE = Path(sys.executable).parent / "voxwire"
LONG = "This sentence keeps a worker busy, and so do the many that come after it. " * 400


def workers_of(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"voxwire-espeak-worker" in command and int(status[1]) == parent:
            found.append(int(folder.name))
    return found


async def gone(descriptor: int) -> None:
    """Waits until a process has ended, and closes its descriptor."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def test_a_killed_worker_fails_its_context_alone() -> None:
    process = await asyncio.create_subprocess_exec(
        VOXWIRE, "serve", "--port", "0", "--engine", "espeak", stdout=asyncio.subprocess.PIPE
    )
    killed: list[int] = []
    try:
        announced = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        async with voxwire.Client(announced["ws"]) as client, client.context() as bystander:
            await bystander.push("I was here before, ", flush=True)
            assert isinstance(await anext(aiter(bystander)), voxwire.Audio)
            async with asyncio.timeout(5), client.context(LONG) as victim:
                with pytest.raises(voxwire.ServerError) as raised:
                    async for event in victim:
                        if isinstance(event, voxwire.Audio) and event.start_s == 0:
                            for worker in workers_of(process.pid):
                                killed.append(os.pidfd_open(worker))
                                os.kill(worker, signal.SIGKILL)
            # A worker that is dying still looks alive: whoever is handed to it now shares its fate.
            for descriptor in killed:
                await gone(descriptor)
            assert (raised.value.code, raised.value.status, raised.value.retryable) == ("engine_crashed", 500, True)
            assert raised.value.context_id == victim.id
            assert victim.outcome == "failed"
            await bystander.push("and I am here still.")
            await bystander.finish()
            heard = [event async for event in bystander if isinstance(event, voxwire.Audio)]
            assert sum(len(event.data) for event in heard) > 24_000
            assert bystander.outcome == "finished"
            async with client.context("The next request works.") as after:
                heard = [event async for event in after if isinstance(event, voxwire.Audio)]
            assert sum(len(event.data) for event in heard) > 24_000
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
