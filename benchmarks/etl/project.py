"""The project's own ETL: all of it through its entry point, and its first half through its engines."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from benchmarks.etl.task import FIRST, LAST, Task
from workload_forecast.cli import cli
from workload_forecast.engines import open_engine
from workload_forecast.engines.contract import Engine, SessionFile
from workload_forecast.load.peaks import hourly_peaks
from workload_forecast.schemas import HOURLY_LOAD, QUARANTINE, REDUCED
from workload_forecast.sessions.layouts import LAYOUTS
from workload_forecast.sessions.reduction import (
    account,
    five_minute_load,
    quarantine,
    reduce_sessions,
)


def run(task: Task, engine: str) -> None:
    """Run the entry point ``etl``: read, clean, quarantine, account, hourly load, features; with its MLflow run."""
    settings = Path(task.output) / "settings.json"
    content = {
        "duration": "CUSTOM",
        "dataFile": task.pattern,
        "layout": task.layout,
        "trainingFrom": str(FIRST),
        "testFrom": "2016-06-29 00:00:00",
        "to": str(LAST),
        "missingHours": "zero",
    }
    settings.write_text(json.dumps(content), encoding="utf-8")
    cli.main(["etl", "--config", str(settings), "--engine", engine, "--reuse", "false"], standalone_mode=False)


def run_hourly(task: Task, engine: str) -> None:
    """Do the same work up to the hourly load, without MLflow: read, clean, quarantine, account, hourly load."""
    with open_engine(engine) as opened, open_engine("duckdb") as own:
        reduce_to_hourly(task, opened, own)


def reduce_to_hourly(task: Task, engine: Engine, own: Engine) -> None:
    """Do it on an engine that is open; what the sessions are reduced to is this process's own work, as in the ETL."""
    files = [SessionFile(path, LAYOUTS[task.layout]) for path in task.files]
    window = partial(reduce_sessions, first=FIRST, last=LAST)
    path = Path(task.output) / REDUCED.name
    rows_read = engine.reduce_sessions(files, window, path)
    reduced = own.read_table(REDUCED, path)
    account(reduced, rows_read)
    own.write_table(quarantine(reduced), QUARANTINE, Path(task.output) / QUARANTINE.name)
    own.write_table(hourly_peaks(five_minute_load(reduced)), HOURLY_LOAD, task.result)
