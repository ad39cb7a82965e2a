"""A registered version, loaded for scoring without Spark: whatever version of this project has logged it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME

from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.registry.older_versions import SPARK, compile_older
from workload_forecast.registry.profiles import Profile
from workload_forecast.serving.compiled import COMPILED
from workload_forecast.serving.scorer import Scorer

#: What MLflow and the stores below it raise when files are not there, or not to be had.
_NO_FILES = (MlflowException, OSError)


@dataclass(frozen=True)
class LoadedVersion:
    """A version's files, what they say of it, and what answers."""

    profile: Profile
    scorer: Scorer
    folder: Path  #: the logged model
    compiled_here: bool  #: whether it was logged without a compiled form

    @property
    def pipeline(self) -> Path:
        """Folder of the saved Spark pipeline."""
        return self.folder / SPARK


def load_version(client: MlflowClient, version: ModelVersion, folder: Path) -> LoadedVersion:
    """Fetch a version's files into ``folder`` (empty, or missing) and load them.

    A version that was logged without a compiled form is compiled from its saved Spark pipeline. What it does not say of
    itself then, its thresholds and periods, is read from its training's run.

    Raises:
        ModelError: files or facts are missing, damaged or of a kind that is not known; says what to do.
    """
    try:
        return _load(client, version, _fetch(version, folder))
    except ModelError as problem:
        raise ModelError(f"version {version.version} of {version.name}: {problem}") from None


def _fetch(version: ModelVersion, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=str(folder))
    except _NO_FILES as problem:
        raise ModelError(f"its files cannot be fetched ({_line(problem)}): restore them, or train again.") from None
    if not (Path(found) / MLMODEL_FILE_NAME).is_file():
        raise ModelError(f"its files are gone: {MLMODEL_FILE_NAME} is not at {version.source}. Train again.")
    return Path(found)


def _load(client: MlflowClient, version: ModelVersion, folder: Path) -> LoadedVersion:
    signature = _signature(folder)
    compiled = (folder / COMPILED).is_dir()
    if not compiled:
        compile_older(client, version, folder / SPARK, folder / COMPILED)
    scorer = Scorer.load(folder)
    facts = scorer.facts
    profile = Profile(
        version=str(version.version),
        thresholds=Thresholds(facts.low, facts.high),
        training_to=facts.training_to,
        features=tuple(feature.name for feature in facts.features),
        classes=facts.classes,
        horizon_hours=facts.horizon_hours,
        inputs=_columns(signature.inputs if signature else None),
        outputs=_columns(signature.outputs if signature else None),
        data=version.tags.get("data", ""),
        subset=version.tags.get("subset", ""),
    )
    return LoadedVersion(profile, scorer, folder, not compiled)


def _signature(folder: Path) -> ModelSignature | None:
    try:
        signature: ModelSignature | None = Model.load(str(folder)).signature
    except (*_NO_FILES, yaml.YAMLError, TypeError, ValueError, KeyError, AttributeError) as problem:
        raise ModelError(f"its {MLMODEL_FILE_NAME} cannot be read ({_line(problem)}): train again.") from None
    return signature


def _columns(schema: Any) -> dict[str, str]:
    """Column to type; empty where the columns have no names, as an answer's had before it was a table."""
    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        return {}
    return {name: str(dtype) for name, dtype in zip(schema.input_names(), schema.input_types(), strict=True)}


def _line(problem: Exception) -> str:
    """The first line of a message, short."""
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:300].rstrip(".")
