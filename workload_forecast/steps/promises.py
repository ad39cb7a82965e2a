"""What a version's training has left of itself: what its test promised, and the parameters to train like it again."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from workload_forecast.config import DEFAULT_SEED, TrainingParameters
from workload_forecast.model.algorithms import ALGORITHMS
from workload_forecast.model.evaluation import FORECAST
from workload_forecast.model.split import TEST
from workload_forecast.monitoring.findings import Promise
from workload_forecast.sources import MODEL
from workload_forecast.steps.runs import parameter

_SERVERS = "tables/accuracy_by_server.csv"

#: What MLflow and the stores below it raise when files are not there, or not to be had.
_NO_FILES = (MlflowException, OSError)


def training_run(version: ModelVersion) -> Run | None:
    """Return the run that trained a version; None where it is not known, or gone."""
    try:
        return MlflowClient().get_run(version.run_id) if version.run_id else None
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def promise_of(run: Run | None) -> Promise:
    """Return what the test of a training says of forecasts in operation; of older trainings, what it says of the model.

    The scores are of hours that are forecast 48 hours ahead.
    """
    if run is None:
        return Promise()
    metrics: Mapping[str, float] = run.data.metrics
    chosen = f"{FORECAST}_{TEST}_macro_f1" in metrics
    prefix, column = (f"{FORECAST}_{TEST}", FORECAST) if chosen else (TEST, MODEL)
    macro_f1, recall = (metrics.get(f"{prefix}_{name}", math.nan) for name in ("macro_f1", "recall_high"))
    return Promise(macro_f1, recall, _server_accuracies(run.info.run_id, column))


def _server_accuracies(run_id: str, column: str) -> dict[str, float]:
    """Accuracy by server; none where the training's table is gone."""
    try:
        text = mlflow.artifacts.load_text(f"runs:/{run_id}/{_SERVERS}")
    except _NO_FILES:
        return {}
    return {row["server"]: float(row[column]) for row in csv.DictReader(text.splitlines()) if row.get(column)}


def parameters_of(run: Run | None) -> TrainingParameters:
    """Return the parameters of a training; the defaults where it is gone, or its algorithm is.

    What equals the algorithm's own default is left out, so that the same training is recognised as such.
    """
    given = {name: parameter(run, name) for name in run.data.params} if run else {}
    algorithm = given.get("algorithm", "")
    if algorithm not in ALGORITHMS:
        return TrainingParameters()
    defaults = ALGORITHMS[algorithm].defaults
    # a file of settings may say 1 where the default is 1.0
    values = {name: type(default)(given[name]) for name, default in defaults.items() if given.get(name)}
    tuned = {name: value for name, value in values.items() if value != defaults[name] and name != "seed"}
    return TrainingParameters(algorithm, seed=int(values.get("seed", DEFAULT_SEED)), tuned=tuned)
