"""``workload-forecast submit``: what ``mlflow run -b TYPE`` does, with names instead of paths and a detached form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.files import load_run_configuration, load_target
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
            from workload_forecast.targets.databricks import submit_databricks

            run = submit_databricks(target, how, project, **arguments)
        else:
            config = how.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            run = mlflow.projects.run(project, backend=target.type, backend_config=config, **arguments)
    except ExecutionException as problem:
        raise EnvironmentProblem(str(problem)) from None
    except MlflowException as problem:
        raise SettingsError(problem.message) from None
    return str(run.run_id)
