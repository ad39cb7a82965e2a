"""``monitor``: past forecasts of the champion against the loads that came, against their promise, and drift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import polars as pl

from workload_forecast.config import DEFAULT_MODEL
from workload_forecast.errors import MonitoringAlarm
from workload_forecast.monitoring.drift import Drift, find_drift
from workload_forecast.monitoring.findings import (
    ALARM,
    OK,
    UNKNOWN,
    WARNING,
    Findings,
    Promise,
    beside_promise,
    find,
)
from workload_forecast.monitoring.plots import scores_by_origin
from workload_forecast.monitoring.scoring import (
    FAR,
    LEADS,
    ORIGIN,
    SERVER,
    SOURCE,
    confusion,
    of_facet,
    scores,
    scores_by,
)
from workload_forecast.monitoring_limits import MonitoringLimits
from workload_forecast.registry.promotion import CHAMPION
from workload_forecast.registry.verdict import finite
from workload_forecast.serving.history import HOUR
from workload_forecast.steps.etl import EtlOptions
from workload_forecast.steps.forecast import version_and_etl
from workload_forecast.steps.on_alarm import Alarm, act
from workload_forecast.steps.past_scores import Scored, Watch, loads_of, score_past, watch
from workload_forecast.steps.promises import promise_of, training_run
from workload_forecast.steps.runs import TAG, Result, Runs, open_runs
from workload_forecast.steps.train import split_of

#: The verdict where no hour that was forecast has come yet.
NOTHING = "nothing"

_SAID = {ALARM: "ALARM", WARNING: "WARNING", OK: "ok", UNKNOWN: "too few to decide"}


@dataclass(frozen=True)
class MonitorOptions:
    """Checked parameters of the entry point: name of the model in the registry, alias of the version."""

    model: str = DEFAULT_MODEL
    alias: str = CHAMPION


@dataclass(frozen=True)
class Report:
    """What is known of a version's past forecasts."""

    overall: dict[str, float]
    far: dict[str, float]
    servers: pl.DataFrame
    promise: Promise
    drift: Drift
    findings: Findings


def run_monitor(options: EtlOptions, wanted: MonitorOptions, *, reuse: bool) -> str:
    """Run the entry point; performs the ETL first if no finished run matches. Return the line that sums it up.

    Raises:
        MonitoringAlarm: with that line. Everything is logged, and what the settings ask for is done.
        ModelError: no version has the alias, or its model cannot be used.
        DataError: a forecast cannot be read.
    """
    limits = options.settings.monitoring
    if limits.on_alarm == "retrain":
        split_of(options.settings)
    with open_runs("monitor", reuse=reuse) as runs:
        version, etl = version_and_etl(runs, options, wanted.model, wanted.alias)
        runs.begin("monitor", _parameters(wanted, str(version.version), limits))
        mlflow.set_tag(f"{TAG}model_version", str(version.version))
        watched = watch(runs, version, etl, limits.days)
        scored = score_past(runs, options.settings, etl, watched)
        if scored.counts is None:
            return _conclude(runs, NOTHING, f"nothing to score yet: {_why_nothing(watched, scored)}")
        report = _report(runs, etl, watched, scored, scored.counts, limits)
        _log(report, scored, scored.counts)
        line = _conclude(runs, report.findings.level, _told(report, watched, scored))
        if report.findings.level == ALARM:
            done = act(runs, options, etl, Alarm(version, wanted.alias, report.findings, watched.cuts))
            mlflow.set_tag(f"{TAG}on_alarm", done or "nothing")
            raise MonitoringAlarm(f"{line}; {done}" if done else line)
        return line


def _parameters(wanted: MonitorOptions, version: str, limits: MonitoringLimits) -> dict[str, Any]:
    given = limits.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"days", "on_alarm"})
    named = {"model": wanted.model, "alias": wanted.alias, "model_version": version}
    return {**named, "days": limits.days, "on_alarm": limits.on_alarm, "monitoring": given}


def _report(
    runs: Runs, etl: Result, watched: Watch, scored: Scored, counts: pl.DataFrame, limits: MonitoringLimits
) -> Report:
    promise = promise_of(training_run(watched.version))
    whole = of_facet(counts, ORIGIN)
    overall, far = scores(whole), scores(of_facet(counts, LEADS, FAR))
    servers = beside_promise(scores_by(counts, SERVER), promise)
    drift = find_drift(loads_of(runs, etl, watched), confusion(whole, "said"))
    assert scored.newest is not None, "something was scored"
    since = (watched.hours[1] - scored.newest) / HOUR
    findings = find(overall, far, servers, promise, drift, since, limits)
    return Report(overall, far, servers, promise, drift, findings)


def _log(report: Report, scored: Scored, counts: pl.DataFrame) -> None:
    """Log numbers, tables and the figure to the active run, all of them under ``monitor``."""
    promised = {"macro_f1": report.promise.macro_f1, "recall_high": report.promise.recall_high}
    numbers = {
        **report.overall,
        **{f"far_{name}": report.far[name] for name in (*promised, "answered")},
        **{f"promised_{name}": value for name, value in promised.items()},
        **report.drift.numbers,
        "servers": len(report.servers),
        "forecasts": scored.forecasts,
        "forecasts_gone": len(scored.gone),
        "rows_without_load": scored.rows - report.overall["rows"],
    }
    mlflow.log_metrics(finite({f"monitor_{name}": float(value) for name, value in numbers.items()}))
    origins = scores_by(counts, ORIGIN)
    tables = {
        "servers": report.servers,
        "origins": origins,
        "leads": scores_by(counts, LEADS),
        "sources": scores_by(counts, SOURCE),
        "classes": report.drift.classes,
        "drift": report.drift.levels,
        "findings": report.findings.table,
    }
    with TemporaryDirectory(prefix="workload-forecast-") as scratch:
        for name, table in tables.items():
            table.write_csv(Path(scratch) / f"{name}.csv")
        scores_by_origin(origins, report.promise.macro_f1).savefig(Path(scratch) / "origins.png")
        # One call: against a remote store each costs a round trip of its own.
        mlflow.log_artifacts(scratch, "monitor")


def _told(report: Report, watched: Watch, scored: Scored) -> str:
    overall = report.overall
    named = {"macro-F1": "macro_f1", "naive": "naive_macro_f1"}
    known = finite({**{what: overall[name] for what, name in named.items()}, "promised": report.promise.macro_f1})
    said = ", ".join(f"{what} {value:.3f}" for what, value in known.items())
    where = f"{overall['answered']:,} server-hours of {len(report.servers):,} servers"
    told = f"{_SAID[report.findings.level]} version {watched.version.version}: {where}: {said or 'nothing was said'}"
    wrong = [f"{one.name}: {one.reason}" for one in report.findings.of_level(ALARM, WARNING)]
    return "; ".join([told, *wrong, *_gone(scored)])


def _why_nothing(watched: Watch, scored: Scored) -> str:
    first, last = watched.hours
    if watched.empty:
        return (
            f"the data ends at {last}; forecasts of version {watched.version.version} are looked at from {first} on, "
            "48 hours after its training"
        )
    made = f"{scored.forecasts} forecasts of version {watched.version.version}" if scored.forecasts else "no forecast"
    return "; ".join([f"{made} of a load that came from {first} to {last}", *_gone(scored)])


def _gone(scored: Scored) -> list[str]:
    if not scored.gone:
        return []
    like = f"{scored.gone[0]:%Y-%m-%dT%H}"
    return [f"{len(scored.gone)} forecasts are neither on this machine nor published any more, like that of {like}"]


def _conclude(runs: Runs, verdict: str, told: str) -> str:
    """Keep the verdict and the line with the run; say it, unless an alarm is about to end the run with it."""
    line = f"monitor: {told}"
    mlflow.set_tags({f"{TAG}verdict": verdict, f"{TAG}summary": line[:5000]})
    if verdict != ALARM:
        runs.progress.say(line)
    return line
