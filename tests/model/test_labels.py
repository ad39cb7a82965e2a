from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.labels import class_of, terciles

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def loads(spark: SparkSession, values: list[float | None]) -> DataFrame:
    return spark.createDataFrame([(index, value) for index, value in enumerate(values)], "i int, total_load double")


@pytest.mark.parametrize(("low", "high"), [(5, 5), (6, 5), (-1, 5), (math.nan, 5), (0, math.inf), (0, math.nan)])
def test_thresholds_that_make_no_three_classes_are_refused(low: float, high: float) -> None:
    with pytest.raises(SettingsError, match="do not make three load classes"):
        Thresholds(low, high)


@pytest.mark.spark
def test_class_rule_at_the_thresholds_and_for_unknown_loads(spark: SparkSession) -> None:
    values = [0.0, 100.0, 100.0001, 500.0, 500.0001, 1e9, None, math.nan]
    frame = loads(spark, values).select("i", class_of(F.col("total_load"), Thresholds(100, 500)).alias("label"))
    found = [row["label"] for row in frame.orderBy("i").collect()]
    assert found == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, None, None]


@pytest.mark.spark
def test_terciles_are_the_interpolated_quantiles_of_the_known_loads_in_any_order(spark: SparkSession) -> None:
    values = np.random.default_rng(1).gamma(2, 100, 1001).round(3)
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    with_gaps = [*values.tolist(), None, math.nan]
    found = [
        terciles(loads(spark, with_gaps).repartition(3)),
        terciles(loads(spark, with_gaps[::-1]).coalesce(1)),
    ]
    assert found[0] == found[1]
    assert (found[0].low, found[0].high) == pytest.approx((low, high), rel=1e-12)


@pytest.mark.spark
@pytest.mark.parametrize(
    ("values", "message"),
    [([None, None], "need known loads"), ([7.0] * 9 + [8.0], "both terciles of the 10 training loads are 7.0")],
)
def test_terciles_that_make_no_classes_are_explained(
    spark: SparkSession, values: list[float | None], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        terciles(loads(spark, values))
