"""Which features the model rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.ml import PipelineModel
from pyspark.ml.stat import Summarizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from workload_forecast.schemas import FEATURE_NAMES


def feature_importances(model: PipelineModel, rows: DataFrame) -> pd.DataFrame:
    r"""``feature`` and ``importance`` (summing to 1), the greatest first, ties in the order of the features.

    Of trees it is Spark's mean decrease of impurity, or XGBoost's gain, which favours features with many distinct
    values; of several ensembles the mean. Of a regression it is the mean over the classes of
    \|coefficient\| × standard deviation. A model that is computed from an expected load and learns nothing has none:
    the table is empty.

    Args:
        model: fitted.
        rows: training rows; read only for a regression.
    """
    found = [stage.featureImportances.toArray() for stage in model.stages if hasattr(stage, "featureImportances")]
    found += [_xgboost_gains(stage) for stage in model.stages if hasattr(stage, "get_feature_importances")]
    found += [
        np.abs(stage.coefficientMatrix.toArray()).mean(axis=0) * _spread(model, rows, stage.getOrDefault("featuresCol"))
        for stage in model.stages
        if hasattr(stage, "coefficientMatrix")
    ]
    values = np.mean([_shares(each) for each in found], axis=0) if found else []
    table = pd.DataFrame({"feature": list(FEATURE_NAMES) if found else [], "importance": values})
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def _spread(model: PipelineModel, rows: DataFrame, vector: str) -> npt.NDArray[np.float64]:
    """Standard deviation of each feature as the regression sees it."""
    found = model.transform(rows).select(Summarizer.std(F.col(vector)).alias("std")).first()
    return np.asarray(found["std"].toArray() if found else 0.0, dtype=np.float64)


def _xgboost_gains(stage: Any) -> npt.NDArray[np.float64]:
    gains = stage.get_feature_importances("gain")
    return np.array([gains.get(f"f{number}", 0.0) for number in range(len(FEATURE_NAMES))])


def _shares(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), 1 / len(values))
