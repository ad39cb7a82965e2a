"""``replay``: the plans of the test period, as they would have been made then, held against the loads that came."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import mlflow
import narwhals as nw
import polars as pl

from workload_forecast.config import DEFAULT_MODEL
from workload_forecast.engines.batches import read_all
from workload_forecast.errors import DataError
from workload_forecast.planning.plan import make_plan
from workload_forecast.planning.replay import naive, outcome
from workload_forecast.registry.promotion import CHAMPION
from workload_forecast.schemas import HORIZON_HOURS, HOURLY_LOAD, PRIMARY_MEASURE
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.history import HOUR
from workload_forecast.steps.etl import EtlOptions
from workload_forecast.steps.forecast import batches_of_answers, greatest_load, load_forecaster, version_and_etl
from workload_forecast.steps.runs import Runs, open_runs
from workload_forecast.steps.stored_load import StoredLoad

MODEL, NAIVE = "model", "naive"

#: From one plan to the next.
EVERY = timedelta(hours=24)


@dataclass(frozen=True)
class ReplayOptions:
    """Checked parameters of the entry point: name of the model in the registry, alias of the version."""

    model: str = DEFAULT_MODEL
    alias: str = CHAMPION


def run_replay(options: EtlOptions, wanted: ReplayOptions, *, reuse: bool) -> pl.DataFrame:
    """Run the entry point; performs the ETL first if no finished run matches.

    Returns:
        One row for each day of the test period and forecast (:data:`MODEL`, :data:`NAIVE`): what came of its plan, see
        :class:`~workload_forecast.planning.replay.Outcome`.

    Raises:
        ModelError: no version has the alias, or its model cannot be used.
        DataError: the test period has no 48 hours.
    """
    with open_runs("replay", reuse=reuse) as runs:
        version, etl = version_and_etl(runs, options, wanted.model, wanted.alias)
        runs.begin("replay", {"model": wanted.model, "model_version": str(version.version)})
        load = StoredLoad(runs.engine("duckdb"), etl.folder / HOURLY_LOAD.name)
        table = _replay(runs, options, load, load_forecaster(version), str(version.version))
        mlflow.log_text(table.write_csv(), "replay/plans.csv")
        mlflow.log_metrics(summary(table))
        runs.progress.say(_told(table))
        return table


def _replay(runs: Runs, options: EtlOptions, load: StoredLoad, forecaster: Forecaster, version: str) -> pl.DataFrame:
    settings, facts = options.settings, forecaster.scorer.facts
    starts = _starts(settings.test_from, min(load.ends[1], settings.to))
    records: list[dict[str, Any]] = []
    with runs.progress.stage("replay: forecast, plan, compare", lambda: 50 * len(records) / len(starts)) as stage:
        for start in starts:
            said = pl.concat([rows for rows, _ in batches_of_answers(load, forecaster, start, version)])
            hours = nw.col("hour").is_between(start, start + (HORIZON_HOURS - 1) * HOUR)
            came = read_all(HOURLY_LOAD, load.folder).filter(hours).select("server", "hour", PRIMARY_MEASURE)
            actual = came.collect("polars").to_native()
            greatest = greatest_load(load, start)
            for name, forecast in ((MODEL, said), (NAIVE, naive(said, facts.low, facts.high))):
                plan = make_plan(forecast, settings.planning, greatest)
                usable = plan.capacity * (1 - settings.planning.margin)
                found = outcome(plan.table, actual, plan.capacity, usable)
                records.append({"start": start, "forecast": name, "capacity": plan.capacity, **asdict(found)})
        stage.detail = f"({len(starts)} plans each)"
    return pl.DataFrame(records)


def _starts(first: datetime, last: datetime) -> list[datetime]:
    """The times of the plans: each day of the test period that is followed by 48 hours of it."""
    number = (last - first - (HORIZON_HOURS - 1) * HOUR) // EVERY + 1
    if number < 1:
        raise DataError(f"the test period, {first} to {last}, has no {HORIZON_HOURS} hours: give more (testFrom, to).")
    return [first + n * EVERY for n in range(number)]


def summary(table: pl.DataFrame) -> dict[str, float]:
    """Return, for each forecast, shares of the machines and numbers of hours and servers over all plans."""
    metrics: dict[str, float] = {}
    for name in (MODEL, NAIVE):
        sums = table.filter(pl.col("forecast") == name).select(pl.all().exclude("start", "forecast").sum())
        total = sums.row(0, named=True)
        saved = total["servers"] - total["machines"]
        metrics[f"replay_{name}_machines_saved_share"] = saved / total["servers"]
        metrics[f"replay_{name}_overload_share"] = total["avoidable"] / (total["machines"] * HORIZON_HOURS)
        metrics |= {f"replay_{name}_{what}": float(total[what]) for what in ("scale_outs", "needed", "missed")}
    return metrics


def _told(table: pl.DataFrame) -> str:
    found = summary(table)
    lines = [f"replay: {len(table) // 2} plans, a day apart, of 48 hours each"]
    for name, title in ((MODEL, "the model's"), (NAIVE, "the naive forecast's")):
        of = {what: found[f"replay_{name}_{what}"] for what in ("scale_outs", "needed", "missed")}
        lines.append(
            f"replay: {title} plans would have saved {found[f'replay_{name}_machines_saved_share']:.1%} of the "
            f"machines, with {found[f'replay_{name}_overload_share']:.3%} of their hours overloaded that would not "
            f"have been; of {of['scale_outs']:.0f} servers that were to get more, {of['needed']:.0f} needed it, and "
            f"{of['missed']:.0f} others did"
        )
    return "\n".join(lines)
