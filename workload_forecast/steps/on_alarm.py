"""What an alarm of the monitoring brings about, where the settings ask for it: a retraining or a rollback."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from workload_forecast.config import Thresholds
from workload_forecast.errors import WorkloadForecastError
from workload_forecast.monitoring.findings import ALARM, Findings
from workload_forecast.registry.promotion import CHAMPION, PREVIOUS, read_decision, version_of
from workload_forecast.steps.etl import EtlOptions
from workload_forecast.steps.generate import data_source
from workload_forecast.steps.promises import parameters_of, training_run
from workload_forecast.steps.promote import perform_rollback, promote_trained
from workload_forecast.steps.runs import Result, Runs
from workload_forecast.steps.train import perform_train, tell


@dataclass(frozen=True)
class Alarm:
    """A version that is not what it was: the alias by which it was found, what was found, its classes."""

    version: ModelVersion
    alias: str
    findings: Findings
    cuts: Thresholds


def act(runs: Runs, options: EtlOptions, etl: Result, alarm: Alarm) -> str:
    """Do what the settings ask for, in runs nested in the active one; return what came of it, empty for nothing.

    A retraining or a rollback that fails is part of what is told: the alarm is what matters.
    """
    asked = options.settings.monitoring.on_alarm
    if asked == "none":
        return ""
    if alarm.alias != CHAMPION:
        return f"no {asked}: only the champion is replaced"
    try:
        return _retrain(runs, options, etl, alarm) if asked == "retrain" else _roll_back(runs, alarm)
    except WorkloadForecastError as problem:
        return f"{asked} FAILED: {problem}"


def _retrain(runs: Runs, options: EtlOptions, etl: Result, alarm: Alarm) -> str:
    """Train as the champion was trained, on the settings' dates, and let the gate decide."""
    settings = options.settings
    if not settings.promotion.allow_other_classes:
        # terciles of later loads would be other classes, which the gate refuses
        options = replace(options, settings=settings.model_copy(update={"thresholds": alarm.cuts}))
    parameters = parameters_of(training_run(alarm.version))
    source = data_source(runs, options.settings)
    with runs.child("train"):
        trained = perform_train(runs, options.settings, parameters, etl, source)
    tell(runs, trained)
    with runs.child("promote"):
        outcome = promote_trained(runs, options, etl, trained)
    how = "trained before, and nothing has changed since" if trained.reused else "retrained"
    return f"{how}: version {outcome.version} {outcome.action} ({outcome.why})"


def _roll_back(runs: Runs, alarm: Alarm) -> str:
    name, number = alarm.version.name, str(alarm.version.version)
    of_forecasts = [one for one in alarm.findings.of_level(ALARM) if not one.about_data]
    if not of_forecasts:
        return "no rollback: an earlier version knows this data no better"
    previous = version_of(MlflowClient(), name, PREVIOUS)
    if previous is None or str(previous.version) == number:
        return "no rollback: there is no earlier champion"
    before = read_decision(previous)
    if before and before.action == "withdrawn":
        return f"no rollback: version {previous.version}, the champion before, was withdrawn itself ({before.why})"
    why = f"monitoring: {'; '.join(one.reason for one in of_forecasts)}"
    with runs.child("rollback"):
        decision = perform_rollback(runs, name, why, instead_of=number)
    return f"rolled back: version {decision.version} is the champion again"
