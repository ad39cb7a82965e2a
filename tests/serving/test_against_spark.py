"""The oracle of the compiled model is Spark itself, on the version that the suite runs on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tests.feature_tables import feature_table, write_parquet
from tests.serving.conftest import facts_of
from workload_forecast.config import Thresholds
from workload_forecast.schemas import CLASSES, KNOWN_FEATURES
from workload_forecast.serving.compiled import compile_trees
from workload_forecast.serving.kinds import Scores
from workload_forecast.serving.saved_models import SavedPipeline, read_pipeline
from workload_forecast.serving.scorer import Scorer

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

CUTS = Thresholds(200, 320)


def saved(
    spark: SparkSession, algorithm: str, folder: Path, weights: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> tuple[PipelineModel, SavedPipeline]:
    from workload_forecast.model.labels import label_column
    from workload_forecast.model.pipeline import ALGORITHMS, fit_model

    table = feature_table(servers=5, days=20)
    rows = spark.read.parquet(str(write_parquet(table, folder / "features"))).filter("total_load is not null")
    small = {"max_depth": 5, "num_trees": 10, "max_iterations": 20}
    parameters = {name: size for name, size in small.items() if name in ALGORITHMS[algorithm].defaults}
    model = fit_model(rows.select("*", label_column(CUTS)), algorithm, parameters, CUTS, weights)
    model.write().save(str(folder / "sparkml"))
    return model, read_pipeline(folder / "sparkml")


def ordinary(pipeline: SavedPipeline, servers: int, days: int) -> pd.DataFrame:
    rows = pd.concat([feature_table(servers, days, seed=8)] * 2, ignore_index=True)
    return rows[[feature.name for feature in pipeline.features]].astype("float64")


def at_every_threshold(pipeline: SavedPipeline, rows: pd.DataFrame) -> pd.DataFrame:
    """Half of the rows with values at thresholds and one step beside them, unknown and infinite ones."""
    random = np.random.default_rng(5)
    matrix, names = rows.to_numpy(dtype=np.float64), [str(name) for name in rows]
    history = [name for name in names if name not in KNOWN_FEATURES]
    cuts = [
        (f, t)
        for tree in pipeline.trees
        for f, t, left in zip(tree.feature, tree.threshold, tree.left, strict=True)
        if left >= 0
    ]
    half = len(matrix) // 2
    for row in matrix[half:]:
        for feature, cut in random.choice(cuts, 30):
            row[int(feature)] = random.choice([cut, np.nextafter(cut, np.inf), np.nextafter(cut, -np.inf)])
        for name in random.choice(history, 6):
            row[names.index(name)] = random.choice([np.nan, np.inf, -np.inf, -1.0, 0.0])
    return pd.DataFrame(matrix, columns=names)


def at_the_borders(rows: pd.DataFrame) -> pd.DataFrame:
    """Half of the rows with an expected load at a border of classes or in the middle, no error or a great one."""
    random = np.random.default_rng(6)
    rows, names = rows.copy(), [str(name) for name in rows if name not in KNOWN_FEATURES]
    half = rows.index[len(rows) // 2 :]
    loads = [200.0, np.nextafter(200.0, 0), np.nextafter(200.0, 999), 320.0, 260.0, 0.0, 1e14, np.nan, 1e-9]
    rows.loc[half, "expected_load"] = random.choice(loads, len(half))
    rows.loc[half, "expected_error"] = random.choice([0.0, 1e-300, 1.0, 60.0, 1e14, np.nan], len(half))
    for name in random.choice(names, 12, replace=False):
        rows.loc[random.choice(half, 60), name] = np.nan
    rows.loc[half[:20], names] = np.nan
    return rows


def by_spark(
    spark: SparkSession, model: PipelineModel, rows: pd.DataFrame, folder: Path
) -> tuple[list[str], npt.NDArray[np.float64]]:
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    rows.assign(row=range(len(rows))).to_parquet(folder / "rows.parquet")  # NaN stays NaN
    scored = model.transform(spark.read.parquet(str(folder / "rows.parquet")))
    found = scored.orderBy("row").select("prediction", vector_to_array(F.col("probability")).alias("p")).collect()
    return [row["prediction"] for row in found], np.array([row["p"] for row in found])


def by_compiled(pipeline: SavedPipeline, rows: pd.DataFrame) -> Scores:
    return Scorer(compile_trees(pipeline), facts_of(pipeline)).score(rows)


@pytest.mark.parametrize("algorithm", ["random_forest", "decision_tree", "xgboost"])
def test_votes_are_the_bits_of_spark(spark: SparkSession, algorithm: str, tmp_path: Path) -> None:
    model, pipeline = saved(spark, algorithm, tmp_path)
    rows = at_every_threshold(pipeline, ordinary(pipeline, servers=4, days=25))
    assert len(rows) >= 4000

    classes, probabilities = by_spark(spark, model, rows, tmp_path)
    scores = by_compiled(pipeline, rows)

    assert [CLASSES[label] for label in scores.labels] == classes
    assert set(classes) == set(CLASSES)
    assert np.array_equal(scores.probabilities, probabilities)
    assert len(np.unique(scores.probabilities, axis=0)) > 15


@pytest.mark.parametrize(
    ("algorithm", "weights"),
    [
        ("same_hour_mixture", (1.0, 1.0, 1.0)),
        ("same_hour_mixture", (0.1, 1 / 3, 2.5)),
        ("boosted_correction", (1.0, 1.0, 1.0)),
        ("boosted_trees", (1.0, 1.0, 2.0)),
        ("logistic_regression", (1.0, 2.0, 3.0)),
    ],
)
def test_what_is_computed_agrees_with_spark(
    spark: SparkSession, algorithm: str, weights: tuple[float, ...], tmp_path: Path
) -> None:
    model, pipeline = saved(spark, algorithm, tmp_path, weights)
    rows = at_the_borders(ordinary(pipeline, servers=2, days=20))

    classes, probabilities = by_spark(spark, model, rows, tmp_path)
    scores = by_compiled(pipeline, rows)

    assert np.abs(scores.probabilities - probabilities).max() < 1e-12
    assert [CLASSES[label] for label in scores.labels] == classes
    assert set(classes) == set(CLASSES)
    assert len(np.unique(scores.probabilities.round(6), axis=0)) > 15
    assert np.allclose(scores.probabilities.sum(axis=1), 1, atol=1e-12)
