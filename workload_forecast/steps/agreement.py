"""Whether the compiled form answers as the Spark pipeline does; the only part of a promotion that needs a JVM."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
from mlflow.exceptions import MlflowException
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from workload_forecast.engines.contract import Engine
from workload_forecast.errors import ModelError
from workload_forecast.model.pipeline import CLASS_INDEX, PROBABILITY
from workload_forecast.registry.gate import Agreement, Positions
from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.serving.saved_trees import Doubles
from workload_forecast.serving.scorer import Scorer

_ROW = "row"


def compare_forms(engine: Engine, model: Path, scorer: Scorer, rows: pa.Table) -> Agreement:
    """Score the same rows with both forms of a logged model.

    Args:
        engine: Spark.
        model: folder of the logged model.
        scorer: of its compiled form.
        rows: with every feature; not empty.

    Raises:
        ModelError: Spark cannot load or apply the pipeline.
    """
    return agreement_of(scorer, rows, *spark_answers(engine, model, rows))


def agreement_of(scorer: Scorer, rows: pa.Table, labels: Positions, probabilities: Doubles) -> Agreement:
    """Compare a scorer's answers with given ones."""
    scores = scorer.score(rows)
    distance = np.abs(scores.probabilities - probabilities)
    return Agreement(len(rows), int((scores.labels != labels).sum()), float(distance.max(initial=0.0)))


def spark_answers(engine: Engine, model: Path, rows: pa.Table) -> tuple[Positions, Doubles]:
    """Return class positions and probabilities (rows × classes) of the Spark pipeline.

    Raises:
        ModelError: Spark cannot load or apply the pipeline.
    """
    numbered = rows.select(list(FEATURE_NAMES)).append_column(_ROW, pa.array(range(len(rows)), pa.int64()))
    try:
        # where MLflow copies a model before it reads it: a folder that executors see; ours, where there are none
        scratch = str(model.parent / "loading") if _single_machine() else None
        pipeline = mlflow.spark.load_model(str(model), dfs_tmpdir=scratch)
        frame: DataFrame = engine.from_arrow(numbered).to_native()
        chosen = pipeline.transform(frame).select(_ROW, CLASS_INDEX, vector_to_array(F.col(PROBABILITY))).collect()
    except (PySparkException, Py4JJavaError, MlflowException, OSError) as problem:
        # Java's own errors begin with a line that only says which call it was
        text = " ".join(" ".join(str(problem).strip().splitlines()[:2]).split())[:500].rstrip(".")
        raise ModelError(f"Spark cannot apply the saved pipeline: {text}. Train the model again.") from None
    answers = sorted((tuple(row) for row in chosen), key=lambda row: row[0])
    labels = np.array([row[1] for row in answers]).astype(np.int64)
    return labels, np.array([row[2] for row in answers], dtype=np.float64)


def _single_machine() -> bool:
    session = SparkSession.getActiveSession()
    return session is not None and str(session.sparkContext.master).startswith("local")
