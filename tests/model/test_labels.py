from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.labels import class_of, terciles

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def loads(spark: SparkSession, values: Sequence[float | None]) -> DataFrame:
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
@pytest.mark.parametrize("decimals", [3, 0, -2])
def test_terciles_lie_halfway_between_the_known_loads_that_they_part_in_any_order(
    spark: SparkSession, decimals: int
) -> None:
    values = np.random.default_rng(1).gamma(2, 100, 1001).round(decimals)
    with_gaps = [*values.tolist(), None, math.nan]
    found = [
        terciles(loads(spark, with_gaps).repartition(3)),
        terciles(loads(spark, with_gaps[::-1]).coalesce(1)),
    ]
    assert found[0] == found[1]
    for share, cut in ((1 / 3, found[0].low), (2 / 3, found[0].high)):
        quantile = np.quantile(values, share)
        below, above = values[values <= quantile], values[values > quantile]
        assert cut == pytest.approx((below.max() + above.min()) / 2, rel=1e-12)
        assert (values <= cut).sum() == len(below)  # the classes are those of the quantile itself


@pytest.mark.spark
def test_a_tercile_that_is_the_greatest_load_stays_it(spark: SparkSession) -> None:
    found = terciles(loads(spark, [0.0] * 4 + [6.0] * 5))
    assert (found.low, found.high) == (3.0, 6.0)


@pytest.mark.spark
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None, None], "need known loads"),
        ([7.0] * 9 + [8.0], "both terciles of the 10 training loads are 7.0"),
        ([0.0, 0.0, 0.0, 6.0, 6.0], "both terciles of the 5 training loads are 0.0"),  # the second is 4, between them
    ],
)
def test_terciles_that_make_no_classes_are_explained(
    spark: SparkSession, values: list[float | None], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        terciles(loads(spark, values))
