"""What a request may cost: bytes, time, and a place among those that are worked on."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workload_forecast.service.entrance import header
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.problems import Refused

#: A probe must be answered when all places are taken; these cost next to nothing.
ALWAYS = frozenset({"/ping", "/health", "/metrics", "/version"})


class Limits:
    """ASGI middleware: reads the whole body before a request goes on, so that nothing further in waits for a client.

    A place is taken before the body is read. That bounds the memory of bodies; a slow client gives its place back when
    the time for the body is over.
    """

    def __init__(self, app: ASGIApp, options: ServiceOptions, metrics: Metrics) -> None:
        self.app, self.options, self.metrics = app, options, metrics
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on within the limits, or answer 408, 413 or 503."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        sent = _Sent(send)
        try:
            self._take_place()
            try:
                await self._within(scope, receive, sent)
            finally:
                self._busy -= 1
                self.metrics.in_flight.dec()
        except Refused as refused:
            if not sent.begun:
                await refused.response(scope)(scope, receive, send)
        except _Gone:
            return

    def _take_place(self) -> None:
        if self._busy >= self.options.max_concurrent:
            detail = f"The service works on {self._busy} requests already. Ask again in a second."
            raise Refused(503, "busy", detail, {"Retry-After": "1"})
        self._busy += 1
        self.metrics.in_flight.inc()

    async def _within(self, scope: Scope, receive: Receive, sent: _Sent) -> None:
        seconds = self.options.request_timeout_s
        with anyio.move_on_after(seconds) as reading:
            body = await self._body(scope, receive)
        if reading.cancelled_caught:
            detail = f"The body did not arrive within {seconds:g} seconds."
            raise Refused(408, "body-too-slow", detail, {"Connection": "close"})
        with anyio.move_on_after(seconds) as answering:
            await self.app(scope, _replay(body, receive), sent)
        if answering.cancelled_caught:
            if sent.begun:
                raise TimeoutError("the client did not take its answer in time")
            detail = f"There was no answer within {seconds:g} seconds. Ask again later, or for less at once."
            raise Refused(503, "too-slow", detail, {"Retry-After": "5"})

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most = self.options.max_body_bytes
        announced = header(scope, b"content-length") or b""
        # the server below refuses what is no number; what is announced wrongly is noticed while reading
        if announced.isdigit() and (len(announced) > 18 or int(announced) > most):
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return b"".join(parts)


class _Gone(Exception):
    """The client has gone away."""


class _Sent:
    """Remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self.send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self.send(message)


def _too_large(most: int) -> Refused:
    return Refused(413, "body-too-large", f"The body is larger than {most} bytes. Send it in several requests.")


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
