"""Feature rows of every lead, as a fleet is forecast in operation; the ETL's table has those of 48 hours alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from workload_forecast.config import Settings
from workload_forecast.features.build import build_lead_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.features.leads import hour_index, lead_columns
from workload_forecast.schemas import HORIZON_HOURS, HOURLY_LOAD, Frame
from workload_forecast.steps.runs import Result, Runs
from workload_forecast.steps.stored_load import StoredLoad

#: Hours from one origin to the next. It shares no divisor with 24: so each lead is judged at every hour of the day.
EVERY_HOURS = 7


def write_lead_rows(runs: Runs, settings: Settings, etl: Result, path: Path) -> int:
    """Make the rows of the ETL's hourly load into the folder ``path`` and return their number.

    Every seventh hour is an origin; each has the rows of its leads of 1 to 48 hours.
    """
    load = StoredLoad(runs.engine("auto"), etl.folder / HOURLY_LOAD.name)
    calendar, leads = calendar_table(*load.ends), pa.table(lead_columns())

    def build(hourly: Frame, frame: Callable[[pa.Table], Frame]) -> Frame:
        return build_lead_features(
            hourly,
            frame(calendar),
            frame(leads),
            origins=hour_index() % EVERY_HOURS == 0,
            missing_hours=settings.missing_hours,
        )

    stage, rows_an_hour = "backtest: make the rows of every lead", HORIZON_HOURS / EVERY_HOURS
    return load.write_features(build, load.ends, path, runs.progress, stage=stage, rows_an_hour=rows_an_hour)
