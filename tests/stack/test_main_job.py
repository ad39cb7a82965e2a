"""From the etl to the registered model on the stack, and all of it back in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from tests.stack.conftest import User
from tests.stack.job import EXPERIMENT, Job, shown_arguments
from tests.stack.machines.tracking import PREFIX, Tracking

pytestmark = [pytest.mark.stack, pytest.mark.spark]

#: What somebody else does with the job's result: a process that knows an address and a login, and no storage account.
READER = """
import json, os, sys
import mlflow

client = mlflow.MlflowClient()
runs = mlflow.search_runs(experiment_names=[sys.argv[1]], output_format="list", order_by=["start_time ASC"])
steps = {run.data.tags["workload_forecast.step"]: run for run in runs if "workload_forecast.step" in run.data.tags}

def files(run, path=None):
    for entry in client.list_artifacts(run.info.run_id, path):
        if entry.is_dir:
            yield from files(run, entry.path)
        else:
            yield entry.path, entry.file_size

version = client.get_model_version(sys.argv[1], "1")
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}/1")
print("ANSWER " + json.dumps({
    "states": sorted(run.info.status for run in runs),
    "steps": sorted(steps),
    "users": sorted({run.info.user_id for run in runs}),
    "metrics": steps["train"].data.metrics,
    "rows_read": steps["etl"].data.metrics["rows_read"],
    "artifacts": {run.info.artifact_uri: dict(files(run)) for run in runs},
    "said": [{**run.data.params, **run.data.tags} for run in runs],
    "version": {"run": version.run_id, "tags": version.tags, "source": version.source},
    "train": steps["train"].info.run_id,
    "predicted": list(model.predict(model.input_example)),
    "azure": [name for name in os.environ if name.startswith("AZURE_")],
}))
"""


def read_back(user: User, folder: Path) -> dict[str, Any]:
    """What the reader sees."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", READER, EXPERIMENT],
        cwd=folder,
        env=user.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert lines, done.stdout[-2000:] + done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(lines[0].removeprefix("ANSWER "))
    return answer


@pytest.fixture(scope="session")
def seen(job: Job, analyst: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    assert job.results
    return read_back(analyst, tmp_path_factory.mktemp("reader"))


def test_another_process_finds_runs_metrics_and_the_model(seen: dict[str, Any]) -> None:
    assert set(seen["states"]) == {"FINISHED"}
    assert {"etl", "train"} <= set(seen["steps"])
    assert seen["rows_read"] > 1000
    assert 0 < seen["metrics"]["test_macro_f1"] <= 1
    assert seen["version"]["run"] == seen["train"]
    assert seen["version"]["tags"]["test_macro_f1"] == f"{seen['metrics']['test_macro_f1']:.4g}"
    assert len(seen["predicted"]) > 0
    assert set(seen["predicted"]) <= {"low", "medium", "high"}
    assert seen["azure"] == [], "the server passes artifacts on: nobody else needs the account"


def test_artifacts_lie_in_the_container(seen: dict[str, Any], tracking: Tracking) -> None:
    blobs = {blob.name: blob.size for blob in tracking.parts.blobs.list_blobs()}
    assert all(name.startswith(f"{PREFIX}/") for name in blobs)
    expected: dict[str, int] = {}
    for uri, files in seen["artifacts"].items():
        assert uri.startswith("mlflow-artifacts:/")
        top = f"{PREFIX}/{uri.removeprefix('mlflow-artifacts:/').lstrip('/')}"
        expected |= {f"{top}/{path}": size for path, size in files.items()}
    assert len(expected) > 5
    # a model's files lie apart from the run's, which lists them as its own
    missing = {name: size for name, size in expected.items() if blobs.get(name) != size}
    models = [name for name in blobs if "/models/" in name]
    assert models
    assert all("/artifacts/model/" in name for name in missing), missing
    assert sum(name.endswith("MLmodel") for name in blobs) == 1


def test_results_are_published_to_the_account(job: Job, tracking: Tracking) -> None:
    text = tracking.parts.azurite.connection_string()
    names = list(ContainerClient.from_connection_string(text, job.results).list_blob_names())
    assert {"etl/manifest.json", "train/manifest.json"} <= set(names)


def test_secrets_are_nowhere(job: Job, seen: dict[str, Any], tracking: Tracking, analyst: User) -> None:
    secrets = {**tracking.secrets, "the user's password": analyst.password}
    assert job.shown == []
    assert shown_arguments(secrets) == []
    # the search finds what is there: an argument of this very moment
    with subprocess.Popen([sys.executable, "-c", "input()", analyst.password], stdin=subprocess.PIPE) as process:
        assert [line.split(":")[0] for line in shown_arguments(secrets)] == ["the user's password"]
        process.kill()

    texts = {"the job's output": job.said, "runs": json.dumps(seen["said"])}
    files = [path for top in (tracking.folder, job.folder) for path in top.rglob("*") if path.is_file()]
    assert tracking.server.log in files
    assert len(files) > 100
    for what, secret in secrets.items():
        assert [name for name, text in texts.items() if secret in text] == [], what
        assert [str(path) for path in files if secret.encode() in path.read_bytes()] == [], what
    for blob in tracking.parts.blobs.list_blobs():
        content = tracking.parts.blobs.download_blob(blob.name).readall()
        assert not [what for what, secret in secrets.items() if secret.encode() in content], blob.name
