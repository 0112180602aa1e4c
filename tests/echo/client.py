"""An echo client for suites that test plain WebSocket: connects to each URL in turn and sends every message back.

It runs on the same core and transport as the speech client, and stays with each URL until that connection is closed.
"""

from __future__ import annotations

import argparse
import ssl
import sys

import uvloop
from server import MAX_MESSAGE_BYTES, Echo, make_connection

from voxwire.exceptions import VoxwireError
from voxwire.transport import Endpoint, HandshakeRefused, connect


async def main() -> int:
    parser = argparse.ArgumentParser(description="WebSocket echo client")
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--max-message", type=int, default=MAX_MESSAGE_BYTES, metavar="BYTES")
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust in place of the platform's")
    arguments = parser.parse_args()
    context = ssl.create_default_context(cafile=arguments.ca) if arguments.ca is not None else None
    failures = 0
    for url in arguments.urls:
        echo = Echo()
        try:
            echo.transport = await connect(
                Endpoint.parse(url),
                echo,
                headers=[],
                ssl_context=context,
                timeout_s=10.0,
                make_connection=make_connection("client", arguments.max_message),
            )
        except (VoxwireError, HandshakeRefused, ValueError) as error:
            print(f"{url}: {error}", file=sys.stderr, flush=True)
            failures += 1
            continue
        await echo.transport.wait_closed()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
