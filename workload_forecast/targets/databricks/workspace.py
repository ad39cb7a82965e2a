"""The calls that we make to a Databricks workspace: credentials, files, jobs. The only place that knows addresses.

MLflow's ``DatabricksJobRunner`` makes them, so that credentials are found as MLflow finds them (environment, profile
of the Databricks CLI, OAuth, Azure) and archives land where its own backend puts them. Its methods carry a leading
underscore; nothing outside this module uses them. Fields are those of Jobs API 2.2 and
Clusters API 2.1, the versions of Databricks' SDK.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import logging
import os
import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workload_forecast.errors import EnvironmentProblem, SettingsError

#: Life cycle states in which a job is over. MLflow's own loop looks at ``result_state`` alone, which a cluster that
#: never started does not have: it would wait for ever.
OVER = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})
_PROBE_SECONDS = 10
_JOBS = "/api/2.2/jobs/runs"
_REFUSED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})


@dataclass(frozen=True)
class JobState:
    """Where a job stands. ``result`` is empty as long as it runs, and for good if it never started."""

    life_cycle: str
    result: str = ""
    message: str = ""
    page: str = ""
    job_id: str = ""
    cluster_id: str = ""
    task_run_id: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.life_cycle in OVER

    @property
    def succeeded(self) -> bool:
        """Whether the job did all that it was asked for."""
        return self.over and self.result == "SUCCESS"


def workspace_uri(tracking_uri: str, profile: str = "") -> str:
    """Return the URI under which MLflow finds the credentials: the profile's, or that of the tracking server.

    Raises:
        SettingsError: the tracking URI names another profile.
    """
    parts = urlsplit(tracking_uri)
    if not profile:
        return tracking_uri if parts.scheme == "databricks" else "databricks"
    if parts.scheme == "databricks" and parts.netloc not in {"", profile}:
        raise SettingsError(
            f"the target's profile is {profile!r}, the tracking URI {tracking_uri} names another one; "
            f"set MLFLOW_TRACKING_URI=databricks://{profile}"
        )
    return f"databricks://{profile}"


def _configured_host(uri: str) -> str:
    """Return the workspace's address, or nothing where only the SDK can find it; reads no credentials."""
    profile = urlsplit(uri).netloc.partition(":")[0] or os.environ.get("DATABRICKS_CONFIG_PROFILE", "")
    if not profile and (host := os.environ.get("DATABRICKS_HOST")):
        return host
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(Path(os.environ.get("DATABRICKS_CONFIG_FILE", "~/.databrickscfg")).expanduser())
    except configparser.Error as error:
        raise SettingsError(f"the file of Databricks profiles cannot be read: {str(error).splitlines()[0]}") from None
    return file.get(profile or "DEFAULT", "host", fallback="")


@contextmanager
def _silenced(*names: str) -> Iterator[None]:
    """Keep libraries from logging what is raised as an error anyway."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


class Workspace:
    """One Databricks workspace.

    Args:
        uri: ``databricks`` or ``databricks://profile``.
    """

    def __init__(self, uri: str) -> None:
        from mlflow.projects.databricks import DatabricksJobRunner

        self.uri = uri
        self._runner = DatabricksJobRunner(databricks_profile_uri=uri)

    def check(self) -> str:
        """Return the workspace's address after making sure that it answers and that there are credentials for it.

        Raises:
            EnvironmentProblem: no credentials, or no answer within 10 seconds.
        """
        import requests
        from mlflow.exceptions import MlflowException
        from mlflow.utils.databricks_utils import get_databricks_host_creds

        if host := _configured_host(self.uri):
            try:  # any answer will do; the SDK itself would try an unreachable host for five minutes
                requests.head(host, timeout=_PROBE_SECONDS, allow_redirects=False)
            except (requests.RequestException, ValueError) as error:
                raise EnvironmentProblem(
                    f"Databricks workspace {host} does not answer ({type(error).__name__}); "
                    "check DATABRICKS_HOST or the profile's host (https://…), network and proxy"
                ) from error
        try:
            with _silenced("mlflow.utils.databricks_utils"):
                return str(get_databricks_host_creds(self.uri).host)
        except MlflowException as error:
            profile = urlsplit(self.uri).netloc
            raise EnvironmentProblem(
                f"no Databricks credentials for {self.uri}: set DATABRICKS_HOST and DATABRICKS_TOKEN, or run "
                f"`databricks configure{f' --profile {profile}' if profile else ''}`"
            ) from error

    def _call(self, method: str, endpoint: str, **arguments: Any) -> dict[str, Any]:
        from mlflow.exceptions import MlflowException

        try:
            response = self._runner._databricks_api_request(endpoint, method, **arguments)  # noqa: SLF001
        except MlflowException as error:
            raise self._problem(endpoint, error) from error
        answer: dict[str, Any] = json.loads(response.text)
        return answer

    def _problem(self, what: str, error: Exception) -> EnvironmentProblem:
        """Return one line; the SDK appends its configuration to messages, which nobody needs there."""
        message = str(error).splitlines()[0].partition(" Config: ")[0]
        if getattr(error, "error_code", "") in _REFUSED:
            return EnvironmentProblem(
                f"Databricks ({self.uri}) refused {what}: {message} Renew DATABRICKS_TOKEN or the profile's "
                "token, or ask for the permission"
            )
        return EnvironmentProblem(f"Databricks ({self.uri}), {what}: {message}")

    def check_access(self, cluster_id: str = "") -> None:
        """Make sure that the credentials are accepted and that the cluster, if one is named, is there.

        Raises:
            EnvironmentProblem: one of them is not so.
        """
        quick = {"timeout": _PROBE_SECONDS, "retry_timeout_seconds": _PROBE_SECONDS, "max_retries": 1}
        if cluster_id:
            self._call("GET", "/api/2.1/clusters/get", params={"cluster_id": cluster_id}, **quick)
        else:
            self._call("GET", "/api/2.1/clusters/spark-versions", **quick)

    def upload_project(self, folder: Path, experiment_id: str) -> str:
        """Upload a folder as an archive, once for the same content, and return its path on a cluster."""
        from mlflow.exceptions import MlflowException

        try:
            path = self._runner._upload_project_to_dbfs(str(folder), experiment_id)  # noqa: SLF001
        except MlflowException as error:
            raise self._problem("upload of the project", error) from error
        return str(path)

    def upload_text(self, text: str, suffix: str, experiment_id: str) -> str:
        """Upload a text beside the projects, once for the same content, and return its path below DBFS' root."""
        from mlflow.exceptions import MlflowException
        from mlflow.projects.databricks import DBFS_EXPERIMENT_DIR_BASE

        name = hashlib.sha256(text.encode()).hexdigest() + suffix
        path = posixpath.join(DBFS_EXPERIMENT_DIR_BASE, str(experiment_id), "projects-code", name)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / name
            source.write_text(text, encoding="utf-8")
            try:
                if not self._runner._dbfs_path_exists(path):  # noqa: SLF001
                    self._runner._upload_to_dbfs(str(source), f"/dbfs/{path}")  # noqa: SLF001
            except MlflowException as error:
                raise self._problem(f"upload of {name}", error) from error
        return path

    def submit(self, name: str, task: Mapping[str, Any], token: str, timeout_seconds: int = 0) -> int:
        """Start a one-time job of one task and return its run id; the same ``token`` never starts a second one."""
        body: dict[str, Any] = {"run_name": name, "idempotency_token": token, "tasks": [dict(task)]}
        if timeout_seconds:
            body["timeout_seconds"] = timeout_seconds
        return int(self._call("POST", f"{_JOBS}/submit", json=body)["run_id"])

    def state(self, job_run_id: int) -> JobState:
        """Return where a job stands."""
        run = self._call("GET", f"{_JOBS}/get", params={"run_id": job_run_id})
        task = (run.get("tasks") or [run])[0]
        state = run.get("state", {})
        return JobState(
            life_cycle=state.get("life_cycle_state", ""),
            result=state.get("result_state", ""),
            message=state.get("state_message", ""),
            page=run.get("run_page_url", ""),
            job_id=str(run.get("job_id", "")),
            cluster_id=task.get("cluster_instance", {}).get("cluster_id", ""),
            task_run_id=int(task.get("run_id", job_run_id)),
        )

    def output(self, state: JobState) -> dict[str, Any]:
        """Return what the task left: ``logs``, ``error``; nothing for a job that runs or never started."""
        if state.life_cycle != "TERMINATED" or not state.task_run_id:
            return {}
        return self._call("GET", f"{_JOBS}/get-output", params={"run_id": state.task_run_id})

    def cancel(self, job_run_id: int) -> None:
        """Ask for the end of a job; it ends soon after, and one that has ended stays as it is."""
        self._call("POST", f"{_JOBS}/cancel", json={"run_id": job_run_id})
