"""XGBoost's estimator for Spark: an optional package, on processors or on graphics cards."""

from __future__ import annotations

from typing import Any

from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.parameters import Parameters

DEVICES = ("cpu", "cuda")


def make_classifier(p: Parameters) -> Any:
    """Return the unfitted estimator; columns and weights are the caller's to set.

    Its ``missing`` stays NaN, which no value is: an unknown one is a number like any other.

    Raises:
        ModelError: the package is not installed.
        SettingsError: the device is neither of :data:`DEVICES`.
    """
    if p["device"] not in DEVICES:
        raise SettingsError(f"device '{p['device']}' is not one of {', '.join(DEVICES)}.")
    try:
        from xgboost.spark import SparkXGBClassifier
    except ImportError as problem:
        raise ModelError(
            f"algorithm 'xgboost' needs a package that cannot be imported ({problem}): "
            "pip install 'workload-forecast[xgboost]' here and on the executors, or choose another algorithm."
        ) from None
    return SparkXGBClassifier(
        n_estimators=int(p["num_trees"]),
        max_depth=int(p["max_depth"]),
        random_state=int(p["seed"]),
        learning_rate=float(p["step_size"]),
        subsample=float(p["rows_per_tree"]),
        min_child_weight=float(p["min_rows_per_leaf"]),
        num_workers=int(p["workers"]),
        device=str(p["device"]),
        tree_method="hist",
    )
