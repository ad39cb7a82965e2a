"""Means, spread and extremes of the day and of the week that end at the horizon.

A window of a week is not summed from its 168 hours. Four hours are merged into a block, six of those into a day,
seven days into a week, each by looking back so many rows. Against the engines' own sliding windows this

* adds the same numbers in the same order on every engine, so that all give the same bits, and never subtracts
  what leaves a window, so that no digits are lost to it;
* costs 12 look-ups a column instead of 168 additions (Spark recomputes a sliding window for every row);
* gives minimum and maximum, which Narwhals' sliding windows lack, and a spread without cancellation: deviations are
  taken from the block's own minimum, not from zero, so loads of a million that differ in the third decimal keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import narwhals as nw

from workload_forecast.features.lags import (
    DAILY_STEPS,
    DAY,
    Back,
    back_name,
    count_observed,
    hours_back,
    mean,
    total,
    with_back,
)
from workload_forecast.schemas import HORIZON_HOURS, MEASURES, PRIMARY_MEASURE, Frame

#: Where the parts of a block lie, in hours before it: hours → four hours → day → week that ends at the horizon.
_FOUR_HOURS = tuple(range(4))
_DAY = tuple(range(0, DAY, 4))
_WEEK = DAILY_STEPS

# What is known of a block of hours: how many were observed, the sums of the measures, and of the total load the
# extremes and the sums of the deviations from the minimum and of their squares.
_SEEN, _LOW, _HIGH, _ABOVE, _SQUARES = "_seen", "_low", "_high", "_above_low", "_above_low_squared"
_NEW_LOW = "_new_low"
_SUMS = {measure: f"_sum_{measure}" for measure in MEASURES}
_BLOCK = (_SEEN, _LOW, _HIGH, _ABOVE, _SQUARES, *_SUMS.values())

#: Sum of the total load over the day that ends at the row's hour, and how many of its hours were observed; for others
#: to look back on, while the columns of these names become the week's.
DAY_SUM, DAY_SEEN = _SUMS[PRIMARY_MEASURE], _SEEN


def with_trailing(grid: Frame, made: Mapping[str, nw.Expr], also: Mapping[str, Back]) -> Frame:
    """Return the complete ``grid`` with the columns that :func:`trailing_columns` needs.

    What else looks back rides along on the same passes over the sorted servers.

    Args:
        grid: see :func:`~workload_forecast.features.lags.with_back`.
        made: further columns, made of the measures of the hour and of the three before.
        also: what else looks back, from the grid, ``made``, :data:`DAY_SUM` and :data:`DAY_SEEN`.
    """
    hours = with_back(grid, hours_back(MEASURES, _FOUR_HOURS)).with_columns(**made)
    days = _merged_blocks(with_back(_merged_hours(hours, _FOUR_HOURS), hours_back(_BLOCK, _DAY)), _DAY)
    return _merged_blocks(with_back(days, {**hours_back(_BLOCK, _WEEK), **also}), _WEEK)


def trailing_columns() -> dict[str, nw.Expr]:
    """Return the trailing features by name, for a frame of :func:`with_trailing`.

    Means, spread and extremes are those of the observed hours, and null where none of the window's hours was. The
    spread is the population's standard deviation: 0 for a single observed hour. ``observed_hours_7d`` counts the
    hours whose load is known on the grid; hours that the grid filled with 0 are known to be idle.
    """
    # the week's newest part is the day that ends at the horizon
    day_seen = nw.col(back_name(_SEEN, HORIZON_HOURS))
    week_seen = nw.col(_SEEN)
    columns: dict[str, nw.Expr] = {}
    for measure, name in _SUMS.items():
        columns[f"{measure}_mean_1d"] = mean(nw.col(back_name(name, HORIZON_HOURS)), day_seen)
        columns[f"{measure}_mean_7d"] = mean(nw.col(name), week_seen)
    above = mean(nw.col(_ABOVE), week_seen)
    # the minimum lies at most √167 spreads below the mean, so this difference keeps 13 digits
    variance = mean(nw.col(_SQUARES), week_seen) - above * above
    return columns | {
        f"{PRIMARY_MEASURE}_std_7d": variance.sqrt(),
        f"{PRIMARY_MEASURE}_min_7d": nw.col(_LOW),
        f"{PRIMARY_MEASURE}_max_7d": nw.col(_HIGH),
        "observed_hours_7d": week_seen,
    }


def _merged_hours(frame: Frame, offsets: Sequence[int]) -> Frame:
    """Return the blocks made of the single hours at ``offsets``, whose measures are in the frame."""
    loads = _parts(PRIMARY_MEASURE, offsets)
    merged = frame.with_columns(
        count_observed(loads).alias(_SEEN),
        nw.min_horizontal(*loads).alias(_LOW),
        nw.max_horizontal(*loads).alias(_HIGH),
        # an observed hour has all its measures: broken secondary ones were imputed by 0
        *(total(_known(_parts(measure, offsets))).alias(name) for measure, name in _SUMS.items()),
    )
    above = _known(load - nw.col(_LOW) for load in loads)
    return merged.with_columns(total(above).alias(_ABOVE), total(a * a for a in above).alias(_SQUARES))


def _merged_blocks(frame: Frame, offsets: Sequence[int]) -> Frame:
    """Replace each row's block by the union of the blocks at ``offsets``, whose columns are in the frame."""
    lows = _parts(_LOW, offsets)
    seen, above, squares = (_known(_parts(name, offsets)) for name in (_SEEN, _ABOVE, _SQUARES))
    with_low = frame.with_columns(nw.min_horizontal(*lows).alias(_NEW_LOW))
    # moving the reference from a part's minimum down to the union's adds only positive terms
    drops = _known(low - nw.col(_NEW_LOW) for low in lows)
    parts = list(zip(seen, above, squares, drops, strict=True))
    return with_low.with_columns(
        nw.col(_NEW_LOW).alias(_LOW),
        nw.max_horizontal(*_parts(_HIGH, offsets)).alias(_HIGH),
        total(a + n * drop for n, a, _, drop in parts).alias(_ABOVE),
        total(s + (2.0 * a + n * drop) * drop for n, a, s, drop in parts).alias(_SQUARES),
        *(total(_known(_parts(name, offsets))).alias(name) for name in (_SEEN, *_SUMS.values())),
    )


def _parts(column: str, offsets: Sequence[int]) -> list[nw.Expr]:
    return [nw.col(back_name(column, hours)) for hours in offsets]


def _known(values: Iterable[nw.Expr]) -> list[nw.Expr]:
    # what was not observed, or lies before the server's first hour, adds nothing
    return [value.fill_null(0.0) for value in values]
