"""The trees of a saved XGBoost classifier: JSON, read and checked node by node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from workload_forecast.errors import ModelError
from workload_forecast.serving.saved_stages import Stage, advice
from workload_forecast.serving.saved_trees import Doubles, Tree


def read_xgboost(stage: Stage, features: int, classes: int) -> tuple[Tree, ...]:
    """Return the trees, the first of which is a leaf: what every row starts from.

    All numbers are 32-bit ones. A row goes left where ``value < threshold``, both of 32 bits.

    Raises:
        ModelError: another kind of booster or objective, or a damaged file.
    """
    folder = stage.folder / "model"
    parts = sorted(folder.glob("part-*"))
    text = "".join(line for part in parts for line in part.read_text(encoding="utf-8").splitlines())
    try:
        learner = json.loads(text)["learner"]
        model, sizes = learner["gradient_booster"]["model"], learner["learner_model_param"]
        found = (
            learner["objective"]["name"],
            learner["gradient_booster"]["name"],
            int(sizes["num_class"]),
            int(sizes["num_feature"]),
        )
        expected = ("multi:softprob", "gbtree", classes, features)
        if found != expected:
            raise ModelError(f"{folder} holds {found}, expected {expected}. {advice()}")
        base = np.zeros(classes) + np.array(json.loads(sizes["base_score"]), dtype=np.float64)
        leaf = np.full(1, -1)
        start = Tree(leaf, leaf, leaf, np.zeros(1), base[np.newaxis])
        pairs = zip(model["trees"], model["tree_info"], strict=True)
        return (start, *(_tree(tree, np.eye(classes)[output], features) for tree, output in pairs))
    except (KeyError, ValueError, TypeError, IndexError) as problem:
        raise ModelError(f"{folder} does not hold the trees that XGBoost writes: {problem!r}. {advice()}") from None


def _tree(saved: Mapping[str, Any], output: Doubles, features: int) -> Tree:
    left, right, feature = (
        np.array(saved[name], dtype=np.int64) for name in ("left_children", "right_children", "split_indices")
    )
    numbers = np.array(saved["split_conditions"], dtype=np.float64)
    at, inner = np.arange(len(left)), left >= 0
    children = np.sort(np.concatenate([left[inner], right[inner]]))
    whole = (
        len(left) == len(right) == len(feature) == len(numbers) > 0
        and np.array_equal(inner, right >= 0)
        and np.array_equal(children, at[1:])
        and bool((left[inner] > at[inner]).all() and (right[inner] > at[inner]).all())
        and bool(((feature[inner] >= 0) & (feature[inner] < features)).all())
        and bool(np.isfinite(numbers).all())
    )
    if not whole or any(saved["split_type"]):
        raise ValueError("a tree's nodes do not make a tree, or it splits by categories")
    values = np.where(inner, 0.0, numbers)[:, np.newaxis] * output
    return Tree(left, right, feature, np.where(inner, numbers, 0.0), values)
