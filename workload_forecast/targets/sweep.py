"""Runs on targets: list them, end those whose job is over, gather what a bug report needs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.diagnostics import write_diagnostics
from workload_forecast.targets.follow import Follower
from workload_forecast.targets.history import ENDED, JOB, LOG, REASON, TAG, end, find_job
from workload_forecast.targets.job import secrets
from workload_forecast.targets.places import open_launcher

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def list_runs(*, everything: bool) -> Iterator[tuple[str, ...]]:
    """Yield a row for every run on a target: id, status, target, entry point, start (UTC), reason."""
    from mlflow import MlflowClient

    for run in _runs(MlflowClient()):
        if everything or run.info.status not in ENDED:
            tags = run.data.tags
            begun = datetime.fromtimestamp(run.info.start_time / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
            what = tags.get("mlflow.project.entryPoint", "")
            yield run.info.run_id, run.info.status, tags[f"{TAG}target"], what, begun, tags.get(REASON, "")


def sweep_runs(*, give_up: bool) -> Iterator[str]:
    """End every run whose job is over, and yield a line about each that was not.

    A run that was ended by its own program, but whose launcher did not live to bring back results and console, is
    finished like the others. One whose job goes on is left alone.

    Args:
        give_up: end runs as KILLED whose target cannot be reached.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    for found in _runs(client):
        run_id = found.info.run_id
        if REASON in found.data.tags:
            continue
        _, job = find_job(client, run_id)
        follower = Follower(client, job, open_launcher(job.target), lambda _: None, lambda _: None)
        try:
            outcome = follower.finish_if_ended()
        except EnvironmentProblem as problem:
            if give_up:
                end(client, run_id, status="KILLED", code=None, reason=f"given up: {problem}")
                yield f"{run_id}  KILLED  {problem}"
            else:
                yield f"{run_id}  {found.info.status}  {problem} (--give-up ends the run)"
            continue
        if outcome:
            yield f"{run_id}  {outcome.status}  {outcome.reason}"
        else:
            yield f"{run_id}  RUNNING  goes on: workload-forecast logs -f {run_id}"


def write_run_diagnostics(run_id: str, path: Path) -> Path:
    """Write a zip with all that is known of a run, secrets redacted.

    Raises:
        SettingsError: there is no such run, or it was not launched on a target.
    """
    import tempfile

    from mlflow import MlflowClient

    client = MlflowClient()
    run, job = find_job(client, run_id)
    with tempfile.TemporaryDirectory() as folder:
        sources: dict[str, str | Path] = {
            "run.json": json.dumps(run.to_dictionary(), indent=2, default=str),
            "job.json": json.dumps(job.record(), indent=2),
            "target.txt": _facts(job.target),
        }
        for name in (LOG, "uncommitted.diff", "environment.json"):
            if any(artifact.path == name for artifact in client.list_artifacts(run_id)):
                sources[name] = Path(client.download_artifacts(run_id, name, folder))
        known = {name: os.environ[name] for name in job.configuration.forward_variables if name in os.environ}
        open_job = job.configuration.model_copy(update={"forward_variables": tuple(known)})
        return write_diagnostics(path, sources, secrets(open_job, os.environ).values())


def _facts(target: object) -> str:
    from workload_forecast.targets.files import ComputeTarget
    from workload_forecast.targets.inspect import show_target

    assert isinstance(target, ComputeTarget)
    return "\n".join(f"{name}: {value}" for name, value in show_target(target))


def _runs(client: MlflowClient) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{JOB}` LIKE '%'", order_by=["attributes.start_time DESC"])
    runs = list(found)
    while found.token:
        found = client.search_runs(
            experiments, f"tags.`{JOB}` LIKE '%'", order_by=["attributes.start_time DESC"], page_token=found.token
        )
        runs += found
    return runs
