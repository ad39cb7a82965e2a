"""Submit a run to Databricks: to a new cluster through MLflow's own backend, or to an existing one."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow.projects
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.projects import utils as projects
from mlflow.projects.databricks import DB_TARFILE_ARCHIVE_NAME
from mlflow.utils import mlflow_tags as tags
from mlflow.utils.git_utils import get_git_commit

from workload_forecast.errors import EnvironmentProblem, SettingsError, WorkloadForecastError
from workload_forecast.targets.databricks.run import DatabricksRun, follow
from workload_forecast.targets.databricks.spec import ClusterSpec, refuse_secrets
from workload_forecast.targets.databricks.workspace import Workspace, workspace_uri
from workload_forecast.targets.history import REASON
from workload_forecast.targets.snapshot import copy, project_files

SIZE_LIMIT_MEGABYTES = 100

_DRIVER = Path(__file__).with_name("driver.py")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BLANK_LINE = re.compile(r"\n[ \t]+(?=\n)")


def preflight(spec: ClusterSpec, tracking_uri: str, profile: str = "") -> str:
    """Check in seconds what a run needs and return the workspace's address.

    Raises:
        SettingsError: a tracking store that the cluster cannot see, or one of another profile.
        EnvironmentProblem: the workspace does not answer, has no credentials, refuses them, or lacks the cluster.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in {"databricks", "http", "https"} and tracking_uri != "databricks":
        raise SettingsError(
            f"the tracking store ({parts.scheme or 'file'}) is on this machine, where no cluster sees it; "
            "set MLFLOW_TRACKING_URI=databricks, or the http(s) address of a tracking server"
        )
    if parts.hostname in _LOOPBACK and parts.scheme != "databricks":
        raise SettingsError(
            f"the tracking server {parts.hostname} is this machine, as seen from a cluster another one; "
            "set MLFLOW_TRACKING_URI=databricks, or an address that the cluster reaches"
        )
    if parts.password:
        raise SettingsError(
            "the tracking URI holds a password, which would stand in the job's description; take it out and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the cluster's spark_env_vars as {{secrets/…}}"
        )
    workspace = Workspace(workspace_uri(tracking_uri, profile))
    host = workspace.check()
    workspace.check_access(spec.existing_cluster_id)
    return host


@contextmanager
def _snapshot(project: Path, size_limit_megabytes: float) -> Iterator[Path]:
    """Give a temporary copy of the project's own files, as ignore rules and size limit let them travel."""
    files = project_files(project, size_limit_megabytes)
    with tempfile.TemporaryDirectory(prefix="workload_forecast_") as folder:
        copy(files, Path(folder))
        yield Path(folder)


def submit_new(
    project: str | Path,
    spec: ClusterSpec,
    *,
    entry_point: str = "main",
    parameters: Mapping[str, str] | None = None,
    version: str | None = None,
    experiment_id: str = "",
    environment: Mapping[str, str] | None = None,
    profile: str = "",
    env_manager: str = "local",
    size_limit_megabytes: float = SIZE_LIMIT_MEGABYTES,
    run_name: str | None = None,
    synchronous: bool = True,
) -> DatabricksRun:
    """Run an entry point on a new cluster, through MLflow's backend ``databricks``.

    Args:
        project: folder with ``MLproject``, or a Git address.
        spec: names the new cluster.
        entry_point: name in ``MLproject``, of letters, digits, ``-`` and ``_``.
        parameters: of the entry point.
        version: commit or branch of a Git address.
        experiment_id: MLflow's; empty for the current one.
        environment: variables of the cluster, without secrets.
        profile: of the Databricks CLI; empty for that of the tracking URI or the environment.
        env_manager: MLflow's, on the cluster; its default would be conda, which Databricks' runtimes do not have.
        size_limit_megabytes: of the project's files, megabytes of 10⁶ bytes.
        run_name: MLflow's.
        synchronous: wait for the end.

    Raises:
        SettingsError: something of the above would not arrive on the cluster as it is.
        EnvironmentProblem: :func:`preflight` found one, or the workspace refused a request.
        WorkloadForecastError: the job failed; says why and where to look.
    """
    if spec.existing:
        raise SettingsError("this specification names an existing cluster; use the backend databricks-existing")
    _check_parameters(entry_point, parameters or {})
    refuse_secrets(environment or {}, "environment variables")
    host = preflight(spec, mlflow.get_tracking_uri(), profile)
    variables = {**spec.new_cluster.get("spark_env_vars", {}), **(environment or {})}
    # Always with the key new_cluster: of a bare cluster MLflow would send its own settings along as cluster fields.
    cluster = {**spec.new_cluster, **({"spark_env_vars": variables} if variables else {})}
    folder = Path(projects.fetch_and_validate_project(str(project), version, entry_point, parameters))
    experiment_id = _experiment(experiment_id)
    with _snapshot(folder, size_limit_megabytes) as files, _profile(profile):
        try:
            submitted = mlflow.projects.run(
                str(files),
                entry_point=entry_point,
                parameters=dict(parameters or {}),
                experiment_id=experiment_id,
                backend="databricks",
                backend_config={"new_cluster": cluster, "libraries": list(spec.libraries)},
                env_manager=env_manager,
                run_name=run_name,
                synchronous=False,  # MLflow would wait for ever for a cluster that never starts
            )
        except MlflowException as error:
            reason = str(error).splitlines()[0].partition(" Config: ")[0]
            raise EnvironmentProblem(f"Databricks did not take the run: {reason}") from error
    client = MlflowClient()
    _tell_the_source(client, submitted.run_id, project, folder)
    found = client.get_run(submitted.run_id).data.tags
    workspace = Workspace(workspace_uri(mlflow.get_tracking_uri(), profile))
    run = DatabricksRun(submitted.run_id, int(found[tags.MLFLOW_DATABRICKS_SHELL_JOB_RUN_ID]), workspace)
    run.record(host)
    if synchronous:
        follow(run)
    return run


def submit_existing(
    project: str | Path,
    spec: ClusterSpec,
    *,
    entry_point: str = "main",
    parameters: Mapping[str, str] | None = None,
    version: str | None = None,
    experiment_id: str = "",
    environment: Mapping[str, str] | None = None,
    profile: str = "",
    size_limit_megabytes: float = SIZE_LIMIT_MEGABYTES,
) -> DatabricksRun:
    """Run an entry point on an existing cluster, in its own Python, and return at once.

    Args:
        project: folder with ``MLproject``, or a Git address.
        spec: names the existing cluster.
        entry_point: name in ``MLproject``.
        parameters: of the entry point.
        version: commit or branch of a Git address.
        experiment_id: MLflow's; empty for the current one.
        environment: variables of the run, without secrets.
        profile: of the Databricks CLI; empty for that of the tracking URI or the environment.
        size_limit_megabytes: of the project's files, megabytes of 10⁶ bytes.

    Raises:
        SettingsError: the specification or a variable will not do.
        EnvironmentProblem: :func:`preflight` found one, or the workspace refused a request.
    """
    if not spec.existing:
        raise SettingsError("this specification names a new cluster; use MLflow's backend databricks")
    refuse_secrets(environment or {}, "environment variables")
    tracking_uri = mlflow.get_tracking_uri()
    host = preflight(spec, tracking_uri, profile)
    workspace = Workspace(workspace_uri(tracking_uri, profile))
    folder = Path(projects.fetch_and_validate_project(str(project), version, entry_point, parameters))
    experiment_id = _experiment(experiment_id)
    command = projects.load_project(str(folder)).get_entry_point(entry_point).compute_command(parameters, None)
    with _snapshot(folder, size_limit_megabytes) as files:
        run_id: str = projects.get_or_create_run(
            None, str(project), experiment_id, str(folder), version, entry_point, parameters
        ).info.run_id
        try:
            description = _description(command, run_id, experiment_id, tracking_uri, environment or {})
            paths = {
                "archive": workspace.upload_project(files, experiment_id),
                "driver": workspace.upload_text(_DRIVER.read_text(encoding="utf-8"), ".py", experiment_id),
                "job": workspace.upload_text(description, ".json", experiment_id),
            }
            name = f"{entry_point} of {folder.name}"
            job_run_id = workspace.submit(name, _task(entry_point, spec, paths), run_id, spec.timeout_seconds)
        except WorkloadForecastError as error:
            MlflowClient().set_tag(run_id, REASON, str(error))
            MlflowClient().set_terminated(run_id, "FAILED")
            raise
    run = DatabricksRun(run_id, job_run_id, workspace)
    run.record(host, spec.existing_cluster_id)
    return run


def _experiment(experiment_id: str) -> str:
    """Return the given experiment or the current one; Databricks has no default one."""
    found = experiment_id or mlflow.projects._resolve_experiment_id()  # noqa: SLF001  as mlflow run does
    if found is None:
        raise SettingsError(
            "Databricks has no default experiment; name one: --experiment-name /Users/<you>/workload_forecast, "
            "or set MLFLOW_EXPERIMENT_NAME"
        )
    return str(found)


def _description(command: str, run_id: str, experiment_id: str, tracking_uri: str, extra: Mapping[str, str]) -> str:
    """Return what the driver is told. A file, because Databricks replaces ``{{…}}`` in a job's parameters."""
    own = {
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_ID": experiment_id,
        "MLFLOW_TRACKING_URI": "databricks" if tracking_uri.startswith("databricks") else tracking_uri,
    }
    job = {"command": command, "folder": DB_TARFILE_ARCHIVE_NAME, "environment": {**extra, **own}, "run_id": run_id}
    return json.dumps(job, sort_keys=True)


def _task(entry_point: str, spec: ClusterSpec, paths: Mapping[str, str]) -> dict[str, Any]:
    task: dict[str, Any] = {
        "task_key": re.sub(r"[^A-Za-z0-9_-]", "_", entry_point),
        "existing_cluster_id": spec.existing_cluster_id,
        "spark_python_task": {
            "python_file": f"dbfs:/{paths['driver']}",
            "parameters": [paths["archive"], f"/dbfs/{paths['job']}"],
        },
    }
    return {**task, "libraries": list(spec.libraries)} if spec.libraries else task


def _check_parameters(entry_point: str, parameters: Mapping[str, str]) -> None:
    """Refuse the two things that the command which MLflow makes for a new cluster gets wrong."""
    if shlex.quote(entry_point) != entry_point:
        raise SettingsError(f"entry point {entry_point!r}: MLflow quotes it twice for Databricks; rename it")
    for name, value in parameters.items():
        if _BLANK_LINE.search(str(value)):
            raise SettingsError(f"parameter {name}: MLflow empties a line of blanks for Databricks; leave it out")


def _tell_the_source(client: MlflowClient, run_id: str, project: str | Path, folder: Path) -> None:
    """Name the project instead of its temporary copy, which MLflow was given."""
    client.set_tag(run_id, tags.MLFLOW_SOURCE_NAME, str(project))
    if commit := get_git_commit(str(folder)):
        client.set_tag(run_id, tags.MLFLOW_GIT_COMMIT, commit)


@contextmanager
def _profile(name: str) -> Iterator[None]:
    """Let MLflow's own backend, which takes no profile, find this one."""
    variable = "DATABRICKS_CONFIG_PROFILE"
    before = os.environ.get(variable)
    if name:
        os.environ[variable] = name
    try:
        yield
    finally:
        if before is not None:
            os.environ[variable] = before
        elif name:
            del os.environ[variable]
