"""The server's reader of requests, with bounds that it lacks: a time and a size for the head of a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request line and headers; whoever sends more is cut off.
HEAD_BYTES = 64 * 2**10


class BoundedHead(HttpToolsProtocol):
    """Closes a connection on which the head of a request is not complete in time, or has no end."""

    #: For the first request from the connection on, for later ones from their first byte on; before that, the
    #: server's own limit for idle connections holds.
    head_seconds = 30.0

    _timer: asyncio.TimerHandle | None = None
    _head = 0  #: bytes that have come of a head that is not complete
    _ends = 0  #: heads and bodies that were complete
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too long."""
        before = self._ends
        super().data_received(data)
        # where a head or a body ended, most of the data belonged to it
        if self._in_head and self._ends == before:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of the head."""
        self._start()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._cancel()
        self._in_head = False
        self._ends += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes now is the next head."""
        super().on_message_complete()
        self._in_head, self._head = True, 0
        self._ends += 1

    def _start(self) -> None:
        self._cancel()
        self._timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(seconds: float) -> type[HttpToolsProtocol]:
    """Return the protocol with that many seconds for a head."""
    return type("BoundedHead", (BoundedHead,), {"head_seconds": seconds})
