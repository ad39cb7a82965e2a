"""Saved Spark ML pipelines written without Spark, and their answers by a walk through plain dictionaries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workload_forecast.schemas import CLASSES, FEATURE_NAMES, KNOWN_FEATURES

HISTORY = tuple(name for name in FEATURE_NAMES if name not in KNOWN_FEATURES)


@dataclass(frozen=True)
class Leaf:
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Split:
    feature: int
    threshold: float
    left: Node
    right: Node


Node = Leaf | Split


@dataclass
class Saved:
    """What is to be saved; tests change what they want to see refused."""

    trees: Sequence[Node]
    forest: bool = True
    calendar: tuple[str, ...] = KNOWN_FEATURES
    history: tuple[str, ...] = HISTORY
    classes: tuple[str, ...] = CLASSES
    spark_version: str = "4.2.0"
    kinds: tuple[str, ...] = ("feature.SQLTransformer", "feature.VectorAssembler", "", "feature.IndexToString")
    classifier: Mapping[str, Any] = field(default_factory=dict)
    classifier_params: Mapping[str, Any] = field(default_factory=dict)
    vector_params: Mapping[str, Any] = field(default_factory=dict)
    statement: str = ""
    parts: int = 1
    weight_column: str = "weights"
    weights: float = 1.0

    @property
    def features(self) -> tuple[str, ...]:
        """In the order of the project's, and after them any others."""
        order = {name: number for number, name in enumerate(FEATURE_NAMES)}
        return tuple(sorted((*self.calendar, *self.history), key=lambda name: order.get(name, len(order))))

    def save(self, folder: Path) -> Path:
        kind = "RandomForestClassificationModel" if self.forest else "DecisionTreeClassificationModel"
        classes = [name or f"classification.{kind}" for name in self.kinds]
        filled = ", ".join(f"coalesce(nanvl(CAST({n} AS DOUBLE), -1.0D), -1.0D) AS known_{n}" for n in self.history)
        parameters: list[dict[str, Any]] = [
            {"statement": self.statement or f"SELECT *, {filled} FROM __THIS__"},
            {
                "inputCols": [f"known_{n}" if n in self.history else n for n in self.features],
                "outputCol": "features",
                "handleInvalid": "error",
                **self.vector_params,
            },
            {"featuresCol": "features", "predictionCol": "class_index", **self.classifier_params},
            {"inputCol": "class_index", "outputCol": "prediction", "labels": list(self.classes)},
        ]
        uids = [f"{name.rpartition('.')[2]}_{number:02x}" for number, name in enumerate(classes)]
        self._metadata(folder, "PipelineModel", {"stageUids": uids})
        own = {"numFeatures": len(self.features), "numClasses": len(self.classes), "numTrees": len(self.trees)}
        for number, (name, values, uid) in enumerate(zip(classes, parameters, uids, strict=True)):
            extra = {**own, **self.classifier} if number == 2 else {}
            self._metadata(folder / "stages" / f"{number}_{uid}", name, values, extra)
        self._nodes(folder / "stages" / f"2_{uids[2]}")
        return folder

    def _metadata(
        self, folder: Path, name: str, parameters: Mapping[str, Any], extra: Mapping[str, Any] | None = None
    ) -> None:
        content = {"class": f"org.apache.spark.ml.{name}", "sparkVersion": self.spark_version, "paramMap": parameters}
        (folder / "metadata").mkdir(parents=True)
        (folder / "metadata" / "part-00000").write_text(json.dumps({**content, **(extra or {})}) + "\n")
        (folder / "metadata" / "_SUCCESS").touch()

    def _nodes(self, folder: Path) -> None:
        rows = [{"treeID": n, "nodeData": node} for n, tree in enumerate(self.trees) for node in numbered(tree)]
        table = pa.Table.from_pylist(rows if self.forest else [row["nodeData"] for row in rows])
        (folder / "data").mkdir()
        size = math.ceil(len(table) / self.parts)
        for part in reversed(range(self.parts)):
            pq.write_table(table.slice(part * size, size), folder / "data" / f"part-{part:05}.snappy.parquet")
        if self.forest:
            weights = [
                {"treeID": n, "metadata": "{}", self.weight_column: self.weights} for n in range(len(self.trees))
            ]
            (folder / "treesMetadata").mkdir()
            pq.write_table(pa.Table.from_pylist(weights), folder / "treesMetadata" / "part-00000.parquet")


def numbered(tree: Node) -> list[dict[str, Any]]:
    """Nodes in Spark's order: parent, left, right."""
    nodes: list[dict[str, Any]] = []

    def add(node: Node) -> int:
        number = len(nodes)
        leaf = isinstance(node, Leaf)
        nodes.append({"id": number, "prediction": 0.0, "impurity": 0.0, "rawCount": 1, "gain": -1.0})
        counts = node.counts if isinstance(node, Leaf) else (1.0,) * width(node)
        own: dict[str, Any] = {"impurityStats": list(counts), "leftChild": -1, "rightChild": -1}
        if isinstance(node, Split):
            own |= {"leftChild": add(node.left), "rightChild": add(node.right)}
        own["split"] = {
            "featureIndex": -1 if leaf else node.feature,  # type: ignore[union-attr]
            "leftCategoriesOrThreshold": [] if leaf else [node.threshold],  # type: ignore[union-attr]
            "numCategories": -1,
        }
        nodes[number] |= own
        return number

    add(tree)
    return nodes


def width(node: Node) -> int:
    while isinstance(node, Split):
        node = node.left
    return len(node.counts)


def walk(saved: Saved, row: Mapping[str, float | None]) -> tuple[str, list[float]]:
    """Class and probabilities of one row, as the documentation of Spark ML has it."""
    values = []
    for name in saved.features:
        value = row[name]
        unknown = value is None or math.isnan(value)
        assert not (unknown and name in saved.calendar)
        values.append(-1.0 if unknown or value is None else float(value))
    votes = [0.0] * len(saved.classes)
    for tree in saved.trees:
        node = tree
        while isinstance(node, Split):
            node = node.left if values[node.feature] <= node.threshold else node.right
        total = sum(node.counts) if saved.forest else 1.0
        for number, count in enumerate(node.counts):
            votes[number] += count / total if total else 0.0
    total = sum(votes)
    best = max(range(len(votes)), key=lambda number: (votes[number], -number))
    return saved.classes[best], [vote / total if total else 0.0 for vote in votes]
