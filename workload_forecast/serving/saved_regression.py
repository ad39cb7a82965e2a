"""The coefficients of a saved logistic regression, read from its Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workload_forecast.errors import ModelError
from workload_forecast.serving.saved_stages import Stage, advice
from workload_forecast.serving.saved_trees import Doubles, read_parquet

#: What Spark calls its two ways to keep a vector or a matrix.
_SPARSE, _DENSE = 0, 1


def read_regression(
    stage: Stage, features: int, classes: int
) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return the coefficients (classes × features) and the intercepts of a fitted stage.

    Raises:
        ModelError: it is of another size or kind, or damaged.
    """
    folder = stage.folder / "data"
    table = read_parquet(folder)
    try:
        (row,) = table.to_pylist()
        if (row["numClasses"], row["numFeatures"], row["isMultinomial"]) != (classes, features, True):
            raise ModelError(f"{folder}: not a regression of {features} features and {classes} classes. {advice()}")
        coefficients, intercepts = _matrix(row["coefficientMatrix"]), _vector(row["interceptVector"])
    except (KeyError, ValueError, TypeError, IndexError) as problem:
        raise ModelError(f"{folder} does not hold the numbers that Spark ML writes: {problem!r}. {advice()}") from None
    right = coefficients.shape == (classes, features) and intercepts.shape == (classes,)
    if not right or not (np.isfinite(coefficients).all() and np.isfinite(intercepts).all()):
        raise ModelError(f"{folder}: the coefficients are damaged. Fetch the model again, or train it again.")
    return tuple(tuple(values) for values in coefficients.tolist()), tuple(intercepts.tolist())


def _vector(saved: Mapping[str, Any]) -> Doubles:
    if saved["type"] == _DENSE:
        return np.array(saved["values"], dtype=np.float64)
    vector = np.zeros(saved["size"])
    vector[saved["indices"]] = saved["values"]
    return vector


def _matrix(saved: Mapping[str, Any]) -> Doubles:
    """By columns, or by rows if transposed; a sparse one says where each column (row) begins."""
    shape = (saved["numRows"], saved["numCols"])
    major = shape if saved["isTransposed"] else shape[::-1]
    if saved["type"] == _DENSE:
        matrix = np.array(saved["values"], dtype=np.float64).reshape(major)
    else:
        matrix = np.zeros(major)
        starts = saved["colPtrs"]
        lines = np.repeat(np.arange(major[0]), np.diff(starts))
        matrix[lines, saved["rowIndices"]] = saved["values"]
    return matrix if saved["isTransposed"] else matrix.T
