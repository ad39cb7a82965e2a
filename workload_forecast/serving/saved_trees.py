"""The trees of a saved Spark ML model: one row a node, read from its Parquet files and checked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workload_forecast.errors import ModelError
from workload_forecast.serving.saved_stages import Stage, advice, check_numbers

if TYPE_CHECKING:
    import pyarrow as pa

FOREST, TREE = "RandomForestClassificationModel", "DecisionTreeClassificationModel"
BOOSTED = "GBTRegressionModel"

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """One tree's nodes; node 0 is the root. A row goes left where ``value[feature] <= threshold``."""

    left: Integers  #: -1: a leaf
    right: Integers
    feature: Integers
    threshold: Doubles
    #: Nodes × outputs. Of a classifier: the training rows of each class, weighted, that reached the node. Of a
    #: regression: what a leaf adds to the sum.
    values: Doubles


def read_trees(stage: Stage, features: int, classes: int) -> tuple[Tree, ...]:
    """Return the trees of a fitted stage.

    Args:
        stage: a :data:`FOREST`, a :data:`TREE` or a :data:`BOOSTED`.
        features: numbers in its vector.
        classes: that a classifier tells apart; a regression has one output.

    Raises:
        ModelError: a split that is not known, or a damaged file; by name.
    """
    regression = stage.kind == BOOSTED
    check_numbers(stage, numFeatures=features, **({} if regression else {"numClasses": classes}))
    nodes = _read_nodes(stage, classes)
    numbers = nodes["tree"]
    expected = int(stage.metadata.get("numTrees", 1))
    if not np.array_equal(np.unique(numbers), np.arange(expected)):
        raise ModelError(f"{stage.folder}/data holds {len(np.unique(numbers))} trees, not {expected}. {advice()}")
    bounds = np.searchsorted(numbers, np.arange(expected + 1))
    parts = ({name: values[a:b] for name, values in nodes.items()} for a, b in pairwise(bounds))
    return tuple(_tree(part, number, stage.folder, features) for number, part in enumerate(parts))


def _read_nodes(stage: Stage, classes: int) -> dict[str, Any]:
    """All nodes by column, sorted by tree and node."""
    folder = stage.folder / "data"
    table = read_parquet(folder)
    weights = np.ones(1)
    try:
        if stage.kind != TREE:
            weights = _weights(stage)
            numbers = _integers(table["treeID"])
            nodes = table.select(["nodeData"]).flatten()
            table = nodes.rename_columns([name.removeprefix("nodeData.") for name in nodes.column_names])
        else:
            numbers = np.zeros(len(table), dtype=np.int64)
        split = table.select(["split"]).flatten()
        cuts, threshold = _first(split["split.leftCategoriesOrThreshold"])
        columns = {
            "tree": numbers,
            "id": _integers(table["id"]),
            "left": _integers(table["leftChild"]),
            "right": _integers(table["rightChild"]),
            "feature": _integers(split["split.featureIndex"]),
            "categories": _integers(split["split.numCategories"]),
            "cuts": cuts,
            "threshold": threshold,
            "values": _predictions(table, weights[numbers])
            if stage.kind == BOOSTED
            else _counts(table["impurityStats"], classes),
        }
    except (KeyError, ValueError, TypeError, IndexError) as problem:
        raise ModelError(f"{folder} does not hold the nodes that Spark ML writes: {problem}. {advice()}") from None
    order = np.lexsort((columns["id"], columns["tree"]))
    return {name: values[order] for name, values in columns.items()}


def read_parquet(folder: Path) -> pa.Table:
    """Return the rows of all Parquet files in a folder.

    Raises:
        ModelError: there is none, or one is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise ModelError(f"{folder} holds no Parquet file: the saved model is not complete. Train or fetch it again.")
    try:
        return pa.concat_tables(pq.ParquetFile(file).read() for file in files)
    except (pa.ArrowException, OSError) as problem:
        raise ModelError(f"{folder} cannot be read: {problem}. Train or fetch the model again.") from None


def _weights(stage: Stage) -> Doubles:
    """The weight of each tree, in their order."""
    folder = stage.folder / "treesMetadata"
    table = read_parquet(folder)
    weights: Doubles = table.columns[-1].to_numpy().astype(np.float64)
    if stage.kind == FOREST and not (weights == 1.0).all():
        raise ModelError(f"{folder}: the trees have different weights, which Spark's forests do not have. {advice()}")
    if not np.isfinite(weights).all():
        raise ModelError(f"{folder}: a tree's weight is no number. Train the model again.")
    return weights[np.argsort(_integers(table.columns[0]), kind="stable")]


def _predictions(nodes: pa.Table, weights: Doubles) -> Doubles:
    predictions: Doubles = nodes["prediction"].to_numpy().astype(np.float64)
    return (predictions * weights)[:, np.newaxis]


def _integers(column: Any) -> Integers:
    values: Integers = column.to_numpy().astype(np.int64)
    return values


def _first(lists: Any) -> tuple[Integers, Doubles]:
    """The length of each list, and its first value; 0 where it is empty, as it is for a leaf."""
    import pyarrow.compute as pc

    lengths = _integers(pc.list_value_length(lists))
    first = np.zeros(len(lengths))
    starts = (np.cumsum(lengths) - lengths)[lengths > 0]
    first[lengths > 0] = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)[starts]
    return lengths, first


def _counts(column: Any, classes: int) -> Doubles:
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    counts = np.asarray(values, dtype=np.float64).reshape(len(column), classes)
    if (counts < 0).any():
        raise ValueError("a node was reached by less than no row")
    return counts


def _tree(nodes: dict[str, Any], number: int, folder: Path, features: int) -> Tree:
    """One tree, checked: every node is there once, and has either no child or two that come after it."""
    size = len(nodes["id"])
    left, right, feature = nodes["left"], nodes["right"], nodes["feature"]
    inner, at = left >= 0, np.arange(size)
    children = np.sort(np.concatenate([left[inner], right[inner]]))
    whole = (
        np.array_equal(nodes["id"], at)
        and np.array_equal(inner, right >= 0)
        and np.array_equal(children, at[1:])
        and bool((left[inner] > at[inner]).all() and (right[inner] > at[inner]).all())
        and bool(((feature[inner] >= 0) & (feature[inner] < features)).all())
        and bool(np.isfinite(nodes["values"]).all())
    )
    if not whole:
        raise ModelError(f"{folder}/data: tree {number} is damaged: its nodes do not make a tree. Fetch it again.")
    if (nodes["categories"][inner] != -1).any() or (nodes["cuts"][inner] != 1).any():
        raise ModelError(f"{folder}/data: tree {number} splits by categories, which is not known. {advice()}")
    if np.isnan(nodes["threshold"][inner]).any():
        raise ModelError(f"{folder}/data: tree {number} has a threshold that is no number. Train the model again.")
    return Tree(left, right, feature, nodes["threshold"], nodes["values"])
