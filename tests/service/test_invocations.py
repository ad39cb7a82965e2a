"""MLflow's protocol: the same answers as the logged model's ``python_function`` gives."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from tests.feature_tables import feature_table
from tests.features.helpers import noisy, series
from tests.service.worlds import World, check_problem
from tests.serving.histories import frame
from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.serving.pyfunc import _load_pyfunc

ROWS = feature_table(servers=2, days=12)[list(FEATURE_NAMES)].iloc[[0, 5, 200, 250, 287]]
HISTORY = frame(noisy(300, seed=2) + series(50.0, range(295, 300), "b"))


def records(table: pd.DataFrame, like: str = "records") -> Any:
    return json.loads(table.to_json(orient=like, date_format="iso", double_precision=15))  # type: ignore[call-overload]


def same(found: list[dict[str, Any]], expected: pd.DataFrame) -> None:
    assert len(found) == len(expected)
    for answer, row in zip(found, expected.to_dict(orient="records"), strict=True):
        assert list(answer) == list(row)
        for name, value in row.items():
            right = value.isoformat() if isinstance(value, pd.Timestamp) else value
            assert answer[str(name)] == (pytest.approx(right, abs=1e-12) if isinstance(right, float) else right), name


FORMS = {
    "dataframe_split": records(ROWS, "split"),
    "dataframe_records": records(ROWS),
    "instances": records(ROWS),
    "inputs": {name: [row[name] for row in records(ROWS)] for name in ROWS},
}


@pytest.mark.parametrize("form", FORMS)
def test_feature_rows_in_every_form(client: TestClient, world: World, form: str) -> None:
    response = client.post("/invocations", json={form: FORMS[form]})
    assert response.status_code == 200, response.text
    same(response.json()["predictions"], _load_pyfunc(str(world.compiled)).predict(ROWS))


def test_feature_rows_as_csv(client: TestClient, world: World) -> None:
    body = ROWS.to_csv(index=False).encode()
    response = client.post("/invocations", content=body, headers={"Content-Type": "text/csv; charset=utf-8"})
    assert response.status_code == 200, response.text
    same(response.json()["predictions"], _load_pyfunc(str(world.compiled)).predict(ROWS))


@pytest.mark.parametrize("servers", [[], ["b", "x", "a"]])
def test_a_history_and_a_start(client: TestClient, world: World, servers: list[str]) -> None:
    params = {"start": "2016-07-06T12:00:00", "hours": 3, "servers": servers}
    content = records(HISTORY.assign(hour=HISTORY["hour"].dt.strftime("%Y-%m-%dT%H:%M:%S")), "split")
    response = client.post("/invocations", json={"dataframe_split": content, "params": params})
    assert response.status_code == 200, response.text
    same(response.json()["predictions"], _load_pyfunc(str(world.compiled)).predict(HISTORY, params))


@pytest.mark.parametrize("params", [{}, {"start": "2016-07-06T12:00:00", "hours": 3, "servers": ["b", "x", "a"]}])
def test_the_load_in_numbers_if_it_is_asked_for(client: TestClient, world: World, params: dict[str, Any]) -> None:
    params = {**params, "load": True}
    hours = HISTORY.assign(hour=HISTORY["hour"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    body = {"dataframe_split": records(hours if "start" in params else ROWS, "split"), "params": params}
    found = client.post("/invocations", json=body).json()["predictions"]
    same(found, _load_pyfunc(str(world.compiled)).predict(HISTORY if "start" in params else ROWS, params))
    assert any(answer["load_p90"] for answer in found)


AT = "2016-07-01T00:00:00Z"

BAD: list[tuple[Any, str]] = [
    ({}, "exactly one of"),
    ([], "exactly one of"),
    ({"instances": [], "inputs": []}, "exactly one of"),
    ({"instances": [], "other": 1}, "exactly one of"),
    ({"dataframe_split": []}, "'columns' and 'data'"),
    ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "different names"),
    ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "lists of 1 values"),
    ({"dataframe_records": {"a": [1]}}, "a list of objects"),
    ({"dataframe_records": [{"a": 1}, {"b": 1}]}, "same names as the first row"),
    ({"inputs": {"a": [1], "b": [1, 2]}}, "lists of the same length"),
    ({"inputs": {"a": 1}}, "lists of the same length"),
    ({"instances": [[1, 2]]}, "a list of objects"),
    ({"instances": [{"a": 1}]}, "the feature rows lack the column(s) hour_of_day"),
    ({"instances": [], "params": {"begin": 1}}, "some of start, hours, servers, load"),
    ({"instances": [], "params": {"start": "soon"}}, "is no whole hour"),
    ({"instances": [], "params": {"start": 5}}, "must be a text"),
    ({"instances": [], "params": {"hours": 49}}, "from 1 to 48"),
    ({"instances": [], "params": {"servers": "a"}}, "a list of texts"),
    ({"instances": [], "params": {"load": 1}}, "must be true or false"),
    ({"instances": [{"server": "a"}], "params": {"start": AT}}, "the history lacks the column(s) hour"),
    ({"instances": [{"server": 1}], "params": {"start": "2016-07-01T00:00:00Z"}}, "must hold texts"),
    ({"instances": [{"server": "a", "hour": "x"}], "params": {"start": "2016-07-01T00:00:00Z"}}, "is no whole hour"),
    ({"instances": [{"total_load": "x"}], "params": {"start": "2016-07-01T00:00:00Z"}}, "must hold numbers"),
    ({"instances": [], "params": {"start": AT, "servers": [str(i) for i in range(1001)]}}, "1001 servers at once"),
    ({"instances": [{"a": 1}] * 10_001}, "10001 rows at once"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "detail"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_used_says_why(client: TestClient, body: Any, detail: str) -> None:
    problem = check_problem(client.post("/invocations", json=body), 422, "invalid")
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"a,a\n1,2", 422), (b"a,b\n1", 422), (b"\xff", 400), (b'a\n"x', 400), (b"a\nx", 422)],
)
def test_csv_that_cannot_be_used(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/invocations", content=body, headers={"Content-Type": "text/csv"})
    check_problem(response, status, "invalid" if status == 422 else "bad-request")


def test_other_types_are_415(client: TestClient) -> None:
    response = client.post("/invocations", content=b"x", headers={"Content-Type": "application/x-parquet"})
    check_problem(response, 415, "wrong-content-type")
