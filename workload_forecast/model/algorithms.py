"""The one place that knows the algorithms: adding one is adding an entry.

An algorithm is the stages between the vector of the features and the name of the class. They must take
:data:`~workload_forecast.formulas.UNKNOWN` for unknown history, give a probability for each class, and save as plain
Spark ML; ``serving/saved_models.py`` has to know them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.ml import Estimator, Transformer
from pyspark.ml.classification import DecisionTreeClassifier, LogisticRegression, RandomForestClassifier
from pyspark.ml.feature import SQLTransformer, VectorAssembler
from pyspark.ml.regression import GBTRegressor
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from workload_forecast import formulas
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.model.labels import HIGH, LABEL, LOW
from workload_forecast.model.parameters import Parameters
from workload_forecast.model.weights import EQUAL, WEIGHT, Weights
from workload_forecast.model.xgboosting import make_classifier
from workload_forecast.schemas import CLASSES, EXPECTED_LOAD, FEATURE_NAMES, KNOWN_FEATURES, PRIMARY_MEASURE

#: What the pipeline adds to a row: the class's name, its position in :data:`CLASSES`, one probability a class.
PREDICTION, CLASS_INDEX, PROBABILITY = "prediction", "class_index", "probability"

#: The vector of the features, unknown ones as :data:`~workload_forecast.formulas.UNKNOWN`.
FEATURE_VECTOR = "features"

#: Features of the servers' history may be unknown; the others never are, so a null there is an error.
HISTORY_FEATURES = tuple(name for name in FEATURE_NAMES if name not in KNOWN_FEATURES)

#: The columns of :data:`FEATURE_VECTOR`.
INPUTS = [name if name in KNOWN_FEATURES else formulas.known(name) for name in FEATURE_NAMES]

#: How far off, in units of the spread, an error counts that a correction is learnt from.
GREATEST_ERROR = 5.0

Stage = Estimator[Any] | Transformer


@dataclass(frozen=True)
class Recipe:
    """What an unfitted model is made from."""

    parameters: Parameters  #: resolved
    thresholds: Thresholds
    weights: Weights = EQUAL


@dataclass(frozen=True)
class Algorithm:
    """A model that can take the place in the pipeline."""

    title: str
    defaults: Parameters
    stages: Callable[[Recipe], list[Stage]]
    #: Adds the columns that it is fitted to, besides the label; may leave rows out. They hold the load as well.
    targets: Callable[[DataFrame, Recipe], DataFrame] = lambda rows, _: rows


def _random_forest(recipe: Recipe) -> list[Stage]:
    p = recipe.parameters
    forest = RandomForestClassifier(
        numTrees=int(p["num_trees"]),
        maxDepth=int(p["max_depth"]),
        seed=int(p["seed"]),
        maxBins=int(p["max_bins"]),
        minInstancesPerNode=int(p["min_rows_per_leaf"]),
        featureSubsetStrategy=str(p["feature_subset"]),
        # Level by level the rows' nodes are kept instead of being found again from the root of every tree.
        cacheNodeIds=True,
    )
    return [_classifier(forest, recipe)]


def _decision_tree(recipe: Recipe) -> list[Stage]:
    p = recipe.parameters
    tree = DecisionTreeClassifier(
        maxDepth=int(p["max_depth"]),
        seed=int(p["seed"]),
        maxBins=int(p["max_bins"]),
        minInstancesPerNode=int(p["min_rows_per_leaf"]),
    )
    return [_classifier(tree, recipe)]


def _xgboost(recipe: Recipe) -> list[Stage]:
    classifier = make_classifier(recipe.parameters)
    columns = {"features_col": FEATURE_VECTOR, "label_col": LABEL}
    columns |= {"prediction_col": CLASS_INDEX, "probability_col": PROBABILITY}
    classifier.setParams(**columns, **({} if recipe.weights == EQUAL else {"weight_col": WEIGHT}))
    return [classifier]


def _logistic_regression(recipe: Recipe) -> list[Stage]:
    p = recipe.parameters
    regression = LogisticRegression(
        family="multinomial",
        regParam=float(p["regularization"]),
        elasticNetParam=float(p["elastic_net"]),
        maxIter=int(p["max_iterations"]),
    )
    return [
        SQLTransformer(statement=formulas.linear(HISTORY_FEATURES)),
        VectorAssembler(inputCols=formulas.linear_inputs(INPUTS), outputCol="linear_features"),
        _classifier(regression, recipe, "linear_features"),
    ]


def _same_hour_mixture(recipe: Recipe) -> list[Stage]:
    return [_sql(formulas.REFERENCE, recipe), _sql(formulas.MIXTURE_MARGINS, recipe), *_tail(recipe)]


def _boosted_correction(recipe: Recipe) -> list[Stage]:
    return [
        _sql(formulas.REFERENCE, recipe),
        SQLTransformer(statement=formulas.relative(HISTORY_FEATURES)),
        VectorAssembler(inputCols=formulas.relative_inputs(INPUTS), outputCol="relative_features"),
        _boosting(recipe, "relative_features", "correction", "absolute"),
        _sql(formulas.CORRECTED_MARGINS, recipe),
        *_tail(recipe),
    ]


def _boosted_trees(recipe: Recipe) -> list[Stage]:
    return [
        _boosting(recipe, FEATURE_VECTOR, "above_low", "squared"),
        _boosting(recipe, FEATURE_VECTOR, "above_high", "squared"),
        SQLTransformer(statement=formulas.ORDERED),
        *_decision(recipe),
    ]


def _classifier(classifier: Any, recipe: Recipe, vector: str = FEATURE_VECTOR) -> Stage:
    classifier.setFeaturesCol(vector).setLabelCol(LABEL).setPredictionCol(CLASS_INDEX).setProbabilityCol(PROBABILITY)
    if recipe.weights != EQUAL:
        classifier.setWeightCol(WEIGHT)
    stage: Stage = classifier
    return stage


def _boosting(recipe: Recipe, vector: str, name: str, loss: str) -> Stage:
    """Trees that follow the target ``<name>_target`` and write ``name``."""
    p = recipe.parameters
    return GBTRegressor(
        featuresCol=vector,
        labelCol=f"{name}_target",
        predictionCol=name,
        lossType=loss,
        maxIter=int(p["num_trees"]),
        maxDepth=int(p["max_depth"]),
        seed=int(p["seed"]),
        maxBins=int(p["max_bins"]),
        minInstancesPerNode=int(p["min_rows_per_leaf"]),
        stepSize=float(p["step_size"]),
        subsamplingRate=float(p["rows_per_tree"]),
        cacheNodeIds=True,
    )


def _correction_target(rows: DataFrame, recipe: Recipe) -> DataFrame:
    """With the error of the expected load in units of the spread; rows without an expected load are left out."""
    stages = (SQLTransformer(statement=formulas.fill(HISTORY_FEATURES)), _sql(formulas.REFERENCE, recipe))
    measured = reduce(lambda frame, stage: stage.transform(frame), stages, rows)
    error = (F.col(PRIMARY_MEASURE) - F.col("reference")) / F.col("spread")
    cut = F.greatest(F.least(error, F.lit(GREATEST_ERROR)), F.lit(-GREATEST_ERROR))
    known = measured.filter(F.col(formulas.known(EXPECTED_LOAD)) != formulas.UNKNOWN)
    return known.select(*rows.columns, cut.alias("correction_target"))


def _every_class(rows: DataFrame, _: Recipe) -> DataFrame:
    """The rows as they are, if there are some of every class: XGBoost counts the classes that it finds."""
    found = {CLASSES[int(row[LABEL])] for row in rows.select(LABEL).distinct().collect()}
    missing = [name for name in CLASSES if name not in found]
    if missing:
        raise ModelError(
            f"algorithm 'xgboost' needs training rows of every class, and finds none of {', '.join(missing)}: "
            "choose another algorithm, or thresholds between the loads that occur."
        )
    return rows


def _order_targets(rows: DataFrame, _: Recipe) -> DataFrame:
    """With one indicator for each border between two classes."""
    above = {"above_low_target": F.col(LABEL) > LOW, "above_high_target": F.col(LABEL) == HIGH}
    return rows.select("*", *(column.cast("double").alias(name) for name, column in above.items()))


def _tail(recipe: Recipe) -> list[Stage]:
    return [SQLTransformer(statement=formulas.TAILS), *_decision(recipe)]


def _decision(recipe: Recipe) -> list[Stage]:
    """From the probabilities of the lowest and the highest class to the class."""
    return [
        SQLTransformer(statement=formulas.REST),
        _sql(formulas.DECISION, recipe),
        VectorAssembler(inputCols=list(formulas.PROBABILITIES), outputCol=PROBABILITY),
    ]


def _sql(formula: str, recipe: Recipe) -> SQLTransformer:
    numbers = {"low": recipe.thresholds.low, "high": recipe.thresholds.high}
    numbers |= {f"weight_{name}": weight for name, weight in zip(CLASSES, recipe.weights, strict=True)}
    return SQLTransformer(statement=formulas.written(formula, numbers))


_BOOSTING: Parameters = {
    "num_trees": 60,
    "max_depth": 4,
    "seed": 42,
    "max_bins": 32,
    "min_rows_per_leaf": 20,
    "step_size": 0.1,
    "rows_per_tree": 0.7,
}

#: By the name that the command line takes (``config.ALGORITHMS``).
ALGORITHMS: Mapping[str, Algorithm] = {
    "random_forest": Algorithm(
        title="random forest",
        # Trees, depth and seed: requirements, *feature engineering*. 32 bins and sqrt are Spark's own defaults.
        defaults={
            "num_trees": 100,
            "max_depth": 8,
            "seed": 42,
            "max_bins": 32,
            "min_rows_per_leaf": 1,
            "feature_subset": "sqrt",
        },
        stages=_random_forest,
    ),
    "decision_tree": Algorithm(
        title="decision tree",
        defaults={"max_depth": 8, "seed": 42, "max_bins": 32, "min_rows_per_leaf": 20},
        stages=_decision_tree,
    ),
    "same_hour_mixture": Algorithm(title="same-hour mixture", defaults={}, stages=_same_hour_mixture),
    "boosted_correction": Algorithm(
        title="boosted correction", defaults=_BOOSTING, stages=_boosted_correction, targets=_correction_target
    ),
    "boosted_trees": Algorithm(
        title="boosted trees", defaults=_BOOSTING, stages=_boosted_trees, targets=_order_targets
    ),
    "logistic_regression": Algorithm(
        title="logistic regression",
        defaults={"regularization": 0.001, "elastic_net": 0.0, "max_iterations": 100},
        stages=_logistic_regression,
    ),
    "xgboost": Algorithm(
        title="XGBoost",
        # One worker: several of them share the rows, and the trees depend on who has which.
        defaults={
            "num_trees": 100,
            "max_depth": 6,
            "seed": 42,
            "min_rows_per_leaf": 1.0,
            "step_size": 0.1,
            "rows_per_tree": 0.7,
            "workers": 1,
            "device": "cpu",
        },
        stages=_xgboost,
        targets=_every_class,
    ),
}
