from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.serving.other_pipelines import Stage, correction, linear, mixture, ordered, save, xgboost
from tests.serving.saved_pipelines import Leaf, Node, Split
from workload_forecast.errors import ModelError
from workload_forecast.schemas import CLASSES, FEATURE_NAMES
from workload_forecast.serving.facts import Form
from workload_forecast.serving.saved_models import read_pipeline

LEAF = Leaf((1.0,))
TREE = Split(3, 0.5, Leaf((-1.0,)), Leaf((1.0,)))


def test_what_a_mixture_says_of_itself(tmp_path: Path) -> None:
    found = read_pipeline(save(mixture(1e-7, 1e22, (1.0, 1 / 3, 2.5)), tmp_path))
    assert tuple(feature.name for feature in found.features) == FEATURE_NAMES
    assert (found.algorithm, found.classes, found.trees) == ("same-hour mixture", CLASSES, ())
    assert (found.form, found.thresholds) == (Form("mixture", (1.0, 1 / 3, 2.5)), (1e-7, 1e22))


def test_trees_are_weighted_and_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    one = read_pipeline(save(correction(1, 2, [TREE, TREE]), tmp_path / "one"))
    assert [tree.values[1:].tolist() for tree in one.trees] == [[[-1.0], [1.0]], [[-0.1], [0.1]]]
    two = read_pipeline(save(ordered([TREE], [TREE, TREE]), tmp_path / "two"))
    assert [tree.values[2].tolist() for tree in two.trees] == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.1]]


def statement(stages: list[Stage], number: int, old: str, new: str) -> None:
    text = stages[number].parameters["statement"]
    assert old in text
    stages[number].parameters["statement"] = text.replace(old, new, 1)


def numbers(stages: list[Stage], **values: Any) -> None:
    (row,) = stages[4].tables["data"].to_pylist()
    stages[4] = Stage(stages[4].kind, stages[4].parameters, {}, {"data": pa.Table.from_pylist([row | values])})


def learner(stages: list[Stage], trees: Sequence[Node] = (LEAF,) * 3, **changed: Any) -> None:
    stages[:] = xgboost([[tree] for tree in trees], [0.0, 0.5, 0.0], **changed)


MAKE: dict[str, Callable[[], list[Stage]]] = {
    "mixture": lambda: mixture(100, 300),
    "correction": lambda: correction(100, 300, [TREE]),
    "ordered": lambda: ordered([TREE], [TREE]),
    "linear": lambda: linear([{}, {}, {"year": 1.0}], [1.0, 0.0, 0.0], sparse=False),
}
MAKE["xgboost"] = lambda: xgboost([[LEAF], [LEAF], [LEAF]], [0.0, 0.5, 0.0])
SHORT = {"type": 1, "size": None, "indices": None, "values": [1.0, 2.0]}
ENDLESS = SHORT | {"values": [1.0, 2.0, float("inf")]}

REFUSED: list[tuple[str, Callable[[list[Stage]], Any], str]] = [
    ("mixture", lambda s: s.pop(4), "the pipeline's stages are .*; expected: SQLTransformer, VectorAssembler, Random"),
    ("mixture", lambda s: statement(s, 0, "-1.0D)", "-2.0D)"), "the statement holds 'coalesce"),
    ("mixture", lambda s: statement(s, 0, "known_total", "knwon_total"), "the statement .* is not known"),
    ("mixture", lambda s: statement(s, 2, "1e-09D", "1e-08D"), "the statement .* is not known"),
    ("mixture", lambda s: statement(s, 2, "100.0D", "101.0D"), "the statement .* is not known"),
    ("mixture", lambda s: statement(s, 3, "100.0D", "101.0D"), "other thresholds than in the stage before"),
    ("mixture", lambda s: statement(s, 3, "/ spread", "/ (spread)"), "the statement .* is not known"),
    ("mixture", lambda s: statement(s, 4, "0.5D", "0.6D"), "the statement .* is not known"),
    ("mixture", lambda s: statement(s, 6, ">= ", "> "), "the statement .* is not known"),
    ("mixture", lambda s: s[7].parameters.update(inputCols=["probability_high"]), "inputCols is .*, expected"),
    ("mixture", lambda s: s[8].parameters.update(labels=["high", "medium", "low"]), "labels is .*, expected"),
    ("correction", lambda s: statement(s, 3, "THEN 0.0D", "THEN 1.0D"), "the statement .* is not known"),
    ("correction", lambda s: s[4].parameters["inputCols"].reverse(), "inputCols is .*, expected"),
    ("correction", lambda s: s[5].parameters.update(featuresCol="features"), "featuresCol is 'features', expected"),
    ("correction", lambda s: statement(s, 6, "reference + spread", "reference - spread"), "is not known"),
    ("ordered", lambda s: s[3].parameters.update(predictionCol="above_low"), "predictionCol is 'above_low', expected"),
    ("ordered", lambda s: statement(s, 4, "least(above_high, above_low)", "above_high"), "is not known"),
    ("linear", lambda s: statement(s, 2, "THEN 0.0D", "THEN 1.0D"), "the statement .* is not known"),
    ("linear", lambda s: s[3].parameters["inputCols"].reverse(), "inputCols is .*, expected"),
    ("linear", lambda s: s[4].parameters.update(thresholds=[1, 2, 3]), "thresholds for the classes"),
    ("linear", lambda s: numbers(s, isMultinomial=False), f"not a regression of {len(FEATURE_NAMES)} features and 3"),
    ("linear", lambda s: numbers(s, interceptVector=SHORT), "the coefficients are damaged"),
    ("linear", lambda s: numbers(s, interceptVector=ENDLESS), "the coefficients are damaged"),
    ("xgboost", lambda s: s[2].parameters.update(missing=-1.0), "another missing value"),
    ("xgboost", lambda s: s[2].parameters.update(base_margin_col="margin"), "or margins to start from"),
    ("xgboost", lambda s: s[2].parameters.update(iteration_range=[0, 1]), "iteration_range is .*, expected None"),
    ("xgboost", lambda s: learner(s, objective={"name": "multi:softmax"}), "holds .*multi:softmax.*, expected"),
    ("xgboost", lambda s: learner(s, gradient_booster={"name": "dart", "model": {}}), "holds .*dart.*, expected"),
    ("xgboost", lambda s: learner(s, trees=[Split(99, 0.5, LEAF, LEAF)] * 3), "a tree's nodes do not make a tree"),
    ("linear", lambda s: numbers(s, coefficientMatrix=SHORT), "does not hold the numbers that Spark ML writes"),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "change", "message"), REFUSED)
def test_what_is_not_exactly_ours_is_refused_in_one_line(
    algorithm: str, change: Callable[[list[Stage]], Any], message: str, tmp_path: Path
) -> None:
    read_pipeline(save(MAKE[algorithm](), tmp_path / "whole"))
    stages = MAKE[algorithm]()
    change(stages)
    with pytest.raises(ModelError, match=message) as refused:
        read_pipeline(save(stages, tmp_path / "changed"))
    assert "\n" not in str(refused.value)
