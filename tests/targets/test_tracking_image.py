"""The tracking server's image: built for real, and run against a database and a blob server of the tests' own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from tests.stack.job import shown_arguments
from tests.stack.machines.postgres import Postgres, postgres_server
from tests.stack.machines.tracking import ADMIN, VARIABLES, Parts, server_environment
from tests.storage.machines.azurite import Azurite, azurite_server
from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.process import fetch, short_folder

pytestmark = pytest.mark.targets

FOLDER = Path(__file__).parents[2] / "docker" / "tracking"
IMAGE = "workload-forecast-tracking"
#: As docker/compose.yaml runs it, but for the network: this engine has none of its own.
OPTIONS = ["--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
OPTIONS += ["--security-opt", "no-new-privileges:true"]


@pytest.fixture(scope="module")
def image(engine: DockerEngine) -> str:
    engine.docker("build", "--network", "host", "--tag", IMAGE, str(FOLDER))
    return IMAGE


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with short_folder("postgres") as folder, postgres_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def blob_server() -> Iterator[Azurite]:
    with short_folder("azurite") as folder, azurite_server(folder) as running:
        yield running


@pytest.fixture
def parts(postgres: Postgres, blob_server: Azurite) -> Parts:
    return Parts.new(postgres, blob_server)


def variables(parts: Parts, folder: Path, **more: str) -> dict[str, str]:
    """What the container is given: the server's own variables."""
    given = server_environment(parts, folder, MLFLOW_HOST="127.0.0.1", MLFLOW_WORKERS="1", **more)
    return {name: value for name, value in given.items() if name.startswith(VARIABLES)}


@contextmanager
def container(engine: DockerEngine, image: str, given: dict[str, str]) -> Iterator[str]:
    """A container's id; its variables go by name, so that no value is an argument of `docker`."""
    names = [part for name in given for part in ("--env", name)]
    done = subprocess.run(
        ["docker", "run", "--detach", *OPTIONS, *names, image],
        env={**engine.environment(), **given},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    try:
        yield done.stdout.strip()
    finally:
        engine.docker("rm", "--force", "--volumes", done.stdout.strip())


def state(engine: DockerEngine, name: str, fields: Sequence[str]) -> object:
    found = json.loads(engine.docker("inspect", name).stdout)[0]
    for field in fields:
        found = found[field]
    return found


def test_the_container_serves_as_nobody_in_particular(
    engine: DockerEngine, image: str, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = variables(parts, tmp_path)
    uri, password = f"http://127.0.0.1:{given['MLFLOW_PORT']}", given["MLFLOW_AUTH_ADMIN_PASSWORD"]
    secrets = {
        "password": password,
        "database": given["PGPASSWORD"],
        "key": parts.azurite.key,
        "sessions": given["MLFLOW_FLASK_SERVER_SECRET_KEY"],
    }
    with container(engine, image, given) as name:
        end = time.monotonic() + 180
        while fetch(f"{uri}/health") != b"OK":
            assert state(engine, name, ("State", "Running")), engine.docker("logs", name).stderr
            assert time.monotonic() < end, engine.docker("logs", name).stderr
            time.sleep(0.5)
        assert engine.docker("exec", name, "id", "-u").stdout.strip() == "10001"
        assert engine.docker("exec", name, "touch", "/opt/tracking/x", check=False).returncode != 0

        path = f"{uri}/api/2.0/mlflow/users/current"
        assert requests.get(path, timeout=30).status_code == 401
        assert requests.get(path, auth=(ADMIN, password), timeout=30).status_code == 200
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        client = MlflowClient(uri)
        run = client.create_run(client.create_experiment("in a container"))
        client.log_text(run.info.run_id, "as it was", "text.txt")
        [blob] = [blob.name for blob in parts.blobs.list_blobs()]
        assert blob.endswith(f"{run.info.run_id}/artifacts/text.txt")

        assert shown_arguments(secrets) == []
        logs = engine.docker("logs", name)
        assert [what for what, secret in secrets.items() if secret in logs.stdout + logs.stderr] == []
        while state(engine, name, ("State", "Health", "Status")) != "healthy":
            assert time.monotonic() < end
            time.sleep(1)

        begin = time.monotonic()
        engine.docker("stop", "--time", "60", name)
        assert time.monotonic() - begin < 50, "it ends by itself when it is asked to"
        assert state(engine, name, ("State", "ExitCode")) == 0


def test_a_container_that_cannot_start_says_why(engine: DockerEngine, image: str, parts: Parts, tmp_path: Path) -> None:
    given = variables(parts, tmp_path) | {"PGPASSWORD": "wrong"}
    with container(engine, image, given) as name:
        code = engine.docker("wait", name).stdout.strip()
        logs = engine.docker("logs", name)
    assert code == "1"
    assert logs.stdout == ""
    assert len(logs.stderr.splitlines()) == 1
    assert "refuses this login" in logs.stderr


def test_no_secret_and_no_code_is_in_the_image(engine: DockerEngine, image: str) -> None:
    config = state(engine, image, ("Config",))
    assert isinstance(config, dict)
    assert config["User"] == "10001:10001"
    assert not [line for line in config["Env"] if "PASSWORD" in line or "KEY" in line.replace("GPG_KEY", "")]
    listed = engine.docker(
        "run", "--rm", "--network", "host", "--entrypoint", "ls", image, "-R", "/opt/tracking"
    ).stdout
    assert "start.py" in listed
    assert "backup.sh" not in listed
    assert ".env" not in listed
