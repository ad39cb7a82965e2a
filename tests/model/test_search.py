from __future__ import annotations

import math

import pandas as pd
import pytest

from workload_forecast.errors import DataError, ModelError, SettingsError
from workload_forecast.model.pipeline import Parameters
from workload_forecast.model.search import (
    REASON_LENGTH,
    Outcome,
    SearchPlan,
    attempt,
    best_trial,
    is_stalled,
    search,
    trial_table,
)
from workload_forecast.model.search_spaces import Choice, Integer, SearchSpace
from workload_forecast.model.trials import Trial

SPACE: SearchSpace = {"max_depth": Integer(3, 14), "feature_subset": Choice(("sqrt", "log2"))}
START: Parameters = {"max_depth": 4, "feature_subset": "sqrt", "seed": 42}


def hill(parameters: Parameters) -> Outcome:
    """The top is at depth 12."""
    score = 1 - abs(float(parameters["max_depth"]) - 12) / 20
    return Outcome(score, {"accuracy": score / 2})


def perform(number: int, parameters: Parameters) -> Trial:
    return attempt(hill, number, parameters)


def scored(*scores: float | None) -> list[Trial]:
    return [Trial(number, START, score) for number, score in enumerate(scores)]


def test_the_first_trial_is_the_start_and_the_others_vary_what_is_in_the_space() -> None:
    trials = search(SPACE, START, SearchPlan(max_evals=8, patience=0), perform)

    assert [trial.number for trial in trials] == list(range(8))
    assert trials[0].parameters == START
    assert all(trial.parameters["seed"] == 42 for trial in trials)
    assert len({trial.parameters["max_depth"] for trial in trials}) > 3


@pytest.mark.parametrize("strategy", ["tpe", "random"])
def test_the_known_optimum_is_found(strategy: str) -> None:
    trials = search(SPACE, START, SearchPlan(max_evals=24, strategy=strategy, patience=0), perform)
    best = best_trial(trials)
    assert best.parameters["max_depth"] == 12
    assert best.macro_f1 == 1
    assert best.metrics == {"accuracy": 0.5}


@pytest.mark.parametrize("killed_after", [0, 1, 5, 11])
def test_what_was_finished_before_a_kill_is_answered_from_the_record(killed_after: int) -> None:
    plan = SearchPlan(max_evals=12, patience=0)
    whole = search(SPACE, START, plan, perform)
    record: list[str] = []

    def killed(number: int, parameters: Parameters) -> Trial:
        if number == killed_after:
            raise KeyboardInterrupt
        trial = perform(number, parameters)
        record.append(trial.to_json())
        return trial

    with pytest.raises(KeyboardInterrupt):
        search(SPACE, START, plan, killed)
    known = {trial.number: trial for trial in map(Trial.from_json, record)}
    done: list[int] = []

    def resumed(number: int, parameters: Parameters) -> Trial:
        if number in known:
            assert known[number].parameters == parameters
            return known[number]
        done.append(number)
        return perform(number, parameters)

    assert search(SPACE, START, plan, resumed) == whole
    assert done == list(range(killed_after, 12))


def test_a_longer_search_begins_with_the_shorter_one() -> None:
    short = search(SPACE, START, SearchPlan(max_evals=7, patience=0), perform)
    assert search(SPACE, START, SearchPlan(max_evals=9, patience=0), perform)[:7] == short


def test_it_stops_when_nothing_gets_better() -> None:
    trials = search(SPACE, START, SearchPlan(max_evals=30, patience=4), lambda number, p: Trial(number, p, 0.5))
    assert len(trials) == 5, "the first one, and four in vain"


@pytest.mark.parametrize(
    ("scores", "stalled"),
    [
        ((), False),
        ((0.5, 0.5, 0.5), False),
        ((0.5, 0.5, 0.5, 0.5), True),
        ((0.5, 0.4, 0.3, 0.2), True),
        ((0.5, 0.4, 0.3, 0.6), False),
        ((0.5, 0.505, 0.508, 0.509), True),  # no step that counts, and all of them together do not
        ((0.5, 0.505, 0.512, 0.513), False),  # the third is a gain over the first
        ((0.5, None, None, None), True),
        ((None, None, 0.5), False),
        ((None, None, None), True),
    ],
)
def test_stalled(scores: tuple[float | None, ...], stalled: bool) -> None:
    assert is_stalled(scored(*scores), SearchPlan(patience=3, minimum_gain=0.01)) is stalled


def test_no_patience_is_never_stalled() -> None:
    assert not is_stalled(scored(*[0.5] * 50), SearchPlan(patience=0))


def test_equal_is_no_gain_even_if_none_is_asked_for() -> None:
    assert is_stalled(scored(0.5, 0.5, 0.5), SearchPlan(patience=2, minimum_gain=0))
    assert not is_stalled(scored(0.5, 0.5001, 0.5002), SearchPlan(patience=2, minimum_gain=0))


def test_a_failed_trial_is_recorded_and_the_search_goes_on() -> None:
    def objective(parameters: Parameters) -> Outcome:
        if float(parameters["max_depth"]) > 8:
            raise ModelError("too deep")
        return hill(parameters)

    trials = search(SPACE, START, SearchPlan(max_evals=12, patience=0), lambda n, p: attempt(objective, n, p))

    failed = [trial for trial in trials if trial.failed]
    assert failed
    assert {trial.reason for trial in failed} == {"too deep"}
    assert len(trials) == 12
    assert not best_trial(trials).failed


def test_a_long_reason_is_cut() -> None:
    def objective(_: Parameters) -> Outcome:
        raise ModelError("x" * 5000)

    assert attempt(objective, 0, START).reason == "x" * REASON_LENGTH


def test_all_failed_is_an_error_with_the_first_reason() -> None:
    with pytest.raises(ModelError, match=r"none of 3 trials gave a model.*because: reason 0\. See"):
        search(SPACE, START, SearchPlan(max_evals=3), lambda n, p: Trial(n, p, reason=f"reason {n}."))


def test_what_is_not_about_the_parameters_ends_the_search() -> None:
    def objective(_: Parameters) -> Outcome:
        raise DataError("no rows")

    with pytest.raises(DataError, match="no rows"):
        search(SPACE, START, SearchPlan(), lambda n, p: attempt(objective, n, p))


def test_of_several_best_the_first() -> None:
    assert best_trial(scored(0.1, None, 0.7, 0.7, 0.3)).number == 2


def test_the_table_of_trials() -> None:
    trials = [
        Trial(0, {"max_depth": 3}, reason="broken"),
        Trial(1, {"max_depth": 4}, 0.5, {"fold_1_macro_f1": 0.4}),
        Trial(2, {"max_depth": 5}, 0.4, {"fold_1_macro_f1": 0.3}),
        Trial(3, {"max_depth": 6}, reason="broken"),
    ]
    nan = math.nan
    expected = pd.DataFrame(
        {
            "trial": [0, 1, 2, 3],
            "state": ["failed", "done", "done", "failed"],
            "macro_f1": [nan, 0.5, 0.4, nan],
            "best_so_far": [nan, 0.5, 0.5, 0.5],
            "max_depth": [3, 4, 5, 6],
            "reason": ["broken", "", "", "broken"],
            "fold_1_macro_f1": [nan, 0.4, 0.3, nan],
        }
    )
    pd.testing.assert_frame_equal(trial_table(trials), expected, check_like=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_evals": 0}, "max_evals must be 1 or more"),
        ({"patience": -1}, "patience 0 or more"),
        ({"minimum_gain": 1.0}, "minimum_gain from 0 to below 1"),
        ({"seed": -1}, "seed"),
        ({"strategy": "grid"}, "strategy 'grid' is not one of tpe, random"),
    ],
)
def test_a_plan_that_makes_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchPlan(**fields)  # type: ignore[arg-type]
