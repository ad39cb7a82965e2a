"""The backtest from the command line: folds before the test period, everything logged, the same numbers again."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run

from tests.steps.conftest import Project
from workload_forecast.model.baselines import BASELINES

FIRST, TEST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 13), datetime(2016, 6, 14, 23, 59, 59)
FOREST = ("--algorithm", "random_forest", "--num-trees", "3", "--max-depth", "3")
SMALL = (*FOREST, "--folds", "2", "--test-hours", "36", "--minimum-training-hours", "96")


def settings(project: Project) -> str:
    return project.settings(
        dataFile="sessions/*/*/*/*/request.csv*",
        trainingFrom=str(FIRST),
        testFrom=str(TEST),
        to=str(LAST),
        missingHours="zero",
    )


def metrics_of(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.data.metrics.items() if name.startswith("backtest_")}


def table_of(project: Project, run: Run, name: str) -> pd.DataFrame:
    (path,) = Path(project.folder).glob(f"artifacts/{run.info.run_id}/artifacts/tables/{name}.csv")
    return pd.read_csv(path)


@pytest.mark.spark
@pytest.mark.slow
def test_a_backtest_is_logged_and_gives_the_same_numbers_again(project: Project, spark: object) -> None:  # noqa: ARG001 - joined by the step
    project.sessions(FIRST, LAST, servers=4)
    command = ("backtest", "--config", settings(project), "--thresholds", "auto", *SMALL)

    assert project.run(*command) == 0

    said = project.say().strip().splitlines()
    (run,) = project.runs(step="backtest")
    metrics = metrics_of(run)
    ours, naive = metrics["backtest_macro_f1"], metrics["backtest_best_baseline_macro_f1"]
    best = run.data.tags["best_baseline"]
    assert said[-2] == f"backtest: macro-F1 {ours:.3f}; best naive forecast ({best}) {naive:.3f}"
    low, high = (f"{metrics[f'backtest_macro_f1_gain_{end}']:+.3f}" for end in ("low", "high"))
    gain = f"{metrics['backtest_macro_f1_gain']:+.3f}"
    assert said[-1].startswith(f"backtest: gain {gain}, 95% interval by server days {low} to {high}")
    assert metrics["backtest_rows"] == 2 * 36 * 4

    folds = table_of(project, run, "folds")
    assert pd.to_datetime(folds["judged_to"]).max() == TEST - timedelta(hours=49), "neither test period nor gap"
    assert folds["threshold_low"].nunique() == 2, "thresholds are learnt from each fold's own training rows"
    scores = table_of(project, run, "scores").set_index("predictor")
    assert list(scores.index) == ["model", *BASELINES]
    assert scores["rows"].unique().tolist() == [2 * 36 * 4]
    assert scores["macro_f1"]["model"] == pytest.approx(metrics["backtest_macro_f1"])
    probabilities = table_of(project, run, "probability_scores").set_index("split")
    assert list(probabilities.index) == ["all", "fold 1", "fold 2"]
    assert probabilities["brier"]["all"] == pytest.approx(metrics["backtest_brier"])
    assert probabilities["brier"]["all"] == pytest.approx(probabilities["brier"][1:].mean()), "folds of equal length"
    logged = {path.stem for path in project.folder.glob(f"artifacts/{run.info.run_id}/artifacts/*/*")}
    tables = {"scores_by_fold", "scores_by_weekday", "accuracy_by_server", "differences", "calibration"}
    assert logged >= {*tables, "backtest_macro_f1_by_fold", "backtest_calibration", "backtest_servers"}
    assert run.data.params["folds"] == "2"

    assert project.run(*command) == 0
    assert re.search(r"backtest: reused run \w+", project.say())
    assert project.run(*command, "--reuse", "false") == 0
    reused, again = project.runs(step="backtest")[1:]
    assert metrics_of(reused) == metrics
    assert metrics_of(again) == metrics, "bit for bit"
    assert "workload_forecast.reused_run" not in again.data.tags


def test_folds_that_do_not_fit_are_an_error_before_any_work(project: Project) -> None:
    assert project.run("backtest", "--config", settings(project), "--folds", "9") == 2
    assert "9 folds of 72 hours do not fit" in project.say()
    assert project.runs() == []
