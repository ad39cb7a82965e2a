"""What comes of new, late, replaced and removed files, beside what a run that takes nothing over makes of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run

from tests.engines.conformance import SIXTEEN, assert_equal_tables, line
from tests.steps.conftest import Project
from workload_forecast.engines.duckdb import DuckDBEngine
from workload_forecast.engines.spark import SparkEngine
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.steps import session_files, stored_load
from workload_forecast.steps.parts import KEPT_DAYS

FIRST, LAST = datetime(2016, 3, 1), datetime(2016, 6, 9)
SETTINGS = {
    "dataFile": "sessions/*.csv",
    "trainingFrom": str(FIRST),
    "testFrom": "2016-06-01 00:00:00",
    "to": "2016-06-30 23:59:59",
    "missingHours": "zero",
}
GONE, GONE_SINCE = "10.0.0.9", datetime(2016, 4, 20)


class Days:
    """A file of sessions for each day, in the project's folder."""

    def __init__(self, project: Project) -> None:
        self.folder = project.folder / "sessions"
        self.folder.mkdir()

    def write(
        self, day: datetime, servers: Iterable[str], *, name: str = "", load: float = 1.0, hours: int = 24
    ) -> Path:
        """Sessions of some hours from a day on, whose loads follow from hour and server."""
        lines = []
        for number, server in enumerate(servers):
            for hour in range(hours):
                start = day + timedelta(hours=hour, minutes=(hour * 7 + number) % 60)
                value = f"{load + ((start.hour * 13 + start.day * 7 + number * 5) % 97) / 8:.3f}"
                lines.append(line(SIXTEEN, session_start=str(start), server_ip=server, total_load=value))
        path = self.folder / (name or f"{day:%Y-%m-%d}.csv")
        path.write_text("\n".join([*lines, f"broken {name}"]) + "\n")
        return path


@pytest.fixture
def days(project: Project, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Days:
    """Days from March on, or from another one, to June, each a part of its own; one server is gone after April."""
    monkeypatch.setattr(session_files, "_CHUNK_BYTES", 1)
    project.settings(**SETTINGS)
    days, first = Days(project), getattr(request, "param", FIRST)
    for number in range((LAST - first).days + 1):
        day = first + timedelta(days=number)
        days.write(day, ["10.0.0.1", "10.0.0.2", *([GONE] if day < GONE_SINCE else [])])
    return days


#: Fewer days, where no more are needed: each costs a query.
of_june = pytest.mark.parametrize("days", [datetime(2016, 5, 31)], indirect=True)


def etl(project: Project, *arguments: str) -> Run:
    assert project.run("etl", "--config", "settings.json", *arguments) == 0, project.say()
    return project.runs(step="etl")[-1]


def tables(run: Run) -> dict[str, list[dict[str, Any]]]:
    folder = Path(run.data.tags["workload_forecast.result"])
    return {name: pq.read_table(folder / name).to_pylist() for name in ("hourly_load", "features", "quarantine")}


def assert_as_if_made_anew(project: Project, *engine: str) -> dict[str, float]:
    """Run, run again without taking anything over, compare all rows, and return the metrics of the first run."""
    renewed = etl(project, *engine)
    found = tables(renewed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKLOAD_FORECAST_HOME", str(project.folder / f"anew-{len(project.runs())}"))
        patch.setattr(session_files, "_CHUNK_BYTES", 1 << 30)
        anew = etl(project, *engine)
    assert anew.data.metrics["parts"] == 1
    assert (anew.data.metrics["parts_reused"], anew.data.metrics["feature_months_reused"]) == (0, 0)
    for name, rows in tables(anew).items():
        assert sorted(map(str, found[name])) == sorted(map(str, rows)), name
    counted = {name for name in anew.data.metrics if name.startswith("rows_")} | {"servers", "numbers_imputed"}
    for name in counted:
        assert renewed.data.metrics[name] == anew.data.metrics[name], name
    return dict(renewed.data.metrics)


def reused(metrics: dict[str, float]) -> tuple[int, int, int]:
    """Parts read, months of features made, months taken over."""
    made = metrics["feature_months"] - metrics["feature_months_reused"]
    return int(metrics["parts"] - metrics["parts_reused"]), int(made), int(metrics["feature_months_reused"])


def test_a_change_costs_what_it_touches_and_gives_what_a_full_run_gives(project: Project, days: Days) -> None:
    both = ["10.0.0.1", "10.0.0.2"]
    first = etl(project)
    assert reused(first.data.metrics) == (101, 4, 0)
    size = first.data.metrics["bytes_read"]

    new = days.write(LAST + timedelta(days=1), both)
    metrics = assert_as_if_made_anew(project)
    assert reused(metrics) == (1, 1, 3), "a new day"
    assert (metrics["bytes_read"], metrics["bytes_reused"]) == (new.stat().st_size, size)
    assert "101 of 102 parts" in project.say()

    days.write(datetime(2016, 4, 12), both, load=50.0)
    assert reused(assert_as_if_made_anew(project)) == (1, 2, 2), (
        "a replaced file: its month and the one that looks back"
    )

    days.write(datetime(2016, 3, 5), both, load=3.0, name="late.csv", hours=5)
    assert reused(assert_as_if_made_anew(project)) == (1, 2, 2), "a late file, with more sessions of the same minutes"

    days.write(datetime(2016, 5, 31, 12), both, load=9.0, name="2016-05-31.csv", hours=20)
    assert reused(assert_as_if_made_anew(project)) == (1, 2, 2), "sessions that spill over the month's edge"

    (days.folder / "2016-05-02.csv").unlink()
    assert reused(assert_as_if_made_anew(project)) == (0, 2, 2), "a removed file"

    new.unlink()
    assert reused(assert_as_if_made_anew(project)) == (0, 1, 3), "the last day is gone"

    days.write(LAST + timedelta(days=1), [GONE], hours=2)
    assert reused(assert_as_if_made_anew(project)) == (1, 3, 1), "a server is back: its grid has no gap"

    (days.folder / "noise.csv").write_text("no session\n")
    assert reused(assert_as_if_made_anew(project)) == (1, 0, 4), "nothing but quarantine"


@pytest.mark.usefixtures("days")
def test_a_window_that_moves_leaves_the_parts_alone_that_it_does_not_cut(project: Project) -> None:
    etl(project)
    project.settings(**{**SETTINGS, "to": "2016-06-05 11:29:59"})
    assert reused(assert_as_if_made_anew(project)) == (5, 1, 3), "the day that is cut, and those that are out"
    project.settings(**{**SETTINGS, "to": "2016-06-04 23:59:59"})
    assert reused(assert_as_if_made_anew(project)) == (1, 1, 3), "the day that was cut is out"
    project.settings(**{**SETTINGS, "trainingFrom": "2016-05-01 00:00:00", "to": "2016-06-30 23:59:59"})
    metrics = assert_as_if_made_anew(project)
    assert metrics["parts"] - metrics["parts_reused"] == 61, "March and April; those of June are there from before"


@of_june
@pytest.mark.usefixtures("days")
def test_other_questions_have_parts_of_their_own(project: Project) -> None:
    etl(project)
    project.settings(**{**SETTINGS, "debugServers": ["10.0.0.2"]})
    one = etl(project, "--debug", "FILTER_IP")
    assert reused(one.data.metrics) == (10, 2, 0)
    assert {row["server"] for row in tables(one)["hourly_load"]} == {"10.0.0.2"}
    project.settings(**{**SETTINGS, "missingHours": "unknown"})
    assert reused(assert_as_if_made_anew(project)) == (0, 2, 0), "the same parts, other features"


@of_june
def test_damaged_or_missing_leftovers_cost_time_and_nothing_else(project: Project, days: Days) -> None:
    etl(project)
    days.write(LAST + timedelta(days=1), ["10.0.0.1"])
    (result,) = project.folder.glob("outputs/etl/*/")
    (result / "info.json").unlink()
    kept = sorted(project.folder.glob("outputs/parts/*/*/info.json"))
    kept[0].unlink()
    assert reused(assert_as_if_made_anew(project)) == (2, 2, 0)


@of_june
@pytest.mark.usefixtures("days")
def test_an_etl_that_ended_early_goes_on_with_the_next_part(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    reduce_sessions, calls = DuckDBEngine.reduce_sessions, []

    def fail_at_the_fourth(self: DuckDBEngine, *arguments: Any) -> int:
        calls.append(arguments)
        if len(calls) == 4:
            raise EnvironmentProblem("the disk is full")
        return reduce_sessions(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DuckDBEngine, "reduce_sessions", fail_at_the_fourth)
        assert project.run("etl", "--config", "settings.json") != 0
    metrics = assert_as_if_made_anew(project)
    assert (metrics["parts_reused"], metrics["parts"]) == (3, 10)


@of_june
def test_parts_that_nobody_uses_go_after_a_while(project: Project, days: Days) -> None:
    etl(project)
    parts = sorted(project.folder.glob("outputs/parts/*/*/"))
    assert len(parts) == 10
    long_ago = time.time() - (KEPT_DAYS + 1) * 86_400
    for part in parts:
        os.utime(part, (long_ago, long_ago))
    (days.folder / "2016-06-01.csv").unlink()
    days.write(datetime(2016, 6, 2), ["10.0.0.1"])
    etl(project)
    left = set(project.folder.glob("outputs/parts/*/*/"))
    assert len(left & set(parts)) == 8, "those of the removed file and of the replaced one are gone"
    assert len(left) == 9


@pytest.mark.spark
@of_june
def test_on_spark_too(project: Project, days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparkEngine, "distributed", True)
    monkeypatch.setattr(stored_load, "OWN_ROWS", 0)
    monkeypatch.setattr("workload_forecast.steps.tables.OWN_BYTES", 0)
    first = etl(project, "--engine", "spark")
    days.write(LAST + timedelta(days=1), ["10.0.0.1"])
    days.write(datetime(2016, 6, 3), ["10.0.0.2"], name="late.csv", hours=30)
    metrics = assert_as_if_made_anew(project, "--engine", "spark")
    assert reused(metrics) == (2, 1, 1)
    assert reused(first.data.metrics) == (10, 2, 0)
    anew, duckdb = tables(project.runs(step="etl")[-1]), tables(etl(project, "--engine", "duckdb"))
    assert_equal_tables(anew["hourly_load"], duckdb["hourly_load"])
