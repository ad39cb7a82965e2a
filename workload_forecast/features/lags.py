"""Looking back a number of hours on the complete grid, and the features that are just that."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

import narwhals as nw

from workload_forecast.schemas import DOUBLE, HORIZON_HOURS, LAG_HOURS, PRIMARY_MEASURE, TRAILING_HOURS

DAY = 24

#: The steps of one day, in hours, through the week that ends at the horizon.
DAILY_STEPS = tuple(range(HORIZON_HOURS, HORIZON_HOURS + TRAILING_HOURS["7d"], DAY))


def back_name(column: str, hours: int) -> str:
    """Return the name under which :func:`hours_back` is kept; the row itself keeps its column's name."""
    return f"{column}_lag_{hours}h" if hours else column


def hours_back(columns: Iterable[str], hours: Iterable[int]) -> dict[str, nw.Expr]:
    """Return each server's value of each column so many hours earlier, by name; for a complete grid."""
    return {back_name(column, back): back_by(column, back) for column in columns for back in hours if back}


def back_by(column: str, hours: int) -> nw.Expr:
    """Return each server's value of the column so many hours earlier; for a complete grid."""
    return nw.col(column).shift(hours).over("server", order_by="hour") if hours else nw.col(column)


def lag_columns() -> dict[str, nw.Expr]:
    """Return the lag features, and the lags that :func:`same_hour_mean` needs, by name.

    A lag is null where that hour was not observed or lies before the server's first one.
    """
    return hours_back([PRIMARY_MEASURE], sorted({*LAG_HOURS, *DAILY_STEPS}))


def same_hour_mean() -> nw.Expr:
    """Return the mean of the loads at the same hour of the day, :data:`DAILY_STEPS` back, as far as observed.

    Null if none was observed. Needs a frame with :func:`lag_columns`.
    """
    values = [nw.col(back_name(PRIMARY_MEASURE, hours)) for hours in DAILY_STEPS]
    return mean(total(value.fill_null(0.0) for value in values), count_observed(values))


def count_observed(values: Iterable[nw.Expr]) -> nw.Expr:
    """Return how many of the values are not null."""
    return total(map(observed, values))


def observed(value: nw.Expr) -> nw.Expr:
    """Return 1.0 where a value is not null, and 0.0 where it is.

    Not by `when`: polars takes the result for a number where all rows at hand are alike, and divides by a number by
    multiplying with its reciprocal, so that the last bit would depend on what else is in the frame.
    """
    return (~value.is_null()).cast(DOUBLE)


def total(terms: Iterable[nw.Expr]) -> nw.Expr:
    """Return the sum of ``terms``, added from left to right on every engine."""
    return reduce(add, terms)


def mean(total: nw.Expr, count: nw.Expr) -> nw.Expr:
    """Return ``total / count``, or null where ``count`` is 0."""
    return nw.when(count > 0).then(total / count)
