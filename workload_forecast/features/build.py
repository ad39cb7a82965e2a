"""The only composition of the features: training, backtest, batch forecast and service all call it."""

from __future__ import annotations

from workload_forecast.features.grid import MissingHours, complete_grid
from workload_forecast.features.lags import lag_columns, same_hour_mean
from workload_forecast.features.trailing import trailing_columns, with_trailing
from workload_forecast.schemas import CALENDAR, FEATURES, HOURLY_LOAD, Frame


def build_features(hourly: Frame, calendar: Frame, *, missing_hours: MissingHours, extend_hours: int = 0) -> Frame:
    """Return the feature table of the hourly peaks (requirements: *feature engineering*).

    A server's features depend on its own history and on the calendar alone, and on nothing newer than
    :data:`~workload_forecast.schemas.HORIZON_HOURS` before the hour of the row.

    Args:
        hourly: :data:`~workload_forecast.schemas.HOURLY_LOAD`.
        calendar: :data:`~workload_forecast.schemas.CALENDAR`, covering the hours that are wanted.
        missing_hours: see :func:`~workload_forecast.features.grid.complete_grid`.
        extend_hours: hours after each server's last observed one that get features too; their label is null.

    Returns:
        :data:`~workload_forecast.schemas.FEATURES`, one row per server and hour of the complete grid.

    Raises:
        SettingsError: see :func:`~workload_forecast.features.grid.complete_grid`.
        SchemaError: a column of ``hourly`` or ``calendar`` is missing.
    """
    dates = CALENDAR.select(calendar)
    grid = complete_grid(HOURLY_LOAD.select(hourly), dates, missing_hours=missing_hours, extend_hours=extend_hours)
    history = with_trailing(grid, also=lag_columns())
    features = history.with_columns(**trailing_columns(), total_load_same_hour_mean_7d=same_hour_mean())
    return FEATURES.select(features.join(dates, on="hour", how="left"))
