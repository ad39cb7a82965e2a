"""The unfitted model, and how it is fitted: one way for training, backtest, tuning and every algorithm.

Unknown features stay in the table as nulls and are replaced by :data:`~workload_forecast.formulas.UNKNOWN` inside the
pipeline, so that training, batch and service treat them alike. A tree can split the unknown ones off with a single cut;
the other algorithms have rules of their own (:mod:`workload_forecast.formulas`).
"""

from __future__ import annotations

from pyspark.errors import IllegalArgumentException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import IndexToString, SQLTransformer, VectorAssembler
from pyspark.sql import DataFrame

from workload_forecast import formulas
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.algorithms import (
    ALGORITHMS,
    CLASS_INDEX,
    FEATURE_VECTOR,
    HISTORY_FEATURES,
    INPUTS,
    PREDICTION,
    PROBABILITY,
    Recipe,
)
from workload_forecast.model.parameters import Parameter, Parameters
from workload_forecast.model.weights import EQUAL, Weights, weight_column
from workload_forecast.schemas import CLASSES

__all__ = [
    "ALGORITHMS",
    "CLASS_INDEX",
    "FEATURE_VECTOR",
    "HISTORY_FEATURES",
    "PREDICTION",
    "PROBABILITY",
    "Parameter",
    "Parameters",
    "fit_model",
    "make_pipeline",
    "own_parameters",
    "resolve_parameters",
]


def resolve_parameters(algorithm: str, parameters: Parameters | None = None) -> dict[str, Parameter]:
    """The algorithm's defaults overlaid by ``parameters``: what is logged and what the model is made with.

    Raises:
        ModelError: the algorithm is unknown.
        SettingsError: a parameter is unknown to the algorithm.
    """
    defaults = _defaults(algorithm)
    unknown = [name for name in parameters or {} if name not in defaults]
    if unknown:
        raise SettingsError(
            f"algorithm '{algorithm}' has no parameter {', '.join(unknown)} (it has "
            f"{', '.join(defaults) or 'none at all'}): leave it out, or choose another algorithm."
        )
    return {**defaults, **(parameters or {})}


def own_parameters(algorithm: str, parameters: Parameters) -> dict[str, Parameter]:
    """The parameters without the seed, which every step is given, where nothing in the algorithm is random.

    Raises:
        ModelError: the algorithm is unknown.
        SettingsError: another parameter is unknown to the algorithm.
    """
    defaults = _defaults(algorithm)
    own = {name: value for name, value in parameters.items() if name != "seed" or name in defaults}
    resolve_parameters(algorithm, own)
    return own


def _defaults(algorithm: str) -> Parameters:
    if algorithm not in ALGORITHMS:
        raise ModelError(f"algorithm '{algorithm}' is unknown; choose one of {', '.join(ALGORITHMS)}.")
    return ALGORITHMS[algorithm].defaults


def make_pipeline(
    algorithm: str, parameters: Parameters | None, thresholds: Thresholds, weights: Weights = EQUAL
) -> Pipeline:
    """Return the unfitted pipeline: unknowns → vector → what the algorithm does → name of the class.

    It reads the columns :data:`~workload_forecast.schemas.FEATURE_NAMES`. The fitted model is plain Spark ML, which
    loads without this project. Servers are described by their history alone, so a server that was not trained on gets
    a forecast. To be fitted it needs targets too: use :func:`fit_model`.

    Args:
        algorithm: one of :data:`ALGORITHMS`.
        parameters: of it; its defaults fill the rest.
        thresholds: of the classes.
        weights: of the classes (:func:`~workload_forecast.model.weights.class_weights`).

    Raises:
        ModelError: the algorithm is unknown, or Spark rejects a parameter's value.
        SettingsError: a parameter is unknown to the algorithm.
    """
    return _pipeline(algorithm, Recipe(resolve_parameters(algorithm, parameters), thresholds, weights))


def _pipeline(algorithm: str, recipe: Recipe) -> Pipeline:
    try:
        stages = ALGORITHMS[algorithm].stages(recipe)
    except (TypeError, ValueError) as error:
        raise ModelError(f"algorithm '{algorithm}' rejects its parameters {recipe.parameters}: {error}") from error
    return Pipeline(
        stages=[
            SQLTransformer(statement=formulas.fill(HISTORY_FEATURES)),
            VectorAssembler(inputCols=INPUTS, outputCol=FEATURE_VECTOR),
            *stages,
            IndexToString(inputCol=CLASS_INDEX, outputCol=PREDICTION, labels=list(CLASSES)),
        ]
    )


def fit_model(
    rows: DataFrame,
    algorithm: str,
    parameters: Parameters | None,
    thresholds: Thresholds,
    weights: Weights = EQUAL,
) -> PipelineModel:
    """Fit the pipeline to training rows.

    Args:
        rows: of :func:`~workload_forecast.model.rows.labelled_rows`, those of the training period alone.
        algorithm: as in :func:`make_pipeline`, like the other arguments.

    Raises:
        ModelError: see :func:`make_pipeline`, and Spark refuses to fit with these parameters.
        SettingsError: a parameter is unknown to the algorithm.
    """
    recipe = Recipe(resolve_parameters(algorithm, parameters), thresholds, weights)
    pipeline = _pipeline(algorithm, recipe)
    weighted = rows if weights == EQUAL else rows.select("*", weight_column(weights))
    try:
        return pipeline.fit(ALGORITHMS[algorithm].targets(weighted, recipe))
    except IllegalArgumentException as error:
        # Spark checks the values of parameters, and their combination, only here.
        raise ModelError(f"Spark cannot fit {algorithm} with {dict(recipe.parameters)}: {error}") from error
