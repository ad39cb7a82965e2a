"""Score model and baselines on the same rows, and count the outcomes where the rows are.

The model is applied once (:func:`score_rows`); two small aggregations of the scored rows follow, and only counts
travel to the driver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.ml import PipelineModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.model.baselines import BASELINES, baseline_columns, history_classes
from workload_forecast.model.labels import LABEL
from workload_forecast.model.metrics import Matrix, confusion_scores
from workload_forecast.model.pipeline import CLASS_INDEX, PROBABILITY
from workload_forecast.model.split import SPLIT, SPLITS
from workload_forecast.schemas import CLASSES
from workload_forecast.sources import MODEL, NAIVE_FORECASTS, Sources

#: What is said in operation: the model's answer or, where the training chose it, a naive forecast's.
FORECAST = "forecast"
PREDICTORS = (MODEL, FORECAST, *BASELINES)

#: Equally wide bins of the predicted probability, for the calibration.
CALIBRATION_BINS = 10


def score_rows(
    model: PipelineModel, rows: DataFrame, thresholds: Thresholds, majority: float, sources: Sources
) -> DataFrame:
    """Predictions of the model, of what is said in operation and of every baseline for labelled rows, lazily.

    Columns: ``server``, ``hour_of_day``, ``split``, ``label``, one predicted label for each of :data:`PREDICTORS`, and
    ``probability`` (an array, one a class).
    """
    answers = model.transform(rows).select(
        "server",
        "hour_of_day",
        SPLIT,
        LABEL,
        *answer_columns(),
        *baseline_columns(thresholds, majority),
        *(said.alias(_by(name)) for name, said in history_classes(thresholds).items()),
    )
    return with_forecast(answers, sources).drop(*map(_by, NAIVE_FORECASTS))


def with_forecast(answers: DataFrame, sources: Sources) -> DataFrame:
    """With the column :data:`FORECAST`, from the model's and each naive forecast's own answer (null where unknown).

    A server that gets no answer is judged by the model's: to say nothing is no way to a better score.
    """
    if not sources.servers:
        return answers.withColumn(FORECAST, _said_by(F.lit(sources.fleet)))
    named = answers.sparkSession.createDataFrame(sorted(sources.servers.items()), "server string, source string")
    source = F.coalesce(F.col("source"), F.lit(sources.fleet))
    joined = answers.join(F.broadcast(named), "server", "left")
    return joined.withColumn(FORECAST, _said_by(source)).drop("source")


def _said_by(source: Column) -> Column:
    chosen = F.col(MODEL)
    for name in NAIVE_FORECASTS:
        chosen = F.when(source == name, F.coalesce(F.col(_by(name)), F.col(MODEL))).otherwise(chosen)
    return chosen


def _by(name: str) -> str:
    return f"by_{name}"


def answer_columns() -> list[Column]:
    """What the fitted pipeline says of a row: its label (:data:`MODEL`) and ``probability``, an array, one a class."""
    return [F.col(CLASS_INDEX).alias(MODEL), vector_to_array(F.col(PROBABILITY)).alias(PROBABILITY)]


def count_outcomes(scored: DataFrame) -> pd.DataFrame:
    """Count the outcomes of all predictors in one Spark job, by server and by hour of the day.

    Columns: ``facet`` (``server`` or ``hour_of_day``: each facet counts every row once), ``value``, ``split``,
    ``predictor``, ``label``, ``prediction``, ``rows``.
    """
    facets = [
        F.struct(F.lit(facet).alias("facet"), F.col(facet).cast("string").alias("value"))
        for facet in ("server", "hour_of_day")
    ]
    predictions = [
        F.struct(F.lit(name).alias("predictor"), F.col(name).cast("int").alias("prediction")) for name in PREDICTORS
    ]
    each = scored.select(
        SPLIT, F.col(LABEL).cast("int"), F.explode(F.array(*predictions)).alias("p"), "server", "hour_of_day"
    ).select(SPLIT, LABEL, "p.*", F.explode(F.array(*facets)).alias("f"))
    columns = ["facet", "value", SPLIT, "predictor", LABEL, "prediction", "rows"]
    found = each.groupBy("f.facet", "f.value", SPLIT, "predictor", LABEL, "prediction").count().collect()
    # Not toPandas(): with Arrow switched on it needs more memory settings than these few rows are worth.
    return pd.DataFrame([tuple(row) for row in found], columns=columns).sort_values(columns, ignore_index=True)


def confusion(outcomes: pd.DataFrame) -> Matrix:
    """The confusion matrix of outcomes (already chosen to be of one predictor and one facet)."""
    matrix = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(matrix, (outcomes["label"].to_numpy(), outcomes["prediction"].to_numpy()), outcomes["rows"].to_numpy())
    return matrix


@dataclass(frozen=True)
class Evaluation:
    """What the counted outcomes say."""

    #: Of each (split, predictor).
    matrices: dict[tuple[str, str], Matrix]
    #: ``split``, ``predictor`` and the metrics, one row for each matrix.
    scores: pd.DataFrame
    #: ``server``, ``rows`` and one column of test accuracies for each predictor.
    by_server: pd.DataFrame
    #: ``hour_of_day``, ``rows`` and one column of test accuracies for each predictor.
    by_hour_of_day: pd.DataFrame


def evaluate(outcomes: pd.DataFrame) -> Evaluation:
    """Turn the counts of :func:`count_outcomes` into matrices, metrics and accuracies by server and hour."""
    whole = outcomes[outcomes["facet"] == "server"]
    matrices = {
        (split, predictor): confusion(whole[(whole[SPLIT] == split) & (whole["predictor"] == predictor)])
        for split in SPLITS
        for predictor in PREDICTORS
    }
    scores = pd.DataFrame(
        [
            {"split": split, "predictor": predictor, "rows": int(matrix.sum()), **confusion_scores(matrix)}
            for (split, predictor), matrix in matrices.items()
        ]
    )
    test = outcomes[outcomes[SPLIT] == "test"]
    by_hour = _accuracies(test, "hour_of_day")
    by_hour["hour_of_day"] = by_hour["hour_of_day"].astype("int64")
    return Evaluation(
        matrices=matrices,
        scores=scores,
        by_server=_accuracies(test, "server"),
        by_hour_of_day=by_hour.sort_values("hour_of_day", ignore_index=True),
    )


def _accuracies(outcomes: pd.DataFrame, facet: str) -> pd.DataFrame:
    chosen = outcomes[outcomes["facet"] == facet]
    hits = chosen["rows"].where(chosen["label"] == chosen["prediction"], 0)
    sums = chosen.assign(hits=hits).groupby(["value", "predictor"], sort=True)[["hits", "rows"]].sum()
    shares = (sums["hits"] / sums["rows"]).unstack("predictor").reindex(columns=list(PREDICTORS))
    shares.insert(0, "rows", sums["rows"].unstack("predictor")[PREDICTORS[0]])  # each predictor has answered each row
    return shares.rename_axis(index=facet, columns=None).reset_index()


def count_calibration(scored: DataFrame) -> pd.DataFrame:
    """Reliability of the model's probabilities: one Spark job over the scored rows.

    Columns: ``split``, ``class``, ``bin`` (0 for probabilities below 1/10, … 9), ``rows``, ``mean_probability``,
    ``observed_share`` (how often the class was the true one) and ``squared_error`` (the bin's sum).
    """
    each = scored.select(SPLIT, LABEL, F.posexplode(PROBABILITY).alias("index", "p"))
    hit = (F.col(LABEL) == F.col("index")).cast("double")
    bin_of = F.least(F.floor(F.col("p") * CALIBRATION_BINS), F.lit(CALIBRATION_BINS - 1)).cast("int")
    found = (
        each.groupBy(SPLIT, "index", bin_of.alias("bin"))
        .agg(F.count("*"), F.avg("p"), F.avg(hit), F.sum((F.col("p") - hit) ** 2))
        .collect()
    )
    columns = [SPLIT, "class", "bin", "rows", "mean_probability", "observed_share", "squared_error"]
    table = pd.DataFrame([tuple(row) for row in found], columns=columns).sort_values(columns[:3], ignore_index=True)
    table["class"] = table["class"].map(dict(enumerate(CLASSES)))
    return table


def brier_score(calibration: pd.DataFrame, split: str) -> float:
    """Mean over the rows of the summed squared errors of the class probabilities: 0 is perfect, 2 the worst."""
    chosen = calibration[calibration[SPLIT] == split]
    return float(chosen["squared_error"].sum() / (chosen["rows"].sum() / len(CLASSES)))


def calibration_error(calibration: pd.DataFrame, split: str) -> float:
    """Expected calibration error: mean distance of predicted and observed share, weighted by rows, over all classes."""
    chosen = calibration[calibration[SPLIT] == split]
    distance = (chosen["mean_probability"] - chosen["observed_share"]).abs()
    return float((distance * chosen["rows"]).sum() / chosen["rows"].sum())
