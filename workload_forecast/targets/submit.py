"""``workload-forecast submit``: what ``mlflow run -b TYPE`` does, with names instead of paths and a detached form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.files import ComputeTarget, RunConfiguration, load_run_configuration, load_target
from workload_forecast.targets.tracking import check_reachable_from_here


def submit_run(
    configuration: str,
    entry_point: str,
    parameters: Mapping[str, str],
    *,
    project: str,
    version: str | None,
    experiment_name: str,
    run_name: str | None,
    detach: bool,
) -> str:
    """Submit, wait unless detached, and return the run's id.

    Raises:
        SettingsError: configuration, target, project or parameters are wrong.
        EnvironmentProblem: something is missing on the way, or the run failed.
    """
    import mlflow
    from mlflow.exceptions import ExecutionException, MlflowException

    folder = Path(project) if Path(project).is_dir() else None
    how = load_run_configuration(configuration, folder)
    target = load_target(how.target, folder)
    # MLflow would try for minutes before it says that nobody answers
    reachable = check_reachable_from_here(mlflow.get_tracking_uri())
    if not reachable.passed:
        raise EnvironmentProblem(f"{reachable.name}: {reachable.found}; {reachable.remedy}.")
    arguments: dict[str, Any] = {
        "entry_point": entry_point,
        "version": version,
        "parameters": dict(parameters),
        "experiment_name": experiment_name,
        "run_name": run_name,
        "synchronous": not detach,
    }
    try:
        if target.type == "databricks":
            return _submit_to_databricks(target, how, project, arguments)
        config = how.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        run = mlflow.projects.run(project, backend=target.type, backend_config=config, **arguments)
    except ExecutionException as problem:
        raise EnvironmentProblem(str(problem)) from None
    except MlflowException as problem:
        raise SettingsError(problem.message) from None
    return str(run.run_id)


def _submit_to_databricks(target: ComputeTarget, how: RunConfiguration, project: str, given: Mapping[str, Any]) -> str:
    """Submit to a cluster that MLflow's own backend makes, or to an existing one, as the cluster specification says."""
    import mlflow

    from workload_forecast.targets.databricks.backend import submit
    from workload_forecast.targets.databricks.run import follow

    experiment = mlflow.set_experiment(given["experiment_name"])
    names = ("entry_point", "parameters", "version")
    run = submit(project, how, target, experiment_id=experiment.experiment_id, **{name: given[name] for name in names})
    if given["run_name"]:
        mlflow.MlflowClient().set_tag(run.run_id, "mlflow.runName", given["run_name"])
    if given["synchronous"]:
        follow(run)
    return str(run.run_id)
