"""A backup of database and artifacts, and all of it back in a new database and a new container."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import requests
from azure.storage.blob import ContainerClient

from tests.checkouts import PROJECT
from tests.stack.conftest import User
from tests.stack.job import Job
from tests.stack.machines.tracking import ADMIN, Parts, Tracking, tracking_server
from tests.stack.test_main_job import read_back

pytestmark = [pytest.mark.stack, pytest.mark.spark]

SCRIPTS = PROJECT / "docker" / "tracking"


def script(name: str, parts: Parts, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script as an operator does, with the programs of the database's version."""
    environment = {**parts.environment(), "PYTHON": "python", **more}
    environment["PATH"] = f"{parts.postgres.programs}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPTS / name), *map(str, arguments)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def blobs(container: ContainerClient) -> dict[str, tuple[int, bytes | None]]:
    return {blob.name: (blob.size, container.download_blob(blob.name).readall()) for blob in container.list_blobs()}


@pytest.fixture(scope="module")
def backup(job: Job, tracking: Tracking, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert job.results
    folder = tmp_path_factory.mktemp("backups") / "a backup"
    # as with Docker, where the database's programs are run through another one
    done = script("backup.sh", tracking.parts, folder, TRACKING_DATABASE_RUN="env LC_ALL=C")
    assert done.returncode == 0, done.stderr
    for secret in tracking.secrets.values():
        assert secret not in done.stdout + done.stderr
    return folder


def test_a_backup_is_whole_and_for_its_owner_alone(backup: Path, tracking: Tracking) -> None:
    sums = (backup / "SHA256SUMS").read_text().splitlines()
    files = [path for path in (backup / "artifacts").rglob("*") if path.is_file()]
    names = {blob.name for blob in tracking.parts.blobs.list_blobs()}
    assert len(sums) == len(files) + 1 == len(names) + 1
    assert {f"mlflow/{path.relative_to(backup / 'artifacts').as_posix()}" for path in files} == names
    assert (backup / "database.dump").stat().st_mode & 0o077 == 0
    assert backup.stat().st_mode & 0o077 == 0


def test_no_two_backups_get_mixed(backup: Path, tracking: Tracking, tmp_path: Path) -> None:
    before = (backup / "SHA256SUMS").read_bytes()
    done = script("backup.sh", tracking.parts, backup)
    assert (done.returncode, "is not empty: name a new folder" in done.stderr) == (1, True)
    assert (backup / "SHA256SUMS").read_bytes() == before
    assert script("backup.sh", tracking.parts).returncode == 2
    broken = script("backup.sh", tracking.parts, tmp_path / "new", PGPASSWORD="wrong")
    assert broken.returncode != 0
    assert "password authentication failed" in broken.stderr
    refused = script("restore.sh", tracking.parts, tmp_path / "new")
    assert (refused.returncode, "has no SHA256SUMS: it is no backup, or one that was broken off" in refused.stderr) == (
        1,
        True,
    )


def test_only_an_empty_database_is_restored_into(backup: Path, tracking: Tracking) -> None:
    done = script("restore.sh", tracking.parts, backup)
    assert (done.returncode, "the database is not empty: make a new one" in done.stderr) == (1, True)
    done = script("restore.sh", tracking.parts, backup, "--replace")
    assert (done.returncode, "the database is not empty: make a new one" in done.stderr) == (1, True)


def test_a_damaged_backup_is_not_restored(backup: Path, parts: Parts, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(backup), str(copy)], check=True)
    first = min(path for path in (copy / "artifacts").rglob("*") if path.is_file() and path.stat().st_size)
    first.write_bytes(first.read_bytes()[::-1] + b"x")
    done = script("restore.sh", parts, copy)
    assert (done.returncode, "is damaged (see above): take another backup" in done.stderr) == (1, True)
    assert not parts.blobs.exists()


def test_everything_is_back(
    backup: Path, parts: Parts, tracking: Tracking, analyst: User, folder: Path, tmp_path: Path
) -> None:
    parts.blobs.create_container()
    # somebody's blob in the way, then the same one as it should be
    name, (_, content) = next(iter(blobs(tracking.parts.blobs).items()))
    parts.blobs.upload_blob(name, b"in the way")
    refused = script("restore.sh", parts, backup)
    assert (refused.returncode, "there with another content" in refused.stderr) == (3, True), refused.stderr
    assert parts.postgres.rows(parts.database, "SELECT to_regclass('experiments')") == [(None,)]
    done = script("restore.sh", parts, backup, "--replace")
    assert done.returncode == 0, done.stderr
    assert content is not None
    assert blobs(parts.blobs) == blobs(tracking.parts.blobs)

    # the server there: the same users with the same passwords, whatever its environment says of the administrator's
    settings = {"TRACKING_DEFAULT_PERMISSION": "NO_PERMISSIONS", "MLFLOW_WORKERS": "1"}
    with tracking_server(parts, folder, settings) as restored:
        there = User(restored, analyst.name, analyst.password)
        assert read_back(there, tmp_path / "there") == read_back(analyst, tmp_path / "here")
        path = f"{restored.uri}/api/2.0/mlflow/users/get?username={analyst.name}"
        assert requests.get(path, auth=(ADMIN, tracking.password), timeout=30).status_code == 200
        assert requests.get(path, auth=(ADMIN, restored.password), timeout=30).status_code == 401
        _strangers_see_nothing(restored, tracking)


def _strangers_see_nothing(restored: Tracking, tracking: Tracking) -> None:
    """With NO_PERMISSIONS for what others own, as this server was started."""
    login = (ADMIN, tracking.password)
    new = {"username": "stranger", "password": "a long password"}
    requests.post(f"{restored.uri}/api/2.0/mlflow/users/create", json=new, auth=login, timeout=30).raise_for_status()
    path = f"{restored.uri}/api/2.0/mlflow/experiments/search?max_results=100"
    seen = {
        who: {entry["name"] for entry in requests.get(path, auth=auth, timeout=30).json().get("experiments", [])}
        for who, auth in {"chief": login, "stranger": ("stranger", "a long password")}.items()
    }
    assert "workload-forecast" in seen["chief"]
    assert seen["stranger"] == set()
