"""From when a row is forecast: the lead, from its *origin*, the newest hour that is known, to the hour of the row.

The requirements' features stop 48 hours before the hour of their row, whatever the lead. What is known beyond that, up
to the origin, enters through the expected load alone: made of loads a day old instead of two for leads of up to 24
hours, and moved by what the newest hours before the origin were off.
"""

from __future__ import annotations

from math import exp

import narwhals as nw
import numpy as np
import numpy.typing as npt

from workload_forecast.features.expected import DAYS_BACK, SURPRISE, error_name, expected_name, same_hour_name
from workload_forecast.features.lags import DAY
from workload_forecast.schemas import EXPECTED_ERROR, EXPECTED_LOAD, HORIZON_HOURS, LAST_SAME_HOUR, LEAD, Frame

#: Hours in which the weight of the surprise falls to 1/e; chosen by backtests.
FADING_HOURS = 12

FADING = "fading"
_ORIGIN, _HOUR, _BEFORE = "_origin_index", "_hour_index", "_surprise_at_origin"


def fading(lead: int) -> float:
    """Return the weight of the origin's surprise for a lead in hours."""
    return exp(-lead / FADING_HOURS)


def lead_columns(last: int = HORIZON_HOURS) -> dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float64]]:
    """Return the leads 1 to ``last`` and the weights of the surprise, to be joined like the calendar.

    A table, because engines differ in the last bit of an exponential.
    """
    leads = np.arange(1, last + 1)
    return {LEAD: leads, FADING: np.array([fading(int(lead)) for lead in leads])}


def hour_index() -> nw.Expr:
    """Return the hours since 1970 of a row with the calendar.

    An integer, because engines differ in how they add a column of hours to a time.
    """
    return (nw.col("trend_days") * DAY).round().cast(nw.Int64)


def expected_columns(
    surprise: nw.Expr, weight: nw.Expr | float, lead: nw.Expr | int, spread: str
) -> dict[str, nw.Expr]:
    """Return the features that depend on the lead, by name.

    Args:
        surprise: of the origin.
        weight: of it, by lead.
        lead: in hours.
        spread: column that stands for the error of a server whose errors are not known yet.
    """
    near, far = DAYS_BACK
    same_hour = nw.col(same_hour_name(far))
    load, error = nw.col(expected_name(far)), nw.coalesce(nw.col(error_name(far)), nw.col(spread))
    if not isinstance(lead, int):
        soon = lead <= DAY * near
        same_hour = nw.when(soon).then(nw.col(same_hour_name(near))).otherwise(same_hour)
        load = nw.when(soon).then(nw.col(expected_name(near))).otherwise(load)
        error = nw.when(soon).then(nw.coalesce(nw.col(error_name(near)), error)).otherwise(error)
    moved = (error * surprise * weight).fill_null(0.0)
    return {LAST_SAME_HOUR: same_hour, EXPECTED_LOAD: (load + moved).clip(lower_bound=0.0), EXPECTED_ERROR: error}


def at_leads(hours: Frame, leads: Frame, origins: nw.Expr, spread: str) -> Frame:
    """Return a row for each origin and lead whose hour is in ``hours``.

    Args:
        hours: one row per server and hour of the complete grid, with the columns of
            :func:`~workload_forecast.features.expected.with_expected` and the calendar's ``trend_days``.
        leads: :func:`lead_columns` as a frame.
        origins: which hours are origins.
        spread: see :func:`expected_columns`.
    """
    indexed = hours.with_columns(hour_index().alias(_HOUR))
    starts = indexed.filter(origins).select("server", nw.col(_HOUR).alias(_ORIGIN), nw.col(SURPRISE).alias(_BEFORE))
    pairs = starts.join(leads.select(LEAD, FADING), how="cross")
    targets = pairs.with_columns((nw.col(_ORIGIN) + nw.col(LEAD)).alias(_HOUR))
    rows = indexed.join(targets, on=["server", _HOUR], how="inner")
    return rows.with_columns(**expected_columns(nw.col(_BEFORE), nw.col(FADING), nw.col(LEAD), spread))
