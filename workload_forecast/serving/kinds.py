"""How each kind of model answers, in numpy: the formulas of :mod:`workload_forecast.formulas`, operation by operation.

Rows are features in the model's order, :data:`~workload_forecast.formulas.UNKNOWN` where one is not known. What is said
of a row does not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import treelite
from treelite import gtil

from workload_forecast import formulas
from workload_forecast.schemas import EXPECTED_ERROR, EXPECTED_LOAD
from workload_forecast.serving.facts import Facts
from workload_forecast.serving.saved_trees import Doubles, Integers

#: From so many rows on, it pays to wake other threads.
ROWS_FOR_THREADS = 5_000


@dataclass(frozen=True)
class Scores:
    """What the model says of each row."""

    probabilities: Doubles  #: rows × classes
    labels: Integers  #: position of the chosen class; of several the first

    @property
    def confidence(self) -> Doubles:
        """Probability of each row's chosen class."""
        chosen: Doubles = np.take_along_axis(self.probabilities, self.labels[:, np.newaxis], axis=1)[:, 0]
        return chosen


class Kind(Protocol):
    """A model that answers."""

    def score(self, rows: Doubles) -> Scores:
        """Answer at least one row."""


def make_kind(facts: Facts, trees: treelite.Model | None) -> Kind:
    """Return what answers for a compiled model; ``trees`` is there if the form has any."""
    if facts.form.kind == "linear":
        return Linear(facts)
    if facts.form.kind == "mixture":
        return Mixture(facts)
    if trees is None:
        raise TypeError(f"a model of the form {facts.form.kind} has trees")
    if facts.form.kind == "correction":
        return Correction(facts, trees)
    if facts.form.kind == "ordered":
        return Ordered(facts, trees)
    return Boosted(trees) if facts.form.kind == "boosted" else Votes(trees)


class Votes:
    """Trees that vote for classes: bit for bit Spark's forest or tree."""

    def __init__(self, trees: treelite.Model) -> None:
        self._trees = trees

    def score(self, rows: Doubles) -> Scores:
        """Answer rows."""
        votes = sums(self._trees, rows)
        # Not the greatest probability: dividing can make two different numbers of votes equal.
        return Scores(shares(votes), votes.argmax(axis=1))


class Boosted:
    """XGBoost's trees for classes: 32-bit numbers all the way, as XGBoost has them."""

    def __init__(self, trees: treelite.Model) -> None:
        self._trees = trees

    def score(self, rows: Doubles) -> Scores:
        """Answer rows: the sums, and their shares of all (softmax)."""
        margins = sums(self._trees, rows.astype(np.float32))
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
        return Scores(probabilities.astype(np.float64), probabilities.argmax(axis=1))


class Linear:
    """A multinomial logistic regression."""

    def __init__(self, facts: Facts) -> None:
        names = [feature.name for feature in facts.features]
        self._coefficients, self._intercepts = np.array(facts.form.coefficients), np.array(facts.form.intercepts)
        self._mean = names.index(formulas.WEEKLY_MEAN)
        self._loads = np.array([formulas.is_load(name) for name in names])
        self._known = np.array([feature.unknown is None for feature in facts.features])

    def score(self, rows: Doubles) -> Scores:
        """Answer rows: the formula ``linear``, the products, and their shares of all (softmax)."""
        mean = np.maximum(rows[:, self._mean, np.newaxis], 0.0)
        filled = np.where(~self._known & (rows == formulas.UNKNOWN), np.where(self._loads, mean, 0.0), rows)
        # not a product of matrices, whose last bits depend on how many rows there are
        margins = (filled[:, np.newaxis, :] * self._coefficients).sum(axis=2) + self._intercepts
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        return Scores(shares(odds), margins.argmax(axis=1))


class Mixture:
    """The expected load, and Laplace's distribution around it."""

    def __init__(self, facts: Facts) -> None:
        names = [feature.name for feature in facts.features]
        self._load, self._error = names.index(EXPECTED_LOAD), names.index(EXPECTED_ERROR)
        self._low, self._high, self._weights = facts.low, facts.high, facts.form.weights

    def score(self, rows: Doubles) -> Scores:
        """Answer rows."""
        return self.around(*self.reference(rows))

    def reference(self, rows: Doubles) -> tuple[Doubles, Doubles]:
        """The expected load of each row, and the spread around it: ``formulas.REFERENCE``."""
        expected, unknown = rows[:, self._load], rows[:, self._load] == formulas.UNKNOWN
        spread = np.maximum(rows[:, self._error], 0.0) + formulas.LEAST_SPREAD
        middle, width = (self._low + self._high) / 2.0, self._high - self._low
        return np.where(unknown, middle, expected), np.where(unknown, width, spread)

    def around(self, peak: Doubles, spread: Doubles) -> Scores:
        """The classes where loads lie around a forecast peak: the formulas ``…_MARGINS`` and ``TAILS``."""
        with np.errstate(invalid="ignore"):  # the distance of two infinite loads
            low, high = _tail((self._low - peak) / spread), _tail((peak - self._high) / spread)
        return decide(low, high, self._weights)


class Correction:
    """The expected load, corrected by what the trees add to it, in units of the spread."""

    def __init__(self, facts: Facts, trees: treelite.Model) -> None:
        names = [feature.name for feature in facts.features]
        self._mixture, self._trees = Mixture(facts), trees
        self._loads = [i for i, name in enumerate(names) if formulas.is_load(name)]
        self._scales = [i for i, name in enumerate(names) if formulas.is_scale(name)]

    def score(self, rows: Doubles) -> Scores:
        """Answer rows."""
        reference, spread = self._mixture.reference(rows)
        correction = sums(self._trees, self._relative(rows, reference, spread))[:, 0]
        return self._mixture.around(reference + spread * correction, spread)

    def _relative(self, rows: Doubles, reference: Doubles, spread: Doubles) -> Doubles:
        """The formula ``relative``."""
        result, by = rows.copy(), spread[:, np.newaxis]
        result[:, self._loads] = (rows[:, self._loads] - reference[:, np.newaxis]) / by
        result[:, self._scales] = rows[:, self._scales] / by
        changed = self._loads + self._scales
        result[:, changed] = np.where(rows[:, changed] == formulas.UNKNOWN, 0.0, result[:, changed])
        return np.asarray(result)


class Ordered:
    """The share of rows above each of the two thresholds, each by trees of its own."""

    def __init__(self, facts: Facts, trees: treelite.Model) -> None:
        self._trees, self._weights = trees, facts.form.weights

    def score(self, rows: Doubles) -> Scores:
        """Answer rows: ``formulas.ORDERED``."""
        lower, upper = sums(self._trees, rows).T
        low = 1.0 - np.minimum(np.maximum(lower, 0.0), 1.0)
        high = np.minimum(np.maximum(np.minimum(upper, lower), 0.0), 1.0)
        return decide(low, high, self._weights)


def decide(low: Doubles, high: Doubles, weights: Sequence[float]) -> Scores:
    """From the probabilities of the lowest and the highest class to the class: ``formulas.REST`` and ``DECISION``."""
    medium = np.maximum(1.0 - low - high, 0.0)
    a, b, c = (weight * p for weight, p in zip(weights, (low, medium, high), strict=True))
    labels = np.where(a >= np.maximum(b, c) - formulas.SAME, 0, np.where(b >= c - formulas.SAME, 1, 2))
    return Scores(np.stack([low, medium, high], axis=1), labels.astype(np.int64))


def _tail(margin: Doubles) -> Doubles:
    """Laplace's distribution function, ``formulas.TAILS``."""
    margin = np.where(np.isnan(margin), 0.0, margin)
    half = 0.5 * np.exp(-np.abs(margin))
    chances: Doubles = np.where(margin < 0.0, half, 1.0 - half)
    return chances


def sums(trees: treelite.Model, rows: npt.NDArray[Any]) -> Doubles:
    """What the trees give each row, added up: rows × outputs."""
    threads = 1 if len(rows) < ROWS_FOR_THREADS else -1
    found = gtil.predict(trees, np.ascontiguousarray(rows), nthread=threads, pred_margin=True)
    outputs: Doubles = found.reshape(len(rows), -1)
    return outputs


def shares(counts: Doubles) -> Doubles:
    """Divide each row by its sum, taken from left to right as Spark takes it; a row of zeros stays one."""
    totals = reduce(add, counts.T, np.zeros(len(counts)))
    return np.divide(counts, totals[:, np.newaxis], out=np.zeros_like(counts), where=totals[:, np.newaxis] != 0)
