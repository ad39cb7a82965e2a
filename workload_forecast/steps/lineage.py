"""Dataset lineage: which data went into a run and which came out, as MLflow dataset inputs."""

from __future__ import annotations

import warnings
from pathlib import Path

import mlflow
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.types import ColSpec, DataType, Schema

from workload_forecast.schemas import DOUBLE, INTEGER, TEXT, TIMESTAMP, Table

_TYPES = {TEXT: DataType.string, INTEGER: DataType.long, DOUBLE: DataType.double, TIMESTAMP: DataType.datetime}


class _Described(MetaDataset):
    """A dataset known by source, digest and schema; MLflow's own class lacks a property that its base declares."""

    @property
    def profile(self) -> None:
        """Nothing is computed from the data for the record."""
        return None


def log_input_files(pattern: str, files: int, digest: str) -> None:
    """Record the session files of the active run: their glob, number and digest."""
    dataset = _Described(_source(pattern), name="sessions", digest=digest[:32])
    mlflow.log_input(dataset, context="input", tags={"files": str(files)})


def log_table(folder: Path, table: Table, context: str, digest: str | None = None) -> None:
    """Record a stored table with its schema; ``context`` is ``output``, ``training`` or another word of the run's."""
    schema = Schema([ColSpec(_TYPES[dtype], name) for name, dtype in table.columns.items()])
    dataset = _Described(_source(str(folder)), name=table.name, digest=digest, schema=schema)
    mlflow.log_input(dataset, context=context)


def _source(location: str) -> DatasetSource:
    with warnings.catch_warnings():
        # MLflow registers its local source twice, and warns that the two differ
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted in multiple ways")
        return resolve_dataset_source(location)
