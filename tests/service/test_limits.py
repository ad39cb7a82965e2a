"""Bodies, places and time, at the middleware alone: time passes as fast as the test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from workload_forecast.errors import SettingsError
from workload_forecast.service.entrance import Entrance
from workload_forecast.service.limits import Limits
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.options import ServiceOptions

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def options(**changes: Any) -> ServiceOptions:
    return ServiceOptions(Path("x"), Path("k"), **changes)


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def call(
    app: App, parts: list[Any], length: int | None = None, path: str = "/forecast"
) -> tuple[int, Any, dict[str, str]]:
    """Send a body in parts; a float is a pause in seconds, None a client that goes away."""
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": [], "client": ("1.2.3.4", 5)}
    if length is not None:
        scope["headers"] = [(b"content-length", str(length).encode())]
    sent: list[Message] = []
    queue = list(parts)

    async def receive() -> Message:
        if queue and isinstance(queue[0], float):
            await asyncio.sleep(queue.pop(0))
        part = queue.pop(0) if queue else None
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(queue)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return 0, None, {}
    headers = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body) if b"urn:" in body else body, headers


def limited(app: App = echo, **changes: Any) -> App:
    metrics = Metrics()
    return Entrance(Limits(app, options(**changes), metrics), metrics, frozenset({"/forecast"}))


def test_a_body_in_parts_arrives_whole() -> None:
    assert asyncio.run(call(limited(), [b"ab", b"", b"cd"]))[:2] == (200, b"abcd")


@pytest.mark.parametrize(("parts", "length"), [([b"x"], 11), ([b"x" * 6, b"x" * 5], None), ([b"x"], 10**30)])
def test_a_body_that_is_too_large_is_refused_when_it_is_known(parts: list[bytes], length: int | None) -> None:
    status, problem, _ = asyncio.run(call(limited(max_body_bytes=10), parts, length))
    assert (status, problem["type"]) == (413, "urn:workload-forecast:problem:body-too-large")
    assert asyncio.run(call(limited(max_body_bytes=10), [b"x" * 5, b"x" * 5], 10))[0] == 200


def test_a_slow_body_is_408_and_its_place_is_free_again() -> None:
    app = limited(request_timeout_s=0.05, max_concurrent=1)

    async def both() -> tuple[Any, Any]:
        return await call(app, [b"x", 5.0, b"y"]), await call(app, [b"x"])

    (status, problem, headers), (after, _, _) = asyncio.run(both())
    assert (status, problem["type"]) == (408, "urn:workload-forecast:problem:body-too-slow")
    assert headers["connection"] == "close"
    assert after == 200


def test_an_answer_that_takes_too_long_is_503() -> None:
    async def slow(*_: Any) -> None:
        await asyncio.sleep(5)

    status, problem, headers = asyncio.run(call(limited(slow, request_timeout_s=0.05), [b"x"]))
    assert (status, problem["type"]) == (503, "urn:workload-forecast:problem:too-slow")
    assert headers["retry-after"] == "5"


def test_more_requests_than_places_are_told_to_come_again_and_probes_get_through() -> None:
    release = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/forecast":
            await release.wait()
        await echo(scope, receive, send)

    async def many() -> tuple[list[Any], Any, Any]:
        app = limited(waiting, max_concurrent=3)
        calls = [asyncio.create_task(call(app, [b"x"])) for _ in range(10)]
        await asyncio.sleep(0.01)
        probe = await call(app, [b""], path="/health")
        release.set()
        answers = await asyncio.gather(*calls)
        return answers, probe, await call(app, [b"x"])

    answers, probe, after = asyncio.run(many())
    assert sorted(status for status, _, _ in answers) == [200] * 3 + [503] * 7
    assert all(headers["retry-after"] == "1" for status, _, headers in answers if status == 503)
    assert probe[0] == after[0] == 200


def test_a_client_that_goes_away_costs_nothing_more() -> None:
    called = False

    async def app(*_: Any) -> None:
        nonlocal called
        called = True

    assert asyncio.run(call(limited(app), [b"x", None]))[0] == 0
    assert not called


@pytest.mark.parametrize(
    "changes",
    [{"port": -1}, {"port": 70_000}, {"max_rows": 0}, {"max_concurrent": 0}, {"request_timeout_s": 0},
     {"max_history_age_hours": -1}, {"max_history_age_hours": float("nan")}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(changes))):
        options(**changes)
