"""picows with a JSON parser of choice and pybase64: plain callbacks, one listener a socket.

Ways: ``aiofastnet`` (its default when that package is there), ``python_ssl`` (uvloop's transport over Python's ssl).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pybase64
from common import Meter, Run, request
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

if TYPE_CHECKING:
    from collections.abc import Callable


class Listener(WSListener):  # type: ignore[misc] # compiled, without types
    def __init__(
        self, parse: Callable[[WSFrame], Any], contexts: int, watch: Callable[[Any, Any], None] | None
    ) -> None:
        self._parse = parse
        self._left = contexts
        self._watch = watch
        self.count = self.total = 0
        self.over = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # noqa: ARG002 - the callback's form
        if frame.msg_type != WSMsgType.TEXT:
            return
        message = self._parse(frame)
        kind = message["type"]
        if kind == "chunk":
            data = pybase64.b64decode(message["data"], validate=True)
            self.count += 1
            self.total += len(data)
            if self._watch is not None:
                self._watch(message["context_id"], data)
        elif kind == "done":
            self._left -= 1
            if not self._left:
                self.over.set_result(None)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the callback's form
        if not self.over.done():
            self.over.set_exception(ConnectionError("the connection ended before the stream"))


async def receive(run: Run, parse: Callable[[WSFrame], Any]) -> None:
    meter = Meter(run)
    pairs = [
        await ws_connect(
            lambda: Listener(parse, run.contexts, meter.watch), run.url, use_aiofastnet=run.way == "aiofastnet"
        )
        for _ in range(run.connections)
    ]
    meter.start()
    for transport, _ in pairs:
        for _ in range(run.contexts):
            transport.send(WSMsgType.TEXT, request())
    for _, listener in pairs:
        await listener.over
    meter.stop([(listener.count, listener.total) for _, listener in pairs])
    for transport, _ in pairs:
        transport.disconnect()
