"""What a run keeps of how and where it was run."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.git import git_state
from workload_forecast.targets.contract import Environment, Job
from workload_forecast.targets.hosts import started
from workload_forecast.targets.tracking import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG = "workload_forecast."
JOB = f"{TAG}job"
CANCELLED = f"{TAG}cancelled"
REASON = f"{TAG}exit_reason"
CODE = f"{TAG}exit_code"
LOG = "console.log"
#: Which process launches, until the job is started: ``host``, ``pid`` and ``started`` as JSON.
LAUNCHER = f"{TAG}launcher"
#: Tag with which a job on Databricks is found again: ``databricks`` or ``databricks://profile``.
DATABRICKS = f"{TAG}workspace_uri"
ENDED = ("FINISHED", "FAILED", "KILLED")


def begin(client: MlflowClient, run_id: str, target: str) -> None:
    """Write down who launches, so that a run whose launcher dies in the middle of it can be told from others."""
    launcher = {"host": socket.gethostname(), "pid": os.getpid(), "started": started(os.getpid())}
    client.set_tag(run_id, LAUNCHER, json.dumps(launcher))
    client.set_tag(run_id, f"{TAG}target", target)


def launcher_lives(run: Run) -> bool:
    """Return whether the process lives that launches the run.

    Raises:
        EnvironmentProblem: it is, or was, one of another machine.
    """
    launcher = json.loads(run.data.tags[LAUNCHER])
    if launcher["host"] != socket.gethostname():
        raise EnvironmentProblem(f"it is launched from {launcher['host']}, process {launcher['pid']}: look there")
    return bool(started(launcher["pid"]) == launcher["started"])


def describe(client: MlflowClient, job: Job, environment: Environment, engine: str, project: Path) -> None:
    """Tag the run with target, environment, engine and code, and keep what was not committed."""
    from mlflow.entities import RunTag

    tags = {
        "target": job.target.name,
        "target_type": job.target.type,
        "target_address": job.target.address or "this machine",
        "environment": environment.name,
        "engine": engine,
        **environment.facts,
    }
    _, diff = git_state(project)
    tags["uncommitted"] = str(bool(diff)).lower()
    client.log_batch(job.run_id, tags=[RunTag(TAG + name, value) for name, value in tags.items()])
    if diff:
        client.log_text(job.run_id, diff, "uncommitted.diff")


def keep(client: MlflowClient, job: Job) -> None:
    """Write down how the job is found again."""
    client.set_tag(job.run_id, JOB, json.dumps(job.record()))


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Return the run.

    Raises:
        SettingsError: there is none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as problem:
        where = without_password(client.tracking_uri)
        raise SettingsError(f"run {run_id} was not found in {where}: {problem.message}") from None


def find_job(client: MlflowClient, run_id: str) -> tuple[Run, Job]:
    """Return the run and the job that it was launched as.

    Raises:
        SettingsError: there is no such run, or it was not launched on a target.
    """
    run = find_run(client, run_id)
    if JOB not in run.data.tags and LAUNCHER in run.data.tags:
        why = run.data.tags.get(REASON, "it is being launched")
        raise SettingsError(f"run {run_id} has no job on its target: {why}.")
    if JOB not in run.data.tags:
        raise SettingsError(f"run {run_id} was not launched on a target (it has no tag {JOB}).")
    return run, Job.from_record(json.loads(run.data.tags[JOB]))


def end(client: MlflowClient, run_id: str, *, status: str, code: int | None, reason: str) -> None:
    """End the run and whatever is nested in it, with the reason; a run that ended itself keeps its status."""
    run = client.get_run(run_id)
    client.set_tag(run_id, CODE, "unknown" if code is None else str(code))
    for child in _open_children(client, run):
        end_status = "KILLED" if status == "KILLED" else "FAILED"
        client.set_terminated(child.info.run_id, end_status)
    if run.info.status not in ENDED or (status != "FINISHED" and run.info.status == "FINISHED") or status == "KILLED":
        client.set_terminated(run_id, status)
    ended = client.get_run(run_id).info
    client.set_tag(run_id, f"{TAG}seconds", f"{((ended.end_time or 0) - ended.start_time) / 1000:.1f}")
    client.set_tag(run_id, REASON, reason)


def _open_children(client: MlflowClient, run: Run) -> list[Run]:
    """Return what is nested in the run, at any depth, and has not ended."""
    query = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    children = list(client.search_runs([run.info.experiment_id], query))
    below = [grandchild for child in children for grandchild in _open_children(client, child)]
    return [*(child for child in children if child.info.status not in ENDED), *below]
