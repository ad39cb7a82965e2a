"""The only composition of the features: training, backtest, batch forecast and service all call it."""

from __future__ import annotations

from datetime import datetime, timedelta

import narwhals as nw

from workload_forecast.features.expected import (
    ERRORS_REACH_HOURS,
    REACH_HOURS,
    SURPRISE,
    expected_back,
    expected_made,
    with_expected,
)
from workload_forecast.features.grid import MissingHours, complete_grid
from workload_forecast.features.lags import back_name, hours_back, in_order, lag_columns, same_hour_mean, with_back
from workload_forecast.features.leads import at_leads, expected_columns, fading
from workload_forecast.features.trailing import trailing_columns, with_trailing
from workload_forecast.schemas import (
    CALENDAR,
    FEATURES,
    HORIZON_HOURS,
    HOURLY_LOAD,
    LAG_FEATURES,
    LAG_HOURS,
    LEAD,
    Frame,
)

#: How many hours before its own a row's features may reach.
LOOK_BACK_HOURS = max(*LAG_HOURS, REACH_HOURS)

HOUR = timedelta(hours=1)

#: Stands for the expected error of a server that is too new for one.
SPREAD = "total_load_std_7d"


def build_features(
    hourly: Frame,
    calendar: Frame,
    *,
    missing_hours: MissingHours,
    extend_hours: int = 0,
    since: datetime | None = None,
) -> Frame:
    """Return the feature table of the hourly peaks (requirements: *feature engineering*), each row 48 hours ahead.

    A server's features depend on its own history and on the calendar alone, and on nothing newer than
    :data:`~workload_forecast.schemas.HORIZON_HOURS` before the hour of the row.

    Args:
        hourly: :data:`~workload_forecast.schemas.HOURLY_LOAD`.
        calendar: :data:`~workload_forecast.schemas.CALENDAR`, covering the hours that are wanted.
        missing_hours: see :func:`~workload_forecast.features.grid.complete_grid`.
        extend_hours: hours after each server's last observed one that get features too; their label is null.
        since: first hour whose row is wanted; None: all. What only older rows need is not made.

    Returns:
        :data:`~workload_forecast.schemas.FEATURES`, one row per server and hour of the complete grid.

    Raises:
        SettingsError: see :func:`~workload_forecast.features.grid.complete_grid`.
        SchemaError: a column of ``hourly`` or ``calendar`` is missing.
    """
    hours = _hours(hourly, calendar, missing_hours, extend_hours, since)
    before = nw.col(back_name(SURPRISE, HORIZON_HOURS))
    rows = hours.with_columns(**expected_columns(before, fading(HORIZON_HOURS), HORIZON_HOURS, SPREAD))
    return FEATURES.select(rows.with_columns(nw.lit(HORIZON_HOURS).alias(LEAD)))


def build_lead_features(
    hourly: Frame,
    calendar: Frame,
    leads: Frame,
    *,
    origins: nw.Expr,
    missing_hours: MissingHours,
    extend_hours: int = 0,
    since: datetime | None = None,
) -> Frame:
    """Return feature rows of several leads: what is known at an origin of each of the hours that follow it.

    A row depends on nothing newer than its origin. That of a lead of 48 hours is the row of :func:`build_features`.

    Args:
        hourly, calendar, missing_hours, extend_hours, since: see :func:`build_features`; origins before ``since`` are
            left out, too.
        leads: :func:`~workload_forecast.features.leads.lead_columns` as a frame: the leads that are wanted.
        origins: which hours of the grid are origins, as a condition on ``hour`` and the calendar.

    Returns:
        :data:`~workload_forecast.schemas.FEATURES`, one row per server, origin and lead, as far as the grid goes.

    Raises:
        SettingsError, SchemaError: see :func:`build_features`.
    """
    hours = _hours(hourly, calendar, missing_hours, extend_hours, since)
    return FEATURES.select(at_leads(hours, leads, origins, SPREAD))


def _hours(
    hourly: Frame, calendar: Frame, missing_hours: MissingHours, extend_hours: int, since: datetime | None
) -> Frame:
    """All that is known of an hour by itself, whenever it is forecast."""
    dates = CALENDAR.select(calendar)
    grid = complete_grid(HOURLY_LOAD.select(hourly), dates, missing_hours=missing_hours, extend_hours=extend_hours)
    also = lag_columns() | expected_back()
    history = with_trailing(in_order(grid), made=expected_made(), also=also)
    own = trailing_columns() | {"total_load_same_hour_mean_7d": same_hour_mean()}
    # what is done goes through the passes that the expected load takes alone: sorting the servers again costs more
    history = _from(history.with_columns(**own), since and since - ERRORS_REACH_HOURS * HOUR)
    hours = with_back(with_expected(history, (*LAG_FEATURES, *own)), hours_back([SURPRISE], [HORIZON_HOURS]))
    return _from(hours, since).join(dates, on="hour", how="left")


def _from(rows: Frame, first: datetime | None) -> Frame:
    return rows.filter(nw.col("hour") >= first) if first else rows
