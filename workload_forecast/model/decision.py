"""Which class a model names, given a probability for each: the weights by which it expects the greatest macro-F1.

To name the most probable class is best for the accuracy. Where little can be known that is nearly always the middle
class, and macro-F1, which counts a class that is never named as 0, falls below that of a guess. The best rule weighs
the probabilities before it compares them (Koyejo et al., *Consistent binary classification with generalized
performance metrics*, 2014; for several classes Narasimhan et al., *Consistent multiclass algorithms for complex
performance measures*, 2015). Here the weights follow from the model's probabilities for the last days of the training:
they say how often each class is expected to occur, to be named and to be named rightly under any weights, and so the
macro-F1 to expect. No label is looked at, so none is learnt by heart. Where it is as good, the most probable class is
named.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from pyspark.ml import PipelineModel
from pyspark.ml.feature import SQLTransformer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from workload_forecast import formulas
from workload_forecast.config import ClassWeights
from workload_forecast.model.rows import is_known
from workload_forecast.model.split import TimeSplit, newest
from workload_forecast.model.weights import EQUAL, Weights
from workload_forecast.schemas import CLASSES, EXPECTED_LOAD

Doubles = npt.NDArray[np.float64]

#: Last days of the training whose probabilities decide: those over which the mixture counts its errors.
DAYS = 14
#: Expected macro-F1 that other weights must gain: by less, the most probable class is as good.
LEAST_GAIN = 0.003
#: What the weights of the lowest and the highest class may be, that of the middle one being 1: quarters of an octave.
STEPS = tuple(2.0 ** (step / 4) for step in range(-12, 13))
#: Rows whose probabilities of the lowest and the highest class agree to one part in so many are counted together …
CELLS = 50
#: … and their probabilities added as whole numbers of one part in so many: no order of the rows changes the sum.
PARTS = 1 << 30

_LOW, _HIGH = formulas.PROBABILITIES[0], formulas.PROBABILITIES[2]


def decide(
    model: PipelineModel, training: DataFrame, split: TimeSplit, weights: Weights, weighting: ClassWeights | None
) -> tuple[PipelineModel, Weights]:
    """Give a model that names classes by its probabilities the weights that macro-F1 is expected to reward most.

    Args:
        model: fitted by :func:`~workload_forecast.model.pipeline.fit_model`.
        training: the rows that it was fitted to.
        split: of the training, which says what its last :data:`DAYS` are.
        weights: of the classes that the model has: their costs.
        weighting: whether it is wanted; None: no.

    Returns:
        The model and its weights: those given times those found. Unchanged where the model is a classifier of Spark,
        which names the class itself, or where no training row of these days has a history.
    """
    places = [place for place, stage in enumerate(model.stages) if _is_decision(stage)]
    if not places or weighting is None or not weighting.macro_f1:
        return model, weights
    # without any history, a probability says nothing but that nothing is known
    recent = newest(training, split, DAYS).filter(is_known(EXPECTED_LOAD))
    found = macro_f1_weights(*count_probabilities(model.transform(recent)))
    if found == EQUAL:
        return model, weights
    both = tuple(cost * weight for cost, weight in zip(weights, found, strict=True))
    numbers = {f"weight_{name}": weight for name, weight in zip(CLASSES, both, strict=True)}
    stages = list(model.stages)
    stages[places[0]] = SQLTransformer(statement=formulas.written(formulas.DECISION, numbers))
    return PipelineModel(stages), both


def count_probabilities(answers: DataFrame) -> tuple[Doubles, Doubles]:
    """Count the rows that a model answers, those of like probabilities together.

    Args:
        answers: with the columns :data:`~workload_forecast.formulas.PROBABILITIES`.

    Returns:
        Rows of each of the cells that hold any, at most ``CELLS² / 2`` or so, shape (cells,), and their mean
        probability of each class, shape (cells, 3).
    """
    cells = [F.floor(F.col(name) * CELLS).alias(f"cell_{name}") for name in (_LOW, _HIGH)]
    sums = [F.sum(F.round(F.col(name) * PARTS).cast("bigint")).alias(name) for name in (_LOW, _HIGH)]
    counted = answers.groupBy(*cells).agg(F.count(F.lit(1)).alias("rows"), *sums)
    table = np.array(sorted(tuple(row) for row in counted.collect()), dtype=np.float64).reshape(-1, 5)
    rows, low, high = table[:, 2], table[:, 3] / PARTS, table[:, 4] / PARTS
    sums_by_class = np.column_stack([low, np.maximum(rows - low - high, 0.0), high])
    return rows, sums_by_class / rows[:, np.newaxis]


def macro_f1_weights(rows: Doubles, probabilities: Doubles) -> Weights:
    """Return the weights of the classes by which the expected macro-F1 is greatest.

    Args:
        rows: how many rows have the probabilities, shape (n,).
        probabilities: of each class, shape (n, 3).

    Returns:
        One weight a class, of :data:`STEPS` around the middle class's 1; of several that are as good those nearest to
        equal ones, and :data:`EQUAL` where the best gain less than :data:`LEAST_GAIN`.
    """
    candidates = sorted(product(STEPS, STEPS), key=lambda pair: (abs(np.log(pair)).sum(), pair))
    weights = np.array([(low, 1.0, high) for low, high in candidates])
    expected = np.array([_expected_macro_f1(weight, rows, probabilities) for weight in weights])
    best = int(np.argmax(np.round(expected, 9)))
    if not len(rows) or expected[best] - expected[0] < LEAST_GAIN:
        return EQUAL
    return tuple(weights[best].tolist())


def _expected_macro_f1(weight: Doubles, rows: Doubles, probabilities: Doubles) -> float:
    """F1 of each class from its expected counts: twice the hits by what is named and what occurs."""
    named = (probabilities * weight).argmax(axis=1)
    occur = rows[:, np.newaxis] * probabilities
    hits = np.array([occur[named == index, index].sum() for index in range(len(CLASSES))])
    counted = np.bincount(named, weights=rows, minlength=len(CLASSES)) + occur.sum(axis=0)
    return float(np.divide(2 * hits, counted, out=np.zeros_like(hits), where=counted > 0).mean())


def _is_decision(stage: object) -> bool:
    return isinstance(stage, SQLTransformer) and bool(formulas.numbers_in(formulas.DECISION, stage.getStatement()))
