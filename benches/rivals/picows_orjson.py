"""picows + orjson + pybase64: the payload is parsed where it lies."""

from __future__ import annotations

import orjson
from common import Run, start
from picows_client import receive


async def main(run: Run) -> None:
    await receive(run, lambda frame: orjson.loads(frame.get_payload_as_memoryview()))


if __name__ == "__main__":
    start(main)
