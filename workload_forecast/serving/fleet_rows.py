"""What is said of some servers as rows of the forecast table."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from workload_forecast.schemas import FORECAST, HORIZON_HOURS, LEAD
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.history import HOUR


def forecast_rows(
    forecaster: Forecaster, history: pl.DataFrame, start: datetime, newest: datetime, version: str
) -> pl.DataFrame:
    """Return :data:`~workload_forecast.schemas.FORECAST` of every server of a history that forecasts can reach.

    Args:
        forecaster: of the model.
        history: :data:`~workload_forecast.schemas.HOURLY_LOAD`, some servers; nothing from ``start`` on is used.
        start: first of the 48 hours.
        newest: the newest hour before it that was observed of any server.
        version: of the model, to be written down.

    Raises:
        SettingsError, DataError: see :func:`~workload_forecast.serving.history.prepare`.
    """
    prepared = forecaster.prepare(history, start, known_until=newest)
    said = pl.DataFrame(forecaster.answer(prepared, prepared.servers, start))
    loads = forecaster.loads(prepared, prepared.servers, start)
    numbers = {name: pl.Series(values).fill_nan(None) for name, values in loads.items()}
    lead = ((pl.col("hour") - pl.lit(start)).dt.total_hours() + 1).alias(LEAD)
    origin = f"{start - HOUR:%Y-%m-%dT%H}"
    rows = said.with_columns(lead, **numbers, model_version=pl.lit(version), origin=pl.lit(origin))
    if len(rows) != HORIZON_HOURS * len(prepared.servers):
        raise RuntimeError("an answer has a row for each server and hour")
    return rows.select(*FORECAST.columns)
