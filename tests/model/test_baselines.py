from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from workload_forecast.config import Thresholds
from workload_forecast.model.baselines import BASELINES, baseline_columns, majority_class

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def test_majority_is_the_most_frequent_class_and_of_several_the_lowest() -> None:
    assert majority_class({0.0: 3, 1.0: 5, 2.0: 4}) == 1.0
    assert majority_class({2.0: 5, 1.0: 5, 0.0: 4}) == 1.0


@pytest.mark.spark
def test_baselines_agree_with_plain_python(features: DataFrame, table: pd.DataFrame) -> None:
    def expected(load: float) -> float:
        if math.isnan(load):
            return 2.0  # the majority answers where the history is unknown
        return 0.0 if load <= 200 else 2.0 if load > 300 else 1.0

    found = features.select("server", "hour", *baseline_columns(Thresholds(200, 300), 2.0)).orderBy("server", "hour")
    frame = pd.DataFrame([tuple(row)[2:] for row in found.collect()], columns=list(BASELINES))
    columns = {
        "class_48h_ago": table["total_load_lag_48h"],
        "last_same_hour": table["total_load_last_same_hour"],
        "class_week_ago": table["total_load_lag_168h"],
        "same_hour_mean_7d": table["total_load_same_hour_mean_7d"],
    }
    oracle = pd.DataFrame({"majority": 2.0, **{name: loads.map(expected) for name, loads in columns.items()}})
    assert table["total_load_lag_168h"].isna().any()
    pd.testing.assert_frame_equal(frame, oracle[list(BASELINES)])
