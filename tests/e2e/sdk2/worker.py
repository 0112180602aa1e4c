"""Drives the service's second Python SDK; runs in an environment of its own, where nothing of ours is installed.

Each line of standard input is one order, ``{"scenario": NAME, "url": URL, "key": KEY, ...}``; each is answered by one
line of JSON on standard output: what the scenario returned, or ``{"raised": [class, text]}``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
from cartesia import AsyncCartesia, Cartesia

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

VOICE = {"mode": "id", "id": "tone-1"}
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
OPTIONS: dict[str, Any] = {"model_id": "sonic-2", "voice": VOICE, "output_format": FORMAT}
TIMEOUT_S = 15.0


def collected(outputs: Iterable[Any]) -> dict[str, Any]:
    """Puts together what a context gave."""
    audio, words, phonemes, ids = bytearray(), [], [], set()
    for output in outputs:
        audio += output.audio or b""
        ids.add(output.context_id)
        if (lists := output.word_timestamps) is not None:
            words += zip(lists.words, lists.start, lists.end, strict=True)
        if (lists := output.phoneme_timestamps) is not None:
            phonemes += zip(lists.phonemes, lists.start, lists.end, strict=True)
    return {
        "audio": base64.b64encode(audio).decode(),
        "words": words,
        "phonemes": phonemes,
        "ids": sorted(context_id for context_id in ids if context_id is not None),
    }


async def gathered(outputs: AsyncIterable[Any]) -> dict[str, Any]:
    return collected([output async for output in outputs])


class Blocking:
    """Scenarios of the blocking client."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.options = {**OPTIONS, **order.get("options", {})}
        self.socket = Cartesia(api_key=order["key"], base_url=order["url"]).tts.websocket()

    def run(self) -> Any:
        try:
            return getattr(self, self.order["scenario"].removeprefix("blocking_"))()
        finally:
            self.socket.close()

    def whole(self) -> Any:
        return collected([self.socket.send(**self.options, transcript=self.order["text"], stream=False)])

    def stream(self) -> Any:
        return collected(self.socket.send(**self.options, transcript=self.order["text"]))

    def continuation(self) -> Any:
        context = self.socket.context(self.order.get("context_id"))
        return collected(context.send(**self.options, transcript=iter(self.order["texts"])))

    def one_after_another(self) -> Any:
        results = []
        for text in self.order["texts"]:
            context = self.socket.context()
            results.append(collected(context.send(**self.options, transcript=iter([text]))))
        return results

    def failure_and_again(self) -> Any:
        try:
            collected(self.socket.send(**{**self.options, **self.order["wrong"]}, transcript=self.order["text"]))
        except RuntimeError as error:
            return {"failure": str(error), **self.stream()}
        return {"failure": None}

    def stop_in_the_middle(self) -> Any:
        """The only interruption there is here: the socket is closed, the next use opens another."""
        outputs = self.socket.send(**self.options, transcript="word " * 400)
        next(outputs)
        self.socket.close()
        return self.stream()


class Asynchronous:
    """Scenarios of the asynchronous client."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.options = {**OPTIONS, **order.get("options", {})}
        self.socket: Any

    async def run(self) -> Any:
        client = AsyncCartesia(api_key=self.order["key"], base_url=self.order["url"], timeout=TIMEOUT_S)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self.socket = await client.tts.websocket()
                self.socket.timeout = TIMEOUT_S
                try:
                    return await getattr(self, self.order["scenario"].removeprefix("asynchronous_"))()
                finally:
                    # The listener of a socket that the server closed raises here what it saw.
                    with contextlib.suppress(aiohttp.WSMessageTypeError):
                        await self.socket.close()
        finally:
            await client.close()

    async def whole(self) -> Any:
        return collected([await self.socket.send(**self.options, transcript=self.order["text"], stream=False)])

    async def stream(self) -> Any:
        return await gathered(await self.socket.send(**self.options, transcript=self.order["text"]))

    async def continuation(self) -> Any:
        context = self.socket.context(self.order.get("context_id"))
        for text in self.order["texts"]:
            await context.send(**self.options, transcript=text, continue_=True)
        await context.no_more_inputs()
        return await gathered(context.receive())

    async def flush(self) -> Any:
        """Flushes between the texts, and reads all of it with ``receive`` after the last flush."""
        context = self.socket.context()
        *first, last = self.order["texts"]
        for text in first:
            await context.send(**self.options, transcript=text, continue_=True)
            await context.flush()
        await context.send(**self.options, transcript=last, continue_=True)
        await context.no_more_inputs()
        return await gathered(context.receive())

    async def flush_in_the_request(self) -> Any:
        context = self.socket.context()
        # Every queue that the server's numbers name must be there: the SDK makes them in `flush` alone.
        self.socket._context_queues[context.context_id] *= 4
        for text in self.order["texts"]:
            await context.send(**self.options, transcript=text, continue_=True, flush=True)
        await context.no_more_inputs()
        return await gathered(context.receive())

    async def cancel(self) -> Any:
        first = self.socket.context()
        await first.send(**self.options, transcript="word " * 400, continue_=True)
        if self.order["after_audio"]:
            await anext(first.receive())
        await first.cancel()
        return await self.stream()

    async def failure_and_again(self) -> Any:
        try:
            await gathered(
                await self.socket.send(**{**self.options, **self.order["wrong"]}, transcript=self.order["text"])
            )
        except RuntimeError as error:
            return {"failure": str(error), **await self.stream()}
        return {"failure": None}

    async def expiry(self) -> Any:
        context = self.socket.context()
        await context.send(**self.options, transcript=self.order["text"], continue_=True)
        return await gathered(context.receive())

    async def many(self) -> Any:
        async def speak(text: str) -> Any:
            context = self.socket.context()
            for word in text.split():
                await context.send(**self.options, transcript=f"{word} ", continue_=True)
            await context.no_more_inputs()
            return await gathered(context.receive())

        return await asyncio.gather(*map(speak, self.order["texts"]))

    async def close_in_the_middle(self) -> Any:
        context = self.socket.context()
        await context.send(**self.options, transcript="word " * 400, continue_=True)
        await anext(context.receive())
        await self.socket.close()
        return await self.stream()

    async def until_the_server_ends(self) -> Any:
        """Says when audio has begun; then the server is to end."""
        context = self.socket.context()
        await context.send(**self.options, transcript="word " * 400, continue_=True)
        outputs = context.receive()
        await anext(outputs)
        answer({"begun": True})
        return await gathered(outputs)


def answer(result: Any) -> None:
    print(json.dumps(result), flush=True)


def carry_out(order: dict[str, Any]) -> Any:
    try:
        if order["scenario"].startswith("blocking_"):
            return Blocking(order).run()
        return asyncio.run(Asynchronous(order).run())
    except Exception as error:  # noqa: BLE001 - the test judges it
        return {"raised": [type(error).__name__, str(error)]}


if __name__ == "__main__":
    # A listener that died says so only through the logger of asyncio: what a test must not miss.
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    for line in sys.stdin:
        answer(carry_out(json.loads(line)))
