"""A small HTTP server that behaves as it is told: answers, refuses, hangs, hangs up, talks nonsense."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from workload_forecast.schemas import LOAD_NUMBERS

#: What is done with a request: the handler, and the request's JSON.
Behaviour = Callable[[BaseHTTPRequestHandler, Any], None]


@dataclass
class Server:
    """Does what stands in ``behaviours`` with one request after the other, and the last of it with all others."""

    url: str
    behaviours: list[Behaviour]
    requests: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def send(status: int, content: Any, kind: str = "application/json", **headers: str) -> Behaviour:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def behave(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(status)
        given = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
        for name, value in given.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def problem(status: int, detail: str, **headers: str) -> Behaviour:
    content = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "instance": "r-1"}
    return send(status, content, "application/problem+json", X_Request_Id="r-1", **headers)


def hang(handler: BaseHTTPRequestHandler, _: Any) -> None:
    handler.rfile.read()  # until the client has had enough


def drip(handler: BaseHTTPRequestHandler, _: Any) -> None:
    """An answer that goes on and on, each byte in time."""
    handler.send_response(200)
    handler.end_headers()
    for _n in range(200):
        handler.wfile.write(b" " * (1 << 16))
        time.sleep(0.05)


def cut_off(handler: BaseHTTPRequestHandler, _: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model"')
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler, _: Any) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()


@contextmanager
def serving(*behaviours: Behaviour) -> Iterator[Server]:
    server: Server

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(content)
            server.headers.append({"path": self.path, **dict(self.headers)})
            with lock:
                behave = server.behaviours.pop(0) if len(server.behaviours) > 1 else server.behaviours[0]
            try:
                behave(self, content)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                self.close_connection = True

    lock = threading.Lock()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # type: ignore[method-assign]
    server = Server(f"http://127.0.0.1:{listening.server_port}", list(behaviours))
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()


def forecasts(handler: BaseHTTPRequestHandler, asked: Any) -> None:
    """Answer as the service does: nothing is known of a server named ``new``."""
    start = asked.get("start", "2016-07-01T00:00:00Z")
    send(
        200,
        {
            "model": {"name": "m", "version": "3"},
            "history": {"newest": "2016-06-30T23:00:00Z"},
            "start": start,
            "hours": asked["hours"],
            "forecasts": [
                {
                    "server": name,
                    "hours": [{"hour": start, **row(name), **(loads(name) if asked.get("load") else {})}]
                    * asked["hours"],
                }
                for name in asked["servers"]
            ],
        },
    )(handler, asked)


def row(server: str) -> dict[str, Any]:
    if server == "new":
        return {"class": None, "probabilities": None, "confidence": None, "source": "none"}
    shares = {"low": 0.125, "medium": 0.25, "high": 0.625}
    return {"class": "high", "probabilities": shares, "confidence": 0.625, "source": "model"}


def loads(server: str) -> dict[str, float | None]:
    numbers = (200, 208.125, 31.5, 150.25, 210.0, 260.0, 280.0, 123456.7)
    return dict(zip(LOAD_NUMBERS, [None] * len(numbers) if server == "new" else numbers, strict=True))


def scores(handler: BaseHTTPRequestHandler, asked: Any) -> None:
    send(200, {"model": {"name": "m", "version": "3"}, "predictions": [row("x") for _ in asked["rows"]]})(
        handler, asked
    )
