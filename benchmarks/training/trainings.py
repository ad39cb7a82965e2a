"""``python -m benchmarks.training.trainings NAME ROWS RESULT``: one training, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pyspark.ml import Pipeline
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import OneHotEncoder, StandardScaler, StringIndexer, VectorAssembler
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, DoubleType, StringType

from benchmarks.etl.contestants import OURS_DUCKDB
from benchmarks.etl.spark_session import bare_session
from benchmarks.training.rows import SPLIT, Rows
from workload_forecast.config import Thresholds
from workload_forecast.engines.spark import open_spark
from workload_forecast.model.training import train
from workload_forecast.schemas import FEATURES, LAG_FEATURES, TRAILING_FEATURES

SEED = 42
METRICS: tuple[Literal["accuracy", "weightedPrecision", "weightedRecall", "f1"], ...] = (
    "accuracy",
    "weightedPrecision",
    "weightedRecall",
    "f1",
)
_CATEGORIES = ("server", "hour_of_day", "weekday", "day_of_month", "week_of_year", "is_business_hour", "is_morning")
_NUMBERS = (*LAG_FEATURES, *TRAILING_FEATURES)


def project(rows: Rows, trees: int) -> float:
    """Train and evaluate the project's forest, with baselines and figures; return its macro-F1 on the test rows."""
    borders = Thresholds(rows.facts["low"], rows.facts["high"])
    with open_spark({}) as engine:
        features = engine.read_table(FEATURES, rows.features(OURS_DUCKDB)).to_native()
        forest = {"num_trees": trees, "max_depth": 8, "seed": SEED}
        return train(features, SPLIT, borders, "random_forest", forest).metrics["test_macro_f1"]


def method_of_2017(rows: Rows, trees: int) -> float:
    """Label by Python functions, index, encode, scale, fit; each metric is a job of its own. Return the same score."""
    facts = rows.facts
    with bare_session() as session:
        table = session.read.parquet(str(rows.features("2017")))
        labelled = _labelled(table, facts["low"], facts["high"]).fillna(0.0, list(_NUMBERS))
        training = labelled.filter(_function(_is_before(SPLIT.training_to), BooleanType())("hour"))
        test = labelled.filter(~_function(_is_before(SPLIT.test_from), BooleanType())("hour"))
        model = _pipeline(trees).fit(training)
        for rows_of_split in (training, test):
            predicted = model.transform(rows_of_split)
            for metric in METRICS:
                MulticlassClassificationEvaluator(labelCol="class", metricName=metric).evaluate(predicted)
        said = model.transform(test).groupBy("class", "prediction").count().collect()
    return _macro_f1({(row["class"], row["prediction"]): row["count"] for row in said})


def _labelled(table: DataFrame, low: float, high: float) -> DataFrame:
    def name(load: float) -> str:
        return "low" if load <= low else "medium" if load <= high else "high"

    named = table.withColumn("label", _function(name, StringType())("total_load"))
    numbers = {row["label"]: float(place) for place, row in enumerate(named.select("label").distinct().collect())}
    return named.withColumn("class", _function(lambda label: numbers[label], DoubleType())("label"))


def _function(of_a_row: Callable[..., Any], returned: DataType) -> Any:
    """A Python function of each row, as of 2017. (Spark 4.2's newer way, by Arrow, hangs over a Parquet table.)."""
    return F.udf(of_a_row, returned, useArrow=False)


def _is_before(moment: datetime) -> Callable[[str], bool]:
    return lambda hour: datetime.strptime(hour, "%Y-%m-%d %H:%M:%S") < moment


def _pipeline(trees: int) -> Pipeline:
    indexers = [StringIndexer(inputCol=name, outputCol=f"{name}_index", handleInvalid="keep") for name in _CATEGORIES]
    encoders = [OneHotEncoder(inputCol=f"{name}_index", outputCol=f"{name}_code") for name in _CATEGORIES]
    numbers = VectorAssembler(inputCols=list(_NUMBERS), outputCol="numbers")
    scaler = StandardScaler(inputCol="numbers", outputCol="scaled")
    codes = [f"{name}_code" for name in _CATEGORIES]
    together = VectorAssembler(inputCols=["scaled", "trend_days", *codes], outputCol="features")
    forest = RandomForestClassifier(labelCol="class", featuresCol="features", numTrees=trees, maxDepth=8, seed=SEED)
    return Pipeline(stages=[*indexers, *encoders, numbers, scaler, together, forest])


def _macro_f1(counts: Mapping[tuple[float, float], int]) -> float:
    """Return the mean over the classes of 2 · hits / (rows of the class + rows said to be of it)."""
    scores = []
    for one in {true for true, _ in counts}:
        rows = sum(number for (true, _), number in counts.items() if true == one)
        said = sum(number for (_, predicted), number in counts.items() if predicted == one)
        scores.append(2 * counts.get((one, one), 0) / (rows + said))
    return sum(scores) / len(scores)


TRAININGS = {"project": project, "2017": method_of_2017}

if __name__ == "__main__":
    score = TRAININGS[sys.argv[1]](Rows(Path(sys.argv[2])), int(sys.argv[4]))
    Path(sys.argv[3]).write_text(json.dumps({"test_macro_f1": score}), encoding="utf-8")
