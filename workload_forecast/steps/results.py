"""Finished results of the steps that are on this machine: what notebooks read, and what the service follows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from workload_forecast.errors import DataError
from workload_forecast.home import nearest_store, results_home
from workload_forecast.steps.runs import TAG, Result
from workload_forecast.storage.local import read_info

#: Finished runs of a step that are looked at, newest first.
_RUNS = 200


def use_store(folder: Path | None = None) -> str:
    """Have MLflow use the tracking store of the environment or, without one, the nearest ``mlflow.db``; return its URI.

    Args:
        folder: where to look, and above it; None: the working directory.

    Raises:
        EnvironmentProblem: there is none.
    """
    uri = nearest_store(os.environ, folder or Path.cwd())
    mlflow.set_tracking_uri(uri)
    return uri


def newest_result(step: str) -> Result:
    """Return the newest finished result of a step.

    Raises:
        DataError: there is none on this machine.
    """
    home = results_home(mlflow.get_tracking_uri(), os.environ, Path.cwd())
    for run in finished_runs(step):
        found = result_of(run, home)
        if found:
            return found
    raise DataError(
        f"no finished run of the step {step} has its result on this machine (runs: {mlflow.get_tracking_uri()}; "
        f"results: {home}). Run it first: mlflow run . --env-manager local -e {step}."
    )


def finished_runs(step: str) -> Iterator[Run]:
    """Yield the finished runs of a step, newest first, from all experiments."""
    client = MlflowClient()
    yield from client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        f"tags.`{TAG}step` = '{step}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=_RUNS,
    )


def result_of(run: Run, home: Path) -> Result | None:
    """Return the result of a run, where the run has left it or below ``home``; None if it is in neither place."""
    tags = run.data.tags
    key, step = tags.get(f"{TAG}key", ""), tags.get(f"{TAG}step", "")
    for folder in (Path(tags.get(f"{TAG}result", "")), home / step / key):
        info = read_info(folder) if key else None
        if info and info.get("key") == key:
            return Result(run.info.run_id, key, folder, info, reused=f"{TAG}reused_run" in tags)
    return None
