"""The calendar of a window of hours, computed once and joined.

It is not computed with the engines' own date functions: they differ (Spark's weekday, as seen through Narwhals, is
wrong on Sundays), while a joined table is the same on every engine by construction. Holidays need a table anyway.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.tseries.holiday import USFederalHolidayCalendar

from workload_forecast.errors import SettingsError
from workload_forecast.schemas import CALENDAR

#: Half-open ranges of the hour of the day (requirements: *feature engineering*).
BUSINESS_HOURS = (8, 18)
MORNING_HOURS = (6, 9)

#: A holiday on a weekend is observed on a weekday next to it, which can lie in the year before.
_HOLIDAY_MARGIN = timedelta(days=7)


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
    if first.tzinfo is not None or last.tzinfo is not None:
        raise SettingsError(f"a calendar needs UTC times without a zone, not {first!r} to {last!r}: drop the zone.")
    if last < first:
        raise SettingsError(f"a calendar cannot run from {first} to {last}: the first hour is after the last one.")
    hours = pd.date_range(pd.Timestamp(first).floor("h"), pd.Timestamp(last).floor("h"), freq="h").as_unit("us")
    holidays = USFederalHolidayCalendar().holidays(hours[0] - _HOLIDAY_MARGIN, hours[-1] + _HOLIDAY_MARGIN)
    columns = {
        "hour": hours,
        "hour_of_day": hours.hour,
        "weekday": hours.weekday + 1,
        "day_of_month": hours.day,
        "week_of_year": hours.isocalendar().week.to_numpy(),
        "month": hours.month,
        "year": hours.year,
        "is_us_holiday": hours.normalize().isin(holidays),
        "is_business_hour": _within(hours, BUSINESS_HOURS),
        "is_morning": _within(hours, MORNING_HOURS),
        "trend_days": (hours - pd.Timestamp(0)) / pd.Timedelta(days=1),
    }
    types = {"hour": pa.timestamp("us"), "trend_days": pa.float64()}
    return pa.table({name: pa.array(columns[name]).cast(types.get(name, pa.int64())) for name in CALENDAR.columns})


def _within(hours: pd.DatetimeIndex, bounds: tuple[int, int]) -> npt.NDArray[np.bool_]:
    start, end = bounds
    return (hours.hour >= start) & (hours.hour < end)
