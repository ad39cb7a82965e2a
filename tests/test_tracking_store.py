"""MLflow's SQLite store as the plugin opens it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store

from workload_forecast.tracking_store import open_sqlite_store

#: A process that opens the store, looks for an experiment and makes it, as `mlflow run --experiment-name` does.
FIRST_START = """
import sys, time
from pathlib import Path
from workload_forecast.tracking_store import open_sqlite_store
import mlflow.store.tracking.sqlalchemy_store

print("ready", flush=True)
sys.stdin.readline()
store = open_sqlite_store(sys.argv[1])
found = store.get_experiment_by_name("shared")
time.sleep(0.2)  # so that all have looked before one makes it
print(found.experiment_id if found else store.create_experiment("shared"))
"""


def test_mlflow_opens_sqlite_through_the_plugin(tmp_path: Path) -> None:
    assert [point.value for point in entry_points(group="mlflow.tracking_store", name="sqlite")] == [
        "workload_forecast.tracking_store:open_sqlite_store"
    ]
    assert type(_get_store(f"sqlite:///{tmp_path / 'mlflow.db'}")).__name__ == "Patient"


def test_first_starts_at_the_same_moment_share_database_and_experiment(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'a folder' / 'mlflow.db'}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_START, uri],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert len(set(said)) == 1
    assert [experiment.name for experiment in MlflowClient(uri).search_experiments()] == ["shared", "Default"]


def test_an_experiment_that_nobody_looked_for_is_still_an_error(tmp_path: Path) -> None:
    store = open_sqlite_store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    store.create_experiment("mine")
    with pytest.raises(MlflowException, match="already exists"):
        store.create_experiment("mine")
    assert store.get_experiment_by_name("mine").name == "mine"
    with pytest.raises(MlflowException, match="already exists"):
        store.create_experiment("mine")
