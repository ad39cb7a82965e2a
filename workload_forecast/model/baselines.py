"""Naive forecasts that a model has to beat: what one would say without any model, at the same horizon."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.model.labels import class_of
from workload_forecast.sources import NAIVE_FORECASTS

MAJORITY = "majority"

BASELINES = (MAJORITY, *NAIVE_FORECASTS)


def majority_class(counts: Mapping[float, int]) -> float:
    """The most frequent label of the training rows; of several, the lowest."""
    return min(counts, key=lambda label: (-counts[label], label))


def baseline_columns(thresholds: Thresholds, majority: float) -> list[Column]:
    """One label column for each of :data:`BASELINES`, named after it.

    Where the history that a baseline needs is unknown it answers with the majority class, so that every
    baseline, and the model, is scored on exactly the same rows.
    """
    default = F.lit(float(majority))
    from_history = [F.coalesce(said, default).alias(name) for name, said in history_classes(thresholds).items()]
    return [default.alias(MAJORITY), *from_history]


def history_classes(thresholds: Thresholds) -> dict[str, Column]:
    """The label that each of :data:`NAIVE_FORECASTS` says by itself: null where its history is unknown."""
    return {name: class_of(F.col(feature), thresholds) for name, feature in NAIVE_FORECASTS.items()}
