"""Every contestant on a little data: each must find the hourly load that plain Python finds. No times are looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from benchmarks.etl.agreement import difference, read_result
from benchmarks.etl.contest import Outcome
from benchmarks.etl.contestants import ALL, CONTESTANTS, OURS_DUCKDB, OURS_SPARK, QUERY
from benchmarks.etl.data import files_of, make_data, settings_for
from benchmarks.etl.report import content, table
from benchmarks.etl.task import Task
from benchmarks.machine import machine
from benchmarks.measuring import ROOT, Usage
from tests import oracle
from workload_forecast.schemas import MEASURES
from workload_forecast.sessions.layouts import LAYOUTS
from workload_forecast.steps.generate import FILES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LIGHT = [QUERY, "project-duckdb-hourly", "polars", "pandas"]
ON_SPARK = ["spark-csv", "spark-text", "project-spark-hourly", "2017-hourly", "2017"]
#: Two slots of an hour with equal load, the later one first.
TIED = {"10:31:00": "8", "10:07:00": "5.5", "10:08:00": "2.5", "10:15:00": "7.999999"}


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A month of three servers, and an hour with a tie."""
    root, layout = tmp_path_factory.mktemp("sessions"), LAYOUTS[request.param]
    make_data(settings_for(0.0003, 3, layout.name), root)
    with Path(files_of(root)[0]).open("a", encoding="utf-8") as file:
        for time, load in TIED.items():
            row = dict.fromkeys(layout.columns, "1") | {"server_ip": "tied", "total_load": load}
            file.write(",".join((row | {"session_start": f"2016-06-01 {time}"}).values()) + "\n")
    return root, layout.name


def task_of(data: tuple[Path, str], output: Path) -> Task:
    root, layout = data
    output.mkdir(parents=True, exist_ok=True)
    return Task(str(root / FILES), files_of(root), layout, str(output))


@pytest.fixture(scope="module")
def expected(data: tuple[Path, str]) -> pl.DataFrame:
    rows = oracle.hourly_load(oracle.five_minute_load(list(_sessions(data))))
    return pl.DataFrame(rows).cast({"hour": pl.Datetime("us")}).sort("server", "hour")


def _sessions(data: tuple[Path, str]) -> Iterator[dict[str, Any]]:
    root, layout = data
    for path in files_of(root):
        for line in Path(path).read_text().splitlines():
            row = dict(zip(LAYOUTS[layout].columns, line.split(","), strict=True))
            start = datetime.fromisoformat(row["session_start"])
            yield {"server": row["server_ip"], "start": start} | {name: float(row[name]) for name in MEASURES}


@pytest.mark.parametrize("name", LIGHT)
def test_light_contestants_find_the_oracles_hourly_load(
    name: str, data: tuple[Path, str], expected: pl.DataFrame, tmp_path: Path
) -> None:
    CONTESTANTS[name].run(task_of(data, tmp_path))
    found = read_result(tmp_path)
    assert difference(found, expected) == ""
    assert found.filter(server="tied")["peak_slot"].to_list() == [1]


@pytest.mark.spark
@pytest.mark.parametrize("data", ["sessions17"], indirect=True)
@pytest.mark.parametrize("name", ON_SPARK)
def test_contestants_on_spark_find_the_oracles_hourly_load(
    name: str, data: tuple[Path, str], expected: pl.DataFrame, tmp_path: Path, spark: SparkSession
) -> None:
    CONTESTANTS[name].run(task_of(data, tmp_path))
    assert difference(read_result(tmp_path), expected) == ""
    if CONTESTANTS[name].makes == ALL:
        features = spark.read.parquet(str(tmp_path / "features")).toPandas().sort_values("hour")
        assert len(features) == expected.height
        alone = features[features["server"] == features["server"].min()].reset_index(drop=True)
        assert alone["total_load_lag_48h"][48:].tolist() == alone["total_load"][:-48].tolist()
        assert set(features["label"]) <= {"low", "medium", "high"}


@pytest.mark.slow
@pytest.mark.spark
def test_one_command_measures_whole_etls(tmp_path: Path) -> None:
    chosen = [OURS_DUCKDB, OURS_SPARK, "polars"]
    options = ["--gigabytes", "0.0003", "--servers", "3", "--runs", "1", "--workspace", str(tmp_path / "workspace")]
    command = [sys.executable, "-m", "benchmarks.etl", *options, "--json", str(tmp_path / "bench.json")]
    for name in chosen:
        command += ["--only", name]
    told = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in found["contestants"]] == [QUERY, OURS_DUCKDB, OURS_SPARK, "polars"]
    assert found["out"] == []
    for row in found["contestants"]:
        assert set(row["ratios"]) == {QUERY, OURS_DUCKDB, OURS_SPARK}
        assert all(run["wall_s"] > 0 and run["cpu_s"] > 0 and run["peak_mb"] > 1 for run in row["runs"])
    assert "| project on Spark | all of the ETL |" in told.stdout


def test_every_contestant_is_tried_here() -> None:
    assert sorted([*LIGHT, *ON_SPARK, OURS_DUCKDB, OURS_SPARK]) == sorted(CONTESTANTS)


def test_differences_are_named() -> None:
    numbers = dict.fromkeys(MEASURES, 2.0) | {"peak_slot": 3, "sessions": 4}
    right = pl.DataFrame([{"server": name, "hour": datetime(2016, 6, 1)} | numbers for name in ("a", "b")])
    assert difference(right, right) == ""
    assert difference(right.with_columns(total_load=pl.lit(2 * (1 + 0.9e-9))), right) == ""
    assert (
        difference(right.with_columns(total_load=pl.lit(2 * (1 + 1.1e-9))), right)
        == "total_load differs in 2 of 2 rows"
    )
    assert (
        difference(right.with_columns(sessions=pl.lit(None, dtype=pl.Int64)), right)
        == "sessions differs in 2 of 2 rows"
    )
    assert difference(right[:1], right) == "1 hours of servers are missing, 0 are there that should not be"


def test_the_table_divides_medians_and_names_who_is_out() -> None:
    query, ours, polars = (CONTESTANTS[name] for name in (QUERY, OURS_DUCKDB, "polars"))
    outcomes = [
        Outcome(query, [Usage(2.0, 4.0, 100.0), Usage(9.0, 5.0, 100.0), Usage(1.0, 3.0, 100.0)]),
        Outcome(ours, [Usage(3.0, 6.0, 250.0)] * 3),
        Outcome(polars, [Usage(1.0, 1.0, 1.0)], "sessions differs in 1 of 2 rows"),
    ]
    data = {"bytes": 2_000_000_000, "rows": 7, "files": 2, "servers": 3, "layout": "sessions17"}
    found = content(outcomes, data, {}, machine(("polars",)))
    first, second = found["contestants"]
    assert first["median"] == {"wall_s": 2.0, "cpu_s": 4.0, "peak_mb": 100.0}
    assert second["ratios"][QUERY] == {"wall_s": 1.5, "cpu_s": 1.5, "peak_mb": 2.5}
    assert first["ratios"][OURS_DUCKDB]["wall_s"] == pytest.approx(0.667)
    lines = table(found).splitlines()
    assert lines[3] == "| project on DuckDB | all of the ETL | 3.0 | 1.50 | 1.00 | 6.0 | 1.50 | 2.0 | 250 | 2.50 |"
    assert "- (c) Polars, hourly load: sessions differs in 1 of 2 rows" in lines
