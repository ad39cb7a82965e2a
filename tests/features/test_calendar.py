"""The calendar table."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.frames import Backend, Row, arrow, rows_of
from workload_forecast.errors import SettingsError
from workload_forecast.features.calendar import calendar_table
from workload_forecast.schemas import CALENDAR

#: As published for federal employees: the day on which each holiday is observed.
OBSERVED = {
    2010: "01-01 01-18 02-15 05-31 07-05 09-06 10-11 11-11 11-25 12-24 12-31",
    2011: "01-17 02-21 05-30 07-04 09-05 10-10 11-11 11-24 12-26",
    2016: "01-01 01-18 02-15 05-30 07-04 09-05 10-10 11-11 11-24 12-26",
    2020: "01-01 01-20 02-17 05-25 07-03 09-07 10-12 11-11 11-26 12-25",
    2021: "01-01 01-18 02-15 05-31 06-18 07-05 09-06 10-11 11-11 11-25 12-24 12-31",
}


def on(day: datetime | date, hour: int = 12) -> Row:
    at = datetime(day.year, day.month, day.day, hour)
    (row,) = calendar_table(at, at).to_pylist()
    return dict(row)


@pytest.mark.parametrize("year", OBSERVED)
def test_holidays_are_the_observed_days(year: int) -> None:
    rows = calendar_table(datetime(year, 1, 1), datetime(year, 12, 31, 23)).to_pylist()
    found = {row["hour"].strftime("%m-%d") for row in rows if row["is_us_holiday"]}
    assert sorted(found) == OBSERVED[year].split()
    assert sum(row["is_us_holiday"] for row in rows) == 24 * len(found)


def test_new_year_observed_in_the_year_before_is_found_in_a_short_window() -> None:
    assert on(date(2010, 12, 31))["is_us_holiday"] == 1
    assert on(date(2011, 1, 1))["is_us_holiday"] == 0


def test_a_window_that_starts_within_a_holiday_knows_it() -> None:
    rows = calendar_table(datetime(2016, 7, 4, 15), datetime(2016, 7, 5, 2)).to_pylist()
    assert [row["is_us_holiday"] for row in rows] == [1] * 9 + [0] * 3


@pytest.mark.parametrize(("day", "week", "weekday"), [
    (date(2015, 12, 31), 53, 4), (date(2016, 1, 1), 53, 5), (date(2016, 1, 3), 53, 7), (date(2016, 1, 4), 1, 1),
    (date(2018, 12, 31), 1, 1), (date(2016, 2, 29), 9, 1), (date(2016, 6, 5), 22, 7),
])  # fmt: skip
def test_iso_weeks_at_the_ends_of_years_and_sundays(day: date, week: int, weekday: int) -> None:
    row = on(day)
    assert (row["week_of_year"], row["weekday"]) == (week, weekday)


def test_a_leap_day_has_its_24_hours() -> None:
    rows = calendar_table(datetime(2016, 2, 28, 23), datetime(2016, 3, 1, 0)).to_pylist()
    assert [(row["month"], row["day_of_month"]) for row in rows] == [(2, 28)] + [(2, 29)] * 24 + [(3, 1)]


def test_no_hour_is_lost_or_doubled_when_clocks_change_elsewhere() -> None:
    rows = calendar_table(datetime(2016, 3, 13), datetime(2016, 3, 13, 23)).to_pylist()
    assert [row["hour_of_day"] for row in rows] == list(range(24))


def test_flags_at_the_borders_of_their_hours() -> None:
    rows = [on(date(2016, 6, 1), hour) for hour in range(24)]
    assert [hour for hour in range(24) if rows[hour]["is_business_hour"]] == list(range(8, 18))
    assert [hour for hour in range(24) if rows[hour]["is_morning"]] == [6, 7, 8]


def test_the_trend_counts_days_with_their_fraction() -> None:
    assert on(date(1970, 1, 2), 6)["trend_days"] == 1.25


def test_the_ends_are_included_and_cut_to_the_hour() -> None:
    hours = calendar_table(datetime(2016, 6, 1, 3, 59, 59), datetime(2016, 6, 1, 5, 0, 1))["hour"].to_pylist()
    assert hours == [datetime(2016, 6, 1, hour) for hour in (3, 4, 5)]


def test_the_result_has_the_columns_and_types_of_its_table() -> None:
    table = calendar_table(datetime(2016, 6, 1), datetime(2016, 6, 1))
    assert table.schema == arrow(CALENDAR, []).schema
    assert table.column("hour").type == pa.timestamp("us")


def test_a_window_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(SettingsError, match="first hour is after the last"):
        calendar_table(datetime(2016, 6, 2), datetime(2016, 6, 1))


def test_a_time_with_a_zone_is_an_error() -> None:
    with pytest.raises(SettingsError, match="without a zone"):
        calendar_table(datetime(2016, 6, 1, tzinfo=timezone.utc), datetime(2016, 6, 2, tzinfo=timezone.utc))


def test_every_backend_reads_the_same_sunday(backend: Backend) -> None:
    rows = calendar_table(datetime(2016, 6, 4, 23), datetime(2016, 6, 6, 0)).to_pylist()
    assert sorted(rows_of(backend.frame(CALENDAR, rows)), key=lambda row: row["hour"]) == rows
    assert [row["weekday"] for row in rows] == [6] + [7] * 24 + [1]


@settings(max_examples=50, deadline=None)
@given(first=st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)), hours=st.integers(0, 60))
def test_agrees_with_the_oracle(first: datetime, hours: int) -> None:
    table = calendar_table(first, first + timedelta(hours=hours)).to_pylist()
    start = first.replace(minute=0, second=0, microsecond=0)
    expected = [
        {"hour": at} | oracle.calendar_row(at) for at in oracle.hours_between(start, start + hours * oracle.HOUR)
    ]
    for row, other in zip(table, expected, strict=True):
        assert row | {"is_us_holiday": 0, "trend_days": pytest.approx(row["trend_days"])} == other
