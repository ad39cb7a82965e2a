"""The calendar of a window of hours, computed once and joined.

It is not computed with the engines' own date functions: they differ (Spark's weekday, as seen through Narwhals, is
wrong on Sundays), while a joined table is the same on every engine by construction. Holidays need a table anyway.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workload_forecast.errors import SettingsError
from workload_forecast.features.holidays import observed_holidays
from workload_forecast.schemas import CALENDAR

#: Half-open ranges of the hour of the day (requirements: *feature engineering*).
BUSINESS_HOURS = (8, 18)
MORNING_HOURS = (6, 9)

Times = npt.NDArray[np.datetime64]
Numbers = npt.NDArray[np.int64]


def calendar_table(first: datetime, last: datetime) -> pa.Table:
    """Return one row per hour from the hour that holds ``first`` to the one that holds ``last``.

    Args:
        first, last: UTC, without a zone.

    Returns:
        :data:`~workload_forecast.schemas.CALENDAR`, in ascending order. Holidays are the days on which US federal
        holidays are observed.

    Raises:
        SettingsError: ``last`` is before ``first``, or one of them carries a time zone.
    """
    return pa.table(calendar_columns(first, last))


def calendar_columns(first: datetime, last: datetime) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of :func:`calendar_table` by name; making an Arrow table of arrays imports pandas."""
    if first.tzinfo is not None or last.tzinfo is not None:
        raise SettingsError(f"a calendar needs UTC times without a zone, not {first!r} to {last!r}: drop the zone.")
    if last < first:
        raise SettingsError(f"a calendar cannot run from {first} to {last}: the first hour is after the last one.")
    hours: Times = np.arange(np.datetime64(first, "h"), np.datetime64(last, "h") + 1)
    days = hours.astype("datetime64[D]")
    hour_of_day = (hours - days).astype(np.int64)
    weekday = _weekday(days)
    columns: dict[str, npt.NDArray[Any]] = {
        "hour": hours.astype("datetime64[us]"),
        "hour_of_day": hour_of_day,
        "weekday": weekday,
        "day_of_month": (days - days.astype("datetime64[M]")).astype(np.int64) + 1,
        "week_of_year": _week_of_year(days, weekday),
        "month": hours.astype("datetime64[M]").astype(np.int64) % 12 + 1,
        "year": hours.astype("datetime64[Y]").astype(np.int64) + 1970,
        "is_us_holiday": np.isin(days, _holidays(first.year, last.year)).astype(np.int64),
        "is_business_hour": _within(hour_of_day, BUSINESS_HOURS),
        "is_morning": _within(hour_of_day, MORNING_HOURS),
        "trend_days": hours.astype(np.int64) / 24,
    }
    return {name: columns[name] for name in CALENDAR.columns}


def _weekday(days: Times) -> Numbers:
    # day 0, 1970-01-01, was a Thursday
    weekday: Numbers = (days.astype(np.int64) + 3) % 7 + 1
    return weekday


def _week_of_year(days: Times, weekday: Numbers) -> Numbers:
    """ISO weeks: a week belongs to the year of its Thursday."""
    thursday = days + (4 - weekday)
    week: Numbers = (thursday - thursday.astype("datetime64[Y]")).astype(np.int64) // 7 + 1
    return week


def _holidays(first: int, last: int) -> Times:
    # New Year's day of the year after may be observed in the last one
    return np.array([day for year in range(first, last + 2) for day in observed_holidays(year)], dtype="datetime64[D]")


def _within(hour_of_day: Numbers, bounds: tuple[int, int]) -> Numbers:
    start, end = bounds
    return ((hour_of_day >= start) & (hour_of_day < end)).astype(np.int64)
