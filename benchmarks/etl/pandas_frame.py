"""Contestant (c), the other one: pandas, for sizes that fit into memory. It trusts the data."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd

from benchmarks.etl.task import Task
from workload_forecast.schemas import MEASURES


def run(task: Task) -> None:
    """Reduce the sessions to hourly load."""
    task.result.mkdir(parents=True)
    wanted = ["session_start", "server_ip", *MEASURES]
    types: dict[Hashable, str] = {"server_ip": "category", **dict.fromkeys(MEASURES, "float64")}
    parts = [
        pd.read_csv(path, names=list(task.columns), usecols=wanted, dtype=types, parse_dates=["session_start"])
        for path in task.files
    ]
    sessions = pd.concat(parts, ignore_index=True).astype({"server_ip": "str"})
    start = sessions["session_start"]
    keyed = sessions.assign(server=sessions["server_ip"], hour=start.dt.floor("h"), peak_slot=start.dt.minute // 5)
    groups = keyed.groupby(["server", "hour", "peak_slot"])
    slots = groups[list(MEASURES)].sum().round(6).assign(sessions=groups.size()).reset_index()
    best_first = slots.sort_values(["total_load", "peak_slot"], ascending=[False, True])
    best_first.drop_duplicates(["server", "hour"]).to_parquet(task.result / "hourly.parquet", index=False)
