"""The client against a server of the tests' own that misbehaves in every way that they could think of."""

from __future__ import annotations

import socket
import sys
import time
import traceback
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from types import ModuleType
from typing import Any

import pytest
import requests

from tests.service import misbehaving
from tests.service.misbehaving import Behaviour, problem, send, serving
from workload_forecast.errors import EnvironmentProblem, SettingsError, WorkloadForecastError
from workload_forecast.schemas import LOAD_NUMBERS
from workload_forecast.service import client as client_module
from workload_forecast.service.client import Client
from workload_forecast.service.client_access import find_key, is_loopback, service_url, store_key
from workload_forecast.service.client_answers import forecast_rows, to_pandas, utc_text, utc_time

TOKEN = f"wf_0123abcd_{'s' * 43}"
OTHER = f"wf_4567abcd_{'t' * 43}"
VARIABLES = ("WORKLOAD_FORECAST_API_KEY", "WORKLOAD_FORECAST_SERVICE_URL", "WORKLOAD_FORECAST_ALLOW_HTTP")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """No settings of this machine; a key ring that is a dictionary; hardly any waiting."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client_module, "_FIRST_WAIT_S", 0.01)
    held: dict[tuple[str, str], str] = {}
    ring, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    ring.get_password = lambda service, user: held.get((service, user))  # type: ignore[attr-defined]
    ring.set_password = lambda service, user, key: held.update({(service, user): key})  # type: ignore[attr-defined]
    errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return held


def ask(*behaviours: Behaviour, **options: Any) -> tuple[misbehaving.Server, list[Any]]:
    with serving(*behaviours) as server:
        return server, Client(server.url, TOKEN, **{"timeout": 0.5, **options}).forecast(["a", "new"], hours=2)


def refused(*behaviours: Behaviour, **options: Any) -> tuple[str, misbehaving.Server, WorkloadForecastError]:
    with serving(*behaviours) as server:
        client = Client(server.url, TOKEN, **{"timeout": 0.5, **options})
        with pytest.raises(WorkloadForecastError) as raised:
            client.forecast(["a"], hours=1)
        return str(raised.value), server, raised.value


# --- answers


def test_a_forecast_comes_as_objects_and_as_rows() -> None:
    server, (known, new) = ask(misbehaving.forecasts)
    assert server.requests == [{"servers": ["a", "new"], "hours": 2}]
    assert server.headers[0]["path"] == "/forecast"
    assert server.headers[0]["Authorization"] == f"Bearer {TOKEN}"
    assert (known.server, known.model, known.newest) == ("a", "m/3", datetime(2016, 6, 30, 23))
    assert [hour.load_class for hour in known.hours] == ["high", "high"]
    assert known.hours[0].hour == datetime(2016, 7, 1)
    assert known.hours[0].probabilities == {"low": 0.125, "medium": 0.25, "high": 0.625}
    assert (new.hours[0].load_class, new.hours[0].probabilities, new.hours[0].source) == (None, None, "none")
    rows = forecast_rows([known, new])
    assert rows[0] == {
        "server": "a",
        "hour": datetime(2016, 7, 1),
        "prediction": "high",
        "probability_low": 0.125,
        "probability_medium": 0.25,
        "probability_high": 0.625,
        "confidence": 0.625,
        "source": "model",
        "model": "m/3",
    }
    assert rows[2] == {**dict.fromkeys(rows[0]), **{k: rows[2][k] for k in ("server", "hour", "source", "model")}}
    assert list(to_pandas([known, new]).columns) == list(rows[0])


def test_the_load_in_numbers_comes_if_it_is_asked_for() -> None:
    with serving(misbehaving.forecasts) as server:
        known, new = Client(server.url, TOKEN).forecast(["a", "new"], hours=2, load=True)
    assert server.requests == [{"servers": ["a", "new"], "hours": 2, "load": True}]
    assert known.hours[1].loads == misbehaving.loads("a")
    assert new.hours[0].loads == dict.fromkeys(LOAD_NUMBERS)
    rows = forecast_rows([known, new])
    assert {name: rows[0][name] for name in LOAD_NUMBERS} == misbehaving.loads("a")
    assert list(rows[0]) == list(rows[2])
    assert set(LOAD_NUMBERS) <= set(to_pandas([known, new]).columns)


def test_a_service_that_leaves_the_load_out_is_not_taken_for_one_that_knows_none() -> None:
    def forgetful(handler: Any, asked: Any) -> None:
        misbehaving.forecasts(handler, {**asked, "load": False})

    with serving(forgetful) as server, pytest.raises(EnvironmentProblem, match=server.url):
        Client(server.url, TOKEN).forecast("a", hours=1, load=True)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (datetime(2016, 7, 1, 5), "2016-07-01T05:00:00Z"),
        (datetime(2016, 7, 1, 5, tzinfo=timezone.utc), "2016-07-01T05:00:00Z"),
        (datetime(2016, 7, 1, 5, tzinfo=timezone(timedelta(hours=2))), "2016-07-01T03:00:00Z"),
    ],
)
def test_a_start_is_utc_unless_it_says_otherwise(start: datetime, text: str) -> None:
    with serving(misbehaving.forecasts) as server:
        Client(server.url, TOKEN).forecast("a", start, hours=1)
    assert server.requests == [{"servers": ["a"], "hours": 1, "start": text}]
    assert utc_time(text) == utc_time(start.isoformat())
    assert utc_text(utc_time(text)) == text


def test_long_lists_are_asked_for_in_parts_of_the_same_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SERVERS", 2)
    with serving(misbehaving.forecasts) as server:
        found = Client(server.url, TOKEN).forecast(["a", "b", "c", "a", "d", "e"], hours=1)
    assert [forecast.server for forecast in found] == ["a", "b", "c", "d", "e"]
    assert [request["servers"] for request in server.requests] == [["a", "b"], ["c", "d"], ["e"]]
    # the history may move on in between
    assert [request.get("start") for request in server.requests] == [None, *["2016-07-01T00:00:00Z"] * 2]


def test_no_servers_are_no_request() -> None:
    with serving(misbehaving.forecasts) as server:
        assert Client(server.url, TOKEN).forecast([]) == []
    assert server.requests == []


def test_rows_are_scored_in_parts_and_unknown_numbers_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr(client_module, "ROWS", 2)
    rows = [{"x": 1, "y": None}, {"x": float("nan"), "y": np.int64(3)}, {"x": np.float32(0.5), "y": 2.0}]
    with serving(misbehaving.scores) as server:
        found = Client(server.url, TOKEN).score(rows)
    assert [answer.load_class for answer in found] == ["high"] * 3
    assert server.requests == [
        {"rows": [{"x": 1.0, "y": None}, {"x": None, "y": 3.0}]},
        {"rows": [{"x": 0.5, "y": 2.0}]},
    ]


@pytest.mark.parametrize(("value", "message"), [("many", "row 1 holds something that is no"), (1e999, "infinite")])
def test_a_row_that_is_none_is_not_sent(value: Any, message: str) -> None:
    with serving(misbehaving.scores) as server, pytest.raises(SettingsError, match=message):
        Client(server.url, TOKEN).score([{"x": 1}, {"x": value}])
    assert server.requests == []


# --- patience


@pytest.mark.parametrize(
    "first",
    [
        problem(503, "too many requests", Retry_After="0"),
        problem(408, "slow"),
        problem(429, "slow down"),
        send(502, b"<html>bad gateway</html>", "text/html"),
        send(504, b"", "text/html"),
        misbehaving.hang,
        misbehaving.reset,
        misbehaving.cut_off,
    ],
)
def test_what_passes_is_waited_for(first: Behaviour) -> None:
    server, found = ask(first, misbehaving.forecasts)
    assert [forecast.server for forecast in found] == ["a", "new"]
    assert len(server.requests) == 2


def test_the_service_says_how_long_to_wait() -> None:
    began = time.monotonic()
    server, _ = ask(problem(503, "busy", Retry_After="1"), misbehaving.forecasts)
    assert time.monotonic() - began >= 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), ("0", 0), ("-1", 0), ("soon", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("in an hour", 3600)],
)
def test_how_long_to_wait_may_be_a_time(text: str, seconds: int) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = formatdate(time.time() + 3600, usegmt=True) if text == "in an hour" else text
    assert client_module._retry_after(response) == pytest.approx(seconds, abs=5)


def test_retries_are_counted() -> None:
    message, server, raised = refused(problem(503, "no model yet"), retries=3)
    assert len(server.requests) == 4
    assert isinstance(raised, EnvironmentProblem)
    assert message == f"{server.url} cannot answer: no model yet (request r-1). See {server.url}/health, or try later."


def test_the_deadline_ends_what_retries_would_go_on_with() -> None:
    _, server, _ = refused(problem(503, "busy", Retry_After="100"), deadline=0.5)
    assert len(server.requests) == 1
    message, server, _ = refused(misbehaving.hang, retries=1000, timeout=0.1, deadline=0.5)
    assert "did not answer in time" in message
    assert 1 < len(server.requests) < 10
    message, server, _ = refused(misbehaving.drip, retries=0, timeout=5.0, deadline=0.5)
    assert "did not answer in time" in message


def test_nobody_there_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EnvironmentProblem, match="connection refused") as raised:
            Client(url, TOKEN, retries=1).forecast("a")
    assert f"no service answers at {url}" in str(raised.value)
    assert "workload-forecast serve" in str(raised.value)
    # a proxy would see the key, and does not reach this machine anyway
    monkeypatch.setenv("HTTP_PROXY", url)
    with serving(misbehaving.forecasts) as server:
        assert len(Client(server.url, TOKEN).forecast("a")) == 1


# --- refusals


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (problem(401, "no such key"), "does not take the key (request r-1): make one where the service runs with"),
        (problem(422, "hours must be 1 to 48."), "refuses the request: hours must be 1 to 48 (request r-1)."),
        (problem(413, "too\nlarge"), "refuses the request: too large (request r-1)."),
        (send(404, b"not here", "text/plain"), "refuses the request: HTTP 404 Not Found."),
        (send(400, {"detail": None, "title": "Bad"}), "refuses the request: Bad."),
        (send(400, [1]), "refuses the request: HTTP 400 Bad Request."),
        (send(422, b"{", "application/problem+json"), "refuses the request: HTTP 422"),
        (send(302, b"", Location="http://elsewhere.example/forecast"), "sends us elsewhere"),
    ],
)
def test_a_refusal_is_final_and_says_why(behaviour: Behaviour, expected: str) -> None:
    message, server, raised = refused(behaviour)
    assert expected in message
    assert isinstance(raised, SettingsError)
    assert len(server.requests) == 1


def test_a_defect_of_the_service_is_final_too() -> None:
    message, server, raised = refused(problem(500, "something broke"))
    assert isinstance(raised, EnvironmentProblem)
    assert "cannot answer: something broke (request r-1)" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        send(200, b"<html>hello</html>", "text/html"),
        send(200, b"\xff\xfe"),
        send(200, b"[" * 100_000),
        send(200, {}),
        send(200, []),
        send(200, {"model": None, "history": {}, "forecasts": [], "start": "x"}),
        send(200, {"model": {"name": "m", "version": "1"}, "history": {"newest": "x"}, "forecasts": [], "start": "x"}),
        send(
            200,
            {
                "model": {"name": "m", "version": "1"},
                "history": {"newest": "2016-06-30T23:00:00Z"},
                "forecasts": [],
                "start": "2016-07-01T00:00:00Z",
            },
        ),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(nonsense: Behaviour) -> None:
    message, server, raised = refused(nonsense)
    assert isinstance(raised, EnvironmentProblem)
    assert message.startswith(f"what answers at {server.url} is not this service")


# --- the key


def test_the_key_shows_nowhere() -> None:
    for behaviours in ([problem(401, "no")], [problem(503, "no")], [misbehaving.reset], [misbehaving.hang]):
        _, _, raised = refused(*behaviours, retries=0, timeout=0.2)
        shown = "".join(traceback.format_exception(raised)) + repr(raised)
        assert "s" * 43 not in shown
        assert raised.__context__ is None  # whose request would hold it
    client = Client("http://127.0.0.1:1", TOKEN)
    assert repr(client) == "Client('http://127.0.0.1:1')"
    assert "s" * 43 not in repr(vars(client))


def test_the_environments_key_comes_before_the_key_rings(
    alone: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://forecast.example"
    with pytest.raises(SettingsError, match=r"no key for https://forecast\.example: make one"):
        Client(url)
    store_key(url, OTHER)
    assert alone == {("workload-forecast", url): OTHER}
    assert find_key(url) == OTHER
    with pytest.raises(SettingsError, match="no key for"):
        find_key("https://another.example")
    monkeypatch.setenv("WORKLOAD_FORECAST_API_KEY", f" {TOKEN}\n")
    assert find_key(url) == TOKEN


def test_a_key_ring_that_is_locked_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = sys.modules["keyring.errors"]

    def locked(*_: str) -> str:
        raise errors.KeyringError("locked")

    monkeypatch.setattr(sys.modules["keyring"], "get_password", locked)
    monkeypatch.setattr(sys.modules["keyring"], "set_password", locked)
    with pytest.raises(SettingsError, match="no key for"):
        find_key("https://x.example")
    with pytest.raises(EnvironmentProblem, match="does not take the key"):
        store_key("https://x.example", TOKEN)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match="no key for"):
        find_key("https://x.example")
    with pytest.raises(EnvironmentProblem, match=r"pip install 'workload-forecast\[keyring\]'"):
        store_key("https://x.example", TOKEN)


@pytest.mark.parametrize("key", ["secret", f"{TOKEN}x", f"{TOKEN}\r\nX-Evil: 1", ""])
def test_what_is_no_key_is_not_sent_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match="what was given as a key is none") as raised:
        Client("http://127.0.0.1:1", key)
    assert "secret" not in str(raised.value)
    assert "Evil" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://x", "is no URL of a service"),
        ("forecast.example", "is no URL of a service"),
        ("https://", "is no URL of a service"),
        ("https://x:port", "is no URL of a service"),
        ("https://x?key=1", "is no URL of a service"),
        ("https://ada:pa55@x", "take user and password out"),
        ("http://forecast.example", "is not encrypted"),
        ("http://127.0.0.1.example", "is not encrypted"),
        ("http://10.0.0.1:8080", "is not encrypted"),
    ],
)
def test_an_address_that_is_none_or_would_tell_the_key(url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        service_url(url)
    assert "pa55" not in str(raised.value)


def test_addresses_that_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert service_url() == "http://127.0.0.1:8080"
    assert service_url("https://forecast.example/load/") == "https://forecast.example/load"
    assert [service_url(url) for url in ("http://localhost:1", "http://[::1]:1")]
    assert not is_loopback("http://10.0.0.1")
    monkeypatch.setenv("WORKLOAD_FORECAST_SERVICE_URL", "http://forecast.example")
    monkeypatch.setenv("WORKLOAD_FORECAST_ALLOW_HTTP", "1")
    assert service_url() == "http://forecast.example"
