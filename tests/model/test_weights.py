from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from workload_forecast.config import ClassCosts, ClassWeights, Thresholds
from workload_forecast.model.labels import label_column
from workload_forecast.model.weights import EQUAL, class_weights, weight_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COUNTS = {0.0: 60, 1.0: 30, 2.0: 10}


def test_nothing_is_weighted_by_default() -> None:
    assert class_weights(ClassWeights(), COUNTS) == EQUAL == (1.0, 1.0, 1.0)


def test_costs_are_the_weights() -> None:
    assert class_weights(ClassWeights(costs=ClassCosts(high=4)), COUNTS) == (1.0, 1.0, 4.0)


def test_balanced_classes_weigh_the_same_and_a_row_weighs_1_on_average() -> None:
    weights = class_weights(ClassWeights(balance=True), COUNTS)
    sums = [weight * count for weight, count in zip(weights, COUNTS.values(), strict=True)]
    assert sums == pytest.approx([100 / 3] * 3)
    costly = class_weights(ClassWeights(balance=True, costs=ClassCosts(high=2)), COUNTS)
    assert costly == pytest.approx((weights[0], weights[1], 2 * weights[2]))


def test_a_class_without_rows_does_not_count_when_balancing() -> None:
    assert class_weights(ClassWeights(balance=True), {0.0: 30, 2.0: 10}) == pytest.approx((2 / 3, 1.0, 2.0))


@pytest.mark.parametrize("cost", [0, -1, float("inf"), float("nan")])
def test_a_cost_is_a_number_above_zero(cost: float) -> None:
    with pytest.raises(ValidationError):
        ClassCosts(high=cost)


@pytest.mark.spark
def test_each_row_has_the_weight_of_its_class(features: DataFrame) -> None:
    rows = features.filter("total_load is not null").select(label_column(Thresholds(200, 320)))
    found = rows.select("*", weight_column((0.5, 1.0, 3.0))).distinct().collect()
    assert sorted(tuple(row) for row in found) == [(0.0, 0.5), (1.0, 1.0), (2.0, 3.0)]
