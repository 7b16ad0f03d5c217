"""The floor: the least that an asyncio server can spend on a DISET call with TLS.

The loop, the TLS settings and the bytes are Wherry's; nothing is decoded, authorised, looked up or logged.
Prints its port, and ends when its standard input does, so that it never outlives the benchmark.

    python floor.py CERTIFICATE KEY CA_PATH ACKNOWLEDGEMENT RESULT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

from legacy_rpc.servers.tls import ServerTls
from wherry.cli_common import run
from wherry.sockets import BACKLOG


class FloorProtocol(asyncio.Protocol):
    """One connection: answers each whole frame with the next constant, then closes.

    Both asyncio and uvloop set TCP_NODELAY themselves.
    """

    def __init__(self, replies: tuple[bytes, ...]) -> None:
        self._replies = list(replies)
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer a frame once all of it is there; a client sends no second one before it is answered."""
        self._buffer += data
        digits, colon, payload = self._buffer.partition(b":")
        if not colon or len(payload) < int(digits):
            return
        self._buffer = b""
        assert self._transport is not None
        self._transport.write(self._replies.pop(0))
        if not self._replies:
            self._transport.close()


async def serve(certificate: str, key: str, ca_path: str, *replies: str) -> None:
    """Serve on a free port of this machine until standard input ends."""
    loop = asyncio.get_running_loop()
    constants = tuple(reply.encode("ascii") for reply in replies)
    server = await loop.create_server(
        lambda: FloorProtocol(constants),
        "127.0.0.1",
        0,
        ssl=ServerTls(Path(certificate), Path(key), Path(ca_path)).contexts()(),
        backlog=BACKLOG,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    run(serve(*sys.argv[1:]))
