"""``etl``: sessions → hourly load → features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import narwhals as nw

from workload_forecast.config import EVERY_SERVER, Selection, Settings
from workload_forecast.engines import resolve
from workload_forecast.engines.contract import Engine, Reduction
from workload_forecast.errors import DataError
from workload_forecast.features.build import build_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.load.peaks import hourly_peaks
from workload_forecast.schemas import FEATURES, HOURLY_LOAD, QUARANTINE, Frame, Table
from workload_forecast.sessions.cleaning import SERVER_DIGEST
from workload_forecast.sessions.reduction import account, five_minute_load, quarantine, reduce_sessions
from workload_forecast.steps.generate import DataSource, data_source
from workload_forecast.steps.lineage import log_input_files, log_table
from workload_forecast.steps.published import place_of
from workload_forecast.steps.runs import TAG, Result, Runs, Step, open_runs
from workload_forecast.steps.session_files import SessionFiles

_NOT_OURS = {
    "thresholds",
    "test_from",
    "storage_account",
    "storage_container",
    "promotion",
    "checks",
    "sources",
    "class_weights",
}


@dataclass(frozen=True)
class EtlOptions:
    """Checked parameters of the entry point."""

    settings: Settings
    engine: str = "auto"
    selection: Selection = EVERY_SERVER


def run_etl(options: EtlOptions, *, reuse: bool) -> Result:
    """Run the entry point; without configured data, on the synthetic sample."""
    with open_runs("etl", reuse=reuse) as runs:
        source = data_source(runs, options.settings)
        return perform_etl(runs, options, source)


def perform_etl(runs: Runs, options: EtlOptions, source: DataSource) -> Result:
    """Perform the step in the active run, or reuse a finished one.

    Raises:
        DataError: no file matches, or no row is usable.
    """
    options = replace(options, settings=options.settings.model_copy(update={"data_file": source.pattern}))
    settings = options.settings
    files = SessionFiles.find(settings, runs.home)
    parameters = {
        # thresholds, split and limits belong to later steps: changing them must not do this work again
        **settings.model_dump(mode="json", exclude=_NOT_OURS),
        "data_file": str(files.pattern),
        "engine": resolve(options.engine),
        "debug": options.selection.debug,
        "sample": options.selection.share,
    }
    mlflow.set_tags({"data": source.kind, **subset_tags(options.selection.subset)})
    log_input_files(str(files.pattern), len(files.items), files.digest)
    step = Step(
        "etl",
        parameters,
        {"files": files.digest, "upstream": source.key},
        partial(_etl, runs, options, files),
        place_of(settings, "etl", subset=options.selection.subset),
    )
    return runs.perform(step)


def _etl(runs: Runs, options: EtlOptions, files: SessionFiles, folder: Path) -> dict[str, Any]:
    settings = options.settings
    layouts = files.layouts(settings.layout)
    servers: tuple[str, ...] = ()
    if options.selection.debug != "FALSE":
        servers = settings.debug_servers or files.busiest_servers(layouts)
    engine = runs.engine(options.engine)
    reduction = _reduction(engine, settings, servers, options.selection.sample)
    with files.reduce(engine, layouts, reduction, runs.progress) as reading:
        reduced = reading.reduced
        counts = account(reduced.frame, reduced.rows_read)
        numbers = {**counts, "bytes_read": files.bytes, "bytes_fetched": reading.fetched}
        mlflow.log_metrics({name: float(number) for name, number in numbers.items()})
        mlflow.set_tag("workload_forecast.input", reading.way)
        _require_rows(counts, settings)
        written = {
            table.name: _write(runs, engine, frame, table, folder)
            for table, frame in (
                (QUARANTINE, reading.with_names(quarantine(reduced.frame), engine)),
                (HOURLY_LOAD, hourly_peaks(five_minute_load(reduced.frame))),
            )
        }
    hourly = engine.read_table(HOURLY_LOAD, folder / HOURLY_LOAD.name)
    facts = _facts(hourly)
    calendar = engine.from_arrow(calendar_table(facts["first_hour"], facts["last_hour"]))
    features = build_features(hourly, calendar, missing_hours=settings.missing_hours, materialise=engine.materialise)
    written[FEATURES.name] = _write(runs, engine, features, FEATURES, folder)
    mlflow.log_metrics({f"rows_{name}": float(rows) for name, rows in written.items()})
    mlflow.log_metric("servers", facts["servers"])
    log_table(folder / FEATURES.name, FEATURES, "output")
    _tell(runs, counts, facts)
    made_of = {"subset": options.selection.subset, "debug_servers": servers, "engine": engine.versions()}
    return {**facts, "counts": counts, "tables": written, **made_of}


def _reduction(engine: Engine, settings: Settings, servers: Sequence[str], sample: float) -> Reduction:
    """What the lines are reduced by; only the engine can tell which server is in a sample."""
    window = partial(reduce_sessions, first=settings.training_from, last=settings.to, servers=servers, sample=sample)
    return window if sample == 1 else lambda raw: window(engine.with_digest(raw, "server", SERVER_DIGEST))


def subset_tags(subset: str) -> dict[str, str]:
    """Tags of a run that takes a part of the servers; none where it takes all."""
    return {f"{TAG}subset": subset} if subset else {}


def tag_input(etl: Result, source: DataSource) -> None:
    """Say in the active run's tags what it works on: kind of data, the ETL's run, and which servers if not all."""
    mlflow.set_tags({"data": source.kind, f"{TAG}etl_run": etl.run_id, **subset_tags(etl.info["subset"])})


def _write(runs: Runs, engine: Engine, frame: Frame, table: Table, folder: Path) -> int:
    with runs.progress.stage(f"etl: write {table.name}", engine.progress) as stage:
        rows = engine.write_table(frame, table, folder / table.name)
        stage.detail = f"({rows:,} rows)"
    return rows


def _require_rows(counts: dict[str, int], settings: Settings) -> None:
    if counts["rows_used"]:
        return
    found = ", ".join(
        f"{name[5:]} {number:,}" for name, number in counts.items() if number and name.startswith("rows_")
    )
    raise DataError(
        f"no usable row in {settings.data_file} between {settings.training_from} and {settings.to} "
        f"({found or 'empty'}). Check dataFile, layout and the dates of the config"
        f"{', or take more servers (sample, debugServers)' if counts['rows_filtered'] else ''}."
    )


def _facts(hourly: Frame) -> dict[str, Any]:
    row = hourly.select(
        first_hour=nw.col("hour").min(), last_hour=nw.col("hour").max(), servers=nw.col("server").n_unique()
    ).collect("pyarrow")
    return {name: row[name].to_list()[0] for name in row.columns}


def _tell(runs: Runs, counts: dict[str, int], facts: dict[str, Any]) -> None:
    runs.progress.say(
        f"etl: {counts['rows_read']:,} rows read = {counts['rows_used']:,} used + "
        f"{counts['rows_quarantined']:,} quarantined + {counts['rows_outside_window']:,} outside the window + "
        f"{counts['rows_filtered']:,} filtered; {facts['servers']:,} servers, "
        f"{facts['first_hour']} to {facts['last_hour']}"
    )
