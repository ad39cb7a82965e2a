"""``replay``: the plans of the test period, as they would have been made then, held against the loads that came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import mlflow
import narwhals as nw
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from workload_forecast.config import DEFAULT_MODEL
from workload_forecast.engines.batches import read_all
from workload_forecast.errors import DataError
from workload_forecast.model.plots import BLUE, ORANGE, new_figure
from workload_forecast.plan_limits import PlanLimits
from workload_forecast.planning.plan import make_plan, with_quantile
from workload_forecast.planning.replay import naive, outcome, saved_at, trade_off
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

#: How careful plans are, besides as the settings say: usual errors that are reckoned with.
ERRORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class ReplayOptions:
    """Checked parameters of the entry point: name of the model in the registry, alias of the version."""

    model: str = DEFAULT_MODEL
    alias: str = CHAMPION


def run_replay(options: EtlOptions, wanted: ReplayOptions, *, reuse: bool) -> pl.DataFrame:
    """Run the entry point; performs the ETL first if no finished run matches.

    Returns:
        One row for each day of the test period, forecast (:data:`MODEL`, :data:`NAIVE`) and number of usual errors that
        was reckoned with: what came of its plan, see :class:`~workload_forecast.planning.replay.Outcome`.

    Raises:
        ModelError: no version has the alias, or its model cannot be used.
        DataError: the test period has no 48 hours.
    """
    with open_runs("replay", reuse=reuse) as runs:
        version, etl = version_and_etl(runs, options, wanted.model, wanted.alias)
        runs.begin("replay", {"model": wanted.model, "model_version": str(version.version)})
        load = StoredLoad(runs.engine("duckdb"), etl.folder / HOURLY_LOAD.name)
        forecaster = load_forecaster(version)
        limits = with_quantile(options.settings.planning, forecaster.scorer.facts.load_quantiles)
        table = _replay(runs, options, limits, load, forecaster, str(version.version))
        own, curve = table.filter(pl.col("errors") == limits.errors), trade_off(table)
        mlflow.log_text(own.write_csv(), "replay/plans.csv")
        mlflow.log_text(curve.write_csv(), "replay/trade_off.csv")
        mlflow.log_figure(_figure(curve, limits.errors), "replay/trade_off.png")
        metrics = summary(own) | at_equal_overloads(own, curve)
        mlflow.log_metrics(metrics)
        runs.progress.say(_told(len(own) // 2, metrics))
        return table


def _replay(
    runs: Runs, options: EtlOptions, limits: PlanLimits, load: StoredLoad, forecaster: Forecaster, version: str
) -> pl.DataFrame:
    settings, facts = options.settings, forecaster.scorer.facts
    starts = _starts(settings.test_from, min(load.ends[1], settings.to))
    records: list[dict[str, Any]] = []
    done = 0
    with runs.progress.stage("replay: forecast, plan, compare", lambda: 100 * done / len(starts)) as stage:
        for start in starts:
            said = pl.concat([rows for rows, _ in batches_of_answers(load, forecaster, start, version)])
            hours = nw.col("hour").is_between(start, start + (HORIZON_HOURS - 1) * HOUR)
            came = read_all(HOURLY_LOAD, load.folder).filter(hours).select("server", "hour", PRIMARY_MEASURE)
            forecasts = {MODEL: said, NAIVE: naive(said, facts.low, facts.high)}
            found = _outcomes(forecasts, came.collect("polars").to_native(), limits, greatest_load(load, start))
            records += [{"start": start, **one} for one in found]
            done += 1
        stage.detail = f"({len(starts)} plans each)"
    return pl.DataFrame(records)


def _outcomes(
    forecasts: Mapping[str, pl.DataFrame], actual: pl.DataFrame, limits: PlanLimits, greatest: float
) -> Iterator[dict[str, Any]]:
    """Plan from each forecast as carefully as the settings say, and more and less so; yield what came of it."""
    for name, forecast in forecasts.items():
        for errors in sorted({limits.errors, *ERRORS}):
            plan = make_plan(forecast, limits.model_copy(update={"errors": errors}), greatest)
            found = outcome(plan.table, actual, plan.capacity, plan.capacity * (1 - limits.margin))
            yield {"forecast": name, "errors": errors, "capacity": plan.capacity, **asdict(found)}


def _starts(first: datetime, last: datetime) -> list[datetime]:
    """The times of the plans: each day of the test period that is followed by 48 hours of it."""
    number = (last - first - (HORIZON_HOURS - 1) * HOUR) // EVERY + 1
    if number < 1:
        raise DataError(f"the test period, {first} to {last}, has no {HORIZON_HOURS} hours: give more (testFrom, to).")
    return [first + n * EVERY for n in range(number)]


def summary(table: pl.DataFrame) -> dict[str, float]:
    """Return, for each forecast, shares of the machines and numbers of servers over all plans."""
    metrics: dict[str, float] = {}
    for row in trade_off(table).rows(named=True):
        metrics[f"replay_{row['forecast']}_machines_saved_share"] = row["machines_saved"]
        metrics[f"replay_{row['forecast']}_overload_share"] = row["overloads"]
    for name in (MODEL, NAIVE):
        sums = table.filter(pl.col("forecast") == name).select(pl.col("scale_outs", "needed", "missed").sum())
        metrics |= {f"replay_{name}_{what}": float(number) for what, number in sums.row(0, named=True).items()}
    return metrics


def at_equal_overloads(table: pl.DataFrame, curve: pl.DataFrame) -> dict[str, float]:
    """Return what naive plans save with no more overloads than the model's; nothing where all of them have more."""
    allowed = summary(table)[f"replay_{MODEL}_overload_share"]
    saved = saved_at(curve.filter(pl.col("forecast") == NAIVE), allowed)
    return {} if math.isnan(saved) else {f"replay_{NAIVE}_machines_saved_share_at_equal_overloads": saved}


def _figure(curve: pl.DataFrame, errors: float) -> Figure:
    """Saved machines over overloads, by the errors that were reckoned with; the settings' own point is larger."""
    figure, axes = new_figure("What plans save, and what it costs", 7, 4.4)
    for name, title, colour, marker in ((MODEL, "the model", BLUE, "o"), (NAIVE, "the naive forecast", ORANGE, "s")):
        points = curve.filter(pl.col("forecast") == name).sort("errors")
        axes.plot(points["overloads"], points["machines_saved"], color=colour, marker=marker, markersize=4, label=title)
        own = points.filter(pl.col("errors") == errors)
        axes.plot(own["overloads"], own["machines_saved"], color=colour, marker=marker, markersize=9, linestyle="")
    axes.set_xlabel("machine-hours overloaded that would not have been")
    axes.set_ylabel("machines saved")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False)
    return figure


def _told(plans: int, found: Mapping[str, float]) -> str:
    lines = [f"replay: {plans} {'plan' if plans == 1 else 'plans, a day apart,'} of {HORIZON_HOURS} hours"]
    for name, title in ((MODEL, "the model's"), (NAIVE, "the naive forecast's")):
        of = {what: found[f"replay_{name}_{what}"] for what in ("scale_outs", "needed", "missed")}
        lines.append(
            f"replay: {title} plans would have saved {found[f'replay_{name}_machines_saved_share']:.1%} of the "
            f"machines, with {found[f'replay_{name}_overload_share']:.3%} of their hours overloaded that would not "
            f"have been; of {of['scale_outs']:.0f} servers that were to get more, {of['needed']:.0f} needed it, and "
            f"{of['missed']:.0f} others did"
        )
    equal = found.get(f"replay_{NAIVE}_machines_saved_share_at_equal_overloads")
    what = "cannot be had from the naive forecast" if equal is None else f"its plans would have saved {equal:.1%}"
    lines.append(f"replay: with as few overloads as the model's, {what}")
    return "\n".join(lines)
