from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar

from workload_forecast.features.calendar import calendar_table
from workload_forecast.features.holidays import observed_holidays


def test_the_days_are_those_of_pandas_in_every_year() -> None:
    found = sorted(day for year in range(1971, 2200) for day in observed_holidays(year))
    expected = USFederalHolidayCalendar().holidays(datetime(1971, 1, 1), datetime(2199, 12, 31))
    assert [pd.Timestamp(day) for day in found] == list(expected)


def test_the_calendar_is_that_of_pandas_through_seventy_years() -> None:
    table = calendar_table(datetime(1971, 1, 1), datetime(2040, 12, 31, 23)).to_pandas()
    hours = pd.date_range("1971-01-01", "2040-12-31 23:00", freq="h")
    assert (table["hour"] == hours).all()
    for name, expected in {
        "hour_of_day": hours.hour,
        "weekday": hours.weekday + 1,
        "day_of_month": hours.day,
        "week_of_year": hours.isocalendar().week.to_numpy(),
        "month": hours.month,
        "year": hours.year,
        "trend_days": (hours - pd.Timestamp(0)) / pd.Timedelta(days=1),
    }.items():
        assert np.array_equal(table[name].to_numpy(), np.asarray(expected, dtype=table[name].dtype)), name
