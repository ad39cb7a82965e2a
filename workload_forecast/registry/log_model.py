"""The trained pipeline into MLflow: a model with signature, example and requirements, and a registered version."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import mlflow
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from narwhals.dtypes import DType
from pyspark.sql import SparkSession

from workload_forecast.config import DEFAULT_MODEL
from workload_forecast.errors import ModelError
from workload_forecast.features.grid import MissingHours
from workload_forecast.model.pipeline import ALGORITHMS, PREDICTION
from workload_forecast.model.training import TrainingResult
from workload_forecast.registry import flavours
from workload_forecast.schemas import (
    CLASSES,
    FEATURE_NAMES,
    FEATURES,
    HORIZON_HOURS,
    HOURLY_LOAD,
    KNOWN_FEATURES,
    TEXT,
    TIMESTAMP,
)
from workload_forecast.serving.pyfunc import DEFAULTS, HOURS, LOAD, SERVERS, START

MODEL_NAME = DEFAULT_MODEL
ARTIFACT_PATH = "model"

#: What the ``python_function`` flavour needs; named, because to infer it MLflow would start a second JVM (40 s against
#: 3 s). MLflow keeps one list a model: who loads the Spark flavour has Spark, and ``MLmodel`` names its version.
REQUIREMENTS = ("mlflow", "treelite", "narwhals", "polars", "pandas", "numpy", "pyarrow")

#: Metrics that a version carries as tags, so that versions can be told apart without their runs.
TAGGED_METRICS = ("test_accuracy", "test_macro_f1", "best_baseline_test_macro_f1", "test_high_called_low")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the model registry, and the same model as the run's."""

    name: str
    version: str
    run_uri: str

    @property
    def uri(self) -> str:
        """Address for ``mlflow.spark.load_model`` and ``mlflow.pyfunc.load_model``."""
        return f"models:/{self.name}/{self.version}"


def signature() -> ModelSignature:
    """Inputs: every feature, or every column of the hourly load, typed as in these tables. Output: an answer a row.

    MLflow knows one signature a model, so the columns of both kinds are *optional* in it; the model itself checks that
    all columns of one kind are there. A feature of the history may hold unknown values, NaN or null, anywhere; the
    calendar is always known. Parameters: see :mod:`workload_forecast.serving.pyfunc`.
    """
    columns = {**{name: FEATURES.columns[name] for name in FEATURE_NAMES}, **HOURLY_LOAD.columns}
    answers = {PREDICTION: DataType.string, **{f"probability_{name}": DataType.double for name in CLASSES}}
    answers |= {"confidence": DataType.double, "source": DataType.string}
    return ModelSignature(
        inputs=Schema([ColSpec(_mlflow_type(dtype), name, required=False) for name, dtype in columns.items()]),
        outputs=Schema([ColSpec(dtype, name, required=name == "source") for name, dtype in answers.items()]),
        params=ParamSchema(
            [
                ParamSpec(START, DataType.string, DEFAULTS[START]),
                ParamSpec(HOURS, DataType.long, DEFAULTS[HOURS]),
                ParamSpec(SERVERS, DataType.string, DEFAULTS[SERVERS], shape=(-1,)),
                ParamSpec(LOAD, DataType.boolean, DEFAULTS[LOAD]),
            ]
        ),
    )


def _mlflow_type(dtype: DType) -> DataType:
    if dtype == TEXT:
        return DataType.string
    if dtype == TIMESTAMP:
        return DataType.datetime
    return DataType.double if dtype.is_float() else DataType.long


def requirements() -> list[str]:
    """The installed versions of :data:`REQUIREMENTS`, pinned; a vendor's suffix (``+…``) is left off."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def describe(result: TrainingResult) -> str:
    """What the model is and how it was made, as Markdown, for the registry's page."""
    split, cuts = result.split, result.thresholds
    origin = " (terciles of the training peaks)" if result.thresholds_auto else ""
    title, rows = ALGORITHMS[result.algorithm].title, result.rows
    paragraphs = (
        f"Load class ({', '.join(CLASSES)}) of a server for an hour, {HORIZON_HOURS} hours ahead:",
        f"a {title} over {len(FEATURE_NAMES)} features (Spark ML).\n\n",
        f"Classes: low: peak load ≤ {cuts.low:g}; high: > {cuts.high:g}; medium: between{origin}.\n\n",
        f"Trained on {rows['train'].labelled:,} hours, {split.training_from} to {split.training_to};",
        f"tested on {rows['test'].labelled:,} hours, {split.test_from} to {split.to} (UTC).\n\n",
        f"{against_naive(result)} The run's `model_card.md` tells the rest.\n\n",
        f"Input: every feature column. {', '.join(KNOWN_FEATURES)} must be known; the others may be null.",
        f"Or: hourly load as rows, with the parameters {START} (UTC), {HOURS} and {SERVERS}.",
    )
    return " ".join(paragraphs).replace("\n\n ", "\n\n")


def against_naive(result: TrainingResult) -> str:
    """Say in a sentence whether the model is better than the best naive forecast on the test hours."""
    metrics = result.metrics
    better = "better" if metrics["test_macro_f1_gain"] > 0 else "NOT better"
    scores = f"{metrics['test_macro_f1']:.4f} against {metrics['best_baseline_test_macro_f1']:.4f}"
    return (
        f"**This model is {better} than the best naive forecast** on the test hours: macro-F1 {scores} "
        f"(`{result.best_baseline}`)."
    )


def log_model(
    result: TrainingResult,
    tags: Mapping[str, str],
    name: str = MODEL_NAME,
    dfs_tmpdir: str | None = None,
    missing_hours: MissingHours = "unknown",
) -> RegisteredVersion:
    """Log the pipeline and its compiled form to the active run as ``model``, registered as a new version of ``name``.

    Args:
        tags: what the version is to carry besides its metrics: duration, kind of data.
        dfs_tmpdir: a folder that driver and executors share; on a single machine a temporary one is made.
        missing_hours: as the features were made; whoever forecasts from a history makes them in the same way.

    Raises:
        ModelError: no run is active, or the pipeline cannot be compiled.
    """
    run = mlflow.active_run()
    if run is None:
        raise ModelError("a model is logged to a run, but none is active: open one with mlflow.start_run() first.")
    with tempfile.TemporaryDirectory(prefix="workload-forecast-") as scratch:
        # Not mlflow.spark.log_model: that logs the same files in MLflow 2's way (no model page, no metrics beside the
        # model), and loads the model again to score the example, which doubles the time. A test scores it instead.
        info = Model.log(
            name=ARTIFACT_PATH,
            artifact_path=None,
            flavor=flavours,
            flavor_name="spark",
            spark_model=result.model,
            facts=flavours.model_facts(result, missing_hours),
            dfs_tmpdir=dfs_tmpdir or (scratch if _single_machine() else None),
            signature=signature(),
            # As objects, because MLflow then writes unknown values as null, not as NaN, which is no JSON.
            input_example=result.example.astype(object),
            validate_serving_input=False,
            pip_requirements=requirements(),
            registered_model_name=name,
            tags=version_tags(result, tags),
        )
    registered = RegisteredVersion(name, str(info.registered_model_version), f"runs:/{run.info.run_id}/{ARTIFACT_PATH}")
    mlflow.MlflowClient().update_model_version(name, registered.version, description=describe(result))
    return registered


def version_tags(result: TrainingResult, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version: algorithm, best baseline, :data:`TAGGED_METRICS` to four digits, and the caller's own."""
    metrics = {metric: f"{result.metrics[metric]:.4f}" for metric in TAGGED_METRICS if metric in result.metrics}
    return {"algorithm": result.algorithm, "best_baseline": result.best_baseline, **metrics, **tags}


def _single_machine() -> bool:
    session = SparkSession.getActiveSession()
    return session is not None and str(session.sparkContext.master).startswith("local")
