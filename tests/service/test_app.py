"""What the service answers: equal to the forecaster and to the feature table of the training."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frames import arrow
from tests.service.worlds import LENGTH, World, at, check_problem, make_world, served, text
from workload_forecast.features.build import LOOK_BACK_HOURS, build_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, HOURLY_LOAD, LOAD_NUMBERS
from workload_forecast.service.exchange import FollowerState
from workload_forecast.service.fleet import prepare_fleet, read_history
from workload_forecast.serving.fleet_rows import forecast_rows
from workload_forecast.serving.forecaster import Forecaster


def expected(world: World, servers: list[str], start: datetime, hours: int) -> list[dict[str, Any]]:
    """By the forecaster alone, from the history as it stood before the start."""
    known = [row for row in world.history if row["hour"] < start]
    table = Forecaster.load(world.compiled).forecast(arrow(HOURLY_LOAD, known), servers, start, hours)
    answers = [
        {
            "hour": text(row["hour"]),
            "class": row["prediction"],
            "probabilities": row["prediction"] and {name: row[f"probability_{name}"] for name in CLASSES},
            "confidence": row["confidence"],
            "source": row["source"],
        }
        for row in table.to_pylist()
    ]
    return [{"server": name, "hours": answers[i * hours : (i + 1) * hours]} for i, name in enumerate(servers)]


@settings(max_examples=10, deadline=None)
@given(
    servers=st.lists(
        st.sampled_from(["a", "b", "new", "silent", "unseen", "é\n"]), min_size=1, max_size=5, unique=True
    ),
    start=st.integers(LOOK_BACK_HOURS, LENGTH + 200),
    hours=st.integers(1, 48),
)
def test_a_forecast_is_that_of_the_forecaster(
    client: TestClient, world: World, servers: list[str], start: int, hours: int
) -> None:
    response = client.post("/forecast", json={"servers": servers, "start": text(at(start)), "hours": hours})
    assert response.status_code == 200, response.text
    assert response.json() == {
        "model": {"name": "forecast", "version": str(world.models)},
        "history": {"newest": text(at(LENGTH - 1))},
        "start": text(at(start)),
        "hours": hours,
        "forecasts": expected(world, servers, at(start), hours),
    }


@settings(max_examples=10, deadline=None)
@given(
    servers=st.lists(st.sampled_from(["a", "b", "new", "silent", "unseen"]), min_size=1, max_size=5, unique=True),
    start=st.integers(LOOK_BACK_HOURS, LENGTH + 60),
    hours=st.integers(1, 48),
)
def test_the_load_is_that_of_the_forecast_table(
    client: TestClient, world: World, servers: list[str], start: int, hours: int
) -> None:
    """Hours of servers that the table leaves out, as nothing is known of them, are null."""
    asked = {"servers": servers, "start": text(at(start)), "hours": hours}
    known = pl.DataFrame(arrow(HOURLY_LOAD, [row for row in world.history if row["hour"] < at(start)]))
    newest = known["hour"].max()
    table = forecast_rows(Forecaster.load(world.compiled), known, at(start), newest, "1")  # type: ignore[arg-type]
    rows = {(row["server"], text(row["hour"])): row for row in table.iter_rows(named=True)}
    answered = client.post("/forecast", json={**asked, "load": True}).json()["forecasts"]
    without = client.post("/forecast", json=asked).json()["forecasts"]
    for forecast, plain in zip(answered, without, strict=True):
        for hour, same in zip(forecast["hours"], plain["hours"], strict=True):
            row = rows.get((forecast["server"], hour["hour"]), dict.fromkeys(LOAD_NUMBERS))
            assert hour == same | {name: row[name] for name in LOAD_NUMBERS}


def test_the_load_is_known_where_the_class_is_the_models(client: TestClient) -> None:
    hours = client.post("/forecast", json={"server": "a", "load": True}).json()["forecasts"][0]["hours"]
    assert {hour["source"] for hour in hours} == {"model"}
    for hour in hours:
        assert hour["load_p10"] <= hour["load_p50"] <= hour["load_p90"] <= hour["load_p95"] <= hour["load_p99"]
        assert hour["load_p99"] > hour["expected_load"]


def test_by_default_the_48_hours_after_the_newest_known_one(client: TestClient, world: World) -> None:
    found = client.post("/forecast", json={"server": "a"}).json()
    assert (found["start"], found["hours"]) == (text(at(LENGTH)), 48)
    assert found["forecasts"] == expected(world, ["a"], at(LENGTH), 48)
    sources = {
        hour["source"] for name in ("new", "silent") for hour in expected(world, [name], at(LENGTH), 48)[0]["hours"]
    }
    assert sources == {"model", "baseline", "none"}


@pytest.mark.parametrize("start", ["{:%Y-%m-%dT%H:%M:%S}", "{:%Y-%m-%d %H:%M}Z", "{:%Y-%m-%dT%H:%M:%S}.000+00:00"])
def test_times_may_be_written_in_several_ways(client: TestClient, start: str) -> None:
    found = client.post("/forecast", json={"server": "a", "start": start.format(at(LENGTH)), "hours": 1})
    assert found.json()["start"] == text(at(LENGTH))


def test_another_zone_is_reckoned_to_utc(client: TestClient) -> None:
    local = f"{(at(LENGTH) + timedelta(hours=2)).isoformat()}+02:00"
    assert client.post("/forecast", json={"server": "a", "start": local}).json()["start"] == text(at(LENGTH))


def test_service_forecaster_and_training_have_equal_features(world: World, client: TestClient) -> None:
    """The training's table of the same hours, made when they had passed: what came after the start is not in it."""
    service = client.app.state.service  # type: ignore[attr-defined]
    start = at(LENGTH - 300)
    history = service.holder.current.history
    prepared = prepare_fleet(service.holder.current.forecaster, history, start, 48)
    hourly = nw.from_native(pl.LazyFrame(pl.from_arrow(arrow(HOURLY_LOAD, world.history))))
    calendar = nw.from_native(pl.LazyFrame(pl.DataFrame(calendar_table(at(0), at(LENGTH - 1)))))
    table = build_features(hourly, calendar, missing_hours="unknown").collect().to_polars()
    for server in ("a", "b"):
        rows = table.filter(pl.col("server") == server, pl.col("hour") >= start).sort("hour").head(48)
        trained = rows.select(pl.col(FEATURE_NAMES).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
        found = prepared.features[prepared.servers[server]]
        assert trained.shape == found.shape
        assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(trained.flat, found.flat, strict=True))
        answered = client.post("/forecast", json={"server": server, "start": text(start)}).json()["forecasts"][0][
            "hours"
        ]
        body = {"rows": [dict(zip(FEATURE_NAMES, row, strict=True)) for row in rows.select(FEATURE_NAMES).rows()]}
        scored = client.post("/score", json=body).json()["predictions"]
        assert [{k: v for k, v in hour.items() if k != "hour"} for hour in answered] == scored


def test_parts_of_a_fleet_are_the_fleet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    history = read_history(world.folder / "load.parquet")
    forecaster = Forecaster.load(world.compiled)
    whole = prepare_fleet(forecaster, history)
    monkeypatch.setattr("workload_forecast.service.fleet.PART", 1)
    parts = prepare_fleet(forecaster, history)
    assert parts.servers == whole.servers
    for name in ("features", "same_hour", "same_hour_age", "last_seen"):
        assert getattr(parts, name).tobytes() == getattr(whole, name).tobytes(), name


def test_a_start_too_early_is_refused_with_the_times_that_can_be_answered(client: TestClient) -> None:
    for start in (
        at(LOOK_BACK_HOURS - 1),
        at(-5000),
        at(LENGTH + LOOK_BACK_HOURS + 1),
        datetime(9000, 1, 1),
        datetime(1, 2, 1),
    ):
        problem = check_problem(client.post("/forecast", json={"server": "a", "start": text(start)}), 422, "invalid")
        assert problem["errors"][0]["where"] == "start"
    assert text(at(LOOK_BACK_HOURS)) in problem["detail"] or "no whole hour" in problem["detail"]


def test_the_newest_hour_is_always_a_start_however_short_the_history(tmp_path: Any) -> None:
    world = make_world(tmp_path)
    world.put_history([row for row in world.history if row["hour"] < at(3)])
    with served(world) as client:
        found = client.post("/forecast", json={"server": "a"}).json()["forecasts"]
        assert found == expected(world, ["a"], at(3), 48)
        check_problem(client.post("/forecast", json={"server": "a", "start": text(at(2))}), 422, "invalid")


def test_the_operators_paths_need_no_key(client: TestClient) -> None:
    for path in ("/ping", "/health", "/version", "/metrics", "/docs", "/openapi.json"):
        response = client.get(path, headers={"Authorization": ""})
        assert response.status_code == 200, path
        assert response.headers["x-request-id"]
    assert client.get("/version").json()["model"] == {"name": "forecast", "version": "1"}


# with the host, because a client takes what follows two slashes for one
@pytest.mark.parametrize(
    "path",
    ["/forecast", "/score", "/invocations", "/nothing", "/health/", "http://testserver//health", "/Health"],
)
@pytest.mark.parametrize("key", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer wf_00000000_" + "A" * 43, "é"])
def test_nothing_else_is_answered_without_a_key(client: TestClient, path: str, key: str) -> None:
    for response in (
        client.post(path, headers={"Authorization": key.encode()}),
        client.get(path, headers={"Authorization": key.encode()}),
    ):
        check_problem(response, 401, "no-key")
        assert response.headers["www-authenticate"].startswith("Bearer realm=")


def test_keys_are_followed_and_counted_and_never_told(
    tmp_path: Any, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(tmp_path)
    caplog.set_level("INFO")
    with served(world) as client:
        key, token = world.keys.create("batch client")
        own = {"Authorization": f"bearer {token}"}
        for _ in range(3):
            assert client.post("/forecast", json={"server": "a"}, headers=own).status_code == 200
        metrics = client.get("/metrics").text
        assert f'key_requests_total{{name="batch client",prefix="{key.prefix}"}} 3.0' in metrics
        world.keys.revoke(key.prefix)
        check_problem(client.post("/forecast", json={"server": "a"}, headers=own), 401, "no-key")
        world.keys.path.write_text("{")
        check_problem(client.post("/forecast", json={"server": "a"}), 503, "keys-unreadable")
        secret = token[len("wf_12345678_") :]
        assert secret not in client.get("/metrics").text
    everything = (
        caplog.text + json.dumps([getattr(record, "fields", {}) for record in caplog.records]) + capfd.readouterr().err
    )
    assert secret not in everything
    assert f"batch client {key.prefix}" in everything


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_405_and_other_paths_404(client: TestClient, method: str) -> None:
    response = client.request(method, "/forecast")
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"
    check_problem(client.request(method, "/nothing"), 404, "not-found")


def test_a_safe_request_id_is_kept_and_another_replaced(client: TestClient) -> None:
    assert client.get("/ping", headers={"X-Request-Id": "job-7:a.b"}).headers["x-request-id"] == "job-7:a.b"
    for bad in (b"a b", b"x" * 129, b"\xff", b'"}'):
        assert client.get("/ping", headers={"X-Request-Id": bad}).headers["x-request-id"].isalnum()


def test_health_says_what_is_missing_and_how_old_the_history_is(tmp_path: Any) -> None:
    world = World(tmp_path)
    world.token = world.keys.create("a")[1]
    with served(world, ready=False) as client:
        assert client.get("/ping").status_code == 200
        assert check_problem(client.get("/health"), 503, "not-ready")["model"] is None
        for path in ("/forecast", "/score", "/invocations"):
            check_problem(client.post(path, json={"server": "a"}), 503, "not-ready")
    world = make_world(tmp_path)
    with served(world) as client:
        facts = client.get("/health").json()
        assert facts["model"] == {"name": "forecast", "version": "1"}
        assert facts["history"]["newest"] == text(at(LENGTH - 1))
        assert facts["history"]["age_hours"] > 1000
        world.exchange.put_follower(FollowerState("2016-07-01T00:00:00+00:00", "http://registry.example: refused"))
        while not (facts := client.get("/health").json())["follower"]:
            pass
        assert facts["follower"] == {"checked": "2016-07-01T00:00:00+00:00", "failing": True}
        assert facts["problems"] == [], "and no reason: this path needs no key"
    with served(world, ready=False, max_history_age_hours=24.0) as client:
        while "history is" not in (found := check_problem(client.get("/health"), 503, "not-ready"))["detail"]:
            pass
        assert found["history"]["age_hours"] > 1000
        assert client.post("/forecast", json={"server": "a"}).status_code == 200


def test_metrics_count_what_was_answered_by_whom(tmp_path: Any) -> None:
    world = make_world(tmp_path)
    with served(world) as client:
        client.post("/forecast", json={"servers": ["a", "unseen"], "hours": 3})
        client.post("/x" * 500)
        lines = client.get("/metrics").text.splitlines()
    for line in (
        'workload_forecast_rows_total{route="/forecast",source="model"} 3.0',
        'workload_forecast_rows_total{route="/forecast",source="none"} 3.0',
        'workload_forecast_requests_total{route="/forecast",status="200"} 1.0',
        'workload_forecast_requests_total{route="other",status="404"} 1.0',
        'workload_forecast_model_info{name="forecast",run_id="r1",version="1"} 1.0',
        'workload_forecast_loads_total{what="history"} 1.0',
    ):
        assert line in lines


def test_a_defect_is_a_500_without_its_details(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("workload_forecast.service.service.read_forecast", broken)
    response = client.post("/forecast", json={"server": "a"})
    check_problem(response, 500, "internal")
    assert "secret detail" not in response.text
    assert "secret detail" in caplog.text
