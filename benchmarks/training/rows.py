"""The rows that both trainings get: the same servers and hours, each with the features that its method makes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from benchmarks.etl.contestants import OURS_DUCKDB
from benchmarks.etl.data import files_of, make_data
from benchmarks.etl.task import FIRST, LAST, Task
from benchmarks.measuring import ROOT
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.model.split import TimeSplit
from workload_forecast.sessions.generator import GeneratorSettings
from workload_forecast.steps.generate import FILES

#: A month has this many hours, and a server serves in nearly all of them.
_HOURS, _SESSIONS_PER_HOUR = 720, 12.0

SPLIT = TimeSplit(FIRST, datetime(2016, 6, 25), LAST)


@dataclass(frozen=True)
class Rows:
    """A folder with both feature tables and the classes' borders."""

    folder: Path

    def features(self, contestant: str) -> Path:
        """The feature table of one method."""
        return self.folder / "features" / contestant

    @property
    def facts(self) -> dict[str, float]:
        """``rows``, and ``low`` and ``high``, the borders of the classes."""
        found: dict[str, float] = json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))
        return found


def make_rows(number: int, folder: Path) -> Rows:
    """Make about ``number`` rows below ``folder``, rather more, unless they are there.

    Raises:
        EnvironmentProblem: an ETL failed.
    """
    rows = Rows(folder)
    if (folder / "facts.json").exists():
        return rows
    servers = math.ceil(number / _HOURS)
    settings = GeneratorSettings(
        FIRST.date(), LAST.date(), servers, _SESSIONS_PER_HOUR, layout="sessions17", dirt_rate=0
    )
    make_data(settings, folder / "sessions")
    tables = {name: _features_of(name, folder) for name in (OURS_DUCKDB, "2017")}
    keep_common(rows, ours=tables[OURS_DUCKDB], theirs=tables["2017"])
    return rows


def keep_common(rows: Rows, *, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Keep both feature tables, the project's without the idle hours that the other one does not have."""
    common = theirs.select("server", pl.col("hour").str.to_datetime("%Y-%m-%d %H:%M:%S"))
    kept = ours.join(common, on=["server", "hour"], how="semi")
    for name, table in ((OURS_DUCKDB, kept), ("2017", theirs)):
        rows.features(name).mkdir(parents=True, exist_ok=True)
        table.write_parquet(rows.features(name) / "features.parquet")
    known = kept.filter(pl.col("hour") < SPLIT.training_to)["total_load"]
    low, high = (known.quantile(part, "nearest") for part in (1 / 3, 2 / 3))
    facts = {"rows": kept.height, "low": low, "high": high}
    (rows.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _features_of(contestant: str, folder: Path) -> pl.DataFrame:
    """Run a contestant's whole ETL and return its features."""
    output = folder / "etl" / contestant
    output.mkdir(parents=True, exist_ok=True)
    task = output.with_suffix(".json")
    sessions = folder / "sessions"
    Task(str(sessions / FILES), files_of(sessions), "sessions17", str(output)).write(task)
    command = (sys.executable, "-m", "benchmarks.etl.contestants", contestant, str(task))
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "WORKLOAD_FORECAST_HOME": str(output)}
    environment = {**os.environ, **store, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise EnvironmentProblem(f"the features of {contestant} could not be made: {ended.stderr[-1000:]}")
    files = sorted(output.glob("**/features/**/*.parquet"))
    return pl.concat([pl.read_parquet(file, hive_partitioning=True) for file in files], how="vertical_relaxed")
