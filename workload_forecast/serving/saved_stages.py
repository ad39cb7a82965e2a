"""The files of a saved Spark ML pipeline: the stages' JSON, and what the stages say that begin every pipeline of ours.

Whatever is not known for certain is refused by name. A stage or a parameter that was overlooked would give forecasts
that are nearly those of Spark, and nobody would notice.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workload_forecast.errors import ModelError

#: First and last version of Spark (major, minor) whose saved pipelines are read.
SPARK_VERSIONS = ((3, 5), (4, 2))

_STATEMENT = re.compile(r"SELECT \*, (?P<columns>.+) FROM __THIS__")
_FILLED = re.compile(
    r"coalesce\(nanvl\(CAST\((?P<name>\w+) AS DOUBLE\), (?P<nan>-?[\d.]+)D\), (?P<null>-?[\d.]+)D\) AS (?P<alias>\w+)"
)


@dataclass(frozen=True)
class Feature:
    """One input of the model, in the order of its vector."""

    name: str
    unknown: float | None  #: what replaces null and NaN; None: the value must be known


@dataclass(frozen=True)
class Stage:
    """One saved stage: its folder, its class without the package, and its parameters, defaults included."""

    folder: Path
    kind: str
    parameters: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def parameter(self, name: str) -> Any:
        """Return a parameter's value.

        Raises:
            ModelError: the stage has none of that name.
        """
        if name not in self.parameters:
            raise ModelError(f"{self.folder}: {self.kind} has no parameter '{name}'. {advice()}")
        return self.parameters[name]

    def expect(self, **values: object) -> None:
        """Check parameters.

        Raises:
            ModelError: one has another value.
        """
        for name, value in values.items():
            found = self.parameter(name)
            if found != value:
                told = f"{self.folder}: {self.kind}'s {name} is {found!r}, expected {value!r}"
                raise ModelError(f"{told}. {advice()}")


def advice() -> str:
    """Return how an error about an unknown pipeline ends."""
    oldest, newest = ("{}.{}".format(*version) for version in SPARK_VERSIONS)
    return f"Only pipelines that this project saves with Spark {oldest} to {newest} can be compiled: train it again."


def read_stages(folder: Path) -> list[Stage]:
    """Return the stages of a saved ``PipelineModel`` in their order.

    Raises:
        ModelError: there is none, or another version of Spark has saved it.
    """
    pipeline = _read_metadata(folder)
    if _kind(pipeline) != "PipelineModel":
        raise ModelError(f"{folder} holds a {_kind(pipeline)}, not a PipelineModel. {advice()}")
    uids = pipeline["paramMap"]["stageUids"]
    digits = len(str(len(uids)))
    stages = []
    for number, uid in enumerate(uids):
        path = folder / "stages" / f"{number:0{digits}}_{uid}"
        metadata = _read_metadata(path)
        parameters = {**metadata.get("defaultParamMap", {}), **metadata["paramMap"]}
        stages.append(Stage(path, _kind(metadata), parameters, metadata))
    return stages


def _read_metadata(folder: Path) -> dict[str, Any]:
    parts = sorted(folder.glob("metadata/part-*"))
    if not parts:
        raise ModelError(f"{folder} is no saved Spark ML model: it has no metadata/part-* file.")
    try:
        metadata = json.loads("".join(part.read_text(encoding="utf-8") for part in parts))
        version = re.match(r"(\d+)\.(\d+)", metadata["sparkVersion"])
        known = isinstance(metadata["class"], str) and isinstance(metadata["paramMap"], dict)
    except (ValueError, KeyError, TypeError) as problem:
        raise ModelError(f"{folder}/metadata is not what Spark ML writes: {problem!r}. {advice()}") from None
    oldest, newest = SPARK_VERSIONS
    if not known or not version or not oldest <= tuple(map(int, version.groups())) <= newest:
        raise ModelError(f"{folder} was saved by Spark {metadata['sparkVersion']}. {advice()}")
    return dict(metadata)


def _kind(metadata: Mapping[str, Any]) -> str:
    return str(metadata["class"]).rpartition(".")[2]


def check_numbers(stage: Stage, **numbers: int) -> None:
    """Check what a fitted stage says of its sizes.

    Raises:
        ModelError: one differs.
    """
    for name, expected in numbers.items():
        found = stage.metadata.get(name)
        if found != expected:
            raise ModelError(f"{stage.folder}: {name} is {found}, the other stages have {expected}. {advice()}")


def read_features(filled: Stage, vector: Stage) -> tuple[Feature, ...]:
    """Return the features in the order of the vector, with what stands for an unknown one.

    Raises:
        ModelError: the statement is not the list of replacements that this project writes.
    """
    statement = str(filled.parameter("statement"))
    whole = _STATEMENT.fullmatch(statement)
    columns = re.split(r", (?=coalesce\()", whole["columns"]) if whole else []
    by_alias: dict[str, Feature] = {}
    for column in columns or [statement]:
        match = _FILLED.fullmatch(column)
        if not match or match["nan"] != match["null"] or not math.isfinite(float(match["nan"])):
            raise ModelError(f"{filled.folder}: the statement holds '{column}', which is not known. {advice()}")
        by_alias[match["alias"]] = Feature(match["name"], float(match["nan"]))
    inputs = [str(name) for name in vector.parameter("inputCols")]
    features = tuple(by_alias.get(name, Feature(name, None)) for name in inputs)
    if len({feature.name for feature in features}) != len(features):
        raise ModelError(f"{vector.folder}: a feature stands in the vector twice. {advice()}")
    return features
