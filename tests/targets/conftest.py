"""The machines that targets are tested on, each started once and only by the tests that need it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.targets.bench import Bench, write_project
from tests.targets.machines.base_image import base_image
from tests.targets.machines.docker import DockerEngine, docker_engine
from tests.targets.machines.process import short_folder
from tests.targets.machines.spark import SparkCluster, copy_spark, spark_cluster
from tests.targets.machines.ssh import SshServer, ssh_server
from tests.targets.machines.tracking import TrackingServer, tracking_server

#: What docker/Dockerfile builds on; no registry has to be reached for it.
BASE_IMAGE = "python:3.11-slim-bookworm"


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    with short_folder("docker") as folder, docker_engine(folder) as running:
        base_image(running, BASE_IMAGE)
        yield running


@pytest.fixture(scope="session")
def ssh(engine: DockerEngine, spark_home: Path) -> Iterator[SshServer]:
    """The engine's machine as others see it."""
    variables = {"DOCKER_HOST": engine.host, "SPARK_HOME": str(spark_home)}
    with short_folder("ssh") as folder, ssh_server(folder, [engine.group], variables) as running:
        yield running


@pytest.fixture(scope="session")
def spark_home() -> Iterator[Path]:
    with short_folder("spark") as folder:
        yield copy_spark(folder)


@pytest.fixture(scope="session")
def cluster(ssh: SshServer, spark_home: Path) -> Iterator[SparkCluster]:
    with short_folder("cluster") as folder, spark_cluster(folder, ssh.user, spark_home) as running:
        yield running


@pytest.fixture(scope="session")
def tracking() -> Iterator[TrackingServer]:
    with short_folder("tracking") as folder, tracking_server(folder) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of its own for every test, in a folder whose name needs quoting."""
    return write_project(tmp_path / "a project's folder")


@pytest.fixture
def docker_bench(engine: DockerEngine, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Docker on this machine, with a SQLite tracking store."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return Bench("docker", {"baseDirectory": str(tmp_path / "base folder")}, project, store, monkeypatch)


@pytest.fixture
def remote_docker_bench(
    ssh: SshServer, tracking: TrackingServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """Docker behind ssh, with a tracking server that only this machine reaches."""
    fields = {"address": ssh.alias, "sshConfig": str(ssh.config_file), "baseDirectory": "~/wf's base"}
    return Bench("remote-docker", fields, project, tracking.uri, monkeypatch)


@pytest.fixture
def spark_bench(
    ssh: SshServer, cluster: SparkCluster, tracking: TrackingServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A standalone cluster behind ssh."""
    fields = {"address": ssh.alias, "sshConfig": str(ssh.config_file), "baseDirectory": "~/wf's base"}
    return Bench("spark-cluster", {**fields, "sparkMaster": cluster.master_url}, project, tracking.uri, monkeypatch)
