"""The oracle of the compiled model is Spark itself, on the version that the suite runs on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from tests.feature_tables import feature_table, write_parquet
from tests.serving.conftest import facts_of
from workload_forecast.config import Thresholds
from workload_forecast.schemas import CALENDAR_FEATURES, CLASSES, FEATURE_NAMES
from workload_forecast.serving.compiled import compile_trees
from workload_forecast.serving.saved_trees import SavedPipeline, read_pipeline
from workload_forecast.serving.scorer import Scorer

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

HISTORY = [name for name in FEATURE_NAMES if name not in CALENDAR_FEATURES]


def saved(spark: SparkSession, algorithm: str, folder: Path) -> tuple[PipelineModel, SavedPipeline]:
    from workload_forecast.model.labels import label_column
    from workload_forecast.model.pipeline import make_pipeline

    table = feature_table(servers=5, days=20)
    rows = spark.read.parquet(str(write_parquet(table, folder / "features"))).filter("total_load is not null")
    parameters = {"max_depth": 6} | ({"num_trees": 15} if algorithm == "random_forest" else {})
    model = make_pipeline(algorithm, parameters).fit(rows.select("*", label_column(Thresholds(200, 320))))
    model.write().save(str(folder / "sparkml"))
    return model, read_pipeline(folder / "sparkml")


def hard_rows(pipeline: SavedPipeline) -> pd.DataFrame:
    """Thousands of rows: ordinary ones, values at thresholds and one step beside them, unknown and infinite ones."""
    random = np.random.default_rng(5)
    rows = pd.concat([feature_table(servers=4, days=25, seed=8)] * 2, ignore_index=True)[list(FEATURE_NAMES)]
    matrix = rows.to_numpy(dtype=np.float64)
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
        for name in random.choice(HISTORY, 6):
            row[FEATURE_NAMES.index(name)] = random.choice([np.nan, np.inf, -np.inf, -1.0, 0.0])
    return pd.DataFrame(matrix, columns=list(FEATURE_NAMES))


@pytest.mark.parametrize("algorithm", ["random_forest", "decision_tree"])
def test_probabilities_are_the_bits_of_spark_and_classes_are_equal(
    spark: SparkSession, algorithm: str, tmp_path: Path
) -> None:
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    model, pipeline = saved(spark, algorithm, tmp_path)
    rows = hard_rows(pipeline)
    assert len(rows) >= 4000
    rows.assign(row=range(len(rows))).to_parquet(tmp_path / "rows.parquet")  # NaN stays NaN
    scored = model.transform(spark.read.parquet(str(tmp_path / "rows.parquet")))
    found = scored.orderBy("row").select("prediction", vector_to_array(F.col("probability")).alias("p")).collect()

    scores = Scorer(compile_trees(pipeline), facts_of(pipeline)).score(rows)

    assert [CLASSES[label] for label in scores.labels] == [row["prediction"] for row in found]
    assert {row["prediction"] for row in found} == set(CLASSES)
    assert np.array_equal(scores.probabilities, np.array([row["p"] for row in found]))
    assert len(np.unique(scores.probabilities, axis=0)) > 15
