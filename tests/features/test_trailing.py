"""Trailing means, spread and extremes."""

from __future__ import annotations

from fractions import Fraction
from statistics import pstdev
from typing import TYPE_CHECKING

import pytest

from tests.features.helpers import at, features, noisy, one, series
from tests.frames import Backend, by_key
from tests.strategies import hourly_row
from workload_forecast.schemas import FEATURES, MEASURES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = 400


def test_the_edges_of_both_windows(light_backend: Backend) -> None:
    """One server for every distance between its only known hour and the predicted one."""
    distances = (1, 24, 47, 48, 49, 51, 52, 53, 71, 72, 73, 168, 214, 215, 216, 217)
    rows = [hourly_row(str(d), at(T - d), 5.0, secondary=2.0) for d in distances]
    found = features(light_backend, rows + [hourly_row(str(d), at(T), 9.0, secondary=9.0) for d in distances])
    for d, known in zip(distances, rows, strict=True):
        row, in_day, in_week = one(found, at(T), str(d)), 48 <= d < 72, 48 <= d < 216
        for name in MEASURES:
            assert row[f"{name}_mean_1d"] == (known[name] if in_day else None), (name, d)
            assert row[f"{name}_mean_7d"] == (known[name] if in_week else None), (name, d)
        shape = [row[f"total_load_{name}_7d"] for name in ("min", "max", "std")]
        assert shape == ([5.0, 5.0, 0.0] if in_week else [None] * 3), d
        assert row["observed_hours_7d"] == float(in_week), d


def test_every_hour_of_the_windows_counts_once(light_backend: Backend) -> None:
    found = features(light_backend, series(float, range(T + 26)))
    for hour in range(T, T + 25):
        row = one(found, at(hour))
        assert row["total_load_mean_1d"] == pytest.approx(hour - 48 - 23 / 2)
        assert row["total_load_mean_7d"] == pytest.approx(hour - 48 - 167 / 2)
        assert row["total_load_std_7d"] == pytest.approx(((168**2 - 1) / 12) ** 0.5)
        assert (row["total_load_min_7d"], row["total_load_max_7d"]) == (hour - 48 - 167, hour - 48)
        assert row["observed_hours_7d"] == 168.0


def test_missing_hours_do_not_count(light_backend: Backend) -> None:
    row = one(features(light_backend, series(lambda h: h - 100.0, [100, 110, 130, 200])), at(200))
    assert row["total_load_mean_7d"] == pytest.approx(40 / 3)
    assert row["total_load_std_7d"] == pytest.approx(pstdev([0, 10, 30]))
    assert row["total_load_mean_1d"] == 30.0
    assert row["observed_hours_7d"] == 3.0


def test_idle_hours_count_as_observed_and_as_zero(light_backend: Backend) -> None:
    row = one(features(light_backend, series(12.0, [100, 200]), missing_hours="zero"), at(200))
    assert row["observed_hours_7d"] == 53.0  # hours 100 to 152
    assert row["total_load_mean_7d"] == pytest.approx(12 / 53)
    assert (row["total_load_min_7d"], row["total_load_max_7d"]) == (0.0, 12.0)


@pytest.mark.parametrize("step", [1e-3, 1e-6])
def test_a_small_spread_around_a_large_load_keeps_its_digits(light_backend: Backend, step: float) -> None:
    values = [1e6 + step * (h * 7919 % 13 - 6) for h in range(300)]
    row = one(features(light_backend, series(values.__getitem__, range(300))), at(299))
    week = values[299 - 215 : 299 - 47]
    exact_mean = sum(map(Fraction, week)) / 168
    exact = float(sum((Fraction(v) - exact_mean) ** 2 for v in week) / 168) ** 0.5
    assert row["total_load_std_7d"] == pytest.approx(exact, rel=1e-11)


def test_a_burst_that_has_left_the_window_leaves_nothing_behind(light_backend: Backend) -> None:
    rows = series(lambda h: 1e15 if h == 3 else 0.1, range(300))
    row = one(features(light_backend, rows), at(299))
    assert row["total_load_mean_7d"] == pytest.approx(0.1, rel=1e-12)
    assert row["total_load_std_7d"] == 0.0
    assert row["total_load_max_7d"] == 0.1


@pytest.mark.spark
def test_polars_and_spark_give_the_same_bits(spark: SparkSession) -> None:
    """Random loads, a tiny spread around a large load, and a burst: all of it rounds the same way."""
    tiny = series(lambda h: 1e6 + 1e-3 * (h * 7919 % 13 - 6), range(300), "b")
    burst = series(lambda h: 1e15 if h == 3 else 0.1, range(300), "c")
    rows = noisy(400, seed=3) + tiny + burst
    tables = [by_key(features(backend, rows), FEATURES.key) for backend in (Backend("polars"), Backend("spark", spark))]
    assert tables[0] == tables[1]
