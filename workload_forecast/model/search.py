"""The search for an algorithm's parameters: trial after trial, until the budget is spent or nothing gets better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from workload_forecast import config
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.pipeline import Parameters
from workload_forecast.model.search_spaces import SearchSpace
from workload_forecast.model.trials import STRATEGIES, Trial, ask

#: Characters that are kept of why a trial failed: it travels with the trial, whose record has to stay small.
REASON_LENGTH = 1000


@dataclass(frozen=True)
class SearchPlan:
    """How long and how to search.

    Raises:
        SettingsError: a number is out of range, or the strategy is unknown.
    """

    max_evals: int = config.DEFAULT_MAX_EVALS
    strategy: str = config.STRATEGIES[0]
    seed: int = config.DEFAULT_SEED
    patience: int = config.DEFAULT_PATIENCE  #: trials without a gain after which the search stops; 0: it never does
    minimum_gain: float = config.DEFAULT_MINIMUM_GAIN  #: macro-F1 above the best one that counts as a gain

    def __post_init__(self) -> None:
        if self.max_evals < 1 or self.seed < 0 or self.patience < 0 or not 0 <= self.minimum_gain < 1:
            raise SettingsError(
                f"{self}: max_evals must be 1 or more, seed and patience 0 or more, minimum_gain from 0 to below 1."
            )
        if self.strategy not in STRATEGIES:
            raise SettingsError(f"strategy '{self.strategy}' is not one of {', '.join(STRATEGIES)}.")


@dataclass(frozen=True)
class Outcome:
    """What parameters are worth: the macro-F1 that is maximised, and what else is worth logging."""

    macro_f1: float
    metrics: dict[str, float] = field(default_factory=dict)


Objective = Callable[[Parameters], Outcome]


def search(
    space: SearchSpace, start: Parameters, plan: SearchPlan, perform: Callable[[int, Parameters], Trial]
) -> tuple[Trial, ...]:
    """Perform trials and return them in order.

    Args:
        space: what is varied.
        start: all parameters of the first trial, which is the one to beat; later ones differ in what is varied.
        plan: budget, strategy, seed, early stopping.
        perform: does the trial with a number and parameters. A search that was killed is resumed by answering what was
            finished from the record: the same trials are asked for again.

    Raises:
        ModelError: every trial failed.
    """
    trials: list[Trial] = []
    while len(trials) < plan.max_evals and not is_stalled(trials, plan):
        found = ask(space, trials, strategy=plan.strategy, seed=plan.seed) if trials else {}
        trials.append(perform(len(trials), {**start, **found}))
    if all(trial.failed for trial in trials):
        raise ModelError(
            f"none of {len(trials)} trials gave a model; the first one failed because: {trials[0].reason} "
            "See the nested runs for the others."
        )
    return tuple(trials)


def attempt(objective: Objective, number: int, parameters: Parameters) -> Trial:
    """Perform a trial; a :class:`ModelError` makes it a failed one, because other parameters may do better."""
    try:
        outcome = objective(parameters)
    except ModelError as problem:
        return Trial(number, parameters, reason=str(problem)[:REASON_LENGTH])
    return Trial(number, parameters, outcome.macro_f1, outcome.metrics)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the greatest macro-F1; of several, the first. At least one must not have failed."""
    return max(trials, key=_score)


def is_stalled(trials: Sequence[Trial], plan: SearchPlan) -> bool:
    """Whether the last ``patience`` trials brought no gain.

    A gain is measured from the last gain, so that many small steps add up to one.
    """
    mark, since = -math.inf, 0
    for trial in trials:
        since += 1
        if _score(trial) >= mark + plan.minimum_gain and _score(trial) > mark:
            mark, since = _score(trial), 0
    return 0 < plan.patience <= since


def trial_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial.

    Columns: ``trial``, ``state`` (``done``, ``failed``), ``macro_f1``, ``best_so_far`` (NaN as long as all failed), the
    parameters by name, the other metrics by name, ``reason``.
    """
    records = [
        {
            "trial": trial.number,
            "state": "failed" if trial.failed else "done",
            "macro_f1": math.nan if trial.macro_f1 is None else trial.macro_f1,
            **trial.parameters,
            **trial.metrics,
            "reason": trial.reason,
        }
        for trial in trials
    ]
    table = pd.DataFrame(records)
    table.insert(3, "best_so_far", table["macro_f1"].cummax().ffill())
    return table


def _score(trial: Trial) -> float:
    return -math.inf if trial.macro_f1 is None else trial.macro_f1
