"""Which features the model's trees rest on."""

from __future__ import annotations

import pandas as pd
from pyspark.ml import PipelineModel

from workload_forecast.errors import ModelError
from workload_forecast.schemas import FEATURE_NAMES


def feature_importances(model: PipelineModel) -> pd.DataFrame:
    """``feature`` and ``importance`` (summing to 1), the greatest first, ties in the order of the features.

    It is Spark's: the mean decrease of Gini impurity, which favours features with many distinct values.

    Raises:
        ModelError: no stage of the model knows importances.
    """
    for stage in model.stages:
        if hasattr(stage, "featureImportances"):
            values = stage.featureImportances.toArray()
            table = pd.DataFrame({"feature": list(FEATURE_NAMES), "importance": values})
            return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    raise ModelError("no stage of this model knows feature importances: its algorithm is not made of trees.")
