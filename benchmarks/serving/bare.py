"""A server that does nothing: it answers ``POST /N`` with N bytes. What it takes is the client's and the kernel's part.

``python -m benchmarks.serving.bare PORT``
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

from benchmarks.serving.processes import HOST

_REQUEST = re.compile(rb"[A-Z]+ /(\d*)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Bare(asyncio.Protocol):
    """Reads heads and skips bodies."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports have the methods of asyncio's and not its base class
        self.transport, self.received = cast("asyncio.Transport", transport), bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there in full."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end])
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < whole:
                return
            del self.received[:whole]
            asked = _REQUEST.match(head)
            size = int(asked[1] or 0) if asked else 0
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
