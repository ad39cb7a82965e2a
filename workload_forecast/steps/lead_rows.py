"""Feature rows of every lead, as a fleet is forecast in operation; the ETL's table has those of 48 hours alone."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw
import pyarrow as pa

from workload_forecast.config import Settings
from workload_forecast.features.build import build_lead_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.features.leads import hour_index, lead_columns
from workload_forecast.schemas import FEATURES, HOURLY_LOAD
from workload_forecast.steps.runs import Result, Runs

#: Hours from one origin to the next. It shares no divisor with 24: so each lead is judged at every hour of the day.
EVERY_HOURS = 7


def write_lead_rows(runs: Runs, settings: Settings, etl: Result, path: Path) -> int:
    """Make the rows of the ETL's hourly load into the folder ``path`` and return their number.

    Every seventh hour is an origin; each has the rows of its leads of 1 to 48 hours.
    """
    engine = runs.engine("auto")
    hourly = engine.read_table(HOURLY_LOAD, etl.folder / HOURLY_LOAD.name)
    first, last = (nw.col("hour").min().alias("first"), nw.col("hour").max().alias("last"))
    span = hourly.select(first, last).collect("pyarrow").rows(named=True)[0]
    rows = build_lead_features(
        hourly,
        engine.from_arrow(calendar_table(span["first"], span["last"])),
        engine.from_arrow(pa.table(lead_columns())),
        origins=hour_index() % EVERY_HOURS == 0,
        missing_hours=settings.missing_hours,
        materialise=engine.materialise,
    )
    with runs.progress.stage("backtest: make the rows of every lead", engine.progress) as stage:
        written = engine.write_table(rows, FEATURES, path)
        stage.detail = f"({written:,} rows)"
    return written
