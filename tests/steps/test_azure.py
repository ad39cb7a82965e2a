"""Steps whose sessions and results are in a real blob server."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import BlobServiceClient

from tests.engines.conformance import assert_equal_tables
from tests.steps.conftest import Project
from tests.storage.machines.azurite import Azurite
from workload_forecast.engines.duckdb import DuckDBEngine

pytestmark = pytest.mark.azurite

FIRST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 12, 23, 59, 59)
DATES = {"trainingFrom": str(FIRST), "testFrom": "2016-06-10 00:00:00", "to": str(LAST), "missingHours": "zero"}


@dataclass
class Account:
    """Two containers of the blob server: ``data`` with sessions, ``results``."""

    server: Azurite
    data: str
    results: str

    @property
    def client(self) -> BlobServiceClient:
        return BlobServiceClient.from_connection_string(self.server.connection_string())

    def upload(self, folder: Path) -> int:
        """Put all files of a folder into the container for data and return their bytes."""
        size = 0
        for path in sorted(folder.rglob("request.csv*")):
            name = path.relative_to(folder).as_posix()
            self.client.get_blob_client(self.data, name).upload_blob(path.read_bytes(), overwrite=True)
            size += path.stat().st_size
        return size

    def names(self, container: str) -> list[str]:
        return sorted(self.client.get_container_client(container).list_blob_names())


@pytest.fixture
def account(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string())
    account = Account(azurite, f"data-{uuid.uuid4().hex[:8]}", f"results-{uuid.uuid4().hex[:8]}")
    for container in (account.data, account.results):
        account.client.create_container(container)
    return account


@pytest.fixture
def prepared(project: Project, account: Account) -> Project:
    """Sessions in the container, and settings for them there; ``local.json`` reads the same files from the disk."""
    project.sessions(FIRST, LAST, dirt_rate=0.02)
    project.settings(dataFile="sessions/*/*/*/*/request.csv*", **DATES)
    (project.folder / "settings.json").rename(project.folder / "local.json")
    settings_for(project, account)
    account.upload(project.folder / "sessions")
    return project


def settings_for(project: Project, account: Account, **fields: Any) -> None:
    data = {"dataFile": f"az://{account.data}/*/*/*/*/request.csv*", "storageAccount": account.server.account}
    project.settings(**data, **DATES, **fields)


def etl(project: Project, *arguments: str, config: str = "settings.json") -> int:
    return project.run("etl", "--config", config, *arguments)


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    names = ("hourly_load", "features", "quarantine")
    return {name: pq.read_table(folder / name).to_pylist() for name in names}


def results(project: Project, home: str = "outputs") -> list[Path]:
    """The folders of all ETL results, oldest first."""
    return sorted((project.folder / home / "etl").iterdir(), key=lambda path: path.stat().st_mtime)


@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def test_blobs_give_the_tables_that_files_give(prepared: Project, account: Account, engine: str) -> None:
    assert etl(prepared, config="local.json") == 0  # by DuckDB: engines agree, which is a test of its own
    assert etl(prepared, "--engine", engine) == 0

    local, blobs = (tables(folder) for folder in results(prepared))
    assert_equal_tables(blobs["hourly_load"], local["hourly_load"])
    assert_equal_tables(blobs["features"], local["features"])
    base = f"{account.server.endpoint}/{account.data}"
    renamed = [
        {**row, "file": row["file"].replace(str(prepared.folder / "sessions"), base)} for row in local["quarantine"]
    ]
    assert sorted(blobs["quarantine"], key=str) == sorted(renamed, key=str)
    size = sum(path.stat().st_size for path in prepared.folder.glob("sessions/**/request.csv*"))
    _, run = prepared.runs(step="etl")
    assert run.data.metrics["bytes_fetched"] == run.data.metrics["bytes_read"] == size
    assert run.data.tags["workload_forecast.input"] == "fetched"
    assert run.data.params["data_file"] == f"{base}/*/*/*/*/request.csv*"


def test_what_was_fetched_is_not_fetched_again(prepared: Project) -> None:
    assert etl(prepared) == 0
    assert etl(prepared, "--reuse", "false") == 0
    first, second = prepared.runs(step="etl")
    assert first.data.metrics["bytes_read"] == second.data.metrics["bytes_read"] > 0
    assert second.data.metrics["bytes_fetched"] == 0


def test_sessions_larger_than_the_cache_are_read_in_batches(
    prepared: Project, monkeypatch: pytest.MonkeyPatch, account: Account
) -> None:
    files = sorted(prepared.folder.glob("sessions/**/request.csv"))
    for copy in "1234":
        (files[0].parents[1] / copy).mkdir()
        (files[0].parents[1] / copy / "request.csv").write_bytes(files[0].read_bytes())
    size = account.upload(prepared.folder / "sessions")
    assert etl(prepared, config="local.json") == 0
    limit = 2.5 * files[0].stat().st_size
    monkeypatch.setenv("WORKLOAD_FORECAST_CACHE_GB", str(limit / 1e9))

    assert etl(prepared) == 0

    local, blobs = (tables(folder) for folder in results(prepared))
    assert_equal_tables(blobs["hourly_load"], local["hourly_load"])
    cached = sum(path.stat().st_size for path in prepared.folder.glob("outputs/cache/**/blob-*"))
    assert 0 < cached <= limit < size


def test_a_blob_that_changes_while_it_is_read_is_an_error(
    prepared: Project, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    reduce_sessions = DuckDBEngine.reduce_sessions

    def reduce_and_change(self: DuckDBEngine, *arguments: Any) -> Any:
        reduced = reduce_sessions(self, *arguments)
        account.upload(prepared.folder / "sessions")
        return reduced

    monkeypatch.setattr(DuckDBEngine, "reduce_sessions", reduce_and_change)
    assert etl(prepared) == 3
    assert "changed while they were read" in prepared.say()
    assert results(prepared) == []


def test_a_result_goes_to_the_container_and_to_the_next_machine(
    prepared: Project, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_for(prepared, account, storageContainer=account.results)
    assert etl(prepared) == 0
    (made,) = results(prepared)
    published = account.names(account.results)
    assert published[-1] == "etl/manifest.json"
    assert {name.split("/")[2] for name in published[:-1]} == {"hourly_load", "features", "quarantine", "info.json"}

    monkeypatch.setenv("WORKLOAD_FORECAST_HOME", str(prepared.folder / "elsewhere"))
    assert etl(prepared) == 0

    (brought,) = results(prepared, "elsewhere")
    assert brought.name == made.name
    assert tables(brought) == tables(made)
    first, second = prepared.runs(step="etl")
    assert second.data.tags["workload_forecast.reused_run"] == first.info.run_id
    assert second.data.tags["workload_forecast.published"] == f"{account.server.endpoint}/{account.results}/etl"
    assert account.names(account.results) == published


def test_a_quick_look_does_not_replace_the_real_result(prepared: Project, account: Account) -> None:
    settings_for(prepared, account, storageContainer=account.results)
    assert [etl(prepared), etl(prepared, "--debug", "FILTER_IP")] == [0, 0]
    tops = {name.rsplit("/data-")[0] for name in account.names(account.results)}
    assert tops == {"etl", "etl/manifest.json", "debug/etl", "debug/etl/manifest.json"}

    whole, few = prepared.folder / "whole", prepared.folder / "few"
    for arguments in (["--output", str(whole)], ["--output", str(few), "--debug", "FILTER_IP"]):
        assert prepared.run("download-model", "--config", "settings.json", "--result", "hourly_load", *arguments) == 0
    assert [len({row["server"] for row in pq.read_table(folder).to_pylist()}) for folder in (whole, few)] == [3, 2]


def test_a_download_never_mixes_with_what_is_there(prepared: Project, account: Account) -> None:
    settings_for(prepared, account, storageContainer=account.results)
    (prepared.folder / "mine").mkdir()
    (prepared.folder / "mine" / "thesis.txt").write_text("x")

    def download(*arguments: str) -> int:
        return prepared.run("download-model", "--config", "settings.json", *arguments)

    assert download("--result", "features", "--output", "mine") == 2
    assert "mine is not empty" in prepared.say()
    assert download("--result", "features", "--output", "new") == 3
    assert "nothing is published at" in prepared.say()
    assert prepared.run("download-model", "--config", "local.json") == 2
    assert "are not published: set storageAccount" in prepared.say()
    assert [path.name for path in (prepared.folder / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"storageContainer": "no-such-container"}, "has no container 'no-such-container'"),
        ({"storageContainer": "Results!"}, "is no container"),
    ],
)
def test_a_wrong_container_is_told_before_any_work(
    prepared: Project, account: Account, fields: dict[str, str], message: str
) -> None:
    settings_for(prepared, account, **fields)
    assert etl(prepared) != 0
    assert message in prepared.say()
    assert not (prepared.folder / "outputs").exists()


@pytest.mark.spark
def test_the_model_is_published_and_the_key_is_nowhere(prepared: Project, account: Account) -> None:
    settings_for(prepared, account, storageContainer=account.results, thresholds="auto")
    assert prepared.run("main", "--config", "settings.json") == 0
    assert prepared.run("download-model", "--config", "settings.json", "--output", "model") == 0

    model = mlflow.pyfunc.load_model(str(prepared.folder / "model"))
    (trained,) = prepared.runs(step="train")
    registered = mlflow.pyfunc.load_model(f"runs:/{trained.info.run_id}/model")
    rows = registered.input_example
    pd.testing.assert_frame_equal(model.predict(rows), registered.predict(rows))

    said = prepared.say()
    assert "fetched from" in said
    secret = account.server.key
    assert secret not in said
    tracking = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///"))
    files = [path for top in (prepared.folder, tracking.parent) for path in top.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
    for name in account.names(account.results):
        assert secret.encode() not in account.client.get_blob_client(account.results, name).download_blob().readall()
