"""Saved pipelines of the algorithms that do not vote, written without Spark: every stage can be changed by a test."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.serving.saved_pipelines import HISTORY, Node, numbered
from workload_forecast import formulas
from workload_forecast.schemas import CLASSES, FEATURE_NAMES

INPUTS = [formulas.known(name) if name in HISTORY else name for name in FEATURE_NAMES]
EQUAL = (1.0, 1.0, 1.0)


@dataclass
class Stage:
    kind: str
    parameters: dict[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)  #: folder to what stands in it
    files: Mapping[str, str] = field(default_factory=dict)  #: path to what stands in it


def save(stages: Sequence[Stage], folder: Path, spark_version: str = "4.2.0") -> Path:
    def metadata(at: Path, name: str, parameters: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        content = {"class": f"org.apache.spark.ml.{name}", "sparkVersion": spark_version, "paramMap": parameters}
        (at / "metadata").mkdir(parents=True)
        (at / "metadata" / "part-00000").write_text(json.dumps({**content, **extra}) + "\n")

    uids = [f"{stage.kind.rpartition('.')[2]}_{number:02x}" for number, stage in enumerate(stages)]
    metadata(folder, "PipelineModel", {"stageUids": uids}, {})
    digits = len(str(len(stages)))
    for number, (stage, uid) in enumerate(zip(stages, uids, strict=True)):
        at = folder / "stages" / f"{number:0{digits}}_{uid}"
        metadata(at, stage.kind, stage.parameters, stage.extra)
        for name, table in stage.tables.items():
            (at / name).mkdir()
            pq.write_table(table, at / name / "part-00000.parquet")
        for name, text in stage.files.items():
            (at / name).parent.mkdir()
            (at / name).write_text(text)
    return folder


def sql(statement: str) -> Stage:
    return Stage("feature.SQLTransformer", {"statement": statement})


def vector(inputs: Sequence[str], output: str) -> Stage:
    parameters = {"inputCols": list(inputs), "outputCol": output, "handleInvalid": "error"}
    return Stage("feature.VectorAssembler", parameters)


def around(*own: Stage) -> list[Stage]:
    names = {"inputCol": "class_index", "outputCol": "prediction", "labels": list(CLASSES)}
    return [
        sql(formulas.fill(HISTORY)),
        vector(INPUTS, "features"),
        *own,
        Stage("feature.IndexToString", names),
    ]


def written(formula: str, low: float, high: float, weights: Sequence[float] = EQUAL) -> Stage:
    numbers = {"low": low, "high": high}
    numbers |= {f"weight_{name}": weight for name, weight in zip(CLASSES, weights, strict=True)}
    return sql(formulas.written(formula, numbers))


def decision(weights: Sequence[float]) -> list[Stage]:
    return [
        sql(formulas.REST),
        written(formulas.DECISION, 0, 0, weights),
        vector(formulas.PROBABILITIES, "probability"),
    ]


def mixture(low: float, high: float, weights: Sequence[float] = EQUAL) -> list[Stage]:
    reference, margins = (written(f, low, high) for f in (formulas.REFERENCE, formulas.MIXTURE_MARGINS))
    return around(reference, margins, sql(formulas.TAILS), *decision(weights))


def correction(low: float, high: float, trees: Sequence[Node], weights: Sequence[float] = EQUAL) -> list[Stage]:
    return around(
        written(formulas.REFERENCE, low, high),
        sql(formulas.relative(HISTORY)),
        vector(formulas.relative_inputs(INPUTS), "relative_features"),
        boosted(trees, "relative_features", "correction"),
        written(formulas.CORRECTED_MARGINS, low, high),
        sql(formulas.TAILS),
        *decision(weights),
    )


def ordered(lower: Sequence[Node], upper: Sequence[Node], weights: Sequence[float] = EQUAL) -> list[Stage]:
    trees = (boosted(lower, "features", "above_low"), boosted(upper, "features", "above_high"))
    return around(*trees, sql(formulas.ORDERED), *decision(weights))


def boosted(trees: Sequence[Node], inputs: str, output: str, steps: Sequence[float] = (1.0, 0.1, 0.1)) -> Stage:
    """A leaf's only number is what it predicts; the trees' weights are the steps."""
    nodes = [
        {"treeID": n, "nodeData": node | {"prediction": node["impurityStats"][0], "impurityStats": [1.0, 0.0, 0.0]}}
        for n, tree in enumerate(trees)
        for node in numbered(tree)
    ]
    weights = [{"_1": n, "_2": "{}", "_3": steps[n]} for n in reversed(range(len(trees)))]
    tables = {"data": pa.Table.from_pylist(nodes), "treesMetadata": pa.Table.from_pylist(weights)}
    sizes = {"numFeatures": len(FEATURE_NAMES), "numTrees": len(trees)}
    return Stage("regression.GBTRegressionModel", {"featuresCol": inputs, "predictionCol": output}, sizes, tables)


def xgboost(trees: Sequence[Sequence[Node]], base: Sequence[float], **learner: Any) -> list[Stage]:
    """Trees of each class, one class after the other in every round; a leaf's only number is what it adds."""
    rounds = [(tree, number) for each in zip(*trees, strict=True) for number, tree in enumerate(each)]
    model = {"trees": [as_json(tree) for tree, _ in rounds], "tree_info": [number for _, number in rounds]}
    content = {
        "objective": {"name": "multi:softprob"},
        "gradient_booster": {"name": "gbtree", "model": model},
        "learner_model_param": {
            "num_class": str(len(base)),
            "num_feature": str(len(FEATURE_NAMES)),
            "base_score": json.dumps(list(base)),
        },
    }
    parameters = {"featuresCol": "features", "predictionCol": "class_index", "features_cols": [], "missing": math.nan}
    text = json.dumps({"learner": content | learner})
    files = {"model/part-00000": f"{text[:100]}\n{text[100:]}\n"}
    return around(Stage("SparkXGBClassifierModel", parameters | {"iteration_range": None}, files=files))


def as_json(tree: Node) -> dict[str, Any]:
    nodes = numbered(tree)
    splits = [node["split"]["leftCategoriesOrThreshold"] for node in nodes]
    return {
        "left_children": [node["leftChild"] for node in nodes],
        "right_children": [node["rightChild"] for node in nodes],
        "split_indices": [max(node["split"]["featureIndex"], 0) for node in nodes],
        "split_conditions": [(at or node["impurityStats"])[0] for at, node in zip(splits, nodes, strict=True)],
        "split_type": [0] * len(nodes),
    }


def linear(coefficients: Sequence[Mapping[str, float]], intercepts: Sequence[float], *, sparse: bool) -> list[Stage]:
    """Coefficients of each class by feature; the others are 0."""
    rows = [[given.get(name, 0.0) for name in FEATURE_NAMES] for given in coefficients]
    matrix: dict[str, Any] = {"numRows": len(rows), "numCols": len(FEATURE_NAMES)}
    if sparse:
        found = [(j, i, row[j]) for j in range(len(FEATURE_NAMES)) for i, row in enumerate(rows) if row[j]]
        starts = [sum(column < j for column, _, _ in found) for j in range(len(FEATURE_NAMES) + 1)]
        held = {"colPtrs": starts, "rowIndices": [i for _, i, _ in found], "values": [v for _, _, v in found]}
        matrix |= {"type": 0, "isTransposed": False, **held}
        at = [i for i, value in enumerate(intercepts) if value]
        constant = {"type": 0, "size": len(intercepts), "indices": at, "values": [intercepts[i] for i in at]}
    else:
        values = [value for row in rows for value in row]
        matrix |= {"type": 1, "isTransposed": True, "colPtrs": None, "rowIndices": None, "values": values}
        constant = {"type": 1, "size": None, "indices": None, "values": list(intercepts)}
    sizes = {"numClasses": len(rows), "numFeatures": len(FEATURE_NAMES), "isMultinomial": True}
    table = pa.Table.from_pylist([{**sizes, "interceptVector": constant, "coefficientMatrix": matrix}])
    parameters = {"featuresCol": "linear_features", "predictionCol": "class_index"}
    return around(
        sql(formulas.linear(HISTORY)),
        vector(formulas.linear_inputs(INPUTS), "linear_features"),
        Stage("classification.LogisticRegressionModel", parameters, {}, {"data": table}),
    )
