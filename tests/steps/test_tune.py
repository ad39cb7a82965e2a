"""The tuning to its end: killed, resumed, continued; the best parameters are what is trained and registered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.steps.conftest import Project
from workload_forecast.config import TrainingParameters
from workload_forecast.errors import ModelError
from workload_forecast.model.fold_rows import FoldData
from workload_forecast.model.pipeline import ALGORITHMS
from workload_forecast.registry.log_model import MODEL_NAME
from workload_forecast.registry.promotion import find_version
from workload_forecast.steps.trial_runs import TRIAL_TAG
from workload_forecast.steps.tune import first_parameters

FIRST, TEST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 22), datetime(2016, 6, 24, 23, 59, 59)
#: A tree for a forest: a trial may ask for 200 trees, and what is tested is the search.
SEARCH = ("--algorithm", "decision_tree", "--max-depth", "4", "--folds", "1", "--patience", "0")


@pytest.fixture
def prepared(project: Project) -> Project:
    project.sessions(FIRST, LAST, servers=3)
    project.settings(
        dataFile="sessions/*/*/*/*/request.csv*",
        trainingFrom=str(FIRST),
        testFrom=str(TEST),
        to=str(LAST),
        missingHours="zero",
    )
    return project


def tune(project: Project, *arguments: str) -> int:
    return project.run("tune", "--config", "settings.json", *SEARCH, *arguments)


def trials_of(project: Project, parent: Run) -> list[Run]:
    found = [run for run in project.runs(step="trial") if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
    return sorted(found, key=lambda run: int(run.info.run_name.split()[1]))


def table_of(run: Run) -> pd.DataFrame:
    return pd.read_csv(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="tables/trials.csv"))


def scores(runs: list[Run]) -> list[Any]:
    return [(run.data.params, run.data.metrics.get("macro_f1")) for run in runs]


class Judge:
    """Stands before the real judging of a fold, counts and, where it is told to, breaks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.problems: dict[int, BaseException] = {}
        real = FoldData.judge

        def judge(data: FoldData, algorithm: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
            self.asked.append(parameters)
            problem = self.problems.get(len(self.asked) - 1)
            if problem:
                raise problem
            return real(data, algorithm, parameters)

        monkeypatch.setattr(FoldData, "judge", judge)


@pytest.mark.spark
@pytest.mark.slow
def test_tune(
    prepared: Project,
    spark: object,  # noqa: ARG001 - joined by the step
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = Judge(monkeypatch)
    judge.problems = {1: ModelError("no such tree"), 2: KeyboardInterrupt()}
    assert tune(prepared, "--max-evals", "4") == 130
    (killed,) = prepared.runs(step="tune")
    assert [run.info.status for run in trials_of(prepared, killed)] == ["FINISHED", "FAILED", "FAILED"]
    assert [TRIAL_TAG in run.data.tags for run in trials_of(prepared, killed)] == [True, True, False]
    prepared.say()

    judge.problems = {}
    assert tune(prepared, "--max-evals", "4") == 0

    said = prepared.say()
    assert len(judge.asked) == 3 + 2, "two trials of the killed run are answered from its record"
    assert judge.asked[2] == judge.asked[3], "the one that was interrupted is done again"
    resumed = prepared.runs(step="tune")[-1]
    trials = trials_of(prepared, resumed)
    assert scores(trials[:2]) == scores(trials_of(prepared, killed)[:2])
    assert [run.info.status for run in trials] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert trials[1].data.tags["workload_forecast.error"] == "no such tree"
    assert {name: trials[0].data.params[name] for name in ("algorithm", "max_depth", "seed")} == {
        "algorithm": "decision_tree",
        "max_depth": "4",
        "seed": "42",
    }
    first = trials[0].data.metrics
    assert first["fold_1_macro_f1"] == first["macro_f1"], "there is one fold"
    assert 0 < first["best_baseline_macro_f1"] < 1

    best = max((run for run in trials if "macro_f1" in run.data.metrics), key=lambda run: run.data.metrics["macro_f1"])
    number = int(best.info.run_name.split()[1])
    assert f"tune: best of 4 trials is number {number}" in said
    assert re.search(r"^tune: trial 0: macro-F1 0\.\d{4}, from the record; best ", said, re.MULTILINE)
    assert "tune: trial 1: failed: no such tree, from the record" in said
    assert resumed.data.metrics["search_best_macro_f1"] == best.data.metrics["macro_f1"]
    assert resumed.data.metrics["search_first_macro_f1"] == first["macro_f1"]
    assert resumed.data.metrics["search_failed_trials"] == 1

    (train,) = prepared.runs(step="train")
    assert train.data.tags["mlflow.parentRunId"] == resumed.info.run_id
    for name in ("max_depth", "min_rows_per_leaf", "max_bins", "seed"):
        assert train.data.params[name] == best.data.params[name]
    assert resumed.data.metrics["test_macro_f1"] == train.data.metrics["test_macro_f1"]
    assert find_version(MlflowClient(), MODEL_NAME).run_id == train.info.run_id

    table = table_of(resumed)
    assert table["state"].tolist() == ["done", "failed", "done", "done"]
    assert table["macro_f1"].tolist()[0] == pytest.approx(first["macro_f1"], abs=1e-12)
    assert [int(value) for value in table["max_depth"]] == [int(run.data.params["max_depth"]) for run in trials]

    asked = len(judge.asked)
    assert tune(prepared, "--max-evals", "5") == 0
    assert len(judge.asked) == asked + 1, "a longer search goes on where the shorter one ended"
    assert scores(trials_of(prepared, prepared.runs(step="tune")[-1])[:4]) == scores(trials)


def test_the_first_trial_is_what_was_given_where_the_algorithm_has_it() -> None:
    defaults = ALGORITHMS["decision_tree"].defaults
    assert first_parameters(TrainingParameters("decision_tree")) == defaults
    given = TrainingParameters("decision_tree", max_depth=3, seed=7, tuned={"max_bins": 16})
    assert first_parameters(given) == {**defaults, "max_depth": 3, "seed": 7, "max_bins": 16}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folds", "9"), "9 folds of 72 hours do not fit"),
        (("--test-hours", "700"), "folds of 700 hours do not fit"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(prepared: Project, arguments: tuple[str, ...], message: str) -> None:
    assert tune(prepared, *arguments) == 2
    assert message in prepared.say()
    assert prepared.runs() == []
