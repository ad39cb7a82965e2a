"""Which parameters to try next, given what the finished trials were worth: hyperopt, asked one trial at a time.

What is asked for depends on nothing but the space, the finished trials in order, the strategy and the seed. So a search
that was killed goes on as if it had not been: there is no state to save but the trials themselves, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, Trials, hp, rand, tpe
from hyperopt.base import JOB_STATE_DONE, Domain

from workload_forecast.model.pipeline import Parameter, Parameters
from workload_forecast.model.search_spaces import Choice, Dimension, Integer, SearchSpace

#: Trials that are drawn at random before TPE has seen enough to go by. Hyperopt's own 20 would be a whole search here.
RANDOM_TRIALS = 5

#: How often another draw is made in place of one that was tried before; then it is tried again.
_REDRAWS = 20

#: ``random`` is the control: the same space, the same first trials, nothing learnt.
STRATEGIES: Mapping[str, Callable[..., Any]] = {
    "tpe": partial(tpe.suggest, n_startup_jobs=RANDOM_TRIALS, verbose=False),
    "random": rand.suggest,
}


@dataclass(frozen=True)
class Trial:
    """A finished trial; one that failed has a ``reason`` and no score."""

    number: int  #: from 0
    parameters: Parameters  #: all of the algorithm's
    macro_f1: float | None = None  #: what is maximised: over the rows of all folds together
    metrics: Mapping[str, float] = field(default_factory=dict)  #: what else is known of it
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether there was no model."""
        return self.macro_f1 is None

    def to_json(self) -> str:
        """As text from which :meth:`from_json` makes the same trial again."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Trial:
        """Make a trial from the text that :meth:`to_json` returned."""
        return cls(**json.loads(text))


def ask(space: SearchSpace, finished: Sequence[Trial], *, strategy: str, seed: int) -> dict[str, Parameter]:
    """Return the values to try next of the parameters in a space.

    Args:
        space: not empty.
        finished: the trials so far, in order. Parameters outside the space count as its nearest bound.
        strategy: one of :data:`STRATEGIES`.
        seed: 0 or more.
    """
    domain = Domain(None, {name: _hyperopt(name, dimension) for name, dimension in space.items()})
    history = _history(space, finished)
    tried = [{name: trial.parameters[name] for name in space} for trial in finished]
    values: dict[str, Parameter] = {}
    for draw in range(_REDRAWS):
        entropy = int(np.random.default_rng([seed, len(finished), draw]).integers(2**31 - 1))
        (document,) = STRATEGIES[strategy]([len(finished)], domain, history, entropy)
        drawn = document["misc"]["vals"]
        values = {name: _value(dimension, float(drawn[name][0])) for name, dimension in space.items()}
        if values not in tried:
            break
    return values


def _hyperopt(name: str, dimension: Dimension) -> Any:
    """The prior of a dimension."""
    if isinstance(dimension, Choice):
        return hp.choice(name, list(dimension.values))
    # Drawn numbers are rounded: without half a step of room the ends would be drawn half as often as the others.
    room = 0.5 if isinstance(dimension, Integer) else 0.0
    low, high = dimension.low - room, dimension.high + room
    if dimension.log:
        low, high = float(np.log(low)), float(np.log(high))
    if isinstance(dimension, Integer):
        return (hp.qloguniform if dimension.log else hp.quniform)(name, low, high, 1)
    return (hp.loguniform if dimension.log else hp.uniform)(name, low, high)


def _value(dimension: Dimension, drawn: float) -> Parameter:
    """The parameter's value; hyperopt draws the position of a choice, and whole numbers as floats."""
    if isinstance(dimension, Choice):
        return dimension.values[int(drawn)]
    bounded = min(max(drawn, dimension.low), dimension.high)
    return round(bounded) if isinstance(dimension, Integer) else bounded


def _drawn(dimension: Dimension, value: Parameter) -> float:
    """What hyperopt would have drawn for a value."""
    if isinstance(dimension, Choice):
        return dimension.values.index(value) if value in dimension.values else 0
    return min(max(float(value), dimension.low), dimension.high)


def _history(space: SearchSpace, finished: Sequence[Trial]) -> Trials:
    """The trials as hyperopt's documents."""
    trials = Trials()
    results = [
        {"status": STATUS_FAIL} if trial.macro_f1 is None else {"status": STATUS_OK, "loss": 1 - trial.macro_f1}
        for trial in finished
    ]
    numbers = list(range(len(finished)))
    miscs = [
        {
            "tid": number,
            "cmd": None,
            "workdir": None,
            "idxs": {name: [number] for name in space},
            "vals": {name: [_drawn(dimension, trial.parameters[name])] for name, dimension in space.items()},
        }
        for number, trial in zip(numbers, finished, strict=True)
    ]
    documents = trials.new_trial_docs(numbers, [None] * len(numbers), results, miscs)
    trials.insert_trial_docs([{**document, "state": JOB_STATE_DONE} for document in documents])
    trials.refresh()
    return trials
