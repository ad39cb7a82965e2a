from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from workload_forecast.model.metrics import METRICS, accuracy, confusion_scores

OUTCOMES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


def matrix_of(outcomes: list[tuple[int, int]]) -> np.ndarray:
    matrix = np.zeros((3, 3), dtype=np.int64)
    for true, predicted in outcomes:
        matrix[true, predicted] += 1
    return matrix


@given(OUTCOMES)
@settings(max_examples=150, deadline=None)
def test_scores_agree_with_scikit_learn(outcomes: list[tuple[int, int]]) -> None:
    true, predicted = zip(*outcomes, strict=True)
    scores = confusion_scores(matrix_of(outcomes))
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        true, predicted, average="weighted", zero_division=0
    )
    expected = {
        "accuracy": oracle.accuracy_score(true, predicted),
        "weighted_precision": precision,
        "weighted_recall": recall,
        "f1": f1,
        "macro_f1": oracle.f1_score(true, predicted, average="macro", zero_division=0),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    recalls = oracle.recall_score(true, predicted, labels=[0, 1, 2], average=None, zero_division=np.nan)
    assert [scores[f"recall_{name}"] for name in ("low", "medium", "high")] == pytest.approx(list(recalls), nan_ok=True)
    of_high = [p for t, p in outcomes if t == 2]
    called_low = of_high.count(0) / len(of_high) if of_high else math.nan
    assert scores["high_called_low"] == pytest.approx(called_low, nan_ok=True)
    assert tuple(scores) == METRICS


def test_a_class_that_does_not_occur_has_no_recall_and_no_weight() -> None:
    scores = confusion_scores(matrix_of([(0, 0), (0, 0), (1, 1), (1, 0)]))
    assert math.isnan(scores["recall_high"])
    assert math.isnan(scores["high_called_low"])
    assert scores["macro_f1"] == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)


def test_accuracy_of_a_stack_and_of_no_rows() -> None:
    stack = np.stack([np.diag([1, 2, 3]), np.ones((3, 3), dtype=np.int64), np.zeros((3, 3), dtype=np.int64)])
    assert list(accuracy(stack)) == pytest.approx([1.0, 1 / 3, math.nan], nan_ok=True)
