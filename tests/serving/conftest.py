"""What the tests of this room share: facts that go with any trees, and one compiled model of the project's features."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.serving.saved_pipelines import Leaf, Saved, Split
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.serving.compiled import compile_trees, write_compiled
from workload_forecast.serving.facts import Baseline, Facts
from workload_forecast.serving.saved_models import SavedPipeline, read_pipeline

MakeFacts = Callable[[SavedPipeline], Facts]

SHARES = ((0.7, 0.2, 0.1), (0.25, 0.5, 0.25), (0.0, 0.125, 0.875))


def facts_of(pipeline: SavedPipeline, missing_hours: str = "unknown") -> Facts:
    return Facts(
        algorithm=pipeline.algorithm,
        features=pipeline.features,
        classes=pipeline.classes,
        low=pipeline.thresholds[0] if pipeline.thresholds else 100.0,
        high=pipeline.thresholds[1] if pipeline.thresholds else 300.0,
        horizon_hours=48,
        missing_hours=missing_hours,  # type: ignore[arg-type]
        training_from=datetime(2016, 1, 1),
        training_to=datetime(2016, 6, 1),
        baseline=Baseline("class_48h_ago", SHARES[: len(pipeline.classes)]),
        spark_version=pipeline.spark_version,
        treelite_version="4",
        form=pipeline.form,
        load_quantiles=LoadQuantiles(2.0, (-1.5, 0.25, 1.0, 1.75, 3.0)),
    )


def lag_forest() -> Saved:
    """Low, medium or high by the load 48 hours ago alone, and whether it is known."""
    lag, mean = FEATURE_NAMES.index("total_load_lag_48h"), FEATURE_NAMES.index("total_load_mean_7d")
    by_lag = Split(lag, 100.0, Leaf((8.0, 1.0, 1.0)), Split(lag, 300.0, Leaf((1.0, 6.0, 1.0)), Leaf((0.0, 1.0, 9.0))))
    return Saved([by_lag, Split(mean, -1.0, Leaf((1.0, 1.0, 0.0)), Leaf((2.0, 2.0, 2.0)))])


def compiled(saved: Saved, folder: Path, missing_hours: str = "unknown") -> Path:
    pipeline = read_pipeline(saved.save(folder / "sparkml"))
    write_compiled(folder / "compiled", compile_trees(pipeline), facts_of(pipeline, missing_hours))
    return folder / "compiled"


@pytest.fixture(scope="session")
def lag_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(lag_forest(), tmp_path_factory.mktemp("lag"))


@pytest.fixture(scope="session")
def zero_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(lag_forest(), tmp_path_factory.mktemp("zero"), missing_hours="zero")
