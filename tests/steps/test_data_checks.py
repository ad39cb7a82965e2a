"""The data checks of a training: said, logged, and in the way of data that is not fit."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run

from tests.steps.conftest import Project

FIRST, TEST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 10), datetime(2016, 6, 11, 23, 59, 59)


def settings(project: Project, **checks: object) -> str:
    return project.settings(
        dataFile="sessions/*/*/*/*/request.csv*",
        trainingFrom=str(FIRST),
        testFrom=str(TEST),
        to=str(LAST),
        missingHours="zero",
        checks=checks,
    )


def table_of(project: Project, run: Run) -> pd.DataFrame:
    return pd.read_csv(artifacts_of(project, run) / "tables" / "data_checks.csv").set_index("name")


def artifacts_of(project: Project, run: Run) -> Path:
    return project.folder / "artifacts" / str(run.info.run_id) / "artifacts"


def check_card(run: Run, card: str) -> None:
    """Hold a training's card against what MLflow knows of its run."""
    metrics, params = run.data.metrics, run.data.params
    row = {
        name: cells for name, *cells in (re.split(r" *\| *", line)[1:-1] for line in card.splitlines() if "|" in line)
    }
    best = run.data.tags["best_baseline"]
    for title, name in (("macro-F1", "macro_f1"), ("accuracy", "accuracy"), ("recall of high", "recall_high")):
        logged = [metrics[f"{of}_{name}"] for of in ("test", "forecast_test", f"baseline_{best}_test")]
        assert row[title] == [f"{value:.4f}" for value in logged]
    assert ("NOT better" in card) is (metrics["test_macro_f1_gain"] <= 0)
    assert f"`{params['algorithm']}`" in row["algorithm"][0]
    low, high = (float(params[f"threshold_{name}"]) for name in ("low", "high"))
    assert f"low: load ≤ {low:g}; high: > {high:g}" in row["classes"][0]
    (dataset,) = [entry.dataset for entry in run.inputs.dataset_inputs]  # type: ignore[union-attr]
    assert dataset.digest in row["digest of the features"][0]
    assert row["servers"] == ["4"]
    assert row["data checks"] == ["warn; see `data_quality.md`"]


@pytest.mark.spark
@pytest.mark.slow
def test_bad_data_is_warned_of_or_refused(project: Project, spark: object) -> None:  # noqa: ARG001 - joined by the step
    project.sessions(FIRST, LAST, servers=3)
    for path in project.folder.glob("sessions/*/*/*/*/request.csv"):
        header, *lines = path.read_text().splitlines(keepends=True)
        copies = [line.replace("10.16.0.1", "10.16.0.9") for line in lines if "10.16.0.1" in line]
        path.write_text("".join([header, *lines, *copies]))

    strict = {"duplicateServers": {"refuse": 0.1}}
    assert project.run("train", "--config", settings(project, **strict), "--thresholds", "auto") == 3

    said = project.say()
    (run,) = project.runs(step="train")
    assert run.info.status == "FAILED"
    assert run.data.tags["workload_forecast.data_checks"] == "refuse"
    found_copies = "1 of 4 servers have the loads of another one, like 10.16.0.9 = 10.16.0.1"
    assert f"error: the data is not fit to train on: duplicate_servers: {found_copies}" in said
    assert "raise `refuse` of duplicateServers in the settings' section `checks`." in said
    assert not {"model", "model_card.md"} & {path.name for path in artifacts_of(project, run).iterdir()}
    page = (artifacts_of(project, run) / "data_quality.md").read_text()
    assert page.startswith("# Data quality: refuse\n\n**Refused**: there was no training on this data.")
    assert f"- duplicate_servers: {found_copies}" in page
    found = table_of(project, run)
    assert found["verdict"]["duplicate_servers"] == "refuse"
    assert found["value"]["duplicate_servers"] == 0.25

    assert project.run("train", "--config", settings(project), "--thresholds", "auto") == 0

    said = project.say()
    assert f"train: WARNING: duplicate_servers: {found_copies}" in said
    run = project.runs(step="train")[-1]
    found = table_of(project, run)
    assert found["verdict"]["duplicate_servers"] == "warn"
    assert run.data.tags["workload_forecast.data_checks"] == "warn"
    assert found["value"]["missing_fields"] < 0.01
    page = (artifacts_of(project, run) / "data_quality.md").read_text()
    assert page.startswith("# Data quality: warn\n")
    check_card(run, (artifacts_of(project, run) / "model_card.md").read_text())
    (etl,) = [run for run in project.runs(step="etl") if "workload_forecast.reused_run" not in run.data.tags]
    used, bad = etl.data.metrics["rows_used"], etl.data.metrics["rows_quarantined"]
    assert f"| used | {used:,.0f} |" in page
    assert f"| **read** | {etl.data.metrics['rows_read']:,.0f} |" in page
    assert f"of {used + bad:,.0f} rows" in found["reason"]["missing_fields"] or bad, (
        "limits are no part of the ETL's key"
    )

    assert project.run("train", "--config", settings(project, **strict), "--thresholds", "auto") == 3, (
        "the limits are part of the training's key"
    )


@pytest.mark.slow
def test_the_packaged_month_passes_every_check(project: Project) -> None:
    """As ``train`` asks, on DuckDB alone: no forest is needed to know."""
    from workload_forecast.config import load_settings
    from workload_forecast.engines import open_engine
    from workload_forecast.model.checks import check_data
    from workload_forecast.model.load_summary import summarise_loads
    from workload_forecast.schemas import FEATURES
    from workload_forecast.steps.train import split_of
    from workload_forecast.storage.local import read_info

    assert project.run("etl") == 0
    (run,) = project.runs(step="etl")
    folder, chosen = Path(run.data.tags["workload_forecast.result"]), load_settings()
    info = read_info(folder)
    assert info is not None
    assert chosen.thresholds != "auto"

    with open_engine("duckdb") as engine:
        summary = summarise_loads(
            engine.read_table(FEATURES, folder / FEATURES.name), split_of(chosen), chosen.thresholds
        )

    assert check_data(summary, info["counts"]).reasons("warn") == []
    assert check_data(summary, info["counts"]).verdict == "ok"
