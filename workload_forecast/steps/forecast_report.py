"""The report of a forecast, made of the tables that the step has just written: one HTML file, kept with the run."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import mlflow
import narwhals as nw
import polars as pl
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from workload_forecast.engines.batches import read_all
from workload_forecast.planning.plan import REASONS
from workload_forecast.report.columns import HISTORY_HOURS, Fleet
from workload_forecast.report.facts import Facts as PageFacts
from workload_forecast.report.facts import Score, Scored
from workload_forecast.report.page import render
from workload_forecast.schemas import CAPACITY_PLAN, FORECAST, HORIZON_HOURS, HOURLY_LOAD, PRIMARY_MEASURE
from workload_forecast.serving.facts import Facts
from workload_forecast.serving.history import HOUR
from workload_forecast.steps.runs import TAG, parameter
from workload_forecast.steps.stored_load import StoredLoad

#: The file in the result's folder, and the folder of the run's artifacts that it is logged to.
REPORT_FILE, ARTIFACTS = "report.html", "report"

#: What a monitoring leaves about each forecast.
ORIGINS = "monitor/origins.csv"

#: What is shown of a training, and the ends of its metrics' names.
_SCORES = {"macro-F1": "macro_f1", "accuracy": "accuracy", "share of high hours called low": "high_called_low"}

_LIMITS = (
    "An hour's class is that of its busiest five minutes; nothing is said of shorter peaks.",
    "What is known is the load before the forecast and the calendar: releases, campaigns and outages to come are not.",
    "The usual error is a mean of the last weeks on this server, not a bound: loads leave the band.",
    "The plan weighs loads alone: memory, disks and servers that must not meet are not known to it.",
)


def write_report(folder: Path, load: StoredLoad, start: datetime, version: ModelVersion, facts: Facts) -> None:
    """Write the report beside the tables of a forecast, and log it to the active run.

    Args:
        folder: of the step's result, which holds forecast and plan.
        load: that was forecast from.
        start: first hour of the forecast.
        version: that was asked.
        facts: of its compiled model.
    """
    hours = nw.col("hour").is_between(start - HISTORY_HOURS * HOUR, start - HOUR)
    history = read_all(HOURLY_LOAD, load.folder).filter(hours).select("server", "hour", PRIMARY_MEASURE)
    forecast, plan = (read_all(table, folder / table.name).collect("polars") for table in (FORECAST, CAPACITY_PLAN))
    idle = {name: first for name, (first, _) in load.lives.items()} if facts.missing_hours == "zero" else {}
    fleet = Fleet(forecast.to_native(), plan.to_native(), history.collect("polars").to_native(), idle)
    (folder / REPORT_FILE).write_text(render(fleet, page_facts(version, facts)), encoding="utf-8")
    mlflow.log_artifact(str(folder / REPORT_FILE), ARTIFACTS)


def page_facts(version: ModelVersion, facts: Facts) -> PageFacts:
    """Return what the page says of a version: from its compiled model, its tags and the run that trained it."""
    metrics, params, naive = _training(version)
    synthetic = ("The sessions are synthetic: nothing here is about real servers.",)
    behind = metrics.get("test_macro_f1_gain", 1.0) <= 0
    worse = ("On its test period the model was not better than the best naive forecast.",)
    test = tuple(
        Score(name, *(metrics.get(f"{of}{end}") for of in ("forecast_test_", "test_", f"baseline_{naive}_test_")))
        for name, end in _SCORES.items()
    )
    tested = [params.get(name, "") for name in ("test_from", "test_to")]
    card = {
        "Name": version.name,
        "Version": str(version.version),
        "Algorithm": facts.algorithm,
        "Trained on": f"{facts.training_from:%Y-%m-%d %H:%M} to {facts.training_to:%Y-%m-%d %H:%M}",
        "Tested on": " to ".join(text.replace("T", " ")[:16] for text in tested) if all(tested) else "not known",
        "Data": version.tags.get("data", "not known"),
        "Servers of the training": version.tags.get("subset", "all"),
        "Classes": f"low up to {facts.low:g}, medium up to {facts.high:g}, high above",
        "Horizon": f"{HORIZON_HOURS} hours",
        "An hour without sessions": "was idle" if facts.missing_hours == "zero" else "is unknown",
        "Features": str(len(facts.features)),
    }
    return PageFacts(
        model=f"{version.name} version {version.version}",
        low=facts.low,
        high=facts.high,
        reasons=REASONS,
        test=test if any(score.model is not None for score in test) else (),
        naive=naive,
        scored=past_scores(version),
        card=card,
        limits=(*(synthetic if card["Data"] == "synthetic" else ()), *(worse if behind else ()), *_LIMITS),
    )


def past_scores(version: ModelVersion) -> tuple[Scored, ...]:
    """Return what the newest monitoring of a version has found of its forecasts, newest first; none if there was none.

    What was found is a table among the run's artifacts; where that is gone, so is what was found.
    """
    conditions = ("step` = 'monitor'", f"model_version` = '{version.version}'", "verdict` != 'nothing'")
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=" and ".join(f"tags.`{TAG}{condition}" for condition in conditions),
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    run = next((run for run in found if parameter(run, "model") == version.name), None)
    with suppress(MlflowException, OSError):
        text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{ORIGINS}") if run else ""
        rows = pl.read_csv(io.StringIO(text)).sort("origin", descending=True).rows(named=True) if text else []
        return tuple(
            Scored(row["origin"], str(version.version), row["answered"], row["macro_f1"], row["naive_macro_f1"])
            for row in rows
        )
    return ()


def _training(version: ModelVersion) -> tuple[dict[str, float], dict[str, str], str]:
    """Return metrics, parameters and best naive forecast of the run that trained a version, empty if it is gone."""
    with suppress(MlflowException):
        if version.run_id:
            run = MlflowClient().get_run(version.run_id)
            return run.data.metrics, run.data.params, run.data.tags.get("best_baseline", "")
    return {}, {}, ""
