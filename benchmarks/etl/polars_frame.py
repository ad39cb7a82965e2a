"""Contestant (c): Polars as a data scientist would write it, lazily and streaming. It trusts the data."""

from __future__ import annotations

import polars as pl

from benchmarks.etl.task import Task
from workload_forecast.schemas import MEASURES

_TYPES = {"session_start": pl.Datetime("us"), **dict.fromkeys(MEASURES, pl.Float64())}


def run(task: Task) -> None:
    """Reduce the sessions to hourly load."""
    task.result.mkdir(parents=True)
    start = pl.col("session_start")
    schema = {name: _TYPES.get(name, pl.String()) for name in task.columns}
    sessions = pl.scan_csv(list(task.files), has_header=False, schema=schema, quote_char=None)
    slots = sessions.group_by(server="server_ip", hour=start.dt.truncate("1h"), peak_slot=start.dt.minute() // 5).agg(
        pl.len().alias("sessions"), pl.col(MEASURES).sum().round(6)
    )
    best_first = slots.sort("total_load", "peak_slot", descending=[True, False])
    best_first.unique(["server", "hour"], keep="first", maintain_order=True).sink_parquet(
        task.result / "hourly.parquet"
    )
