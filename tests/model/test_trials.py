"""The proposals: inside the space, the same again after a kill, and better than chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workload_forecast import config
from workload_forecast.model.pipeline import Parameter, Parameters
from workload_forecast.model.search_spaces import Choice, Integer, Real, SearchSpace
from workload_forecast.model.trials import RANDOM_TRIALS, STRATEGIES, Trial, ask

SPACE: SearchSpace = {
    "depth": Integer(3, 14),
    "trees": Integer(20, 200, log=True),
    "rate": Real(0.01, 1.0, log=True),
    "share": Real(0.1, 0.9),
    "subset": Choice(("sqrt", "log2", "all")),
}
START: Parameters = {"depth": 8, "trees": 100, "rate": 0.1, "share": 0.5, "subset": "sqrt", "seed": 42}


def worth(p: Parameters) -> float:
    """A smooth hill whose top, 1, is at depth 11, 60 trees, rate 0.3, share 0.3 and subset log2."""
    return (
        1
        - ((float(p["depth"]) - 11) / 11) ** 2
        - (math.log(float(p["trees"]) / 60) / 3) ** 2
        - (math.log(float(p["rate"]) / 0.3) / 6) ** 2
        - (float(p["share"]) - 0.3) ** 2
        - (0.0 if p["subset"] == "log2" else 0.05)
    )


def play(
    evaluations: int,
    strategy: str,
    seed: int,
    finished: list[Trial] | None = None,
    value: Callable[[Parameters], float | None] = worth,
) -> list[Trial]:
    trials = list(finished or [])
    while len(trials) < evaluations:
        parameters = {**START, **(ask(SPACE, trials, strategy=strategy, seed=seed) if trials else {})}
        trials.append(Trial(len(trials), parameters, value(parameters)))
    return trials


def best(trials: list[Trial]) -> float:
    return max(trial.macro_f1 for trial in trials if trial.macro_f1 is not None)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_proposals_lie_in_the_space_and_are_of_plain_types(strategy: str) -> None:
    for trial in play(25, strategy, seed=1)[1:]:
        for name, dimension in SPACE.items():
            value = trial.parameters[name]
            assert value in dimension
            assert type(value) is {Integer: int, Real: float, Choice: str}[type(dimension)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("killed_after", [1, 4, RANDOM_TRIALS + 1, 14])
def test_resumed_from_text_is_as_uninterrupted(strategy: str, killed_after: int) -> None:
    whole = play(15, strategy, seed=3)

    kept = [Trial.from_json(trial.to_json()) for trial in whole[:killed_after]]

    assert kept == whole[:killed_after]
    assert play(15, strategy, seed=3, finished=kept) == whole


def test_the_command_line_offers_every_strategy() -> None:
    assert tuple(STRATEGIES) == config.STRATEGIES


def test_another_seed_is_another_search() -> None:
    assert play(4, "tpe", seed=1) != play(4, "tpe", seed=2)


def test_both_strategies_begin_alike_and_part_when_there_is_something_to_learn_from() -> None:
    tpe, random = play(RANDOM_TRIALS + 4, "tpe", seed=5), play(RANDOM_TRIALS + 4, "random", seed=5)

    assert tpe[:RANDOM_TRIALS] == random[:RANDOM_TRIALS]
    assert tpe[RANDOM_TRIALS:] != random[RANDOM_TRIALS:]


def test_tpe_is_not_worse_than_random_at_equal_budget() -> None:
    """Mean over seeds of what is missing to the top. Measured: 0.04 against 0.07."""
    missing = {
        strategy: sum(1 - best(play(40, strategy, seed)) for seed in range(6)) / 6 for strategy in ("tpe", "random")
    }
    assert missing["tpe"] <= missing["random"]


def test_the_choice_that_is_best_is_tried_most_once_that_is_known() -> None:
    found = Counter(str(trial.parameters["subset"]) for trial in play(50, "tpe", seed=11, value=subset_alone)[20:])
    assert found["log2"] > 15


def subset_alone(parameters: Parameters) -> float:
    return 0.9 if parameters["subset"] == "log2" else 0.1


@pytest.mark.parametrize("failed", [{0}, {3, 7}, {11}])
def test_failed_trials_count_as_worst(failed: set[int]) -> None:
    """TPE goes by the order of the losses alone."""
    trials = play(12, "tpe", seed=2)
    broken = [replace(trial, macro_f1=None) if trial.number in failed else trial for trial in trials]
    worst = [replace(trial, macro_f1=-9.0) if trial.number in failed else trial for trial in trials]

    assert ask(SPACE, broken, strategy="tpe", seed=2) == ask(SPACE, worst, strategy="tpe", seed=2)


def test_all_failed_so_far_is_no_reason_to_stop_asking() -> None:
    trials = play(RANDOM_TRIALS + 3, "tpe", seed=2, value=lambda _: None)
    assert all(trial.parameters["depth"] in SPACE["depth"] for trial in trials)


def test_nothing_is_tried_twice_as_long_as_there_is_something_else() -> None:
    space: SearchSpace = {"depth": Integer(1, 4), "subset": Choice(("sqrt", "log2"))}
    trials: list[Trial] = []
    for number in range(8):
        trials.append(Trial(number, ask(space, trials, strategy="random", seed=1), 0.5))

    assert len({tuple(trial.parameters.values()) for trial in trials}) == 8
    assert ask(space, trials, strategy="random", seed=1)["depth"] in space["depth"], "asked for a ninth of eight"


def test_the_ends_of_a_range_of_whole_numbers_are_drawn_as_often_as_the_rest() -> None:
    space: SearchSpace = {"depth": Integer(1, 4)}
    drawn = Counter(ask(space, [], strategy="random", seed=seed)["depth"] for seed in range(400))
    assert set(drawn) == {1, 2, 3, 4}
    assert min(drawn.values()) > 70, drawn


def test_a_start_outside_the_space_does_no_harm() -> None:
    outside: dict[str, Parameter] = {**START, "depth": 30, "trees": 1, "subset": "none"}
    trials = [Trial(0, outside, 0.7)]
    for number in range(1, RANDOM_TRIALS + 3):
        found = ask(SPACE, trials, strategy="tpe", seed=1)
        assert all(found[name] in dimension for name, dimension in SPACE.items())
        trials.append(Trial(number, found, 0.6))


NUMBERS = st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9)


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(max_size=5), NUMBERS | st.text(max_size=5), max_size=4),
    st.none() | st.floats(0, 1),
    st.dictionaries(st.text(max_size=5), st.floats(0, 1), max_size=3),
    st.text(max_size=20),
)
def test_a_trial_survives_being_written(
    parameters: dict[str, Parameter], macro_f1: float | None, metrics: dict[str, float], reason: str
) -> None:
    trial = Trial(3, parameters, macro_f1, metrics, reason)
    assert Trial.from_json(trial.to_json()) == trial
