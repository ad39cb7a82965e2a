"""``forecast``: what the champion says of every server for the next 48 hours, or for those after any time before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import narwhals as nw
import polars as pl
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from workload_forecast.config import DEFAULT_MODEL
from workload_forecast.engines.batches import ranges, read_all, read_batches, write_batch
from workload_forecast.errors import DataError, ModelError
from workload_forecast.features.build import LOOK_BACK_HOURS
from workload_forecast.plan_limits import PlanLimits
from workload_forecast.planning.plan import SCALE_OUT, make_plan, with_quantile
from workload_forecast.registry.promotion import CHAMPION, version_of
from workload_forecast.schemas import CAPACITY_PLAN, CLASSES, FORECAST, HORIZON_HOURS, HOURLY_LOAD, PRIMARY_MEASURE
from workload_forecast.serving.fleet_rows import forecast_rows
from workload_forecast.serving.forecaster import SOURCES, Forecaster
from workload_forecast.serving.history import HOUR
from workload_forecast.steps.etl import EtlOptions, perform_etl, tag_input
from workload_forecast.steps.forecast_report import REPORT_FILE, write_report
from workload_forecast.steps.generate import data_source
from workload_forecast.steps.lineage import log_table
from workload_forecast.steps.published import place_of
from workload_forecast.steps.runs import TAG, Result, Runs, Step, open_runs
from workload_forecast.steps.served_model import fetch_compiled
from workload_forecast.steps.stored_load import BATCH_ROWS, StoredLoad


@dataclass(frozen=True)
class ForecastOptions:
    """Checked parameters of the entry point.

    Attributes:
        model: name in the registry.
        alias: of the version that is asked.
        as_of: forecast as if it were then: the first hour is the next whole one, nothing from it on is known. None: the
            hours after the newest one of the data.
    """

    model: str = DEFAULT_MODEL
    alias: str = CHAMPION
    as_of: datetime | None = None


def run_forecast(options: EtlOptions, wanted: ForecastOptions, *, reuse: bool) -> Result:
    """Run the entry point; performs the ETL first if no finished run matches.

    Raises:
        ModelError: no version has the alias, or its model cannot be used.
        DataError: nothing is known before ``as_of``, or nothing of the 33 days before it.
    """
    with open_runs("forecast", reuse=reuse) as runs:
        version, etl = version_and_etl(runs, options, wanted.model, wanted.alias)
        return perform_forecast(runs, options, wanted, version, etl)


def version_and_etl(runs: Runs, options: EtlOptions, model: str, alias: str) -> tuple[ModelVersion, Result]:
    """Return the version that an alias names, and the ETL's result, which is made in a nested run if it is not there.

    Raises:
        ModelError: there is no such version, which is said before any work is done.
    """
    version = version_of(MlflowClient(), model, alias)
    if version is None:
        raise ModelError(f"no version of {model} has the alias '{alias}': train and promote one first (-e main).")
    source = data_source(runs, options.settings)
    with runs.child("etl"):
        etl = perform_etl(runs, options, source)
    tag_input(etl, source)
    return version, etl


def perform_forecast(
    runs: Runs, options: EtlOptions, wanted: ForecastOptions, version: ModelVersion, etl: Result
) -> Result:
    """Perform the step in the active run, or reuse a finished one."""
    load = StoredLoad(runs.engine("duckdb"), etl.folder / HOURLY_LOAD.name)
    start = first_hour(wanted.as_of) if wanted.as_of else load.ends[1] + HOUR
    limits = options.settings.planning
    parameters: dict[str, Any] = {"model": wanted.model, "model_version": str(version.version), "start": start}
    parameters["planning"] = limits.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    mlflow.set_tags({f"{TAG}origin": f"{start - HOUR:%Y-%m-%dT%H}", f"{TAG}model_version": str(version.version)})
    step = Step(
        "forecast",
        parameters,
        {"etl": etl.key, "model": version.run_id or str(version.creation_timestamp)},
        partial(_forecast, runs, load, version, start, limits),
        place_of(options.settings, "forecast", subset=etl.info["subset"]),
    )
    result = runs.perform(step)
    _tell(runs, result)
    return result


def first_hour(as_of: datetime) -> datetime:
    """Return the first hour that is to be forecast at a time."""
    hour = as_of.replace(minute=0, second=0, microsecond=0)
    return hour if hour == as_of else hour + HOUR


def batches_of_answers(
    load: StoredLoad, forecaster: Forecaster, start: datetime, version: str
) -> Iterator[tuple[pl.DataFrame, float]]:
    """Yield :data:`~workload_forecast.schemas.FORECAST` of some servers after the other, and the percentage done.

    Raises:
        DataError: of no server anything is known that forecasts from ``start`` can reach.
    """
    past, nothing = nw.col("hour") < start, True
    newest = read_all(HOURLY_LOAD, load.folder).filter(past).select(nw.col("hour").max()).collect("polars").item()
    oldest = start - LOOK_BACK_HOURS * HOUR
    servers = [name for name, (first, last) in load.lives.items() if first < start and last >= oldest]
    batches = ranges(dict.fromkeys(servers, LOOK_BACK_HOURS + HORIZON_HOURS), BATCH_ROWS)
    for batch, percent in read_batches(HOURLY_LOAD, load.folder, batches):
        history = batch.filter(past, nw.col("server").is_in(servers)).collect("polars").to_native()
        rows = forecast_rows(forecaster, history, start, newest, version)
        if len(rows):
            nothing = False
            yield rows, percent
    if nothing:
        first, last = load.ends
        raise DataError(
            f"nothing can be said of {start} and after: hourly load is known from {first} to {last}. Give an as_of "
            f"after {first} and not more than {LOOK_BACK_HOURS // 24} days after {last}, or newer sessions."
        )


def greatest_load(load: StoredLoad, start: datetime) -> float:
    """Return the greatest load of an hour before a start, of any server."""
    past = read_all(HOURLY_LOAD, load.folder).filter(nw.col("hour") < start)
    return float(past.select(nw.col(PRIMARY_MEASURE).max()).collect("polars").item())


def _forecast(
    runs: Runs, load: StoredLoad, version: ModelVersion, start: datetime, limits: PlanLimits, folder: Path
) -> dict[str, Any]:
    forecaster, number = load_forecaster(version), str(version.version)
    limits = with_quantile(limits, forecaster.scorer.facts.load_quantiles)
    counts, written, done = dict.fromkeys((*SOURCES, *CLASSES), 0), 0, 0.0
    with runs.progress.stage("forecast: ask the model", lambda: done) as stage:
        for at, (rows, percent) in enumerate(batches_of_answers(load, forecaster, start, number)):
            written += write_batch(nw.from_native(rows.lazy()), FORECAST, folder / FORECAST.name, at)
            for value in (*rows["source"], *rows["prediction"].drop_nulls()):
                counts[value] += 1
            done = percent
        servers = written // HORIZON_HOURS
        stage.detail = f"({servers:,} servers)"
    metrics: dict[str, float] = {"rows_forecast": written, "servers": servers}
    metrics |= {"servers_gone": len(load.lives) - servers, **{f"rows_{name}": n for name, n in counts.items()}}
    metrics |= _plan(runs, limits, greatest_load(load, start), folder)
    with runs.progress.stage("forecast: report"):
        write_report(folder, load, start, version, forecaster.scorer.facts)
    mlflow.log_metrics({name: float(value) for name, value in metrics.items()})
    log_table(folder / FORECAST.name, FORECAST, "output")
    log_table(folder / CAPACITY_PLAN.name, CAPACITY_PLAN, "output")
    return {"start": start, "metrics": metrics}


def load_forecaster(version: ModelVersion) -> Forecaster:
    """Return a registered version, ready to be asked.

    Raises:
        ModelError: it cannot be used.
    """
    with TemporaryDirectory(prefix="workload-forecast-") as scratch:
        return Forecaster.load(fetch_compiled(version, Path(scratch)))


def _plan(runs: Runs, limits: PlanLimits, greatest: float, folder: Path) -> dict[str, float]:
    """Write the capacity plan beside the forecast, and to the run as CSV; return what it amounts to."""
    with runs.progress.stage("forecast: plan") as stage:
        table = read_all(FORECAST, folder / FORECAST.name).collect("polars").to_native()
        plan = make_plan(table, limits, greatest)
        write_batch(nw.from_native(plan.table.lazy()), CAPACITY_PLAN, folder / CAPACITY_PLAN.name, 0)
        stage.detail = f"({plan.machines:,} machines)"
    mlflow.log_text(plan.table.write_csv(), "plan/capacity_plan.csv")
    return {
        "machine_capacity": plan.capacity,
        "errors_reckoned_with": limits.errors,
        "machines_needed": plan.machines,
        "machines_saved": len(plan.table) - plan.machines,
        "machines_fewest": plan.fewest,
        "machines_missing": plan.missing,
        "servers_to_scale_out": int((plan.table["action"] == SCALE_OUT).sum()),
    }


def _tell(runs: Runs, result: Result) -> None:
    metrics = result.info["metrics"]
    classes = ", ".join(f"{name} {metrics[f'rows_{name}']:,}" for name in CLASSES)
    silent = f"; nothing can be said of {metrics['rows_none']:,}" if metrics["rows_none"] else ""
    asked = f"{metrics['servers']:,} servers × {HORIZON_HOURS} hours from {result.info['start']}"
    runs.progress.say(f"forecast: {asked}: {classes}{silent}")
    runs.progress.say(
        f"plan: {metrics['machines_saved']:,} of {metrics['servers']:,} machines can be saved (at most "
        f"{metrics['servers'] - metrics['machines_fewest']:,}, if every server could move); "
        f"{metrics['servers_to_scale_out']:,} servers need {metrics['machines_missing']:,} machines more"
    )
    runs.progress.say(f"tables: {result.folder / FORECAST.name}, {result.folder / CAPACITY_PLAN.name}")
    runs.progress.say(f"report: {result.folder / REPORT_FILE}   open it in a browser")
