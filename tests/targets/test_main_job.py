"""The main job through every type of target, on the same data: the metrics of a local run come out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.checkouts import Checkout, generate_small_data, make_checkout
from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.spark import SparkCluster
from tests.targets.machines.ssh import SshServer
from tests.targets.machines.tracking import TrackingServer
from workload_forecast.config import DEFAULT_MODEL
from workload_forecast.registry.promotion import CHAMPION, version_of
from workload_forecast.schemas import FEATURES, HOURLY_LOAD

pytestmark = [pytest.mark.targets, pytest.mark.timeout(1500)]

TYPES = ("docker", "remote-docker", "spark-cluster")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return make_checkout(tmp_path_factory.mktemp("project") / "workload forecast")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_small_data(tmp_path_factory.mktemp("data"))


class Project:
    """The project on every type of target, with one tracking server."""

    def __init__(self, checkout: Checkout, settings: Path, uri: str) -> None:
        self.checkout, self.settings, self.uri = checkout, settings, uri

    def write_target(self, name: str, **fields: Any) -> None:
        folder = self.checkout.folder / "targets"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.compute.json").write_text(json.dumps({"name": name, "type": name, **fields}))

    def run(self, backend: str, entry_point: str, wait: bool = True, **parameters: str) -> str:
        configuration: dict[str, Any] = {"target": backend}
        if backend == "spark-cluster":  # as many parts as two cores like, rather than Spark's 200
            configuration["spark"] = {"configuration": {"spark.sql.shuffle.partitions": "4"}}
        submitted = mlflow.projects.run(
            str(self.checkout.folder),
            entry_point=entry_point,
            parameters={"config": str(self.settings), **parameters},
            backend=backend,
            backend_config=configuration if backend != "local" else None,
            env_manager="local",
            experiment_name="main job",
            synchronous=wait,
        )
        return str(submitted.run_id)

    def get(self, run_id: str) -> Run:
        return MlflowClient(self.uri).get_run(run_id)

    def result(self, run_id: str, table: str) -> pd.DataFrame:
        """A table as the run left it on the target; this machine sees all of its folders."""
        folder = Path(self.get(run_id).data.tags["workload_forecast.result"])
        return pd.read_parquet(folder / table).sort_values(["server", "hour"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def project(
    checkout: Checkout,
    settings: Path,
    engine: DockerEngine,
    ssh: SshServer,
    cluster: SparkCluster,
    tracking: TrackingServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    made = Project(checkout, settings, tracking.uri)
    behind_ssh = {"address": ssh.alias, "sshConfig": str(ssh.config_file), "baseDirectory": "~/main job"}
    made.write_target("docker", baseDirectory=str(tmp_path_factory.mktemp("base")))
    made.write_target("remote-docker", **behind_ssh)
    made.write_target("spark-cluster", **behind_ssh, sparkMaster=cluster.master_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout.folder)
        patch.setenv("DOCKER_HOST", engine.host)
        patch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
        mlflow.set_tracking_uri(tracking.uri)
        yield made


def main_job(project: Project, backend: str) -> Run:
    """With a tree, because the default fits nothing: a fit is to be the same everywhere, too."""
    return project.get(project.run(backend, "main", algorithm="decision_tree", max_depth="4"))


@pytest.fixture(scope="module")
def local(project: Project) -> Run:
    return main_job(project, "local")


def outcome(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(("seconds/", "system/"))}


@pytest.mark.parametrize("backend", TYPES)
def test_the_metrics_are_those_of_a_local_run(project: Project, local: Run, backend: str) -> None:
    expected = outcome(local)
    assert expected["test_macro_f1"] > 0

    run = main_job(project, backend)

    assert outcome(run) == pytest.approx(expected, rel=1e-9)
    assert run.data.tags["workload_forecast.target_type"] == backend
    client = MlflowClient(project.uri)
    nested = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    # who is the champion forecasts, on the target as here
    forecast = {"forecast"} if version_of(client, DEFAULT_MODEL, CHAMPION) else set()
    assert {child.data.tags["workload_forecast.step"] for child in nested} == {"etl", "train", "promote"} | forecast
    assert {child.info.status for child in nested} == {"FINISHED"}
    console = Path(client.download_artifacts(run.info.run_id, "console.log")).read_text()
    assert "registered workload-forecast version" in console
    if backend == "remote-docker":
        (etl,) = [child for child in nested if child.data.tags["workload_forecast.step"] == "etl"]
        assert (Path(etl.data.tags["workload_forecast.result"]) / "info.json").is_file(), "brought back to this machine"


def test_an_etl_survives_the_death_of_a_worker(project: Project, cluster: SparkCluster) -> None:
    expected = project.run("local", "etl")
    client = MlflowClient(project.uri)
    run_id = project.run("spark-cluster", "etl", wait=False, engine="spark", reuse="false")
    _wait(lambda: len(_executors(cluster)) == 2)

    cluster.kill_worker(0)

    _wait(lambda: client.get_run(run_id).data.tags.get("workload_forecast.exit_reason") is not None)
    cluster.start_worker(0)
    assert client.get_run(run_id).info.status == "FINISHED"
    names = ("rows_read", "rows_used", "rows_quarantined", "rows_outside_window")
    assert [project.get(run_id).data.metrics[name] for name in names] == [
        project.get(expected).data.metrics[name] for name in names
    ]
    for table in (HOURLY_LOAD, FEATURES):
        ours, theirs = project.result(run_id, table.name), project.result(expected, table.name)
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, check_dtype=False, rtol=1e-9)


def _executors(cluster: SparkCluster) -> list[str]:
    return [worker["id"] for worker in cluster.status()["workers"] if worker["coresused"] > 0]


def _wait(condition: Any) -> None:
    import time

    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.3)
