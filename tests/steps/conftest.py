"""A project folder of its own for each test, and one tracking database for all of them: making one costs seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from workload_forecast.cli import run
from workload_forecast.sessions.generator import GeneratorSettings, Manifest, generate


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"
    MlflowClient(uri).search_experiments()
    return uri


@dataclass
class Project:
    """A folder in which the command line is run, in this process."""

    folder: Path
    experiment: str
    say: Callable[[], str]

    def run(self, *arguments: str) -> int:
        return run(list(arguments))

    def runs(self, **tags: str) -> list[Run]:
        """The experiment's runs with these tags (``_`` for ``.``), oldest first."""
        wanted = " and ".join(f"tags.`workload_forecast.{name}` = '{value}'" for name, value in tags.items())
        found = mlflow.search_runs(
            experiment_names=[self.experiment], filter_string=wanted, output_format="list", order_by=["start_time ASC"]
        )
        return list(found)

    def settings(self, **fields: Any) -> str:
        path = self.folder / "settings.json"
        path.write_text(json.dumps(fields))
        return str(path)

    def sessions(self, start: datetime, end: datetime, servers: int = 3, **more: Any) -> Manifest:
        wanted = GeneratorSettings(start.date(), end.date(), servers=servers, sessions_per_server_hour=4, **more)
        return generate(wanted, self.folder / "sessions")


@pytest.fixture
def project(
    tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    monkeypatch.setenv("WORKLOAD_FORECAST_HOME", str(tmp_path / "outputs"))
    mlflow.set_tracking_uri(tracking_uri)
    MlflowClient().create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    return Project(tmp_path, tmp_path.name, lambda: capsys.readouterr().err)
