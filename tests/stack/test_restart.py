"""A server that goes away in the middle of a run and comes back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stack.conftest import User
from tests.stack.machines.tracking import Tracking

pytestmark = pytest.mark.stack

WRITER = """
import sys, time
import mlflow
from pathlib import Path

mlflow.set_experiment("restarts")
with mlflow.start_run(run_name=sys.argv[1]) as run:
    Path(sys.argv[1]).write_text(run.info.run_id)
    for step in range(20):
        mlflow.log_metric("step", step, step=step)
        time.sleep(0.2)
    mlflow.log_text("the end", "end.txt")
"""


def writer(user: User, folder: Path, name: str, **variables: str) -> subprocess.Popen[str]:
    """A run that writes for some seconds; returns as soon as it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, name],
        cwd=folder,
        env={**user.environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (folder / name).exists() and process.poll() is None:
        time.sleep(0.1)
    return process


def rows(tracking: Tracking, name: str) -> dict[int, float]:
    found = tracking.parts.postgres.rows(
        tracking.parts.database,
        "SELECT r.name, m.step, m.value FROM metrics m JOIN runs r ON r.run_uuid = m.run_uuid WHERE m.key = 'step'",
    )
    return {int(step): float(value) for run, step, value in found if run == name}


def test_a_client_waits_for_the_server_and_goes_on(tracking: Tracking, analyst: User, tmp_path: Path) -> None:
    process = writer(analyst, tmp_path, "patient")
    tracking.server.stop()
    time.sleep(1)
    assert process.poll() is None
    tracking.server.start()
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said

    assert rows(tracking, "patient") == {step: float(step) for step in range(20)}
    run_id = (tmp_path / "patient").read_text()
    assert any(name.endswith(f"{run_id}/artifacts/end.txt") for name in tracking.parts.blobs.list_blob_names())


def test_a_client_without_patience_says_who_did_not_answer(tracking: Tracking, analyst: User, tmp_path: Path) -> None:
    process = writer(analyst, tmp_path, "hasty", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    tracking.server.stop()
    try:
        said, _ = process.communicate(timeout=100)
    finally:
        tracking.server.start()
    assert process.returncode != 0
    last = said.strip().splitlines()[-1]
    assert f"API request to {tracking.uri}/" in last
    assert "failed with exception" in last
    assert analyst.password not in said

    kept = rows(tracking, "hasty")
    assert kept == {step: float(step) for step in range(len(kept))}, "what was told before is there"
