"""Where results live: ``outputs`` beside the local tracking database, or ``WORKLOAD_FORECAST_HOME``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workload_forecast.errors import EnvironmentProblem

VARIABLE = "WORKLOAD_FORECAST_HOME"

#: What MLflow itself calls them.
STORE_VARIABLE, DATABASE = "MLFLOW_TRACKING_URI", "mlflow.db"


def results_home(tracking_uri: str, environment: Mapping[str, str], folder: Path) -> Path:
    """Return the folder for generated data and results.

    Args:
        tracking_uri: the MLflow tracking store. Beside a local SQLite database, results are found again by every run
            that is launched from there, also by one that MLflow runs from a temporary clone of a git URI.
        environment: the process environment.
        folder: the working directory; used when the tracking store is a server, unless it is a temporary clone,
            in which case the user's data folder is used.
    """
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE]).expanduser().absolute()
    parts = urlsplit(tracking_uri)
    if parts.scheme == "sqlite" and parts.path not in {"", "/:memory:"}:
        # sqlite:///relative.db and sqlite:////absolute.db: one slash belongs to the URI
        return (folder / unquote(parts.path[1:])).absolute().parent / "outputs"
    if Path(tempfile.gettempdir()).resolve() in folder.resolve().parents:
        return Path(environment.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "workload_forecast"
    return folder.absolute() / "outputs"


def nearest_store(environment: Mapping[str, str], folder: Path) -> str:
    """Return the URI of the tracking store that the environment names, or of the first ``mlflow.db`` upwards.

    MLflow itself looks in the working directory alone, and makes an empty store there.

    Args:
        environment: the process environment.
        folder: where to begin.

    Raises:
        EnvironmentProblem: there is none.
    """
    if environment.get(STORE_VARIABLE):
        return environment[STORE_VARIABLE]
    start = folder.absolute()
    for place in (start, *start.parents):
        if (place / DATABASE).is_file():
            return f"sqlite:///{place / DATABASE}"
    raise EnvironmentProblem(
        f"no runs are there: neither {start} nor a folder above it has {DATABASE}. Run `make forecast` in the "
        f"project's folder first, or name a store or server in {STORE_VARIABLE}."
    )
