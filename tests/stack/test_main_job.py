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

READER = Path(__file__).with_name("reader.py")


def read_back(user: User, folder: Path) -> dict[str, Any]:
    """What the reader sees."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(READER), EXPERIMENT, "answer.json"],
        cwd=folder,
        env=user.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return answer


@pytest.fixture(scope="session")
def seen(job: Job, analyst: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    assert job.results
    return read_back(analyst, tmp_path_factory.mktemp("reader"))


def test_another_process_finds_runs_metrics_and_the_model(seen: dict[str, Any]) -> None:
    assert set(seen["states"]) == {"FINISHED"}
    assert {"etl", "train", "promote"} <= set(seen["steps"])
    assert seen["rows_read"] > 1000
    assert 0 < seen["metrics"]["test_macro_f1"] <= 1
    assert seen["version"]["run"] == seen["train"]
    assert seen["version"]["tags"]["test_macro_f1"] == f"{seen['metrics']['test_macro_f1']:.4f}"
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
    command = [sys.executable, "-c", "print(flush=True); input()", analyst.password]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # until then its arguments may still be in the making
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
