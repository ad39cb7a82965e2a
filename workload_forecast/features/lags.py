"""Looking back a number of hours on the complete grid, and the features that are just that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import reduce
from operator import add
from typing import NamedTuple

import narwhals as nw
import polars as pl

from workload_forecast.schemas import DOUBLE, HORIZON_HOURS, LAG_HOURS, PRIMARY_MEASURE, TRAILING_HOURS, Frame

DAY = 24

#: The steps of one day, in hours, through the week that ends at the horizon.
DAILY_STEPS = tuple(range(HORIZON_HOURS, HORIZON_HOURS + TRAILING_HOURS["7d"], DAY))

_FIRST = "_first_hour"


def back_name(column: str, hours: int) -> str:
    """Return the name under which :func:`hours_back` keeps a column; the row itself keeps its column's name."""
    return f"{column}_lag_{hours}h" if hours else column


class Back(NamedTuple):
    """A column, so many hours earlier."""

    column: str
    hours: int


def hours_back(columns: Iterable[str], hours: Iterable[int]) -> dict[str, Back]:
    """Return what :func:`with_back` is to add, by name: each column at each of the hours but the row's own."""
    return {back_name(column, back): Back(column, back) for column in columns for back in hours if back}


def in_order(grid: Frame) -> Frame:
    """Return a complete grid as :func:`with_back` takes it: in memory, its servers' hours lie one behind the other.

    Other engines order the hours of a server themselves, whenever they look back.
    """
    return grid.sort("server", "hour") if grid.implementation.is_polars() else grid


def with_back(grid: Frame, back: Mapping[str, Back]) -> Frame:
    """Return the complete grid with each server's values of earlier hours, null before its first.

    Args:
        grid: complete, and :func:`in_order`.
        back: what is looked for, by the name of the new column.
    """
    native = grid.to_native()
    if isinstance(native, pl.LazyFrame):
        return nw.from_native(_shifted(native, back))
    looks = {name: nw.col(column).shift(hours) for name, (column, hours) in back.items()}
    return grid.with_columns(**{name: look.over("server", order_by="hour") for name, look in looks.items()})


def _shifted(grid: pl.LazyFrame, back: Mapping[str, Back]) -> pl.LazyFrame:
    """Shift the rows of all servers as one, and drop what came from another server.

    Said in polars' own words, because Narwhals has no such shift for lazy frames, and polars takes eleven times as long
    to shift each server by itself.
    """
    hour, first = pl.col("hour"), pl.col(_FIRST)
    looks = {
        name: pl.when(hour >= first + timedelta(hours=hours)).then(pl.col(column).shift(hours))
        for name, (column, hours) in back.items()
    }
    return grid.with_columns(hour.min().over("server").alias(_FIRST)).with_columns(**looks).drop(_FIRST)


def lag_columns() -> dict[str, Back]:
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
