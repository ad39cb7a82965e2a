"""What somebody else does with the job's result: a process that knows an address and a login, and no storage account.

``python reader.py EXPERIMENT FILE`` writes what it found as JSON; the model has the experiment's name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run


def files(client: mlflow.MlflowClient, run: Run, path: str | None = None) -> Iterator[tuple[str, int | None]]:
    """Every artifact of a run with its size."""
    for entry in client.list_artifacts(run.info.run_id, path):
        if entry.is_dir:
            yield from files(client, run, entry.path)
        else:
            yield entry.path, entry.file_size


def read(experiment: str) -> dict[str, Any]:
    client = mlflow.MlflowClient()
    runs = mlflow.search_runs(experiment_names=[experiment], output_format="list", order_by=["start_time ASC"])
    steps = {run.data.tags["workload_forecast.step"]: run for run in runs if "workload_forecast.step" in run.data.tags}
    version = client.get_model_version(experiment, "1")
    model = mlflow.pyfunc.load_model(f"models:/{experiment}/1")
    return {
        "states": sorted(run.info.status for run in runs),
        "steps": sorted(steps),
        "metrics": steps["train"].data.metrics,
        "rows_read": steps["etl"].data.metrics["rows_read"],
        "artifacts": {run.info.artifact_uri: dict(files(client, run)) for run in runs},
        "said": [{**run.data.params, **run.data.tags} for run in runs],
        "version": {"run": version.run_id, "tags": version.tags, "source": version.source},
        "train": steps["train"].info.run_id,
        "predicted": list(model.predict(model.input_example)["prediction"]),
        "azure": [name for name in os.environ if name.startswith("AZURE_")],
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(read(sys.argv[1])))
