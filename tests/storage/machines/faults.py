"""A proxy that breaks what it passes on: the network on its bad days."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUSY = b'<?xml version="1.0" encoding="utf-8"?><Error><Code>ServerBusy</Code><Message>Busy.</Message></Error>'
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What happens to the first ``times`` requests that fit; exactly one of the kinds is set.

    Args:
        times: how many; every one when negative.
        fits: told method and path with query.
        drop_after: bytes of the body, after which the connection breaks.
        busy: answer 503 in the server's place.
        delay: seconds before the answer is passed on.
        longer: bytes that Content-Length promises too much (negative: too little).
        flip: change a byte of the body.
        retry_after: with ``busy``, what the header of this name asks for.
    """

    times: int
    fits: Callable[[str, str], bool] = lambda method, _: method == "GET"
    drop_after: int | None = None
    busy: bool = False
    delay: float = 0.0
    longer: int = 0
    flip: bool = False
    retry_after: str = ""


@dataclass
class Faults:
    """A running proxy. Set ``faults`` at any time; ``counts`` has the requests by method and by fault."""

    target_port: int
    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    paths: list[str] = field(default_factory=list)
    on_answer: Callable[[str, str], None] = lambda method, path: None  # noqa: ARG005
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.counts[method] += 1
            self.paths.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.fits(method, path):
                    fault.times -= 1
                    self.counts["fault"] += 1
                    return fault
        return None

    def reset(self) -> None:
        self.faults, self.paths, self.on_answer = [], [], lambda method, path: None  # noqa: ARG005
        self.counts.clear()


@contextmanager
def faulty_proxy(target_port: int) -> Iterator[Faults]:
    """Pass everything on to a port of the loopback until the block ends."""
    state = Faults(target_port)

    class Handler(_Handler):
        faults = state

    server = _Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over what the other side broke off, which is what the proxy is for, and show the rest."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        body = self._body()
        fault = self.faults.take(self.command, self.path)
        if fault and fault.busy:
            extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._answer(503, {"x-ms-error-code": "ServerBusy", "Content-Type": "application/xml", **extra}, BUSY)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.faults.target_port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        headers["Content-Length"] = str(len(body))
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        given = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        length = answer.getheader("Content-Length")
        upstream.close()
        if fault:
            time.sleep(fault.delay)
            if fault.flip and content:
                content = bytes([content[0] ^ 1]) + content[1:]
        self._answer(answer.status, given, content, fault, int(length) if length else None)
        self.faults.on_answer(self.command, self.path)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None, length: int | None = None
    ) -> None:
        promised = len(body)
        if self.command == "HEAD":
            promised, body = length or 0, b""
        if fault:
            promised += fault.longer
            body = body[: max(0, promised)] if fault.longer < 0 else body
        try:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            if fault and fault.drop_after is not None:
                self.wfile.write(body[: fault.drop_after])
                self._break()
            else:
                self.wfile.write(body)
                if fault and fault.longer > 0:
                    self._break()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
