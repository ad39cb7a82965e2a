"""What a job is made of: the entry point's command, its variables, its places on the target."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workload_forecast.errors import SettingsError
from workload_forecast.home import VARIABLE as HOME_VARIABLE
from workload_forecast.targets.data import SETTINGS
from workload_forecast.targets.files import RunConfiguration
from workload_forecast.targets.tracking import credentials

#: Tells the program where the target's shared directory is.
SHARED_VARIABLE = "WORKLOAD_FORECAST_SHARED"

#: Name of the project whose parameter ``config`` is a settings file.
PROJECT_NAME = "workload_forecast"

RUNNER = Path(__file__).with_name("runner.sh")

_SAMPLING = {"debug": "FILTER_IP"}


def sampled(parameters: Mapping[str, str], configuration: RunConfiguration, known: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters, with those of a quick look at the data where the configuration asks for it.

    Args:
        parameters: given by the caller; they win.
        configuration: says ``useSampling``.
        known: parameters of the entry point.
    """
    wanted = configuration.use_sampling and "sample" not in parameters  # a sample is such a look itself
    extra = {name: value for name, value in _SAMPLING.items() if wanted and name in known}
    return {**extra, **parameters}


def entry_command(project: Any, entry_point: str, parameters: Mapping[str, str], folder: str, *, settings: bool) -> str:
    """Return the shell command of an MLflow project's entry point, with the settings as they hold on the target.

    Args:
        project: MLflow's parsed project.
        entry_point: its name.
        parameters: given by the caller.
        folder: run folder on the target.
        settings: whether the job has a settings file of its own there.
    """
    given = dict(parameters)
    if settings:
        given["config"] = f"{folder}/{SETTINGS}"
    return str(project.get_entry_point(entry_point).compute_command(given, None))


def variables(
    configuration: RunConfiguration, *, run_id: str, experiment_id: str, tracking_uri: str, home: str, shared: str
) -> dict[str, str]:
    """Return the variables of the job that are no secrets. Nothing else of the launcher's environment gets there."""
    own = {
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_ID": experiment_id,
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        HOME_VARIABLE: home,
        "PYTHONUNBUFFERED": "1",  # so that the log is live
        "GIT_PYTHON_REFRESH": "quiet",  # a snapshot has no history to ask git for
    }
    if shared:
        own[SHARED_VARIABLE] = shared
    return {**own, **configuration.environment_variables}


def secrets(configuration: RunConfiguration, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the job gets of the launcher's variables: MLflow's credentials, and those that are forwarded by name.

    Raises:
        SettingsError: a forwarded variable is not set.
    """
    missing = [name for name in configuration.forward_variables if name not in environment]
    if missing:
        raise SettingsError(
            f"forwardVariables names {', '.join(missing)}, which is not set here: export it, or take it out."
        )
    return {**credentials(environment), **{name: environment[name] for name in configuration.forward_variables}}


def as_exports(values: Mapping[str, str]) -> str:
    """Return shell lines that set the variables."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
