"""Service and follower as real processes: forecast over HTTP, a promotion in between, ends that are clean or not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from mlflow import MlflowClient

from tests.frames import arrow
from tests.serving.conftest import compiled, lag_forest
from tests.serving.histories import HOUR, START
from tests.targets.machines.process import free_port
from workload_forecast.cli import run
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.progress import Progress
from workload_forecast.schemas import HOURLY_LOAD, MEASURES
from workload_forecast.service.client import Client
from workload_forecast.steps import serve

PROJECT = Path(__file__).parents[2]


@dataclass
class Place:
    """Registry, hourly load and results' home of a test."""

    folder: Path
    client: MlflowClient
    compiled: Path

    @property
    def keys(self) -> Path:
        return self.folder / "home" / "service" / "keys.json"

    def register(self, alias: str = "champion") -> str:
        with mlflow.start_run() as found:
            mlflow.log_artifacts(str(self.compiled), "model/compiled")
        source = f"{found.info.artifact_uri}/model"
        version = str(self.client.create_model_version(self.folder.name, source, found.info.run_id).version)
        self.client.set_registered_model_alias(self.folder.name, alias, version)
        return version


@pytest.fixture
def place(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("WORKLOAD_FORECAST_HOME", str(tmp_path / "home"))
    for name in ("API_KEY", "SERVICE_URL", "EXCHANGE", "KEYS"):
        monkeypatch.delenv(f"WORKLOAD_FORECAST_{name}", raising=False)
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient()
    client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    client.create_registered_model(tmp_path.name)
    measures: dict[str, Any] = {"peak_slot": 0, "sessions": 1, **dict.fromkeys(MEASURES, 1.0)}
    hours = [START - n * HOUR for n in range(1, 200)]
    rows = [{"server": "a", "hour": hour, **measures, "total_load": 200.0} for hour in hours]
    (tmp_path / "load").mkdir()
    pl.DataFrame(arrow(HOURLY_LOAD, rows)).write_parquet(tmp_path / "load" / "part-0.parquet")
    return Place(tmp_path, client, compiled(lag_forest(), tmp_path / "model"))


@dataclass
class Process:
    """``workload-forecast serve`` and what it says."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                content: dict[str, Any] = json.loads(answer.read())
                return content
        except OSError:
            return {}

    def children(self) -> list[int]:
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(line) for line in found.stdout.split()]


@contextmanager
def serving(place: Place, *arguments: str) -> Iterator[Process]:
    port = free_port()
    command = ["serve", "--port", str(port), "--model", place.folder.name, "--history", str(place.folder / "load")]
    process = subprocess.Popen(
        [sys.executable, "-m", "workload_forecast", *command, "--interval", "0.3", *arguments],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    serving = Process(process, f"http://127.0.0.1:{port}")
    assert process.stderr is not None
    reader = threading.Thread(target=serving.lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        yield serving
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
        reader.join(10)


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_from_promotion_to_forecast_and_to_the_next_promotion(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = place.register()
    with serving(place) as running:
        wait_for(running.health)
        assert run(["keys", "create", "ada"]) == 0  # while it runs
        monkeypatch.setenv("WORKLOAD_FORECAST_API_KEY", capsys.readouterr().out.strip())
        monkeypatch.setenv("WORKLOAD_FORECAST_SERVICE_URL", running.url)
        assert run(["score", "--server", "a,new", "--hours", "3", "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        # by the rule of these tests' model: the load 48 hours ago, between its borders
        assert [(row["server"], row["prediction"], row["source"]) for row in rows] == [
            *[("a", "medium", "model")] * 3,
            *[("new", None, "none")] * 3,
        ]
        assert rows[0]["hour"] == f"{START:%Y-%m-%dT%H:%M:%SZ}"
        assert rows[0]["model"] == f"{place.folder.name}/{first}"

        second = place.register()
        client = Client(retries=0)
        wait_for(lambda: client.forecast("a", hours=1)[0].model.endswith(f"/{second}"))  # each one answered
        followers = running.children()
        assert len(followers) == 1
    assert running.process.returncode == 0
    said = "".join(running.lines)
    assert f"{place.keys} has no keys: every request is answered 401 until you make one" in said
    assert f"follower: version {second} of {place.folder.name} is handed to the service" in said
    wait_for(lambda: not running.children())
    with pytest.raises(ProcessLookupError):
        os.kill(followers[0], 0)


def test_a_follower_that_was_killed_is_started_again(place: Place) -> None:
    place.register()
    with serving(place) as running:
        wait_for(running.health)
        (killed,) = running.children()
        os.kill(killed, signal.SIGKILL)
        assert running.health()  # the service goes on
        wait_for(lambda: [child for child in running.children() if child != killed])
        version = place.register()
        wait_for(lambda: running.health().get("model", {}).get("version") == version)
    assert any("the follower ended (-9); starting it again in 1 s" in line for line in running.lines)


def test_it_starts_with_what_was_served_last_while_the_registry_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = place.register()
    with serving(place) as running:
        wait_for(running.health)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with serving(place) as running:
        wait_for(lambda: running.health().get("model", {}).get("version") == version)
        wait_for(lambda: any("follower: model: MlflowException" in line for line in running.lines))


def test_without_a_follower_it_serves_what_another_one_brings(place: Place) -> None:
    with serving(place, "--follow", "false") as running:
        time.sleep(1.0)
        assert running.children() == []
        assert running.health() == {}


def test_a_port_that_is_taken_is_one_line_and_leaves_no_follower(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "workload_forecast", "serve", "--port", str(taken.getsockname()[1])],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == EnvironmentProblem.exit_code
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Give another --port" in errors[0]
    assert not place.keys.exists()


def test_a_follower_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "END_S", 0.2)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    serve._end(deaf)
    assert deaf.returncode == -signal.SIGKILL


def test_restarts_come_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FIRST_RESTART_S", 0.01)
    monkeypatch.setattr(serve, "LONGEST_RESTART_S", 0.04)
    said: list[str] = []
    over = threading.Event()

    class Told(Progress):
        def say(self, message: str) -> None:
            said.append(message.rpartition(" in ")[2])
            if len(said) == 4:
                over.set()

    serve._keep([sys.executable, "-c", "raise SystemExit(3)"], over, Told())
    assert said == ["0.01 s", "0.02 s", "0.04 s", "0.04 s"]
