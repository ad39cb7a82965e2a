"""Hourly loads for the tests of the forecaster, and the class that the lag model of these tests gives a load."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tests.frames import Row, arrow
from workload_forecast.schemas import HOURLY_LOAD

HOUR = timedelta(hours=1)

#: A Sunday evening; the next day is a holiday.
START = datetime(2016, 7, 3, 18)


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    table: pd.DataFrame = arrow(HOURLY_LOAD, rows).to_pandas()
    return table


def class_of(load: float | None) -> str | None:
    """By the thresholds of the tests' facts."""
    return None if load is None else "low" if load <= 100 else "high" if load > 300 else "medium"


def shown(table: Any) -> list[tuple[str, datetime, str | None, str]]:
    """Server, hour, class and source of every row of an answer."""
    return [(row["server"], row["hour"], row["prediction"], row["source"]) for row in table.to_pylist()]
