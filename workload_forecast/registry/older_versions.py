"""Versions that were registered before models had a compiled form: compiled from what their runs have kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import cast

import mlflow
import treelite
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from workload_forecast.errors import ModelError
from workload_forecast.features.grid import MissingHours
from workload_forecast.schemas import HORIZON_HOURS
from workload_forecast.serving.compiled import compile_trees, write_compiled
from workload_forecast.serving.facts import Baseline, Facts
from workload_forecast.serving.saved_models import SavedPipeline, read_pipeline

#: The Spark pipeline's folder in a logged model.
SPARK = "sparkml"

#: The measured naive forecast that is nearest to the forecaster's: 48 hours ago is the last known same hour.
BASELINE = "class_48h_ago"

_TABLE = "tables/confusion.csv"


def compile_older(client: MlflowClient, version: ModelVersion, saved: Path, target: Path) -> Path:
    """Compile a saved pipeline into ``target``, without a JVM; return that folder.

    Args:
        client: of the registry.
        version: it belongs to; its run tells thresholds, periods and the baseline's record.
        saved: the pipeline's folder.
        target: a folder that is made.

    Raises:
        ModelError: the pipeline cannot be read, or its run does not tell what is needed.
        MlflowException: the tracking store does not answer.
    """
    pipeline = read_pipeline(saved)
    try:
        facts = _facts(client, version, pipeline)
    except (KeyError, ValueError, StopIteration) as problem:
        raise _untold(repr(problem)) from None
    except MlflowException as problem:
        if problem.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        raise _untold(problem.message) from None
    write_compiled(target, compile_trees(pipeline), facts)
    return target


def _untold(why: str) -> ModelError:
    return ModelError(
        f"it has no compiled form, and its run does not tell what is needed to make one ({why}): train again and "
        "promote the new version."
    )


def _facts(client: MlflowClient, version: ModelVersion, pipeline: SavedPipeline) -> Facts:
    run = client.get_run(version.run_id or "").data
    etl = client.get_run(run.tags["workload_forecast.etl_run"]).data.params
    return Facts(
        algorithm=pipeline.algorithm,
        features=pipeline.features,
        classes=pipeline.classes,
        low=float(run.params["threshold_low"]),
        high=float(run.params["threshold_high"]),
        horizon_hours=HORIZON_HOURS,
        missing_hours=cast("MissingHours", etl["missing_hours"]),
        training_from=datetime.fromisoformat(run.params["training_from"]),
        training_to=datetime.fromisoformat(run.params["training_to"]),
        baseline=Baseline(BASELINE, _shares(version.run_id or "", pipeline.classes)),
        spark_version=pipeline.spark_version,
        treelite_version=treelite.__version__,
        form=pipeline.form,
    )


def _shares(run_id: str, classes: tuple[str, ...]) -> tuple[tuple[float, ...], ...]:
    """For each class that the baseline named on the test rows, the share of each true class; one row of each added."""
    text = mlflow.artifacts.load_text(f"runs:/{run_id}/{_TABLE}")
    rows = [row for row in csv.DictReader(text.splitlines()) if _is_record(row)]
    counts = {row["true"]: [float(row[name]) + 1 for name in classes] for row in rows}
    columns = zip(*(counts[name] for name in classes), strict=True)
    return tuple(tuple(count / sum(column) for count in column) for column in columns)


def _is_record(row: Mapping[str, str]) -> bool:
    return (row["split"], row["predictor"]) == ("test", BASELINE)
