"""What a training run shows in MLflow besides its model: parameters, metrics, figures, tables, description."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
import pandas as pd
from matplotlib.figure import Figure

from workload_forecast.errors import ModelError
from workload_forecast.model.training import TrainingResult
from workload_forecast.model.weights import EQUAL
from workload_forecast.registry.log_model import describe
from workload_forecast.schemas import CLASSES

PLOTS, TABLES = "plots", "tables"


def training_parameters(result: TrainingResult) -> dict[str, str]:
    """The run's parameters: the algorithm's, resolved; thresholds and unequal weights in effect; the periods (UTC)."""
    split = result.split
    weights = {f"weight_{name}": f"{weight:.4g}" for name, weight in zip(CLASSES, result.weights, strict=True)}
    return {
        "algorithm": result.algorithm,
        **{name: str(value) for name, value in result.parameters.items()},
        **({} if result.weights == EQUAL else weights),
        "threshold_low": repr(result.thresholds.low),
        "threshold_high": repr(result.thresholds.high),
        "thresholds_from": "training terciles" if result.thresholds_auto else "settings",
        "training_from": split.training_from.isoformat(),
        "training_to": split.training_to.isoformat(),
        "test_from": split.test_from.isoformat(),
        "test_to": split.to.isoformat(),
        "gap_hours": str(split.gap_hours),
    }


def log_training(result: TrainingResult) -> None:
    """Log a training to the active run: figures under ``plots/``, tables as CSV under ``tables/``.

    Parameters that the run already holds (as a project run does, from its command line) are left as they are: MLflow
    refuses a second value, and ``auto`` in the command line and the resolved number are both worth keeping.

    Raises:
        ModelError: no run is active.
    """
    run = mlflow.active_run()
    if run is None:
        raise ModelError("a training is logged to a run, but none is active: open one with mlflow.start_run() first.")
    held = mlflow.get_run(run.info.run_id).data.params
    mlflow.log_params({name: value for name, value in training_parameters(result).items() if name not in held})
    mlflow.log_metrics(dict(result.metrics))
    mlflow.set_tags({"best_baseline": result.best_baseline, "mlflow.note.content": describe(result)})
    log_files(result.figures, result.tables)


def log_files(
    figures: Mapping[str, Figure], tables: Mapping[str, pd.DataFrame], texts: Mapping[str, str] | None = None
) -> None:
    """Log figures under ``plots/``, tables as CSV under ``tables/`` and texts by their file names to the active run."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, figure in figures.items():
            (folder / PLOTS).mkdir(exist_ok=True)
            figure.savefig(folder / PLOTS / f"{name}.png")
        for name, table in tables.items():
            (folder / TABLES).mkdir(exist_ok=True)
            table.to_csv(folder / TABLES / f"{name}.csv", index=False)
        for name, text in (texts or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        # One call: against a remote store each costs a round trip of its own.
        mlflow.log_artifacts(scratch)
