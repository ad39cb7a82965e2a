"""Hourly peaks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings

from tests import oracle
from tests.frames import Backend, Row, assert_same_rows, rows_of
from tests.strategies import five_minute_tables
from workload_forecast.load.peaks import hourly_peaks
from workload_forecast.schemas import FIVE_MINUTE_LOAD, HOURLY_LOAD, SECONDARY_MEASURES

HOUR = datetime(2016, 6, 1, 10)


def slot(number: int, load: float, hour: datetime = HOUR, server: str = "a", secondary: float = 1.0) -> Row:
    return {"server": server, "hour": hour, "slot": number, "sessions": number + 1, "total_load": load} | dict.fromkeys(
        SECONDARY_MEASURES, secondary
    )


def peaks(backend: Backend, rows: list[Row]) -> list[Row]:
    return backend.run(hourly_peaks, (FIVE_MINUTE_LOAD, rows))


def test_the_busiest_slot_gives_all_the_numbers(backend: Backend) -> None:
    found = peaks(backend, [slot(2, 5.0, secondary=7.0), slot(7, 9.0, secondary=3.0), slot(9, 8.0, secondary=99.0)])
    expected: dict[str, Any] = {"server": "a", "hour": HOUR, "peak_slot": 7, "sessions": 8, "total_load": 9.0}
    assert found == [expected | dict.fromkeys(SECONDARY_MEASURES, 3.0)]


def test_of_equal_loads_the_earliest_slot_wins(backend: Backend) -> None:
    (found,) = peaks(backend, [slot(11, 5.0), slot(4, 5.0), slot(6, 5.0), slot(0, 4.0)])
    assert found["peak_slot"] == 4


def test_a_tie_does_not_depend_on_the_order_of_addition(backend: Backend) -> None:
    one_way, other_way = (0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3)
    assert one_way > other_way
    (found,) = peaks(backend, [slot(1, other_way), slot(2, one_way)])
    assert (found["peak_slot"], found["total_load"]) == (1, 0.6)


def test_a_difference_in_the_sixth_decimal_counts(backend: Backend) -> None:
    (found,) = peaks(backend, [slot(1, 1.000001), slot(2, 1.000002)])
    assert (found["peak_slot"], found["total_load"]) == (2, 1.000002)


@pytest.mark.parametrize("load", [0.0, 0.6, 123456.789012, 4.6e9, 1e15 + 0.5, 1e300])
def test_rounding_keeps_what_has_six_decimals_and_loads_of_any_size(light_backend: Backend, load: float) -> None:
    (found,) = peaks(light_backend, [slot(1, load, secondary=-load)])
    assert found["total_load"] == load
    assert found["megabytes_transferred"] == -load


def test_huge_loads_survive_rounding_on_every_engine(backend: Backend) -> None:
    (found,) = peaks(backend, [slot(1, 1e300, secondary=-1e13), slot(2, 9.9e12)])
    assert (found["peak_slot"], found["total_load"], found["secure_bytes_load"]) == (1, 1e300, -1e13)


def test_hours_and_servers_are_apart(backend: Backend) -> None:
    rows = [slot(1, 1.0), slot(2, 9.0, hour=HOUR.replace(hour=11)), slot(3, 5.0, server="b")]
    found = {(row["server"], row["hour"].hour): row["peak_slot"] for row in peaks(backend, rows)}
    assert found == {("a", 10): 1, ("a", 11): 2, ("b", 10): 3}


def test_an_idle_hour_has_a_peak_of_zero_in_its_first_slot(light_backend: Backend) -> None:
    (found,) = peaks(light_backend, [slot(5, 0.0), slot(3, 0.0)])
    assert (found["peak_slot"], found["total_load"]) == (3, 0.0)


def test_the_result_has_the_columns_and_types_of_its_table(backend: Backend) -> None:
    frame = hourly_peaks(backend.frame(FIVE_MINUTE_LOAD, [slot(0, 1.0)]))
    assert dict(frame.collect_schema()) == dict(HOURLY_LOAD.columns)


def test_no_rows_give_no_rows(backend: Backend) -> None:
    assert rows_of(hourly_peaks(backend.frame(FIVE_MINUTE_LOAD, []))) == []


@settings(max_examples=60, deadline=None)
@given(rows=five_minute_tables())
def test_agrees_with_the_oracle(light_backend: Backend, rows: list[Row]) -> None:
    # Polars divides by a constant as it multiplies by its inverse: one unit in the last place
    rel = 1e-15 if light_backend.name == "polars" else 0.0
    assert_same_rows(peaks(light_backend, rows), oracle.hourly_load(rows), HOURLY_LOAD, rel=rel)


@pytest.mark.spark
@settings(max_examples=3, deadline=None)
@given(rows=five_minute_tables())
def test_spark_agrees_with_the_oracle(spark: Any, rows: list[Row]) -> None:
    assert_same_rows(peaks(Backend("spark", spark), rows), oracle.hourly_load(rows), HOURLY_LOAD, rel=0.0)
