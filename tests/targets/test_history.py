"""What a run keeps of how it was run, in a tracking store of its own."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets import history
from workload_forecast.targets.contract import Environment, Job
from workload_forecast.targets.files import ComputeTarget, Mount, RunConfiguration
from workload_forecast.targets.history import LAUNCHER, begin, describe, end, find_job, keep, launcher_lives
from workload_forecast.targets.hosts import started

TAG = "workload_forecast."


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    folder = tmp_path_factory.mktemp("history")
    found = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found.create_experiment("probe", artifact_location=str(folder / "artifacts"))
    return found


@pytest.fixture(scope="module")
def experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("probe")
    assert found is not None
    identity: str = found.experiment_id
    return identity


def new_run(client: MlflowClient, experiment: str, status: str = "RUNNING", parent: str = "") -> str:
    run_id: str = client.create_run(experiment, tags={"mlflow.parentRunId": parent} if parent else {}).info.run_id
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return run_id


def status_of(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.status)


def job_of(run_id: str) -> Job:
    return Job(
        run_id=run_id,
        target=ComputeTarget(name="gpu", type="remote-docker", address="box", username="anna", port=2222),
        configuration=RunConfiguration(target="gpu", forward_variables=("MY_KEY",), cpus=2.0),
        folder=f"/base/runs/{run_id}",
        command="python x.py",
        variables={"A": "1"},
        home="/home/outputs",
        home_source="/base/homes/x",
        local_home="/home/outputs",
        mounts=[Mount(source="/data, a", target="/data"), Mount(source="/s", target="/s", read_only=False)],
        remote_port=40123,
        handle={"container": "c"},
        secrets={"MY_KEY": "hunter2"},
    )


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "outcome", "code", "after"),
    [
        ("RUNNING", "FINISHED", 0, "FINISHED"),
        ("RUNNING", "FAILED", 3, "FAILED"),
        ("RUNNING", "FAILED", None, "FAILED"),
        ("RUNNING", "KILLED", 143, "KILLED"),
        ("FINISHED", "FINISHED", 0, "FINISHED"),
        ("FINISHED", "FAILED", 1, "FAILED"),
        ("FINISHED", "KILLED", 143, "KILLED"),
        ("FAILED", "FAILED", 1, "FAILED"),
        ("FAILED", "FINISHED", 0, "FAILED"),
        ("FAILED", "KILLED", 143, "KILLED"),
        ("KILLED", "FAILED", 137, "KILLED"),
        ("KILLED", "FINISHED", 0, "KILLED"),
    ],
)
def test_a_run_ends_as_its_job_did(
    client: MlflowClient, experiment: str, before: str, outcome: str, code: int | None, after: str
) -> None:
    run_id = new_run(client, experiment, before)
    end(client, run_id, status=outcome, code=code, reason="why: ü\nand more")
    run = client.get_run(run_id)
    assert run.info.status == after
    assert run.info.end_time is not None
    assert run.data.tags[f"{TAG}exit_code"] == ("unknown" if code is None else str(code))
    assert run.data.tags[f"{TAG}exit_reason"] == "why: ü\nand more"
    assert float(run.data.tags[f"{TAG}seconds"]) == pytest.approx(
        (run.info.end_time - run.info.start_time) / 1000, abs=0.051
    )


@pytest.mark.parametrize(("outcome", "child"), [("FINISHED", "FAILED"), ("FAILED", "FAILED"), ("KILLED", "KILLED")])
def test_what_is_nested_and_open_ends_with_its_run(
    client: MlflowClient, experiment: str, outcome: str, child: str
) -> None:
    run_id, other = new_run(client, experiment), new_run(client, experiment)
    open_child = new_run(client, experiment, parent=run_id)
    done_child = new_run(client, experiment, "FINISHED", parent=run_id)
    foreign_child = new_run(client, experiment, parent=other)
    end(client, run_id, status=outcome, code=1, reason="x")
    assert status_of(client, open_child) == child
    assert status_of(client, done_child) == "FINISHED"
    assert status_of(client, other) == status_of(client, foreign_child) == "RUNNING"


def test_what_is_nested_in_the_nested_ends_too(client: MlflowClient, experiment: str) -> None:
    run_id = new_run(client, experiment)
    child = new_run(client, experiment, parent=run_id)
    grandchild = new_run(client, experiment, parent=child)
    orphan = new_run(client, experiment, parent=new_run(client, experiment, "FINISHED", parent=run_id))
    end(client, run_id, status="KILLED", code=None, reason="x")
    assert [status_of(client, one) for one in (child, grandchild, orphan)] == ["KILLED"] * 3


# --- the launcher ----------------------------------------------------------------------------------------------------


def launched_by(**launcher: object) -> Run:
    tags = {LAUNCHER: json.dumps({"host": socket.gethostname(), **launcher})}
    return cast("Run", SimpleNamespace(data=SimpleNamespace(tags=tags)))


def test_this_process_lives(client: MlflowClient, experiment: str) -> None:
    run_id = new_run(client, experiment)
    begin(client, run_id, "gpu")
    run = client.get_run(run_id)
    assert launcher_lives(run)
    assert run.data.tags[f"{TAG}target"] == "gpu"


def test_a_process_that_has_ended_does_not() -> None:
    process = subprocess.Popen(["sleep", "60"])
    begun = started(process.pid)
    assert begun
    assert launcher_lives(launched_by(pid=process.pid, started=begun))
    process.kill()
    process.wait()
    assert not launcher_lives(launched_by(pid=process.pid, started=begun))


def test_another_process_with_the_number_of_the_old_one_is_another() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert not launcher_lives(launched_by(pid=process.pid, started="Mon Jan  1 00:00:00 2001"))
    process.kill()
    process.wait()


def test_a_process_of_another_machine_is_for_that_one_to_tell() -> None:
    with pytest.raises(EnvironmentProblem, match=r"^it is launched from elsewhere, process 17: look there$"):
        launcher_lives(launched_by(host="elsewhere", pid=17, started="x"))


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diff", ["", "diff --git a/x b/x\n+ü\n"])
def test_a_run_says_where_and_from_what_it_ran(
    client: MlflowClient, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diff: str
) -> None:
    monkeypatch.setattr(history, "git_state", lambda _: ("abc", diff))
    run_id = new_run(client, experiment)
    describe(client, job_of(run_id), Environment("env:1", facts={"image": "sha256:1"}), "Docker 1", tmp_path)
    tags = client.get_run(run_id).data.tags
    assert {name.removeprefix(TAG): value for name, value in tags.items() if name.startswith(TAG)} == {
        "target": "gpu",
        "target_type": "remote-docker",
        "target_address": "box",
        "environment": "env:1",
        "engine": "Docker 1",
        "image": "sha256:1",
        "uncommitted": "true" if diff else "false",
    }
    names = [artifact.path for artifact in client.list_artifacts(run_id)]
    assert names == (["uncommitted.diff"] if diff else [])
    if diff:
        kept = Path(client.download_artifacts(run_id, "uncommitted.diff", str(tmp_path)))
        assert kept.read_text(encoding="utf-8") == diff


def test_a_job_is_found_again_without_its_secrets(client: MlflowClient, experiment: str) -> None:
    run_id = new_run(client, experiment)
    job = job_of(run_id)
    keep(client, job)
    run, found = find_job(client, run_id)
    assert run.info.run_id == run_id
    assert found.record() == job.record()
    assert (found.target, found.configuration) == (job.target, job.configuration)
    assert (list(found.mounts), dict(found.handle), found.remote_port) == (list(job.mounts), {"container": "c"}, 40123)
    assert (found.secrets, found.variables, found.command) == ({}, {}, "")
    assert "hunter2" not in json.dumps(run.to_dictionary())
    assert "hunter2" not in repr(job)


def message_of(client: MlflowClient, run_id: str) -> str:
    with pytest.raises(SettingsError) as problem:
        find_job(client, run_id)
    return str(problem.value)


def test_a_run_that_is_not_there(client: MlflowClient) -> None:
    message = message_of(client, "no-such-run")
    assert message.startswith(f"run no-such-run was not found in {client.tracking_uri}: ")


def test_a_run_that_was_not_launched_on_a_target(client: MlflowClient, experiment: str) -> None:
    run_id = new_run(client, experiment)
    assert message_of(client, run_id) == (
        f"run {run_id} was not launched on a target (it has no tag workload_forecast.job)."
    )


def test_a_run_that_is_being_launched_or_never_was(client: MlflowClient, experiment: str) -> None:
    run_id = new_run(client, experiment)
    begin(client, run_id, "gpu")
    assert message_of(client, run_id) == f"run {run_id} has no job on its target: it is being launched."
    end(client, run_id, status="FAILED", code=None, reason="not launched: disk full")
    assert message_of(client, run_id) == f"run {run_id} has no job on its target: not launched: disk full."


def test_a_long_reason_is_kept(client: MlflowClient, experiment: str) -> None:
    """As long as launching cuts it."""
    run_id = new_run(client, experiment)
    end(client, run_id, status="FAILED", code=None, reason="x" * 5000)
    assert client.get_run(run_id).data.tags[f"{TAG}exit_reason"] == "x" * 5000
