"""Logged models made without Spark: trees fitted by scikit-learn, saved as Spark ML saves them, and registered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mlflow.models import Model
from sklearn.tree import DecisionTreeClassifier

from tests.serving.saved_pipelines import Leaf, Node, Saved, Split
from workload_forecast.config import Thresholds
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.registry.log_model import signature
from workload_forecast.schemas import CLASSES
from workload_forecast.serving.compiled import COMPILED, compile_trees, write_compiled
from workload_forecast.serving.facts import Baseline, Facts
from workload_forecast.serving.saved_models import read_pipeline

THIRD = 1 / 3


def fitted(rows: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], depth: int) -> Node:
    """A tree over features in the pipeline's order, unknown ones as -1."""
    classifier = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(rows, labels)
    tree = classifier.tree_

    def node(number: int) -> Node:
        if tree.children_left[number] < 0:
            counts = dict(zip(classifier.classes_.tolist(), tree.value[number][0].tolist(), strict=True))
            return Leaf(tuple(float(counts.get(index, 0.0)) for index in range(len(CLASSES))))
        children = (node(int(side[number])) for side in (tree.children_left, tree.children_right))
        return Split(int(tree.feature[number]), float(tree.threshold[number]), *children)

    return node(0)


def always(position: int) -> Node:
    """A tree that names one class, whatever it is asked."""
    return Leaf(tuple(float(index == position) for index in range(len(CLASSES))))


def logged(
    folder: Path,
    tree: Node,
    thresholds: Thresholds,
    training_to: datetime,
    *,
    compiled: bool = True,
    saved: Mapping[str, Any] | None = None,
) -> Path:
    """Write a logged model; without ``compiled``, as the project logged models before it compiled them."""
    pipeline = read_pipeline(Saved([tree], **(saved or {})).save(folder / "sparkml"))
    model = Model(signature=signature() if compiled else None)
    if compiled:
        facts = Facts(
            algorithm="random forest",
            features=pipeline.features,
            classes=pipeline.classes,
            low=thresholds.low,
            high=thresholds.high,
            horizon_hours=48,
            missing_hours="zero",
            training_from=datetime(2016, 1, 1),
            training_to=training_to,
            baseline=Baseline("class_48h_ago", ((THIRD,) * 3,) * 3),
            spark_version="4.2.0",
            treelite_version="4",
            load_quantiles=LoadQuantiles(2.0, (-3.0, 0.0, 1.0, 1.0, 4.5)),
        )
        write_compiled(folder / COMPILED, compile_trees(pipeline), facts)
    model.save(str(folder / "MLmodel"))
    return folder
