"""Whatever a body holds, the answer is a clear one."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.worlds import World, check_problem, served
from workload_forecast.schemas import FEATURE_NAMES, KNOWN_FEATURES
from workload_forecast.service.openapi import EXAMPLE_ROW

NOT_JSON = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"server": "\xc3"}',
    b'{"server": "a", "hours": NaN}',
    b'{"server": "a", "hours": Infinity}',
    b'{"rows": [{"month": -Infinity}]}',
    b'{"rows": [{"month": 1e999}]}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"servers": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"server": "a"} x',
    b"'a'",
    b'{"server": "\\ud800"}',
]


@pytest.mark.parametrize("path", ["/forecast", "/score", "/invocations"])
@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json_is_400(client: TestClient, path: str, body: bytes) -> None:
    check_problem(client.post(path, content=body), 400, "bad-request")


BAD_FORECASTS: list[tuple[Any, str]] = [
    ({}, "give either 'server' or 'servers'"),
    ([], "valid dictionary"),
    (None, "valid dictionary"),
    ("a", "valid dictionary"),
    ({"server": "a", "servers": ["a"]}, "give either"),
    ({"server": 5}, "server: Input should be a valid string"),
    ({"server": None}, "server: Input should be a valid string"),
    ({"server": ""}, "server: String should have at least 1 character"),
    ({"server": "x" * 256}, "server: String should have at most 255 characters"),
    ({"servers": []}, "servers: List should have at least 1 item"),
    ({"servers": ["a", "b", "a"]}, "'a' stands in 'servers' more than once"),
    ({"servers": ["a", 1]}, "servers.1: Input should be a valid string"),
    ({"servers": ["a"] * 1001}, "1001 servers at once are too many: ask for up to 1000"),
    ({"server": "a", "hour": 3}, "hour: Extra inputs are not permitted"),
    ({"server": "a", "hours": 0}, "hours: Input should be greater than or equal to 1"),
    ({"server": "a", "hours": 49}, "hours: Input should be less than or equal to 48"),
    ({"server": "a", "hours": 10**30}, "hours: Input should be"),
    ({"server": "a", "hours": "3"}, "hours: Input should be a valid integer"),
    ({"server": "a", "hours": 3.0}, "hours: Input should be a valid integer"),
    ({"server": "a", "hours": True}, "hours: Input should be a valid integer"),
    ({"server": "a", "hours": None}, "hours: Input should be a valid integer"),
    ({"server": "a", "load": "true"}, "load: Input should be a valid boolean"),
    ({"server": "a", "load": 1}, "load: Input should be a valid boolean"),
    ({"server": "a", "load": None}, "load: Input should be a valid boolean"),
    *(
        ({"server": "a", "start": start}, "is no whole hour like 2016-07-01T00:00:00Z")
        for start in ("", "soon", "2016-07-01", "2016-02-30T00:00:00Z", "2016-07-01T00:30:00Z", "2016-07-01T00:00:01Z",
                      "2016-07-01T25:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:00:00Z",
                      "2016-07-01T00:00:00+0200",
                      "2016-07-01T00:00:00.5Z", "1467331200", "2016-07-01T00:00:00Z" + "0" * 5000,
                      "٢٠١٦-07-01T00:00:00Z", "2016-07-01T00:00:00+99:00")
    ),
    ({"server": "a", "start": 1467331200}, "start: Input should be a valid string"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "detail"), BAD_FORECASTS, ids=range(len(BAD_FORECASTS)))
def test_a_forecast_that_cannot_be_is_422_and_says_why(client: TestClient, body: Any, detail: str) -> None:
    problem = check_problem(client.post("/forecast", content=json.dumps(body).encode()), 422, "invalid")
    assert detail in problem["detail"]
    assert len(json.dumps(problem)) < 5000
    assert problem["errors"]


def row(**changes: Any) -> dict[str, Any]:
    return {**EXAMPLE_ROW, **changes}


BAD_ROWS: list[tuple[Any, str]] = [
    ({}, "one field 'rows'"),
    ({"rows": [], "more": 1}, "one field 'rows'"),
    ({"rows": {}}, "one field 'rows'"),
    ({"rows": [1]}, "a row must be an object"),
    ({"rows": [{}]}, "the row lacks hour_of_day, "),
    ({"rows": [row(), row(other=1)]}, "the row has 'other', which is no feature"),
    ({"rows": [row(month="7")]}, "must be a number or null"),
    ({"rows": [row(month=True)]}, "must be a number or null"),
    ({"rows": [row(month=[1])]}, "must be a number or null"),
    ({"rows": [row(month=None)]}, "'month' is unknown in row 0"),
]


@pytest.mark.parametrize(("body", "detail"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_rows_that_cannot_be_are_422_and_say_why(client: TestClient, body: Any, detail: str) -> None:
    problem = check_problem(client.post("/score", json=body), 422, "invalid")
    assert detail in problem["detail"]
    assert len(json.dumps(problem)) < 5000


def test_many_rows_are_refused_when_they_are_too_many(client: TestClient) -> None:
    body: Any = {"rows": [{}] * 10_001}
    problem = check_problem(client.post("/score", json=body), 422, "invalid")
    assert "10001 rows at once are too many: send up to 10000" in problem["detail"]


def test_rows_of_any_size_are_scored_in_order(client: TestClient) -> None:
    assert client.post("/score", json={"rows": []}).json()["predictions"] == []
    loads = [50.0, 200.0, 10**25, None, 1e308, -5]
    rows = [row(total_load_lag_48h=load) for load in loads] * 500
    found = client.post("/score", json={"rows": rows}).json()["predictions"]
    assert [answer["class"] for answer in found[:6]] == ["low", "medium", "high", "low", "high", "low"]
    assert found == found[:6] * 500
    unknown = row(**{name: None for name in FEATURE_NAMES if name not in KNOWN_FEATURES})
    (none,) = client.post("/score", json={"rows": [unknown]}).json()["predictions"]
    assert none == {"class": None, "probabilities": None, "confidence": None, "source": "none"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=20)
    | st.sampled_from([10**400, -(10**30), 2**63, 2**64, 1e308]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(string.ascii_letters, max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
fields = st.sampled_from(
    ["server", "servers", "start", "hours", "rows", "dataframe_split", "dataframe_records", "instances", "inputs",
     "params", "columns", "data", "index", "other", *FEATURE_NAMES[:2]]
)  # fmt: skip
small = st.dictionaries(fields, json_values, max_size=3)
objects = st.dictionaries(
    fields, json_values | small | st.lists(small, max_size=3),
    max_size=4,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(["/forecast", "/score", "/invocations"]), body=objects | json_values)
def test_no_json_makes_it_fail(client: TestClient, path: str, body: Any) -> None:
    answer = client.post(path, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code in {200, 400, 422}, answer.text
    json.loads(answer.content)


@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from(["/forecast", "/score", "/invocations"]),
    body=st.binary(max_size=200),
    kind=st.sampled_from(["application/json", "text/csv", "text/csv; charset=utf-8", "", "image/png", "é"]),
)
def test_no_bytes_make_it_fail(client: TestClient, path: str, body: bytes, kind: str) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": kind.encode()})
    assert answer.status_code in {200, 400, 415, 422}, answer.text


def test_the_limits_are_settings(world: World) -> None:
    with served(world, max_servers=2, max_rows=1, max_body_bytes=5000) as client:
        assert client.post("/forecast", json={"servers": ["a", "b"]}).status_code == 200
        check_problem(client.post("/forecast", json={"servers": ["a", "b", "c"]}), 422, "invalid")
        check_problem(client.post("/score", json={"rows": [row(), row()]}), 422, "invalid")
        check_problem(client.post("/score", json={"rows": [row()] * 20}), 413, "body-too-large")
        check_problem(client.post("/score", content=(b"x" * 100 for _ in range(60))), 413, "body-too-large")
