"""Real server data: 30 production machines over 45 days, in a folder beside the checkout (it is not ours to ship)."""

from __future__ import annotations

import os
from pathlib import Path

import narwhals as nw
import pandas as pd
import pytest

from tests.steps.conftest import Project
from workload_forecast.engines.spark import SparkEngine
from workload_forecast.schemas import FEATURES, HOURLY_LOAD
from workload_forecast.steps import stored_load, tables

DATA = Path(__file__).parents[3] / "shared" / "data" / "service_machines_30x45d.csv.gz"
SETTINGS = {
    "dataFile": str(DATA),
    "trainingFrom": "2020-01-06 00:00:00",
    "testFrom": "2020-02-11 00:00:00",
    "to": "2020-02-19 23:59:59",
}


@pytest.fixture(autouse=True)
def data() -> None:
    if DATA.exists():
        return
    reason = f"the real data is not beside the checkout ({DATA})"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def stored(project: Project, table: str, engine: str) -> pd.DataFrame:
    (run,) = [run for run in project.runs(step="etl") if run.data.params["engine"] == engine]
    folder = Path(run.data.tags["workload_forecast.result"]) / table
    frame = pd.read_parquet(folder)
    integers = {name: "int64" for name, dtype in FEATURES.columns.items() if dtype == nw.Int64() and name in frame}
    return frame.astype(integers).sort_values(["server", "hour"], ignore_index=True)


@pytest.mark.spark
@pytest.mark.slow
def test_both_engines_give_the_same_tables(
    project: Project,
    spark: object,  # noqa: ARG001 - the session is joined by the step
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SparkEngine, "distributed", True)
    monkeypatch.setattr(stored_load, "OWN_ROWS", 0)
    monkeypatch.setattr(tables, "OWN_BYTES", 0)
    project.settings(**SETTINGS)
    for engine in ("duckdb", "spark"):
        assert project.run("etl", "--config", "settings.json", "--engine", engine) == 0
    for run in project.runs(step="etl"):
        assert run.data.metrics["rows_read"] == run.data.metrics["rows_used"] == 388_500
        assert run.data.metrics["servers"] == 30
        assert run.data.metrics["numbers_imputed"] == 0
    for table in (HOURLY_LOAD.name, FEATURES.name):
        one, two = (stored(project, table, engine) for engine in ("duckdb", "spark"))
        pd.testing.assert_frame_equal(one, two[one.columns], rtol=1e-9, atol=1e-9, check_dtype=False)
    hourly = stored(project, HOURLY_LOAD.name, "duckdb")
    assert hourly["total_load"].quantile([0.05, 0.5, 0.95]).round(1).tolist() == [13.9, 38.2, 56.7]
