"""What is tuned of each algorithm, and between which bounds: plain data, from which every search strategy draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workload_forecast.errors import SettingsError
from workload_forecast.model.pipeline import Parameter, resolve_parameters


@dataclass(frozen=True)
class Integer:
    """A whole number from ``low`` to ``high``, both included; ``log``: equally likely in each order of magnitude."""

    low: int
    high: int
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Real:
    """A number from ``low`` to ``high``; ``log`` as for :class:`Integer`."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of a few values without an order."""

    values: tuple[Parameter, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values


Dimension = Integer | Real | Choice
SearchSpace = Mapping[str, Dimension]

_TREE: SearchSpace = {
    "max_depth": Integer(3, 14),
    "max_bins": Choice((16, 32, 64, 128)),
    "min_rows_per_leaf": Integer(1, 200, log=True),
}

_BOOSTING: SearchSpace = {
    "num_trees": Integer(20, 120, log=True),
    "max_depth": Integer(2, 8),
    "max_bins": Choice((16, 32, 64, 128)),
    "min_rows_per_leaf": Integer(1, 200, log=True),
    "step_size": Real(0.02, 0.3, log=True),
    "rows_per_tree": Real(0.5, 1.0),
}

#: Of every algorithm, the parameters that are tuned; the others, and the seed always, stay what they are. An empty
#: space says that there is nothing to tune.
SEARCH_SPACES: Mapping[str, SearchSpace] = {
    "random_forest": {
        # More trees are never worse, but each costs time here and in the service.
        "num_trees": Integer(20, 200, log=True),
        **_TREE,
        "feature_subset": Choice(("sqrt", "log2", "onethird")),
    },
    "decision_tree": _TREE,
    "same_hour_mixture": {},
    "boosted_correction": _BOOSTING,
    "boosted_trees": _BOOSTING,
    "logistic_regression": {"regularization": Real(1e-5, 1.0, log=True), "elastic_net": Real(0.0, 1.0)},
    "xgboost": {
        "num_trees": Integer(20, 300, log=True),
        "max_depth": Integer(2, 10),
        "min_rows_per_leaf": Real(1.0, 100.0, log=True),
        "step_size": Real(0.02, 0.3, log=True),
        "rows_per_tree": Real(0.5, 1.0),
    },
}


def search_space(algorithm: str) -> SearchSpace:
    """Return what is tuned of an algorithm.

    Raises:
        ModelError: the algorithm is unknown.
        SettingsError: it has nothing to tune.
    """
    resolve_parameters(algorithm)
    space = SEARCH_SPACES[algorithm]
    if not space:
        tunable = ", ".join(name for name, found in SEARCH_SPACES.items() if found)
        raise SettingsError(
            f"algorithm '{algorithm}' has nothing to tune: train it as it is (entry point train), "
            f"or tune one of {tunable}."
        )
    return space
