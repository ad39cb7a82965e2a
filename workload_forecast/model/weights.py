"""Weights of the classes: what it costs to miss one, and whether rare classes count as much as frequent ones."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from workload_forecast.config import ClassWeights
from workload_forecast.model.labels import LABEL
from workload_forecast.schemas import CLASSES

WEIGHT = "weight"

#: One number a class, in their order.
Weights = tuple[float, ...]
EQUAL: Weights = (1.0,) * len(CLASSES)


def class_weights(settings: ClassWeights, training: Mapping[float, int]) -> Weights:
    """The weight of each class.

    Args:
        settings: costs, and whether to balance: then each class that occurs has the same sum of weights before the
            costs, and the mean weight of a row is 1.
        training: rows of each label in the training period.
    """
    costs = [getattr(settings.costs, name) for name in CLASSES]
    if not settings.balance:
        return tuple(costs)
    counts = [training.get(float(index), 0) for index in range(len(CLASSES))]
    share = sum(counts) / max(sum(count > 0 for count in counts), 1)
    return tuple(cost * (share / count if count else 1.0) for cost, count in zip(costs, counts, strict=True))


def weight_column(weights: Weights) -> Column:
    """The weight of a labelled row, as the column :data:`WEIGHT`."""
    values = F.array(*(F.lit(weight) for weight in weights))
    return values[F.col(LABEL).cast("int")].alias(WEIGHT)
