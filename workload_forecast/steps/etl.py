"""``etl``: sessions → hourly load → features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow

from workload_forecast.config import EVERY_SERVER, Selection, Settings
from workload_forecast.engines import resolve
from workload_forecast.errors import DataError
from workload_forecast.schemas import FEATURES
from workload_forecast.steps.changes import find_earlier, hours_by_id
from workload_forecast.steps.generate import DataSource, data_source
from workload_forecast.steps.lineage import log_input_files, log_table
from workload_forecast.steps.parts import Part, Parts, Recipe, totals
from workload_forecast.steps.published import place_of
from workload_forecast.steps.runs import TAG, Result, Runs, Step, open_runs, work_key
from workload_forecast.steps.session_files import SessionFiles
from workload_forecast.steps.tables import Tables
from workload_forecast.storage.meter import in_units

_NOT_OURS = {
    "thresholds",
    "test_from",
    "storage_account",
    "storage_container",
    "promotion",
    "checks",
    "sources",
    "class_weights",
    "planning",
    "monitoring",
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
    engine, own = runs.engine(options.engine), runs.engine("duckdb")
    servers: tuple[str, ...] = ()
    if options.selection.debug != "FALSE":
        servers = settings.debug_servers or files.busiest_servers(settings.layout)
    recipe = Recipe(settings.layout, settings.training_from, settings.to, servers, options.selection.sample)
    with TemporaryDirectory(dir=folder, prefix="scratch-") as name:
        scratch = Path(name)
        place = runs.home / "parts" if runs.reuse else scratch / "parts"
        store = Parts(place, files, engine, own, recipe, runs.progress)
        parts = store.read()
        counts = totals(parts)
        _log_reading(runs, counts, parts, store)
        _require_rows(counts, settings)
        key = work_key("tables", {"missing_hours": settings.missing_hours, "engine": engine.name}, {})
        earlier = find_earlier(folder.parent, key, parts, scratch / "earlier") if runs.reuse else None
        facts, rows = Tables(engine, own, settings, folder, runs.progress).make(parts, earlier)
    store.remove_old()
    mlflow.log_metrics({f"rows_{name}": float(number) for name, number in rows.items()})
    mlflow.log_metric("servers", facts["servers"])
    log_table(folder / FEATURES.name, FEATURES, "output")
    _tell(runs, counts, facts)
    made_of = {"subset": options.selection.subset, "debug_servers": servers, "engine": engine.versions()}
    return {**facts, "counts": counts, "tables": rows, **made_of, "recipe": key, "parts": hours_by_id(parts)}


def _log_reading(runs: Runs, counts: Mapping[str, int], parts: Sequence[Part], store: Parts) -> None:
    reused = [part for part in parts if part.reused]
    numbers = {
        **counts,
        "parts": len(parts),
        "parts_reused": len(reused),
        "bytes_read": sum(part.bytes for part in parts if not part.reused),
        "bytes_reused": sum(part.bytes for part in reused),
        "bytes_fetched": store.fetched,
    }
    mlflow.log_metrics({name: float(number) for name, number in numbers.items()})
    mlflow.set_tag("workload_forecast.input", store.files.way(store.engine))
    if reused:
        size = in_units(numbers["bytes_reused"])
        runs.progress.say(f"etl: {len(reused):,} of {len(parts):,} parts ({size}) are as an earlier run has read them")


def subset_tags(subset: str) -> dict[str, str]:
    """Tags of a run that takes a part of the servers; none where it takes all."""
    return {f"{TAG}subset": subset} if subset else {}


def tag_input(etl: Result, source: DataSource) -> None:
    """Say in the active run's tags what it works on: kind of data, the ETL's run, and which servers if not all."""
    mlflow.set_tags({"data": source.kind, f"{TAG}etl_run": etl.run_id, **subset_tags(etl.info["subset"])})


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


def _tell(runs: Runs, counts: dict[str, int], facts: dict[str, Any]) -> None:
    runs.progress.say(
        f"etl: {counts['rows_read']:,} rows read = {counts['rows_used']:,} used + "
        f"{counts['rows_quarantined']:,} quarantined + {counts['rows_outside_window']:,} outside the window + "
        f"{counts['rows_filtered']:,} filtered; {facts['servers']:,} servers, "
        f"{facts['first_hour']} to {facts['last_hour']}"
    )
