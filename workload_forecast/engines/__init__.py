"""Engines by name. Each is imported when it is opened, because Spark alone costs seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from workload_forecast.engines.contract import Engine, EngineFactory
from workload_forecast.errors import SettingsError

_FACTORIES = {
    "duckdb": "workload_forecast.engines.duckdb:open_duckdb",
    "spark": "workload_forecast.engines.spark:open_spark",
}


def resolve(name: str) -> str:
    """Return the engine that ``auto`` stands for: Spark under ``spark-submit``, else DuckDB."""
    if name == "auto":
        return "spark" if "PYSPARK_GATEWAY_PORT" in os.environ else "duckdb"
    if name not in _FACTORIES:
        raise SettingsError(f"engine '{name}' is not one of auto, {', '.join(_FACTORIES)}.")
    return name


def open_engine(name: str, options: Mapping[str, Any] | None = None) -> AbstractContextManager[Engine]:
    """Open the engine ``name`` (auto, duckdb, spark) with the engine's own ``options``."""
    module, _, attribute = _FACTORIES[resolve(name)].partition(":")
    factory: EngineFactory = getattr(import_module(module), attribute)
    return factory(options or {})
