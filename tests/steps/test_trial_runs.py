"""Runs of trials, with objectives that need no Spark."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.steps.conftest import Project
from workload_forecast.errors import ModelError
from workload_forecast.model.pipeline import Parameters
from workload_forecast.model.search import Outcome
from workload_forecast.model.trials import Trial
from workload_forecast.progress import Bar
from workload_forecast.steps.runs import Runs, open_runs
from workload_forecast.steps.trial_runs import TRIAL_TAG, TrialRuns, finished_trials


@pytest.fixture
def key() -> str:
    """Of this test's search alone: the tests share a tracking store."""
    return uuid.uuid4().hex


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def bar(lines: list[str]) -> Bar:
    return Bar(lambda line, state: lines.append(f"{line} | {state}"))


@pytest.fixture
def runs(project: Project) -> Iterator[Runs]:  # noqa: ARG001 - the folder it runs in
    with open_runs("tune", reuse=True) as opened:
        yield opened


def depth(parameters: Parameters) -> Outcome:
    value = float(parameters["max_depth"])
    if value > 9:
        raise ModelError("too deep: give fewer levels.")
    return Outcome(value / 10, {"fold_1_macro_f1": value / 20})


def never(_: Parameters) -> Outcome:
    raise AssertionError("this trial is on record")


def trial_runs(project: Project, key: str) -> list[Run]:
    return project.runs(step="trial", search=key)


def test_a_trial_is_a_nested_run_with_numbers_to_compare(project: Project, runs: Runs, bar: Bar, key: str) -> None:
    trial = TrialRuns(runs, key, bar).perform("decision_tree", depth, 0, {"max_depth": 4, "rate": 0.25})

    (run,) = trial_runs(project, key)
    assert run.info.run_name == "trial 0"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"algorithm": "decision_tree", "max_depth": "4", "rate": "0.25"}
    assert run.data.metrics == {"macro_f1": 0.4, "fold_1_macro_f1": 0.2}
    assert "mlflow.parentRunId" in run.data.tags
    assert trial == Trial(0, {"max_depth": 4, "rate": 0.25}, 0.4, {"fold_1_macro_f1": 0.2})
    assert finished_trials(key) == {0: (trial, run.info.run_id)}
    assert finished_trials("another") == {}


def test_a_failed_trial_is_a_failed_run_with_its_reason_and_the_parent_goes_on(
    project: Project, runs: Runs, bar: Bar, lines: list[str], key: str
) -> None:
    performer = TrialRuns(runs, key, bar)
    performer.perform("decision_tree", depth, 0, {"max_depth": 12})
    performer.perform("decision_tree", depth, 1, {"max_depth": 5})

    failed, done = trial_runs(project, key)
    assert (failed.info.status, done.info.status) == ("FAILED", "FINISHED")
    assert failed.data.tags["workload_forecast.error"] == "too deep: give fewer levels."
    assert failed.data.metrics == {}
    assert failed.data.tags["mlflow.parentRunId"] == done.data.tags["mlflow.parentRunId"]
    assert finished_trials(key)[0][0].reason == "too deep: give fewer levels."
    assert lines == [
        "trial 0: failed: too deep: give fewer levels.; none yet | none yet",
        "trial 1: macro-F1 0.5000; best 0.5000 (trial 1) | best 0.5000 (trial 1)",
    ]


def test_the_search_s_own_run_has_a_curve_over_the_trials(project: Project, runs: Runs, bar: Bar, key: str) -> None:
    performer = TrialRuns(runs, key, bar)
    for number, levels in enumerate((5, 12, 7, 6)):  # the second one fails
        performer.perform("decision_tree", depth, number, {"max_depth": levels})

    parent = trial_runs(project, key)[0].data.tags["mlflow.parentRunId"]

    def curve(name: str) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in MlflowClient().get_metric_history(parent, name)]

    assert curve("search_trial_macro_f1") == [(0, 0.5), (2, 0.7), (3, 0.6)]
    assert curve("search_best_so_far_macro_f1") == [(0, 0.5), (2, 0.7), (3, 0.7)]


def test_an_interrupted_trial_is_not_on_record(project: Project, runs: Runs, bar: Bar, key: str) -> None:
    def interrupted(_: Parameters) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TrialRuns(runs, key, bar).perform("decision_tree", interrupted, 0, {"max_depth": 4})

    (run,) = trial_runs(project, key)
    assert TRIAL_TAG not in run.data.tags
    assert finished_trials(key) == {}


def test_what_is_on_record_is_not_done_again_but_stands_below_the_new_parent(
    project: Project, runs: Runs, bar: Bar, lines: list[str], key: str
) -> None:
    first = TrialRuns(runs, key, bar)
    kept = [first.perform("decision_tree", depth, number, {"max_depth": 4 + 6 * number}) for number in range(2)]
    lines.clear()

    again = TrialRuns(runs, key, bar)
    answered = [again.perform("decision_tree", never, number, {"max_depth": 4 + 6 * number}) for number in range(2)]

    assert answered == kept
    old, new = trial_runs(project, key)[:2], trial_runs(project, key)[2:]
    for before, after in zip(old, new, strict=True):
        assert (before.data.params, before.data.metrics) == (after.data.params, after.data.metrics)
        assert before.info.status == after.info.status
        assert after.data.tags["workload_forecast.reused_run"] == before.info.run_id
        assert finished_trials(key)[kept.index(answered[new.index(after)])][1] == before.info.run_id
    assert lines[0] == "trial 0: macro-F1 0.4000, from the record; best 0.4000 (trial 0) | best 0.4000 (trial 0)"


def test_the_record_is_not_believed_where_other_parameters_are_asked_for(runs: Runs, bar: Bar, key: str) -> None:
    TrialRuns(runs, key, bar).perform("decision_tree", depth, 0, {"max_depth": 4})
    assert TrialRuns(runs, key, bar).perform("decision_tree", depth, 0, {"max_depth": 5}).macro_f1 == 0.5


def test_without_reuse_everything_is_done_again(runs: Runs, bar: Bar, key: str) -> None:
    TrialRuns(runs, key, bar).perform("decision_tree", depth, 0, {"max_depth": 4})
    runs.reuse = False
    with pytest.raises(AssertionError, match="on record"):
        TrialRuns(runs, key, bar).perform("decision_tree", never, 0, {"max_depth": 4})
