"""The server in the process, and the pair in memory."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest
from raw_client import RawClient, kinds_of

from voxwire import embedded, server
from voxwire.exceptions import PluginError
from voxwire.server.speech.context import SpeechContext
from voxwire.testing import connected_pair
from voxwire.transport import Endpoint


async def speaks(url: str) -> bool:
    async with await RawClient.open(url) as client:
        return kinds_of(await client.say("c1", "Hi")) == ["chunk", "done"]


def listens(url: str) -> bool:
    endpoint = Endpoint.parse(url)
    with socket.socket() as probe:
        return probe.connect_ex((endpoint.host, endpoint.port)) == 0


async def test_a_server_of_ones_own():
    server = await embedded.start("tone")
    assert Endpoint.parse(server.url).host == "127.0.0.1"
    assert await speaks(server.url)
    await server.close()
    assert not listens(server.url)


async def test_ended_contexts_leave_nothing_to_collect():
    async with server.serve(engine="tone") as running, await RawClient.open(running.url) as client:
        gc.collect()
        gc.disable()
        try:
            for index in range(10):
                assert kinds_of(await client.say(f"c{index}", "Hi"))[-1] == "done"
            # The task of the last one may have a step to go.
            await asyncio.sleep(0)
            assert not [found for found in gc.get_objects() if isinstance(found, SpeechContext)]
        finally:
            gc.enable()


async def test_the_collector_stays_as_its_user_set_it():
    before = gc.get_threshold(), gc.get_freeze_count()
    async with server.serve(engine="tone") as running:
        assert await speaks(running.url)
        assert (gc.get_threshold(), gc.get_freeze_count()) == before


async def test_users_of_one_engine_share_a_server():
    first, second = await asyncio.gather(embedded.acquire("tone"), embedded.acquire("tone"))
    assert first is second
    await embedded.release(first)
    assert await speaks(second.url)
    await embedded.release(second)
    assert not listens(second.url)
    third = await embedded.acquire("tone")
    assert third is not first
    assert await speaks(third.url)
    await embedded.release(third)


async def test_who_comes_while_the_last_one_leaves_gets_a_new_server():
    first = await embedded.acquire("tone")
    leaving = asyncio.ensure_future(embedded.release(first))
    await asyncio.sleep(0)
    second = await embedded.acquire("tone")
    assert second is not first
    await leaving
    assert await speaks(second.url)
    await embedded.release(second)


async def test_a_failed_start_is_not_kept():
    for _ in range(2):
        with pytest.raises(PluginError):
            await embedded.acquire("no-such-engine")


def test_loops_do_not_share():
    async def acquire() -> str:
        server = await embedded.acquire("tone")
        assert await speaks(server.url)
        await embedded.release(server)
        return server.url

    asyncio.run(acquire())
    asyncio.run(acquire())


async def test_connected_pair():
    before = asyncio.all_tasks()
    async with connected_pair() as (client, server):
        assert len(server.service.sessions) == 1
        audio = bytearray()
        async with client.context("Hello, world.") as context:
            async for event in context:
                audio += getattr(event, "data", b"")
        assert context.outcome == "finished"
        assert audio
        assert server.service.host.name == "tone"
    assert asyncio.all_tasks() == before
