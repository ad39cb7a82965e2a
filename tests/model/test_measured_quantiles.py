from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from workload_forecast.config import Thresholds
from workload_forecast.load_quantiles import BELOW, LoadQuantiles
from workload_forecast.model.measured_quantiles import (
    CELLS,
    FARTHEST,
    LEAST_ERROR,
    measure_load_quantiles,
    shares_below,
)
from workload_forecast.schemas import LOAD_LEVELS, LOAD_QUANTILES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

CUTS = Thresholds(100, 300)
NAMES = ("total_load", "expected_load", "expected_error")


def made(spark: SparkSession, *columns: np.ndarray) -> DataFrame:
    return spark.createDataFrame([tuple(map(float, row)) for row in zip(*columns, strict=True)], list(NAMES))


def drawn(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loads around what is expected; errors of all sizes, some 0, and a distribution that is no Laplace's."""
    random = np.random.default_rng(seed)
    expected, error = random.uniform(0, 500, rows), random.choice([0.0, 1.0, 30.0, 200.0], rows)
    load = expected + (error + 2.0) * (random.lognormal(0, 1, rows) - 1)
    return np.maximum(load, 0), expected, error


def test_numpy_counts_the_same(spark: SparkSession) -> None:
    load, expected, error = drawn(1, 4000)
    found = measure_load_quantiles(made(spark, load, expected, error), CUTS)
    assert found.least_error == pytest.approx(LEAST_ERROR * 200)
    distances = (load - expected) / (error + 2.0)
    wanted = np.quantile(distances, np.array(LOAD_LEVELS) / 100, method="inverted_cdf")
    assert np.arcsinh(found.factors) == pytest.approx(np.arcsinh(wanted), abs=1 / CELLS)
    assert (np.array(found.factors) >= wanted - 1e-9).all(), "a cell is not cut in two"
    assert found.problems == []


@pytest.mark.parametrize("far", [1e5, 1e8, 1e200, 1.7e308])
def test_however_far_loads_lie_the_factors_are_numbers(spark: SparkSession, far: float) -> None:
    """A fleet that is switched off, and one that is switched on."""
    nothing, much, none = np.zeros(99), np.full(99, far), np.zeros(99)
    off = measure_load_quantiles(made(spark, nothing, much, none), CUTS)
    on = measure_load_quantiles(made(spark, much, nothing, none), CUTS)
    for found, sign in ((off, -1), (on, 1)):
        assert found.problems == []
        assert found.factors == pytest.approx([sign * min(far / 2, FARTHEST)] * len(LOAD_LEVELS), rel=2 / CELLS)


def test_rows_in_any_order_give_the_same_factors(spark: SparkSession) -> None:
    rows = made(spark, *drawn(2, 500))
    again = measure_load_quantiles(rows.orderBy("total_load").repartition(3), CUTS)
    assert again == measure_load_quantiles(rows, CUTS)


def test_on_other_rows_of_the_same_kind_they_hold_what_they_say(spark: SparkSession) -> None:
    quantiles = measure_load_quantiles(made(spark, *drawn(3, 8000)), CUTS)
    load, expected, error = drawn(4, 8000)
    shares = shares_below(made(spark, load, expected, error), quantiles)
    assert (
        tuple(shares)
        == BELOW
        == ("load_below_p10", "load_below_p50", "load_below_p90", "load_below_p95", "load_below_p99")
    )
    of = quantiles.of(expected, error)
    wanted = {share: float((load <= of[name]).mean()) for share, name in zip(BELOW, LOAD_QUANTILES, strict=True)}
    assert shares == pytest.approx(wanted)
    for level, share in zip(LOAD_LEVELS[1:], list(shares.values())[1:], strict=True):
        assert share == pytest.approx(level / 100, abs=0.02)


def test_unknown_rows_are_left_aside_and_without_any_nothing_is_known(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    known = made(spark, *drawn(5, 300))
    no_load = known.withColumn("expected_load", F.lit(float("nan")))
    no_error = known.withColumn("expected_error", F.lit(None).cast("double"))
    both = known.unionByName(no_load).unionByName(no_error)
    quantiles = measure_load_quantiles(known, CUTS)
    assert measure_load_quantiles(both, CUTS) == quantiles
    assert shares_below(both, quantiles) == shares_below(known, quantiles)
    assert measure_load_quantiles(no_load, CUTS) == LoadQuantiles()
    assert shares_below(no_error, quantiles) == {}
    assert shares_below(known, LoadQuantiles()) == {}
