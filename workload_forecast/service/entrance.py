"""The outermost layer: a request's id, its log line, its metrics, and an answer whatever happens further in."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workload_forecast.service.logs import LOGGER, id_of
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.problems import problem, request_id

#: What a request to anything else is called in metrics and logs: paths from outside must not become labels.
OTHER = "other"


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a request's header, whose name is given in lower case; of several the first."""
    return next((value for key, value in scope["headers"] if key == name), None)


class Entrance:
    """ASGI middleware around all others."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self.app, self.metrics, self.routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and tell of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["state"] = {**scope.get("state", {}), "request_id": id_of(header(scope, b"x-request-id"))}
        answer = _Answer(send, request_id(scope))
        began = time.perf_counter()
        try:
            await self.app(scope, receive, answer)
        except Exception:  # the last place where a defect can become an answer
            LOGGER.exception("a request failed", extra={"fields": {"request_id": request_id(scope)}})
            if answer.status:
                raise
            detail = "The service failed. Tell those who run it the request's id, which stands in 'instance'."
            await problem(scope, 500, "internal", detail)(scope, receive, answer)
        finally:
            self._tell(scope, answer.status, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope["path"] if scope["path"] in self.routes else OTHER
        # 499, as others have it: the client went away before there was an answer
        self.metrics.requests.labels(route, str(status or 499)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        key = scope["state"].get("key")
        fields = {
            "request_id": request_id(scope),
            "method": scope["method"],
            "route": route,
            "status": status or 499,
            "ms": round(1000 * seconds, 3),
            "key": f"{key.name} {key.prefix}" if key else "",
            "client": scope["client"][0] if scope.get("client") else "",
        }
        LOGGER.info("request", extra={"fields": fields})


class _Answer:
    """Puts the request's id into the answer's head and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send, self.request_id, self.status = send, request_id, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self.request_id.encode())]
        await self.send(message)
