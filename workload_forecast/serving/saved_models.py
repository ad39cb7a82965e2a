"""Saved pipelines of this project, read without Spark: every algorithm's stages, known again one by one.

The stages' classes say which algorithm it is; every statement has to be, character by character, one of
:mod:`workload_forecast.formulas`, and every stage has to read what the one before it writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from workload_forecast import formulas
from workload_forecast.errors import ModelError
from workload_forecast.serving.facts import Algorithm, Form
from workload_forecast.serving.saved_regression import read_regression
from workload_forecast.serving.saved_stages import Feature, Stage, advice, read_features, read_stages
from workload_forecast.serving.saved_trees import BOOSTED, FOREST, TREE, Tree, read_trees
from workload_forecast.serving.saved_xgboost import read_xgboost

_SQL, _VECTOR, _NAMES, _REGRESSION = "SQLTransformer", "VectorAssembler", "IndexToString", "LogisticRegressionModel"
_XGBOOST = "SparkXGBClassifierModel"
_CLASSES = ("low", "medium", "high")


@dataclass(frozen=True)
class SavedPipeline:
    """All that decides what a saved pipeline answers."""

    algorithm: Algorithm  #: its title
    features: tuple[Feature, ...]
    classes: tuple[str, ...]  #: in the order of the probabilities
    form: Form
    trees: tuple[Tree, ...]
    spark_version: str
    thresholds: tuple[float, float] | None = None  #: of the classes, where the pipeline knows them

    @property
    def forest(self) -> bool:
        """Of a forest, each tree votes with the shares of its leaf; a single tree's votes are the counts themselves."""
        return self.algorithm == "random forest"


@dataclass(frozen=True)
class _Parts:
    """A pipeline's stages without those that all have: the first two and the last."""

    features: tuple[Feature, ...]
    filled: Stage
    vector: Stage
    own: list[Stage]
    names: Stage

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(label) for label in self.names.parameter("labels"))

    @property
    def inputs(self) -> list[str]:
        return [str(name) for name in self.vector.parameter("inputCols")]

    def history(self) -> list[str]:
        """Features that may be unknown.

        Raises:
            ModelError: the first statement is not what the formulas make of them.
        """
        names = [feature.name for feature in self.features if feature.unknown is not None]
        _same(self.filled, formulas.fill(names))
        return names

    def saved(
        self,
        algorithm: Algorithm,
        form: Form,
        trees: tuple[Tree, ...] = (),
        thresholds: tuple[float, float] | None = None,
    ) -> SavedPipeline:
        version = str(self.names.metadata["sparkVersion"])
        return SavedPipeline(algorithm, self.features, self.classes, form, trees, version, thresholds)


def read_pipeline(folder: Path) -> SavedPipeline:
    """Read a saved ``PipelineModel`` of this project, without Spark.

    Args:
        folder: with ``metadata`` and ``stages`` in it, as ``mlflow.spark`` keeps it below ``sparkml``.

    Raises:
        ModelError: a stage, an algorithm, a statement, a split or a version that is not known, or a damaged file; by
            name.
    """
    stages = read_stages(folder)
    kinds = tuple(stage.kind for stage in stages)
    if kinds not in _KNOWN:
        known = "; or ".join(", ".join(shape) for shape in _KNOWN)
        raise ModelError(f"the pipeline's stages are {', '.join(kinds)}; expected: {known}. {advice()}")
    filled, vector, *own, names = stages
    vector.expect(handleInvalid="error")
    return _KNOWN[kinds](_Parts(read_features(filled, vector), filled, vector, own, names))


def _votes(parts: _Parts) -> SavedPipeline:
    (classifier,) = parts.own
    _check_classifier(classifier, parts.vector, parts.names)
    trees = read_trees(classifier, len(parts.features), len(parts.classes))
    return parts.saved("random forest" if classifier.kind == FOREST else "decision tree", Form("votes"), trees)


def _boosted(parts: _Parts) -> SavedPipeline:
    (classifier,) = parts.own
    _check_classifier(classifier, parts.vector, parts.names)
    parts.history()
    classifier.expect(features_cols=[], iteration_range=None)
    if not math.isnan(classifier.parameter("missing")) or "base_margin_col" in classifier.parameters:
        raise ModelError(f"{classifier.folder}: another missing value, or margins to start from. {advice()}")
    return parts.saved("XGBoost", Form("boosted"), read_xgboost(classifier, len(parts.features), len(parts.classes)))


def _linear(parts: _Parts) -> SavedPipeline:
    statement, vector, classifier = parts.own
    _same(statement, formulas.linear(parts.history()))
    vector.expect(handleInvalid="error", inputCols=formulas.linear_inputs(parts.inputs))
    _check_classifier(classifier, vector, parts.names)
    coefficients, intercepts = read_regression(classifier, len(parts.features), len(parts.classes))
    return parts.saved("logistic regression", Form("linear", (), coefficients, intercepts))


def _mixture(parts: _Parts) -> SavedPipeline:
    reference, margins, *tail = parts.own
    parts.history()
    thresholds = _thresholds((reference, formulas.REFERENCE), (margins, formulas.MIXTURE_MARGINS))
    return parts.saved("same-hour mixture", Form("mixture", _tail(tail, parts)), thresholds=thresholds)


def _correction(parts: _Parts) -> SavedPipeline:
    reference, relative, vector, boosted, margins, *tail = parts.own
    _same(relative, formulas.relative(parts.history()))
    vector.expect(handleInvalid="error", inputCols=formulas.relative_inputs(parts.inputs))
    boosted.expect(featuresCol=vector.parameter("outputCol"), predictionCol="correction")
    thresholds = _thresholds((reference, formulas.REFERENCE), (margins, formulas.CORRECTED_MARGINS))
    trees = read_trees(boosted, len(parts.features), 1)
    return parts.saved("boosted correction", Form("correction", _tail(tail, parts)), trees, thresholds=thresholds)


def _ordered(parts: _Parts) -> SavedPipeline:
    lower, upper, ordered, *decision = parts.own
    parts.history()
    for stage, name in ((lower, "above_low"), (upper, "above_high")):
        stage.expect(featuresCol=parts.vector.parameter("outputCol"), predictionCol=name)
    _same(ordered, formulas.ORDERED)
    weights = _decision(decision, parts)
    both = (read_trees(stage, len(parts.features), 1) for stage in (lower, upper))
    trees = tuple(chain.from_iterable(_in_column(ensemble, column) for column, ensemble in enumerate(both)))
    return parts.saved("boosted trees", Form("ordered", weights), trees)


#: The classes of the stages to what reads them.
_TAIL = (_SQL, _SQL, _SQL, _VECTOR, _NAMES)
_KNOWN: Mapping[tuple[str, ...], Callable[[_Parts], SavedPipeline]] = {
    (_SQL, _VECTOR, FOREST, _NAMES): _votes,
    (_SQL, _VECTOR, TREE, _NAMES): _votes,
    (_SQL, _VECTOR, _XGBOOST, _NAMES): _boosted,
    (_SQL, _VECTOR, _SQL, _VECTOR, _REGRESSION, _NAMES): _linear,
    (_SQL, _VECTOR, _SQL, _SQL, *_TAIL): _mixture,
    (_SQL, _VECTOR, _SQL, _SQL, _VECTOR, BOOSTED, _SQL, *_TAIL): _correction,
    (_SQL, _VECTOR, BOOSTED, BOOSTED, *_TAIL): _ordered,
}


def _tail(stages: list[Stage], parts: _Parts) -> tuple[float, ...]:
    tails, *decision = stages
    _same(tails, formulas.TAILS)
    return _decision(decision, parts)


def _decision(stages: list[Stage], parts: _Parts) -> tuple[float, ...]:
    """From the probabilities of the lowest and the highest class to the class; return the classes' weights."""
    rest, decision, vector = stages
    _same(rest, formulas.REST)
    numbers = _numbers(decision, formulas.DECISION)
    vector.expect(handleInvalid="error", inputCols=list(formulas.PROBABILITIES))
    parts.names.expect(inputCol="class_index", labels=list(_CLASSES))
    return tuple(numbers[f"weight_{name}"] for name in _CLASSES)


def _thresholds(*written: tuple[Stage, str]) -> tuple[float, float]:
    found = [_numbers(stage, formula) for stage, formula in written]
    if any(numbers != found[0] for numbers in found):
        raise ModelError(f"{written[-1][0].folder}: other thresholds than in the stage before. {advice()}")
    return found[0]["low"], found[0]["high"]


def _numbers(stage: Stage, formula: str) -> dict[str, float]:
    text = str(stage.parameter("statement"))
    numbers = formulas.numbers_in(formula, text)
    if numbers is None:
        raise ModelError(f"{stage.folder}: the statement '{text}' is not known. {advice()}")
    return numbers


def _same(stage: Stage, statement: str) -> None:
    found = str(stage.parameter("statement"))
    if found != statement:
        raise ModelError(f"{stage.folder}: the statement '{found}' is not known. {advice()}")


def _check_classifier(classifier: Stage, vector: Stage, names: Stage) -> None:
    classifier.expect(featuresCol=vector.parameter("outputCol"))
    names.expect(inputCol=classifier.parameter("predictionCol"))
    if classifier.parameters.get("thresholds") is not None:
        raise ModelError(f"{classifier.folder}: thresholds for the classes' probabilities are not known. {advice()}")


def _in_column(trees: tuple[Tree, ...], column: int) -> list[Tree]:
    """Trees of one output as trees of two, of which the other one stays 0."""
    return [
        Tree(tree.left, tree.right, tree.feature, tree.threshold, tree.values * np.eye(2)[column]) for tree in trees
    ]
