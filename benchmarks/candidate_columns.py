"""Features that might be made, for asking what they are worth before any engine has to make them.

Each group is a function of the complete hourly grid over polars. What is known at an hour is made first, of that hour
and older ones, and then handed on by the horizon, so that nothing newer than 48 hours before the row's hour enters;
holidays alone are known in advance. Groups but the fleet's depend on the row's own server alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from workload_forecast.config import Thresholds
from workload_forecast.features.holidays import observed_holidays
from workload_forecast.features.lags import DAILY_STEPS, DAY
from workload_forecast.schemas import HORIZON_HOURS, PRIMARY_MEASURE

#: Hours of a server's usual level and spread, and the known ones below which it has none.
USUAL_HOURS, LEAST_HOURS = 14 * DAY, DAY
#: A spread is at least this share of the level: servers that hardly move would have shifts of thousands of spreads.
LEAST_SPREAD, TINY = 1e-3, 1e-9
#: Spreads above the usual level from which on an hour is a burst.
BURST = 2.0
#: Days beyond which a holiday is far away.
FAR_DAYS = 14
FORTNIGHT = tuple(HORIZON_HOURS + DAY * day for day in range(14))

OWN_LEVEL, LEVEL_SHIFT, BURSTS = "own level and spread", "level shift", "bursts"
SAME_HOURS, FLEET = "same hour over days and weeks", "movement of the fleet"
HOLIDAYS, CLASS_HISTORY = "holiday distance", "classes of the same hours"

#: The columns of each group. Those of :data:`CLASS_HISTORY` depend on thresholds, so they belong to a training.
GROUPS: Mapping[str, tuple[str, ...]] = {
    OWN_LEVEL: (*(f"relative_lag_{h}h" for h in (48, 72, 96, 168)), "relative_same_hour_mean", "relative_spread"),
    LEVEL_SHIFT: ("shift_1d", "shift_3d", "shift_size"),
    BURSTS: ("burst_share_1d", "burst_share_7d", "hours_since_burst", "greatest_excess_1d"),
    SAME_HOURS: tuple(f"same_hour_{name}" for name in ("std_7d", "min_14d", "max_14d", "median_14d", "mean_2w")),
    HOLIDAYS: ("days_since_holiday", "days_until_holiday"),
    FLEET: ("fleet_shift", "fleet_excess", "fleet_excess_week_ago", "shift_beyond_fleet"),
    CLASS_HISTORY: (*(f"class_{hours}h_ago" for hours in DAILY_STEPS), "share_low_7d", "share_high_7d"),
}

_LOAD = pl.col(PRIMARY_MEASURE)


def with_candidates(grid: pl.DataFrame) -> pl.DataFrame:
    """Return the grid with the columns of all groups but :data:`CLASS_HISTORY`, null where unknown.

    Args:
        grid: ``server``, ``hour``, ``total_load``; every hour from a server's first to its last one.
    """
    known = _known_at_the_hour(grid.sort("server", "hour"))
    columns = [*_relative(), *_shifts(), *_bursts(), *_same_hours(), *_fleet()]
    return known.with_columns(columns).select(*grid.columns, *_names()).join(_holidays(grid), on="hour", how="left")


def with_classes(grid: pl.DataFrame, thresholds: Thresholds) -> pl.DataFrame:
    """Return the grid with the columns of :data:`CLASS_HISTORY` under thresholds learnt elsewhere."""
    earlier = {f"class_{hours}h_ago": class_of(_back(_LOAD, hours), thresholds) for hours in DAILY_STEPS}
    names = list(earlier)
    shares = {
        f"share_{name}_7d": pl.mean_horizontal([(pl.col(day) == label).cast(pl.Float64) for day in names])
        for name, label in (("low", 0), ("high", 2))
    }
    return grid.sort("server", "hour").with_columns(**earlier).with_columns(**shares)


def class_of(load: pl.Expr, thresholds: Thresholds) -> pl.Expr:
    """The label of a load as :func:`workload_forecast.model.labels.class_of` has it, null where it is unknown."""
    return (load > thresholds.low).cast(pl.Int64) + (load > thresholds.high).cast(pl.Int64)


def _known_at_the_hour(grid: pl.DataFrame) -> pl.DataFrame:
    """What is known of each hour once it is over, of itself and older hours."""
    level = _LOAD.rolling_mean(USUAL_HOURS, min_samples=LEAST_HOURS).over("server")
    spread = _LOAD.rolling_std(USUAL_HOURS, min_samples=LEAST_HOURS, ddof=0).over("server")
    usual = grid.with_columns(_level=level, _spread=spread).with_columns(
        _spread=pl.max_horizontal("_spread", pl.col("_level").abs() * LEAST_SPREAD + TINY)
    )
    excess = (_LOAD - _back("_level", 1)) / _back("_spread", 1)
    moved = usual.with_columns(_shift_1d=_shift(1), _shift_3d=_shift(3), _excess=excess)
    burst = pl.col("_excess") > BURST
    moved = moved.with_columns(_burst=burst.cast(pl.Float64), _at=pl.when(burst).then(_index()))
    return moved.with_columns(_fleet_shift=_fleet_mean("_shift_1d"), _fleet_excess=_fleet_mean("_excess"))


def _shift(days: int) -> pl.Expr:
    """How far the level of the newest days is from the usual one before them, in its spreads."""
    newest = _LOAD.rolling_mean(DAY * days, min_samples=DAY * days // 4).over("server")
    return (newest - _back("_level", DAY * days)) / _back("_spread", DAY * days)


def _relative() -> list[pl.Expr]:
    level, spread = _back("_level", HORIZON_HOURS), _back("_spread", HORIZON_HOURS)
    lags = [((_back(_LOAD, h) - level) / spread).alias(f"relative_lag_{h}h") for h in (48, 72, 96, 168)]
    mean = pl.mean_horizontal([_back(_LOAD, hours) for hours in DAILY_STEPS])
    size = pl.max_horizontal(level.abs(), TINY)
    return [*lags, ((mean - level) / spread).alias("relative_same_hour_mean"), (spread / size).alias("relative_spread")]


def _shifts() -> list[pl.Expr]:
    day, three = _back("_shift_1d", HORIZON_HOURS), _back("_shift_3d", HORIZON_HOURS)
    return [day.alias("shift_1d"), three.alias("shift_3d"), day.abs().alias("shift_size")]


def _bursts() -> list[pl.Expr]:
    share = {days: pl.col("_burst").rolling_mean(DAY * days, min_samples=DAY * days // 4) for days in (1, 7)}
    since = _index() - HORIZON_HOURS - _back(pl.col("_at").forward_fill(), HORIZON_HOURS)
    greatest = pl.col("_excess").rolling_max(DAY, min_samples=DAY // 4)
    return [
        *(_back(value, HORIZON_HOURS).alias(f"burst_share_{days}d") for days, value in share.items()),
        pl.min_horizontal(since, pl.when(since.is_not_null()).then(USUAL_HOURS)).alias("hours_since_burst"),
        _back(greatest, HORIZON_HOURS).alias("greatest_excess_1d"),
    ]


def _same_hours() -> list[pl.Expr]:
    days = [_back(_LOAD, hours) for hours in FORTNIGHT]
    weeks = [_back(_LOAD, hours) for hours in (7 * DAY, 14 * DAY)]
    return [
        pl.concat_list(days[:7]).list.std(ddof=0).alias("same_hour_std_7d"),
        pl.min_horizontal(days).alias("same_hour_min_14d"),
        pl.max_horizontal(days).alias("same_hour_max_14d"),
        pl.concat_list(days).list.median().alias("same_hour_median_14d"),
        pl.mean_horizontal(weeks).alias("same_hour_mean_2w"),
    ]


def _fleet() -> list[pl.Expr]:
    shift = _back("_fleet_shift", HORIZON_HOURS)
    return [
        shift.alias("fleet_shift"),
        _back("_fleet_excess", HORIZON_HOURS).alias("fleet_excess"),
        _back("_fleet_excess", 7 * DAY).alias("fleet_excess_week_ago"),
        (_back("_shift_1d", HORIZON_HOURS) - shift).alias("shift_beyond_fleet"),
    ]


def _holidays(grid: pl.DataFrame) -> pl.DataFrame:
    """Whole days from each hour's day to the holidays around it, 0 on a holiday."""
    hours = grid.select("hour").unique().sort("hour")
    days = hours["hour"].dt.date().to_numpy().astype("datetime64[D]").astype(np.int64)
    years = hours["hour"].dt.year()
    observed = [day for year in range(int(years[0]) - 1, int(years[-1]) + 3) for day in observed_holidays(year)]
    holidays = np.sort(np.array(observed, dtype="datetime64[D]").astype(np.int64))
    since = days - holidays[np.searchsorted(holidays, days, side="right") - 1]
    until = holidays[np.searchsorted(holidays, days, side="left")] - days
    return hours.with_columns(
        days_since_holiday=np.minimum(since, FAR_DAYS), days_until_holiday=np.minimum(until, FAR_DAYS)
    )


def _names() -> list[str]:
    own = (OWN_LEVEL, LEVEL_SHIFT, BURSTS, SAME_HOURS, FLEET)
    return [name for group in own for name in GROUPS[group]]


def _back(what: pl.Expr | str, hours: int) -> pl.Expr:
    value = pl.col(what) if isinstance(what, str) else what
    return value.shift(hours).over("server")


def _index() -> pl.Expr:
    return pl.int_range(pl.len()).over("server")


def _fleet_mean(column: str) -> pl.Expr:
    return pl.col(column).mean().over("hour")
