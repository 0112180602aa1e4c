"""picows + jiter + pybase64; jiter takes bytes only."""

from __future__ import annotations

import jiter
from common import Run, start
from picows_client import receive


async def main(run: Run) -> None:
    await receive(run, lambda frame: jiter.from_json(frame.get_payload_as_bytes()))


if __name__ == "__main__":
    start(main)
