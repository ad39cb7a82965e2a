"""The trees of a saved Spark ML classifier: one row a node, read from its Parquet files and checked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workload_forecast.errors import ModelError
from workload_forecast.serving.saved_stages import (
    Feature,
    Stage,
    advice,
    check_stages,
    read_features,
    read_stages,
)

if TYPE_CHECKING:
    import pyarrow as pa

FOREST, TREE = "RandomForestClassificationModel", "DecisionTreeClassificationModel"

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """One tree's nodes; node 0 is the root. A row goes left where ``value[feature] <= threshold``."""

    left: Integers  #: -1: a leaf
    right: Integers
    feature: Integers
    threshold: Doubles
    counts: Doubles  #: nodes × classes: the training rows, weighted, that reached the node


@dataclass(frozen=True)
class SavedPipeline:
    """All that decides what a saved pipeline answers."""

    features: tuple[Feature, ...]
    classes: tuple[str, ...]  #: in the order of the probabilities
    #: Of a forest, each tree votes with the shares of its leaf; a single tree's votes are the counts themselves.
    forest: bool
    trees: tuple[Tree, ...]
    spark_version: str


def read_pipeline(folder: Path) -> SavedPipeline:
    """Read a saved ``PipelineModel`` of this project, without Spark.

    Args:
        folder: with ``metadata`` and ``stages`` in it, as ``mlflow.spark`` keeps it below ``sparkml``.

    Raises:
        ModelError: a stage, an algorithm, a split or a version that is not known, or a damaged file; by name.
    """
    filled, vector, classifier, names = check_stages(read_stages(folder), (FOREST, TREE))
    features = read_features(filled, vector)
    classes = tuple(str(label) for label in names.parameter("labels"))
    _check_sizes(classifier, len(features), len(classes))
    nodes = _read_nodes(classifier)
    numbers = nodes["tree"]
    expected = int(classifier.metadata.get("numTrees", 1))
    if not np.array_equal(np.unique(numbers), np.arange(expected)):
        raise ModelError(f"{classifier.folder}/data holds {len(np.unique(numbers))} trees, not {expected}. {advice()}")
    bounds = np.searchsorted(numbers, np.arange(expected + 1))
    parts = ({name: values[a:b] for name, values in nodes.items()} for a, b in pairwise(bounds))
    trees = tuple(_tree(part, number, classifier.folder, len(features)) for number, part in enumerate(parts))
    return SavedPipeline(features, classes, classifier.kind == FOREST, trees, str(classifier.metadata["sparkVersion"]))


def _check_sizes(classifier: Stage, features: int, classes: int) -> None:
    for name, expected in (("numFeatures", features), ("numClasses", classes)):
        if classifier.metadata.get(name) != expected:
            raise ModelError(
                f"{classifier.folder}: {name} is {classifier.metadata.get(name)}, the other stages have {expected}. "
                f"{advice()}"
            )


def _read_nodes(classifier: Stage) -> dict[str, Any]:
    """All nodes by column, sorted by tree and node."""
    folder = classifier.folder / "data"
    table = _read_parquet(folder)
    try:
        if classifier.kind == FOREST:
            _check_weights(classifier.folder / "treesMetadata")
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
            "counts": _matrix(table["impurityStats"], int(classifier.metadata["numClasses"])),
        }
    except (KeyError, ValueError, TypeError) as problem:
        raise ModelError(f"{folder} does not hold the nodes that Spark ML writes: {problem}. {advice()}") from None
    order = np.lexsort((columns["id"], columns["tree"]))
    return {name: values[order] for name, values in columns.items()}


def _read_parquet(folder: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise ModelError(f"{folder} holds no Parquet file: the saved model is not complete. Train or fetch it again.")
    try:
        return pa.concat_tables(pq.ParquetFile(file).read() for file in files)
    except (pa.ArrowException, OSError) as problem:
        raise ModelError(f"{folder} cannot be read: {problem}. Train or fetch the model again.") from None


def _check_weights(folder: Path) -> None:
    weights = _read_parquet(folder).columns[-1].to_numpy()
    if not (weights == 1.0).all():
        raise ModelError(f"{folder}: the trees have different weights, which Spark's forests do not have. {advice()}")


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


def _matrix(column: Any, width: int) -> Doubles:
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64).reshape(len(column), width)


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
        and bool(np.isfinite(nodes["counts"]).all() and (nodes["counts"] >= 0).all())
    )
    if not whole:
        raise ModelError(f"{folder}/data: tree {number} is damaged: its nodes do not make a tree. Fetch it again.")
    if (nodes["categories"][inner] != -1).any() or (nodes["cuts"][inner] != 1).any():
        raise ModelError(f"{folder}/data: tree {number} splits by categories, which is not known. {advice()}")
    if np.isnan(nodes["threshold"][inner]).any():
        raise ModelError(f"{folder}/data: tree {number} has a threshold that is no number. Train the model again.")
    return Tree(left, right, feature, nodes["threshold"], nodes["counts"])
