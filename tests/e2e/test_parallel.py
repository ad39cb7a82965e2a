"""Several ``mlflow run`` at once where nobody has run anything yet: no store, no experiment, no results."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.checkouts import Checkout

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


def test_first_starts_do_not_race(checkout: Checkout, small_settings: Path, tmp_path: Path) -> None:
    def start(_: int) -> str:
        project = shlex.quote(str(checkout.folder))
        done = checkout.mlflow_run("etl", {"config": small_settings}, project, tmp_path, "--experiment-name shared")
        assert done.returncode == 0, done.stderr
        return done.stderr

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(start, range(3)))

    runs = checkout.runs(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert len({run.info.experiment_id for run in runs}) == 1
    assert sum("workload_forecast.reused_run" in run.data.tags for run in runs) == 2
    assert sum("etl: reused run" in text for text in said) == 2


def test_trainings_at_once_register_a_version_each(checkout: Checkout, small_settings: Path, tmp_path: Path) -> None:
    forest = {"algorithm": "random_forest", "num_trees": 2, "max_depth": 2}  # what has a seed, so that the two differ

    def start(seed: int) -> str:
        parameters = {"config": small_settings, **forest, "seed": seed}
        done = checkout.mlflow_run("train", parameters, shlex.quote(str(checkout.folder)), tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(start, range(2)))

    assert {run.info.status for run in checkout.runs(tmp_path)} == {"FINISHED"}
    trained = [run for run in checkout.runs(tmp_path) if run.data.tags.get("workload_forecast.step") == "train"]
    assert sorted(run.data.params["seed"] for run in trained) == ["0", "1"]
    assert all(run.data.params[name] == str(value) for run in trained for name, value in forest.items())
    versions = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_model_versions("name='workload-forecast'")
    assert sorted(str(version.version) for version in versions) == ["1", "2"]
    assert {version.status for version in versions} == {"READY"}
    etl = [run for run in checkout.runs(tmp_path) if run.data.tags.get("workload_forecast.step") == "etl"]
    assert sum("workload_forecast.reused_run" in run.data.tags for run in etl) == 1
