"""Databricks for run configurations, and the project backend ``databricks-existing``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import ExecutionException
from mlflow.projects.backend.abstract_backend import AbstractBackend

from workload_forecast.errors import SettingsError, WorkloadForecastError
from workload_forecast.targets.databricks.run import DatabricksRun
from workload_forecast.targets.databricks.spec import ClusterSpec, read_cluster_spec
from workload_forecast.targets.databricks.submit import submit_existing, submit_new
from workload_forecast.targets.files import (
    MLFLOW_KEYS,
    ComputeTarget,
    RunConfiguration,
    load_target,
    parse_run_configuration,
)

_USED = frozenset(
    {"target", "framework", "environment_variables", "size_limit_megabytes", "cluster_spec", "prepare_environment"}
)


def submit(
    project: str,
    configuration: RunConfiguration,
    target: ComputeTarget,
    *,
    entry_point: str = "main",
    parameters: Mapping[str, str] | None = None,
    version: str | None = None,
    experiment_id: str = "",
) -> DatabricksRun:
    """Submit a run as its configuration says, to a new or an existing cluster, and return at once.

    Raises:
        SettingsError: the configuration has no usable ``clusterSpec``, or asks for what Databricks does not do.
        EnvironmentProblem: see :func:`workload_forecast.targets.databricks.submit.preflight`.
    """
    if ignored := sorted(configuration.model_fields_set - _USED):
        names = ", ".join(RunConfiguration.model_fields[name].alias or name for name in ignored)
        raise SettingsError(
            f"the run configuration has {names}, which Databricks runs do not use: take it out; libraries, Spark "
            "settings, sizes and secrets ({{secrets/<scope>/<key>}}) belong in the file that clusterSpec names"
        )
    if not configuration.cluster_spec:
        raise SettingsError("the run configuration names no clusterSpec; add the path of one, see docs/databricks.md")
    path = Path(configuration.cluster_spec).expanduser()
    if not path.is_absolute() and Path(project).is_dir():
        path = Path(project) / path
    spec = read_cluster_spec(path)
    given: dict[str, Any] = {
        "entry_point": entry_point,
        "parameters": parameters,
        "version": version,
        "experiment_id": experiment_id,
        "environment": configuration.environment_variables,
        "profile": target.profile,
        "size_limit_megabytes": configuration.size_limit_megabytes,
    }
    return (
        submit_existing(project, spec, **given)
        if spec.existing
        else submit_new(project, spec, **given, synchronous=False)
    )


class DatabricksExistingBackend(AbstractBackend):
    """``-b databricks-existing``: a run on a cluster that is there already, which MLflow's own backend refuses.

    Its configuration is a cluster specification (see :class:`ClusterSpec`), or a run configuration that names one.
    """

    def run(  # type: ignore[no-untyped-def]  # MLflow calls it with positional arguments
        self, project_uri, entry_point, params, version, backend_config, tracking_uri, experiment_id
    ) -> DatabricksRun:
        """See MLflow's ``AbstractBackend``; errors become the one that MLflow's command line prints as a line."""
        del tracking_uri  # the current one, always
        given = {
            "entry_point": entry_point,
            "parameters": {name: str(value) for name, value in (params or {}).items()},
            "version": version,
            "experiment_id": str(experiment_id or ""),
        }
        own = {name: value for name, value in backend_config.items() if name not in MLFLOW_KEYS}
        try:
            if "target" not in own:
                return submit_existing(project_uri, ClusterSpec.from_document(own, "the file given with -c"), **given)
            configuration = parse_run_configuration(own, "the file given with -c")
            project = Path(project_uri)
            target = load_target(configuration.target, project if project.is_dir() else None)
            return submit(project_uri, configuration, target, **given)
        except WorkloadForecastError as problem:
            raise ExecutionException(str(problem)) from None
