"""A job on Databricks and the MLflow run that it fills: wait, status, cancel, find again."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.utils import mlflow_tags as tags

from workload_forecast.errors import SettingsError, WorkloadForecastError
from workload_forecast.targets.databricks.workspace import JobState, Workspace, workspace_uri
from workload_forecast.targets.history import DATABRICKS, LOG, end

#: Seconds between two looks at a job. MLflow's own is 30.
POLL_SECONDS = 10.0

_LONGEST_REASON = 1000
_STATUSES = {"SUCCESS": "FINISHED", "CANCELED": "KILLED", "UPSTREAM_CANCELED": "KILLED"}


class DatabricksRun(SubmittedRun):
    """A job on Databricks and the MLflow run that it fills."""

    def __init__(self, run_id: str, job_run_id: int, workspace: Workspace) -> None:
        super().__init__()
        self._run_id, self.job_run_id, self.workspace = run_id, job_run_id, workspace

    @classmethod
    def attach(cls, run_id: str) -> DatabricksRun:
        """Find the job of a run again, from the run's tags.

        Raises:
            SettingsError: the run was not submitted to Databricks.
        """
        found = MlflowClient().get_run(run_id).data.tags
        if tags.MLFLOW_DATABRICKS_SHELL_JOB_RUN_ID not in found:
            raise SettingsError(f"run {run_id} has no Databricks job; look at its tags in MLflow for where it ran")
        uri = found.get(DATABRICKS) or workspace_uri(mlflow.get_tracking_uri())
        return cls(run_id, int(found[tags.MLFLOW_DATABRICKS_SHELL_JOB_RUN_ID]), Workspace(uri))

    @property
    def run_id(self) -> str:
        """The MLflow run."""
        return self._run_id

    def state(self) -> JobState:
        """Return where the job stands on Databricks."""
        return self.workspace.state(self.job_run_id)

    def get_status(self) -> str:
        """Return MLflow's word for where the job stands: RUNNING, FINISHED, FAILED or KILLED."""
        state = self.state()
        return _STATUSES.get(state.result, "FAILED") if state.over else "RUNNING"

    def wait(self) -> bool:
        """Wait for the job's end, end the run with its reason, and return whether it succeeded."""
        while not (state := self.state()).over:
            time.sleep(POLL_SECONDS)
        self._finish(state)
        return state.succeeded

    def cancel(self) -> None:
        """Cancel the job and wait for its end."""
        self.workspace.cancel(self.job_run_id)
        self.wait()

    def _finish(self, state: JobState) -> None:
        client = MlflowClient()
        output = self.workspace.output(state)
        if output.get("logs"):
            client.log_text(self._run_id, output["logs"], LOG)
        if state.cluster_id:
            client.set_tag(self._run_id, tags.MLFLOW_DATABRICKS_CLUSTER_ID, state.cluster_id)
        status, code = _STATUSES.get(state.result, "FAILED"), 0 if state.succeeded else None
        why = reason(state, output)
        end(client, self._run_id, status=status, code=code, reason=why)
        if not state.succeeded:  # MLflow's command line says no more than that the run failed
            sys.stderr.write(f"[run {self._run_id}: {status}, {why}; see {state.page}]\n")

    def record(self, host: str, cluster_id: str = "") -> None:
        """Tag the run with all that leads to the job, first with what finds it again."""
        client = MlflowClient()
        client.set_tag(self._run_id, tags.MLFLOW_DATABRICKS_SHELL_JOB_RUN_ID, str(self.job_run_id))
        client.set_tag(self._run_id, DATABRICKS, self.workspace.uri)
        state = self.state()
        facts = {
            tags.MLFLOW_DATABRICKS_SHELL_JOB_ID: state.job_id,
            tags.MLFLOW_DATABRICKS_RUN_URL: state.page,
            tags.MLFLOW_DATABRICKS_WEBAPP_URL: host,
            tags.MLFLOW_DATABRICKS_CLUSTER_ID: cluster_id or state.cluster_id,
        }
        for name, value in facts.items():
            if value:
                client.set_tag(self._run_id, name, value)


def reason(state: JobState, output: Mapping[str, Any]) -> str:
    """Return in one line, and without a traceback's length, why a job ended as it did."""
    words = [state.result or state.life_cycle, state.message, output.get("error", "")]
    return " – ".join(" ".join(word.split()) for word in words if word)[:_LONGEST_REASON]


def follow(run: DatabricksRun) -> None:
    """Wait for a run.

    Raises:
        WorkloadForecastError: it failed; says why and where to look.
    """
    if not run.wait():
        state = run.state()
        why = reason(state, run.workspace.output(state))
        raise WorkloadForecastError(f"run {run.run_id} ended: {why}; see {state.page}")
