"""An ETL on DuckDB pays for nothing that it does not use; what MLflow loads by itself is left out of account."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from tests.steps.conftest import Project

FIRST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 3, 23, 59, 59)
HEAVY = {
    *("pyspark", "py4j", "matplotlib", "sklearn", "scipy", "pandas", "xgboost", "hyperopt", "treelite"),
    *("azure", "fastapi", "starlette", "uvicorn", "flask"),
}
HEAVY_IN_MLFLOW = {f"mlflow.{name}" for name in ("pyfunc", "pyspark", "server", "sklearn", "spark", "xgboost")}
PROGRAM = """
import sys
import mlflow, mlflow.store.tracking.sqlalchemy_store
before = set(sys.modules)
from workload_forecast.cli import run
code = run(sys.argv[1:])
print(*sorted(set(sys.modules) - before), sep="\\n")
sys.exit(code)
"""


def test_an_etl_on_duckdb_loads_nothing_heavy(project: Project) -> None:
    project.sessions(FIRST, LAST)
    config = project.settings(
        dataFile="sessions/*/*/*/*/request.csv*", trainingFrom=str(FIRST), testFrom="2016-06-03 00:00:00", to=str(LAST)
    )
    command = [sys.executable, "-c", PROGRAM, "etl", "--config", config]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "workload_forecast.engines.duckdb" in loaded
    assert "workload_forecast.engines.spark" not in loaded
    assert [name for name in loaded if name.split(".")[0] in HEAVY or name in HEAVY_IN_MLFLOW] == []
