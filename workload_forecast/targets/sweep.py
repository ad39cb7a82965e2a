"""End the runs whose job is over although nobody followed it; gather what a bug report about a run needs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.diagnostics import write_diagnostics
from workload_forecast.targets.follow import Follower, Outcome, kept_outcome
from workload_forecast.targets.history import DATABRICKS, JOB, LOG, REASON, end, find_job, launcher_lives
from workload_forecast.targets.inspect import show_target
from workload_forecast.targets.job import secrets
from workload_forecast.targets.places import open_launcher
from workload_forecast.targets.runs import runs_on_targets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def sweep_runs(*, give_up: bool) -> Iterator[str]:
    """End every run whose job is over, and yield a line about each that was not.

    A run that was ended by its own program, but whose launcher did not live to bring back results and console, is
    finished like the others. One whose job goes on is left alone.

    Args:
        give_up: end runs as KILLED whose target cannot be reached.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    for run in runs_on_targets(client):
        if REASON in run.data.tags:
            continue
        run_id = run.info.run_id
        try:
            outcome = _outcome(client, run)
        except EnvironmentProblem as problem:
            if give_up:
                outcome = Outcome("KILLED", None, f"given up: {problem}")
                end(client, run_id, status="KILLED", code=None, reason=outcome.reason)
            else:
                yield f"{run_id}  {run.info.status}  {problem} (--give-up ends the run)"
                continue
        if outcome:
            yield f"{run_id}  {outcome.status}  {outcome.reason}"
        else:
            yield f"{run_id}  RUNNING  goes on: workload-forecast logs -f {run_id}"


def _outcome(client: MlflowClient, run: Run) -> Outcome | None:
    """Return how the job of a run ended, having ended the run; or None if the job goes on.

    Raises:
        EnvironmentProblem: nobody can tell.
    """
    run_id = run.info.run_id
    if DATABRICKS in run.data.tags:
        from workload_forecast.targets.databricks.run import DatabricksRun

        job_run = DatabricksRun.attach(run_id)
        if not job_run.state().over:
            return None
        job_run.wait()
        return kept_outcome(client.get_run(run_id))
    if JOB in run.data.tags:
        _, job = find_job(client, run_id)
        return Follower(client, job, open_launcher(job.target), lambda _: None, lambda _: None).finish_if_ended()
    if launcher_lives(run):
        return None
    end(client, run_id, status="FAILED", code=None, reason="the launcher ended before the job was started")
    return kept_outcome(client.get_run(run_id))


def write_run_diagnostics(run_id: str, path: Path) -> Path:
    """Write a zip with all that is known of a run, secrets redacted.

    Raises:
        SettingsError: there is no such run, or it was not launched on a target.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    run, job = find_job(client, run_id)
    with tempfile.TemporaryDirectory() as folder:
        sources: dict[str, str | Path] = {
            "run.json": json.dumps(run.to_dictionary(), indent=2, default=str),
            "job.json": json.dumps(job.record(), indent=2),
            "target.txt": "\n".join(f"{name}: {value}" for name, value in show_target(job.target)),
        }
        for name in (LOG, "uncommitted.diff", "environment.json"):
            if any(artifact.path == name for artifact in client.list_artifacts(run_id)):
                sources[name] = Path(client.download_artifacts(run_id, name, folder))
        known = {name: os.environ[name] for name in job.configuration.forward_variables if name in os.environ}
        open_job = job.configuration.model_copy(update={"forward_variables": tuple(known)})
        return write_diagnostics(path, sources, secrets(open_job, os.environ).values())
