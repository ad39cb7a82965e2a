"""Lags and the mean of the same hour of the day."""

from __future__ import annotations

import random
from datetime import timedelta

import narwhals as nw
import pytest

from tests.features.helpers import at, features, one, series
from tests.frames import Backend
from workload_forecast.features.lags import back_name, count_observed, hours_back, in_order, mean, with_back
from workload_forecast.schemas import DOUBLE, HORIZON_HOURS, HOURLY_LOAD, LAG_HOURS, TEXT, Frame, Table


def test_the_lags_are_those_of_the_requirements_and_none_is_within_the_horizon() -> None:
    assert LAG_HOURS == (48, 49, 50, 51, 52, 55, 60, 67, 72, 96, 168, 730)
    assert min(LAG_HOURS) == HORIZON_HOURS == 48


def test_a_lag_is_the_load_so_many_hours_earlier(light_backend: Backend) -> None:
    row = one(features(light_backend, series(float, range(800))), at(790))
    assert {k: row[f"total_load_lag_{k}h"] for k in LAG_HOURS} == {k: 790.0 - k for k in LAG_HOURS}


def test_lags_count_hours_even_where_rows_are_missing(light_backend: Backend) -> None:
    found = features(light_backend, series(float, [0, 1, 48, 49, 60, 97]))
    assert one(found, at(48))["total_load_lag_48h"] == 0.0
    assert one(found, at(49))["total_load_lag_49h"] == 0.0
    assert one(found, at(97))["total_load_lag_49h"] == 48.0
    assert one(found, at(97))["total_load_lag_50h"] is None
    assert one(found, at(47))["total_load_lag_48h"] is None


def test_an_idle_hour_s_lag_is_zero(light_backend: Backend) -> None:
    found = features(light_backend, series(float, [1, 60]), missing_hours="zero")
    assert [one(found, at(h))["total_load_lag_48h"] for h in (48, 49, 50)] == [None, 1.0, 0.0]


def test_lags_do_not_reach_into_another_server(light_backend: Backend) -> None:
    rows = series(float, range(100), "a") + series(-1.0, range(50, 150), "b")
    found = features(light_backend, rows)
    assert one(found, at(97), "b")["total_load_lag_48h"] is None
    assert one(found, at(98), "b")["total_load_lag_48h"] == -1.0


def test_the_same_hour_mean_sees_seven_days_and_no_other_hour(light_backend: Backend) -> None:
    """One server for every distance of a single observed hour."""
    distances = range(1, 260)
    found = features(light_backend, [row for d in distances for row in series(7.0, [300 - d, 300], str(d))])
    means = {d: one(found, at(300), str(d))["total_load_same_hour_mean_7d"] for d in distances}
    assert {d: mean for d, mean in means.items() if mean is not None} == dict.fromkeys(range(48, 193, 24), 7.0)


def test_the_same_hour_mean_is_of_the_observed_days(light_backend: Backend) -> None:
    found = features(light_backend, series(float, [300 - 192, 300 - 72, 300 - 48, 300]))
    assert one(found, at(300))["total_load_same_hour_mean_7d"] == pytest.approx(300 - (192 + 72 + 48) / 3)


def test_looking_back_gives_each_server_its_own_rows(backend: Backend) -> None:
    """Servers of unequal lengths, the shortest of one hour, one that begins where the one before it ends; any order."""
    lengths = {"a": (0, 30), "b": (30, 31), "c": (31, 90), "d": (5, 60)}
    rows = [row for server, span in lengths.items() for row in series(lambda h: float(h % 7), range(*span), server)]
    random.Random(5).shuffle(rows)
    loads = {(row["server"], row["hour"]): row["total_load"] for row in rows}
    back = hours_back(["total_load"], range(60))
    found = backend.run(lambda frame: with_back(in_order(frame), back), (HOURLY_LOAD, rows))
    assert len(found) == len(rows)
    for row in found:
        expected = {k: loads.get((row["server"], row["hour"] - timedelta(hours=k))) for k in range(60)}
        assert {k: row[back_name("total_load", k)] for k in range(60)} == expected


def test_a_mean_is_a_true_quotient_whatever_else_is_in_the_frame(light_backend: Backend) -> None:
    """polars multiplies with a reciprocal where all counts at hand are one number: of all rows, or of some of them."""
    table = Table("numbers", {"sum": DOUBLE, "value": DOUBLE, "server": TEXT}, key=("server",))
    draw = random.Random(3)
    rows = [{"sum": draw.uniform(0, 100), "value": 1.0 if n != 5 else None, "server": str(n)} for n in range(1000)]

    def means(frame: Frame) -> Frame:
        counted = frame.with_columns(count=count_observed([nw.col("value")] * 7))
        return counted.with_columns(mean=mean(nw.col("sum"), nw.col("count")))

    found = light_backend.run(means, (table, rows))
    assert [row["mean"] for row in found] == [None if row["value"] is None else row["sum"] / 7 for row in found]
