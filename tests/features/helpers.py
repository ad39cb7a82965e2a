"""What the tests of the features share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

import narwhals as nw

from tests.frames import Backend, Row
from tests.strategies import START, hourly_row
from workload_forecast.features.build import build_features, build_lead_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.features.leads import FADING, lead_columns
from workload_forecast.schemas import CALENDAR, DOUBLE, HOURLY_LOAD, INTEGER, LEAD, Table

LEADS = Table("leads", {LEAD: INTEGER, FADING: DOUBLE})

#: Observed days between START and the end of any table of these tests.
HOLIDAYS = (date(2016, 7, 4), date(2016, 9, 5), date(2016, 10, 10), date(2016, 11, 11), date(2016, 11, 24))


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def series(load: Callable[[int], float] | float, hours: Iterable[int], server: str = "a") -> list[Row]:
    """One server's hourly load: a constant, or a function of the hour; secondary measures follow it."""
    loads = [(h, load(h) if callable(load) else load) for h in hours]
    return [hourly_row(server, at(h), value, secondary=value / 8) for h, value in loads]


def noisy(hours: int, seed: int = 0, observed: float = 0.9, server: str = "a") -> list[Row]:
    """Random loads of two decimals with unobserved hours in between; the first and the last one are observed."""
    draw = random.Random(seed)
    seen = [h for h in range(hours) if h in (0, hours - 1) or draw.random() < observed]
    loads = {h: round(draw.uniform(0, 500), 2) for h in seen}
    return series(loads.__getitem__, seen, server)


def features(backend: Backend, rows: list[Row], missing_hours: str = "unknown", **options: Any) -> list[Row]:
    """All features, over a calendar that holds every hour of the rows and their extension."""
    hours = [row["hour"] for row in rows]
    last = max(hours) + timedelta(hours=options.get("extend_hours", 0))
    calendar = calendar_table(min(hours), last).to_pylist()
    return backend.run(
        build_features,
        (HOURLY_LOAD, rows),
        (CALENDAR, calendar),
        missing_hours=missing_hours,
        **options,
    )


def lead_rows(backend: Backend, rows: list[Row], origins: nw.Expr, missing_hours: str = "unknown") -> list[Row]:
    """The rows of all leads of some origins, as far as the grid of the rows goes."""
    hours = [row["hour"] for row in rows]
    calendar = calendar_table(min(hours), max(hours)).to_pylist()
    columns = {name: values.tolist() for name, values in lead_columns().items()}
    leads = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return backend.run(
        build_lead_features,
        (HOURLY_LOAD, rows),
        (CALENDAR, calendar),
        (LEADS, leads),
        origins=origins,
        missing_hours=missing_hours,
    )


def one(rows: list[Row], hour: datetime, server: str = "a") -> Row:
    """The row of that key."""
    (row,) = [row for row in rows if (row["server"], row["hour"]) == (server, hour)]
    return row
