"""The unfitted model: one factory for training, tuning and every algorithm.

Unknown features stay in the table as nulls and are replaced by :data:`UNKNOWN` inside the pipeline, so that training,
batch and service treat them alike. Loads, megabytes and counts are never negative: a tree can split the unknown ones
off with a single cut. (A linear model could not, which is why none is offered.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.ml import Estimator, Pipeline
from pyspark.ml.classification import DecisionTreeClassifier, RandomForestClassifier
from pyspark.ml.feature import IndexToString, SQLTransformer, VectorAssembler

from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.labels import LABEL
from workload_forecast.schemas import CALENDAR_FEATURES, CLASSES, FEATURE_NAMES

UNKNOWN = -1.0

#: What the pipeline adds to a row: the class's name, its position in :data:`CLASSES`, one probability a class.
PREDICTION, CLASS_INDEX, PROBABILITY = "prediction", "class_index", "probability"

FEATURE_VECTOR = "features"

#: Features of the servers' history may be unknown; the calendar of an hour never is, so a null there is an error.
HISTORY_FEATURES = tuple(name for name in FEATURE_NAMES if name not in CALENDAR_FEATURES)

Parameter = int | float | str
Parameters = Mapping[str, Parameter]


@dataclass(frozen=True)
class Algorithm:
    """A classifier that can take the place in the pipeline: its parameters with defaults, and how to make it."""

    title: str
    defaults: Parameters
    make: Callable[[Parameters], Estimator[Any]]


def _random_forest(p: Parameters) -> Estimator[Any]:
    return RandomForestClassifier(
        numTrees=int(p["num_trees"]),
        maxDepth=int(p["max_depth"]),
        seed=int(p["seed"]),
        maxBins=int(p["max_bins"]),
        minInstancesPerNode=int(p["min_rows_per_leaf"]),
        featureSubsetStrategy=str(p["feature_subset"]),
        # Level by level the rows' nodes are kept instead of being found again from the root of every tree.
        cacheNodeIds=True,
    )


def _decision_tree(p: Parameters) -> Estimator[Any]:
    return DecisionTreeClassifier(
        maxDepth=int(p["max_depth"]),
        seed=int(p["seed"]),
        maxBins=int(p["max_bins"]),
        minInstancesPerNode=int(p["min_rows_per_leaf"]),
    )


#: The one place that knows the algorithms: adding one is adding an entry. It must accept :data:`UNKNOWN`,
#: produce a probability for each class, and save as plain Spark ML.
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
        make=_random_forest,
    ),
    "decision_tree": Algorithm(
        title="decision tree",
        defaults={"max_depth": 8, "seed": 42, "max_bins": 32, "min_rows_per_leaf": 20},
        make=_decision_tree,
    ),
}


def resolve_parameters(algorithm: str, parameters: Parameters | None = None) -> dict[str, Parameter]:
    """The algorithm's defaults overlaid by ``parameters``: what is logged and what the classifier gets.

    Raises:
        ModelError: the algorithm is unknown.
        SettingsError: a parameter is unknown to the algorithm.
    """
    own = own_parameters(algorithm, parameters or {})
    defaults = ALGORITHMS[algorithm].defaults
    unknown = [name for name in parameters or {} if name not in own]
    if unknown:
        raise SettingsError(
            f"algorithm '{algorithm}' has no parameter {', '.join(unknown)}; it has {', '.join(defaults)}."
        )
    return {**defaults, **own}


def own_parameters(algorithm: str, parameters: Parameters) -> dict[str, Parameter]:
    """Those of ``parameters`` that the algorithm has: the command line gives every algorithm the same ones.

    Raises:
        ModelError: the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise ModelError(f"algorithm '{algorithm}' is unknown; choose one of {', '.join(ALGORITHMS)}.")
    defaults = ALGORITHMS[algorithm].defaults
    return {name: value for name, value in parameters.items() if name in defaults}


def make_pipeline(algorithm: str = "random_forest", parameters: Parameters | None = None) -> Pipeline:
    """Return the unfitted pipeline: unknowns → vector → classifier → name of the class.

    It reads the columns :data:`FEATURE_NAMES` and, to be fitted, ``label``. Nothing but the classifier is fitted; the
    fitted model is plain Spark ML, which loads without this project. Servers are described by their history
    alone, so a server that was not trained on gets a forecast.

    Raises:
        ModelError: the algorithm is unknown, or Spark rejects a parameter's value.
        SettingsError: a parameter is unknown to the algorithm.
    """
    resolved = resolve_parameters(algorithm, parameters)
    try:
        classifier = ALGORITHMS[algorithm].make(resolved)
    except (TypeError, ValueError) as error:
        raise ModelError(f"algorithm '{algorithm}' rejects its parameters {resolved}: {error}") from error
    classifier.set(classifier.getParam("featuresCol"), FEATURE_VECTOR)
    classifier.set(classifier.getParam("labelCol"), LABEL)
    classifier.set(classifier.getParam("predictionCol"), CLASS_INDEX)
    classifier.set(classifier.getParam("probabilityCol"), PROBABILITY)
    known = {name: f"known_{name}" for name in HISTORY_FEATURES}
    # nanvl: a pandas frame that is scored through MLflow brings its unknowns as NaN, a table as nulls.
    replaced = ", ".join(
        f"coalesce(nanvl(CAST({name} AS DOUBLE), {UNKNOWN}D), {UNKNOWN}D) AS {alias}" for name, alias in known.items()
    )
    return Pipeline(
        stages=[
            SQLTransformer(statement=f"SELECT *, {replaced} FROM __THIS__"),
            VectorAssembler(inputCols=[known.get(name, name) for name in FEATURE_NAMES], outputCol=FEATURE_VECTOR),
            classifier,
            IndexToString(inputCol=CLASS_INDEX, outputCol=PREDICTION, labels=list(CLASSES)),
        ]
    )
