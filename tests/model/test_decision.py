from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from workload_forecast.config import ClassWeights, Thresholds
from workload_forecast.model.decision import CELLS, LEAST_GAIN, STEPS, count_probabilities, decide, macro_f1_weights
from workload_forecast.model.labels import label_column
from workload_forecast.model.pipeline import fit_model
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.weights import EQUAL

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

WANTED = ClassWeights()


def guesses(seed: int, sharpness: float, rows: int = 4000) -> np.ndarray:
    """Probabilities of a forecaster that knows little (0) or much, and less of the outer classes than of the middle."""
    scores = np.random.default_rng(seed).normal(0, sharpness, (rows, 3)) + np.array([0, 0.6, 0])
    shares = np.exp(scores)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def expected_in_plain_words(probabilities: list[list[float]], weights: tuple[float, ...]) -> float:
    hits, named, occur = [0.0] * 3, [0] * 3, [0.0] * 3
    for row in probabilities:
        weighed = [p * w for p, w in zip(row, weights, strict=True)]
        said = weighed.index(max(weighed))
        named[said] += 1
        hits[said] += row[said]
        for index, p in enumerate(row):
            occur[index] += p
    return sum(2 * h / (n + o) if n + o else 0.0 for h, n, o in zip(hits, named, occur, strict=True)) / 3


@given(st.integers(0, 2**32 - 1), st.floats(0, 3), st.integers(1, 12))
def test_no_other_weights_have_a_greater_expected_macro_f1(seed: int, sharpness: float, rows: int) -> None:
    shares = guesses(seed, sharpness, rows)
    found = macro_f1_weights(np.ones(rows), shares)
    reached = expected_in_plain_words(shares.tolist(), found)
    every = [expected_in_plain_words(shares.tolist(), (a, 1.0, b)) for a in STEPS for b in STEPS]
    if found == EQUAL:
        assert max(every) < reached + LEAST_GAIN + 1e-6
    else:
        assert reached == pytest.approx(max(every), abs=1e-6)
        assert reached > expected_in_plain_words(shares.tolist(), EQUAL)


@pytest.mark.parametrize("sharpness", [0.1, 0.3, 0.6])
def test_what_is_expected_happens(sharpness: float) -> None:
    """Labels drawn with the very probabilities: scikit-learn's macro-F1 is above that of the most probable class."""
    shares = guesses(1, sharpness)
    weights = macro_f1_weights(np.ones(len(shares)), shares)
    assert weights != EQUAL
    random = np.random.default_rng(2)
    gains = []
    for _ in range(20):
        labels = (random.random((len(shares), 1)) > shares.cumsum(axis=1)[:, :2]).sum(axis=1)
        named = [(shares * w).argmax(axis=1) for w in (EQUAL, weights)]
        most_probable, weighed = (f1_score(labels, said, average="macro", zero_division=0) for said in named)
        gains.append(weighed - most_probable)
    assert min(gains) > 0


def test_who_is_sure_names_the_most_probable_class() -> None:
    assert macro_f1_weights(np.array([5.0, 3.0, 9.0]), np.eye(3) * 0.94 + 0.02) == EQUAL


def test_nothing_is_weighed_where_there_are_no_rows() -> None:
    assert macro_f1_weights(np.empty(0), np.empty((0, 3))) == EQUAL


def test_rows_may_be_counted_or_repeated() -> None:
    shares = guesses(3, 0.3, 50)
    counts = np.arange(1, 51)
    counted = macro_f1_weights(counts.astype(np.float64), shares)
    assert counted == macro_f1_weights(np.ones(counts.sum()), shares.repeat(counts, axis=0)) != EQUAL


@pytest.mark.spark
def test_counted_cells_hold_all_rows_in_any_order(spark: SparkSession) -> None:
    shares = guesses(4, 1.0, 3000)
    columns = ["probability_low", "probability_medium", "probability_high"]
    frame = spark.createDataFrame([tuple(map(float, row)) for row in shares], columns)

    rows, means = count_probabilities(frame)

    assert rows.sum() == len(shares)
    assert rows @ means == pytest.approx(shares.sum(axis=0), abs=1e-4)
    assert means.sum(axis=1) == pytest.approx(1)
    expected = len({(int(low * CELLS), int(high * CELLS)) for low, _, high in shares.tolist()})
    assert len(rows) == expected < CELLS**2 / 2
    again = count_probabilities(frame.orderBy("probability_high").repartition(3))
    assert all((a == b).all() for a, b in zip((rows, means), again, strict=True))


CUTS = Thresholds(200, 320)


@pytest.mark.spark
class TestDecide:
    """On rows whose expected load says next to nothing: their error is that of the middle class's width."""

    @pytest.fixture
    def rows(self, features: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        vague = features.withColumn("expected_error", F.lit(120.0)).filter("total_load is not null")
        return vague.select("*", label_column(CUTS))

    @pytest.fixture
    def split(self, rows: DataFrame) -> TimeSplit:
        last: datetime = rows.selectExpr("max(hour)").collect()[0][0]
        return TimeSplit(last - timedelta(days=40), last + timedelta(days=2), last + timedelta(days=4))

    @pytest.mark.parametrize("algorithm", ["same_hour_mixture", "boosted_correction"])
    def test_a_vague_model_names_its_rarest_class_more_often(
        self, rows: DataFrame, split: TimeSplit, algorithm: str
    ) -> None:
        parameters = {"num_trees": 2, "max_depth": 2} if algorithm == "boosted_correction" else {}
        fitted = fit_model(rows, algorithm, parameters, CUTS)

        model, weights = decide(fitted, rows, split, EQUAL, WANTED)

        for row in model.transform(rows).select("class_index", "probability").collect():
            assert row["class_index"] == np.argmax(np.round(row["probability"].toArray() * weights, 12))
        assert weights[1] == 1.0
        assert {weights[0], weights[2]} <= set(STEPS)
        costly = decide(fitted, rows, split, (1.0, 1.0, 2.0), WANTED)[1]
        assert costly == (*weights[:2], 2 * weights[2]), "what was found times the costs"
        before, after = (
            Counter(row[0] for row in m.transform(rows).select("prediction").collect()) for m in (fitted, model)
        )
        rarest = min(("low", "medium", "high"), key=lambda name: before[name])
        assert after[rarest] > before[rarest]

    def test_it_is_not_asked_for_or_not_possible(self, rows: DataFrame, split: TimeSplit) -> None:
        mixture = fit_model(rows, "same_hour_mixture", {}, CUTS)
        later = replace(split, test_from=split.test_from + timedelta(days=99), to=split.to + timedelta(days=99))
        assert decide(mixture, rows, split, EQUAL, None) == (mixture, EQUAL)
        assert decide(mixture, rows, split, EQUAL, ClassWeights(macro_f1=False)) == (mixture, EQUAL)
        assert decide(mixture, rows, later, EQUAL, WANTED) == (mixture, EQUAL), "no row in the last days"
        tree = fit_model(rows, "decision_tree", {"max_depth": 2}, CUTS)
        assert decide(tree, rows, split, EQUAL, WANTED) == (tree, EQUAL), "a classifier names the class itself"
