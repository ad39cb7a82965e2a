"""The follower: a real registry in SQLite, models that no JVM has made, and everything that can be away or broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tests.frames import Row, arrow
from tests.serving.conftest import compiled, facts_of, lag_forest
from tests.steps.conftest import Project
from workload_forecast.config import Settings, load_settings
from workload_forecast.errors import DataError, SchemaError, WorkloadForecastError
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.progress import Progress
from workload_forecast.schemas import HOURLY_LOAD, MEASURES
from workload_forecast.service.exchange import Exchange
from workload_forecast.serving.compiled import read_compiled
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.saved_models import read_pipeline
from workload_forecast.steps import served_history
from workload_forecast.steps.follow import Follower, FollowOptions, Look, in_one_line
from workload_forecast.steps.published import Publication, place_of
from workload_forecast.steps.served_history import cut
from workload_forecast.storage.local import write_info
from workload_forecast.storage.locations import parse_location

HOUR = timedelta(hours=1)
NEWEST = datetime(2016, 6, 30, 23)
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """The session's SQLite store, with an experiment of the test's own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    mlflow.set_tracking_uri(tracking_uri)
    MlflowClient().create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    return MlflowClient()


@dataclass
class Registry:
    """One registered model of the test's own."""

    client: MlflowClient
    name: str
    folder: Path

    def register(self, *folders: Path, tags: dict[str, str] | None = None, params: dict[str, Any] | None = None) -> str:
        """Log folders as one model and register it; return the version."""
        with mlflow.start_run(tags=tags) as run:
            mlflow.log_params(params or {})
            for folder in folders:
                mlflow.log_artifacts(str(folder), f"model/{folder.name}")
        source = f"{run.info.artifact_uri}/model"
        return str(self.client.create_model_version(self.name, source, run.info.run_id).version)

    def promote(self, version: str) -> None:
        self.client.set_registered_model_alias(self.name, "champion", version)


@pytest.fixture
def registry(store: MlflowClient, tmp_path: Path) -> Registry:
    store.create_registered_model(tmp_path.name)
    return Registry(store, tmp_path.name, tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(lag_forest(), tmp_path_factory.mktemp("model"))


@dataclass
class Following:
    """A follower and what it has said."""

    follower: Follower
    said: list[str]

    @property
    def exchange(self) -> Exchange:
        return self.follower.exchange

    @property
    def problem(self) -> str:
        state = self.exchange.follower()
        assert state is not None
        return state.problem

    @property
    def version(self) -> str:
        model = self.exchange.model()
        return model.version if model else ""

    def look(self) -> None:
        """Look now, whatever is due when."""
        for look in self.follower._looks:
            look.due = 0.0
        self.follower.look()


Follow = Callable[..., Following]


class Told(Progress):
    """Keeps what is said."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def following(tmp_path: Path, registry: Registry) -> Follow:
    """Make a follower of the test's model; hourly load comes from a folder unless the test has another source."""

    def make(**options: Any) -> Following:
        said: list[str] = []
        progress = Told(said)
        given = FollowOptions(
            tmp_path / "exchange", load_settings("ONE_MONTH"), tmp_path / "outputs", registry.name, "champion"
        )
        return Following(Follower(replace(given, **options), progress), said)

    return make


def rows(*hours: datetime, server: str = "a", load: float | None = 5.0) -> list[Row]:
    measures = {**dict.fromkeys(MEASURES, 1.0), "total_load": load}
    return [{"server": server, "hour": hour, "peak_slot": 0, "sessions": 1, **measures} for hour in hours]


def hours(first: datetime, last: datetime) -> list[datetime]:
    return [first + n * HOUR for n in range((last - first) // HOUR + 1)]


def write(folder: Path, content: list[Row], name: str = "part-0.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(arrow(HOURLY_LOAD, content)).write_parquet(folder / name)
    return folder


@pytest.fixture
def load(tmp_path: Path) -> Path:
    return write(tmp_path / "load", rows(*hours(NEWEST - 40 * HOUR, NEWEST)))


# --- models


def test_a_promotion_is_followed_and_said_once(
    registry: Registry, model: Path, load: Path, following: Follow, tmp_path: Path
) -> None:
    one, two = registry.register(model), registry.register(model)
    registry.promote(one)
    served = following(history=load)
    served.look()
    first = served.exchange.model()
    assert first is not None
    assert (first.name, first.version, served.problem) == (tmp_path.name, one, "")
    assert first.run_id == registry.client.get_model_version(tmp_path.name, one).run_id
    assert Forecaster.load(served.exchange.folder / first.path).scorer.classes == ("low", "medium", "high")

    served.look()
    assert served.exchange.model() == first  # nothing is fetched twice
    registry.promote(two)
    served.look()
    assert served.version == two
    assert [line for line in served.said if "version" in line] == [
        f"follower: version {number} of {tmp_path.name} is handed to the service" for number in (one, two)
    ]
    assert not list(served.exchange.folder.glob(".follower-*"))


def test_only_the_compiled_form_is_fetched(
    registry: Registry, model: Path, load: Path, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    download = mlflow.artifacts.download_artifacts

    def noted(uri: str, **options: Any) -> str:
        asked.append(uri)
        return download(uri, **options)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", noted)
    registry.promote(registry.register(model, model.parent / "sparkml"))
    served = following(history=load)
    served.look()
    assert served.version == "1"
    assert [uri.rpartition("/")[2] for uri in asked] == ["compiled"]


def test_without_a_champion_it_says_what_to_do(registry: Registry, model: Path, load: Path, following: Follow) -> None:
    served = following(history=load)
    served.look()
    assert "has the alias 'champion': promote one first" in served.problem
    assert served.exchange.model() is None
    assert served.exchange.history() is not None  # one does not wait for the other
    registry.promote(registry.register(model))
    served.look()
    assert (served.version, served.problem) == ("1", "")
    assert served.said[-1] == "follower: model: all is well again"


@pytest.mark.parametrize("broken", ["cut", "other"])
def test_a_broken_model_is_never_handed_on(
    registry: Registry, model: Path, load: Path, following: Follow, tmp_path: Path, broken: str
) -> None:
    registry.promote(registry.register(model))
    served = following(history=load)
    served.look()
    bad = tmp_path / "bad" / ("compiled" if broken == "cut" else "elsewhere")
    bad.mkdir(parents=True)
    for file in model.iterdir():
        (bad / file.name).write_bytes(file.read_bytes()[:-1])
    registry.promote(registry.register(bad))
    for _ in range(3):
        served.look()
    assert served.version == "1"
    expected = "was changed or is cut" if broken == "cut" else "is no model of this project (it holds elsewhere)"
    assert expected in served.problem
    assert "version 2" in served.problem
    registry.promote(registry.register(model))
    served.look()  # another version is tried at once
    assert (served.version, served.problem) == ("3", "")


def test_a_version_that_failed_is_tried_again_after_a_while(
    registry: Registry, model: Path, load: Path, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.register(model)
    registry.promote(version)
    downloads: list[str] = []

    def away(uri: str, **_: Any) -> str:
        downloads.append(uri)
        raise OSError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.artifacts, "download_artifacts", away)
        served = following(history=load)
        served.look()
        served.look()
    assert len(downloads) == 1
    assert "no route to host" in served.problem
    monkeypatch.setattr(served.follower._looks[0]._act.__self__, "_failed", None)  # type: ignore[attr-defined]
    served.look()
    assert (served.version, served.problem) == (version, "")


def test_while_the_registry_is_away_the_old_model_stays(
    registry: Registry,
    model: Path,
    load: Path,
    following: Follow,
    tracking_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote(registry.register(model))
    served = following(history=load)
    served.look()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://ada:secret@127.0.0.1:9")
    try:
        served.look()
    finally:
        mlflow.set_tracking_uri(tracking_uri)
    assert served.version == "1"
    assert served.problem.startswith("model: MlflowException: ")
    assert "secret" not in served.problem
    assert "secret" not in "".join(served.said)
    served.look()
    assert served.problem == ""


def test_an_exchange_that_was_emptied_or_broken_is_filled_again(
    registry: Registry, model: Path, load: Path, following: Follow
) -> None:
    import shutil

    registry.promote(registry.register(model))
    served = following(history=load)
    served.look()
    shutil.rmtree(served.exchange.folder)
    served.look()
    assert served.version == "1"
    (served.exchange.folder / "model.json").write_text("{")
    (served.exchange.folder / "history.json").write_text("[]")
    served.look()
    assert (served.version, served.problem) == ("1", "")
    assert served.exchange.history() is not None


def older(registry: Registry, folder: Path, **params: Any) -> str:
    """A version as the project logged it before there was a compiled form."""
    saved = lag_forest().save(folder / "older" / "sparkml")
    with mlflow.start_run() as etl:
        mlflow.log_params({"missing_hours": "zero"})
    told = {
        "threshold_low": 100.0,
        "threshold_high": 300.0,
        "training_from": "2016-01-01T00:00:00",
        "training_to": "2016-06-01T00:00:00",
    }
    version = registry.register(saved, tags={"workload_forecast.etl_run": etl.info.run_id}, params={**told, **params})
    run_id = str(registry.client.get_model_version(registry.name, version).run_id)
    table = "split,predictor,true,low,medium,high\n" + "".join(
        f"{split},{predictor},{line}\n"
        for split, predictor in (("train", "class_48h_ago"), ("test", "model"), ("test", "class_48h_ago"))
        for line in ("low,6,1,0", "medium,2,3,0", "high,0,1,7")
    )
    registry.client.log_text(run_id, table, "tables/confusion.csv")
    return version


def test_a_version_without_a_compiled_form_is_compiled(
    registry: Registry, load: Path, following: Follow, tmp_path: Path
) -> None:
    registry.promote(older(registry, tmp_path))
    served = following(history=load)
    served.look()
    assert served.problem == ""
    note = served.exchange.model()
    assert note is not None
    _, facts = read_compiled(served.exchange.folder / note.path)
    expected = facts_of(read_pipeline(tmp_path / "older" / "sparkml"), "zero")
    # a class's shares, by hand: 6+1, 2+1, 0+1 of the rows that the baseline called low, and so on
    shares = ((7 / 11, 3 / 11, 1 / 11), (2 / 8, 4 / 8, 2 / 8), (1 / 10, 1 / 10, 8 / 10))
    baseline = replace(expected.baseline, probabilities=shares)
    # what the training did not write down stays unknown
    wanted = replace(expected, baseline=baseline, load_quantiles=LoadQuantiles())
    assert replace(facts, treelite_version="4") == wanted


def test_a_version_whose_run_does_not_tell_enough_is_refused(
    registry: Registry, load: Path, following: Follow, tmp_path: Path
) -> None:
    version = registry.register(lag_forest().save(tmp_path / "older" / "sparkml"))
    registry.promote(version)
    served = following(history=load)
    served.look()
    assert "has no compiled form, and its run does not tell what is needed" in served.problem
    assert "train again and promote the new version" in served.problem


# --- hourly load


@pytest.fixture
def served_load(registry: Registry, model: Path, following: Follow) -> Follow:
    """As ``following``, with a champion."""
    registry.promote(registry.register(model))
    return following


def test_a_folder_is_followed_when_its_files_change(served_load: Follow, load: Path) -> None:
    served = served_load(history=load)
    served.look()
    note = served.exchange.history()
    assert note is not None
    assert (note.oldest, note.newest) == ((NEWEST - 40 * HOUR).isoformat(), NEWEST.isoformat())
    served.look()
    assert served.exchange.history() == note
    write(load, rows(NEWEST + HOUR), "part-1.parquet")
    write(load / "_temporary", rows(NEWEST + 9 * HOUR))  # what Spark has not finished
    served.look()
    newer = served.exchange.history()
    assert newer is not None
    assert newer.newest == (NEWEST + HOUR).isoformat()
    assert pl.read_parquet(served.exchange.folder / newer.path).height == 42


def test_the_old_load_stays_while_the_new_one_is_broken(served_load: Follow, load: Path) -> None:
    served = served_load(history=load)
    served.look()
    note = served.exchange.history()
    (load / "part-1.parquet").write_bytes(b"PAR1 no more")
    served.look()
    assert served.exchange.history() == note
    assert f"history: the hourly load in {load} cannot be read" in served.problem
    (load / "part-1.parquet").unlink()
    served.look()
    assert served.problem == ""


def etl_run(folder: Path, key: str, status: str = "FINISHED", **params: Any) -> Path:
    """What an ETL leaves: a finished run, and its result in the results' home."""
    settings = load_settings("ONE_MONTH")
    told = {**settings.model_dump(mode="json", include={"duration", "training_from", "to"}), "debug": "FALSE"}
    result = folder / "outputs" / "etl" / key
    with mlflow.start_run(
        tags={
            "workload_forecast.step": "etl",
            "workload_forecast.key": key,
            "workload_forecast.result": f"{result}",
        }
    ) as run:
        mlflow.log_params({**told, "data_file": "/data/x", **params})
    MlflowClient().set_terminated(run.info.run_id, status)
    write(result / "hourly_load", rows(*hours(NEWEST - 3 * HOUR, NEWEST)))
    write_info(result, {"key": key})
    return result


def test_the_newest_finished_etl_with_these_settings_is_taken(served_load: Follow, tmp_path: Path) -> None:
    served = served_load()
    served.look()
    assert "no hourly load: no finished etl run of ONE_MONTH" in served.problem
    key = tmp_path.name[-12:]
    etl_run(tmp_path, f"{key}1")
    # what `mlflow run` logs for a parameter that was not given, and the value in effect beside it
    etl_run(tmp_path, f"{key}2", duration="", effective_duration="ONE_MONTH")
    etl_run(tmp_path, f"{key}3", status="FAILED")
    etl_run(tmp_path, f"{key}4", duration="FULL")
    etl_run(tmp_path, f"{key}5", debug="FILTER_IP")
    etl_run(tmp_path, f"{key}s", sample="0.1")
    (etl_run(tmp_path, f"{key}6") / "info.json").unlink()  # not here, or not whole
    served.look()
    note = served.exchange.history()
    assert note is not None
    assert (note.key, served.problem) == (f"{key}2", "")


def test_what_an_etl_has_left_is_found(project: Project, model: Path, tmp_path: Path) -> None:
    """A real ETL, with settings of its own, as `mlflow run` would call it."""
    project.sessions(datetime(2016, 6, 1), datetime(2016, 6, 8, 23))
    config = project.settings(
        dataFile="sessions/*/*/*/*/request.csv*",
        trainingFrom="2016-06-01 00:00:00",
        testFrom="2016-06-07 00:00:00",
        to="2016-06-08 23:59:59",
    )
    assert project.run("etl", "--config", config, "--engine", "duckdb") == 0
    project.settings(**{**json.loads(Path(config).read_text()), "thresholds": "auto"})  # belongs to the training
    client = MlflowClient()
    client.create_registered_model(project.experiment)
    registry = Registry(client, project.experiment, tmp_path)
    registry.promote(registry.register(model))
    options = FollowOptions(
        tmp_path / "exchange", load_settings(None, config), tmp_path / "outputs", registry.name, "champion"
    )
    served = Following(Follower(options, Told([])), [])
    served.look()
    assert served.problem == ""
    note = served.exchange.history()
    assert note is not None
    (run,) = project.runs(step="etl")
    assert note.key == run.data.tags["workload_forecast.key"]
    found = pl.read_parquet(served.exchange.folder / note.path)
    assert found.height == run.data.metrics["rows_hourly_load"]
    assert note.newest == found["hour"].max().isoformat()  # type: ignore[union-attr]


def test_settings_with_data_take_runs_of_that_data_alone(served_load: Follow, tmp_path: Path) -> None:
    data = tmp_path / "sessions" / "*.csv"
    settings = load_settings("ONE_MONTH").model_copy(update={"data_file": str(data)})
    key = tmp_path.name[-12:]
    etl_run(tmp_path, f"{key}1", data_file=str(data))
    etl_run(tmp_path, f"{key}2")
    served = served_load(settings=settings)
    served.look()
    note = served.exchange.history()
    assert note is not None
    assert note.key == f"{key}1"


def test_what_is_published_comes_before_what_lies_here(
    served_load: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parse_location(str(tmp_path / "container" / "etl"))  # a folder stands in for the container
    monkeypatch.setattr(served_history, "place_of", lambda *_, **__: place)
    here = etl_run(tmp_path, f"{tmp_path.name[-12:]}-here")
    served = served_load()
    served.look()
    note = served.exchange.history()
    assert note is not None
    assert note.key.endswith("-here")  # as long as nothing is published
    Publication(place, Progress()).put(here, "published", "run")
    served.look()
    note = served.exchange.history()
    assert note is not None
    assert (note.key, served.problem) == ("published", "")


@pytest.mark.azurite
def test_what_is_published_in_azure_is_taken(
    served_load: Follow, tmp_path: Path, azurite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.storage.blob import BlobServiceClient

    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string())
    BlobServiceClient.from_connection_string(azurite.connection_string()).create_container("follower")
    update = {"storage_account": azurite.account, "storage_container": "follower"}
    settings: Settings = load_settings("ONE_MONTH").model_copy(update=update)
    place = place_of(settings, "etl", subset="")
    assert place is not None
    Publication(place, Progress()).put(etl_run(tmp_path, "published"), "in azure", "run")
    served = served_load(settings=settings)
    served.look()
    note = served.exchange.history()
    assert note is not None
    assert (note.key, served.problem) == ("in azure", "")


# --- what is kept of it

SERVERS = ("a", "b")
DAYS = st.integers(0, 110).map(lambda day: NEWEST - timedelta(days=day))


@given(
    st.sets(st.tuples(st.sampled_from(SERVERS), DAYS), min_size=1, max_size=12),
    st.integers(0, 31),
    st.sampled_from(["zero", "unknown"]),
)
@settings(max_examples=15, deadline=None)
def test_forecasts_from_what_is_kept_are_those_from_everything(
    lag_models: dict[str, Forecaster], tmp_path_factory: pytest.TempPathFactory, seen: set[Any], back: int, missing: str
) -> None:
    folder = tmp_path_factory.mktemp("load")
    everything = [row for server, hour in sorted(seen) for row in rows(hour, server=server, load=150.0)]
    _, newest = cut(write(folder / "load", everything), folder / "kept.parquet")
    start, forecaster = newest + HOUR - timedelta(days=back), lag_models[missing]
    kept = forecaster.forecast(pl.read_parquet(folder / "kept.parquet"), SERVERS, start, 48)
    assert kept.equals(forecaster.forecast(arrow(HOURLY_LOAD, everything), SERVERS, start, 48))


@pytest.fixture(scope="module")
def lag_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Forecaster]:
    names = ("zero", "unknown")
    return {n: Forecaster.load(compiled(lag_forest(), tmp_path_factory.mktemp(n), missing_hours=n)) for n in names}


def test_two_months_are_kept_and_the_row_before_of_servers_that_are_still_there(tmp_path: Path) -> None:
    edge = NEWEST - timedelta(days=62)
    kept = [*rows(edge - 9 * HOUR, edge + HOUR, NEWEST), *rows(edge, NEWEST - HOUR, server="b")]
    left = [*rows(edge - 10 * HOUR), *rows(edge - HOUR, load=None), *rows(edge, server="gone")]
    assert cut(write(tmp_path / "load", kept + left), tmp_path / "kept.parquet") == (edge + HOUR, NEWEST)
    found = pl.read_parquet(tmp_path / "kept.parquet")
    assert sorted(found.select("server", "hour").rows()) == sorted((row["server"], row["hour"]) for row in kept)
    assert found.schema == pl.DataFrame(arrow(HOURLY_LOAD, kept)).schema


def test_columns_come_out_typed_and_unused_ones_may_be_missing(tmp_path: Path) -> None:
    frame = pl.DataFrame(arrow(HOURLY_LOAD, rows(NEWEST))).drop("peak_slot", "sessions")
    odd = frame.with_columns(pl.col("hour").cast(pl.Datetime("ns")), pl.col("total_load").cast(pl.Int32))
    (tmp_path / "load").mkdir()
    odd.write_parquet(tmp_path / "load" / "x.parquet")
    cut(tmp_path / "load", tmp_path / "kept.parquet")
    found = pl.read_parquet(tmp_path / "kept.parquet")
    assert found.schema == pl.DataFrame(arrow(HOURLY_LOAD, rows(NEWEST))).schema


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda f: f.drop("total_load"), SchemaError, "lacks the column"),
        (lambda f: f.with_columns(pl.col("hour").dt.replace_time_zone("UTC")), SchemaError, "UTC without a zone"),
        (lambda f: f.with_columns(pl.col("hour") + timedelta(minutes=1)), DataError, "2 rows of no whole hour"),
        (lambda f: pl.concat([f, f]), DataError, "2 rows twice"),
        (lambda f: f.with_columns(server=pl.lit(None, pl.String)), DataError, "rows without server or hour"),
        (lambda f: f.with_columns(total_load=pl.lit(float("nan"))), DataError, "no rows with a load"),
        (lambda f: f.with_columns(total_load=pl.lit("many")), DataError, "cannot be read"),
    ],
)
def test_a_load_that_no_forecast_could_use_is_refused(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], kind: type[Exception], message: str
) -> None:
    (tmp_path / "load").mkdir()
    change(pl.DataFrame(arrow(HOURLY_LOAD, rows(NEWEST, NEWEST - HOUR)))).write_parquet(tmp_path / "load" / "x.parquet")
    with pytest.raises(kind, match=message):
        cut(tmp_path / "load", tmp_path / "kept.parquet")


def test_a_folder_without_files_is_named(served_load: Follow, tmp_path: Path) -> None:
    served = served_load(history=tmp_path / "nowhere")
    served.look()
    assert f"{tmp_path / 'nowhere'} holds no Parquet files" in served.problem


# --- patience, and words


def test_failures_are_said_once_and_asked_for_ever_more_rarely() -> None:
    said: list[str] = []
    problems: list[Exception | None] = [WorkloadForecastError("away")] * 8 + [None]

    def act() -> None:
        problem = problems.pop(0)
        if problem:
            raise problem

    look, waits = Look("model", act, 5.0, said.append), []
    for _ in range(9):
        look.due = 0.0
        now = time.monotonic()
        look.once()
        waits.append(round(look.due - now))
        look.once()  # not due: does nothing
    assert waits == [5, 10, 20, 30, 30, 30, 30, 30, 5]
    assert said == ["follower: model: away", "follower: model: all is well again"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("request to http://ada:pa55@host:5000/x failed", "OSError: request to http://host:5000/x failed"),
        ("https://x.blob.core.windows.net/c?sv=1&sig=abc: 403", "OSError: https://x.blob.core.windows.net/c?…"),
        ("AccountName=x;AccountKey=abc==;End", "OSError: AccountName=x?…"),
        ("two\n  lines", "OSError: two lines"),
        ("x" * 1000, "OSError: " + "x" * 391 + "…"),
    ],
)
def test_a_problem_is_one_short_line_without_a_credential(text: str, expected: str) -> None:
    assert in_one_line(OSError(text)).startswith(expected)
    assert "abc" not in in_one_line(OSError(text))


# --- as a process


def start(exchange: Path, home: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["follow", "--exchange", str(exchange), "--model", "nothing", "--interval", "0.2", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "workload_forecast", *arguments],
        cwd=PROJECT,
        env={**os.environ, "WORKLOAD_FORECAST_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.usefixtures("store")
def test_a_process_goes_on_until_it_is_told_to_end(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path / "exchange")
    (exchange.folder / ".follower-killed").mkdir(parents=True)
    first = start(exchange.folder, tmp_path)
    wait_for(exchange.follower)
    state = exchange.follower()
    wait_for(lambda: exchange.follower() != state)  # it looks again
    assert not (exchange.folder / ".follower-killed").exists()
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert first.stderr is not None
    lines = first.stderr.read().splitlines()
    assert [line for line in lines if line.startswith("follower: ")] == lines
    assert any("no version of nothing has the alias 'champion'" in line for line in lines)


@pytest.mark.usefixtures("store")
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = textwrap.dedent(
        """
        import os, subprocess, sys
        command = [sys.executable, "-m", "workload_forecast", *sys.argv[1:], "--parent", str(os.getpid())]
        child = subprocess.Popen(command)
        print(child.pid, flush=True)
        sys.stdin.read()
        os._exit(9)
        """
    )
    arguments = ["follow", "--exchange", str(tmp_path / "exchange"), "--model", "nothing"]
    process = subprocess.Popen(
        [sys.executable, "-c", parent, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "WORKLOAD_FORECAST_HOME": str(tmp_path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    child = int(process.stdout.readline())
    wait_for(Exchange(tmp_path / "exchange").follower)
    process.stdin.close()
    assert process.wait(20) == 9
    wait_for(lambda: not alive(child))


def test_a_storage_that_hangs_holds_no_promotion_up(
    registry: Registry, model: Path, load: Path, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(registry.register(model))
    hanging, over = threading.Event(), threading.Event()

    def hang(_: Path) -> None:
        hanging.set()
        over.wait(60)
        raise DataError("at last")

    class Ended(Exception):
        pass

    def sleep(seconds: float, really: Callable[[float], None] = time.sleep) -> None:
        if seconds == 3600:
            wait_for(hanging.is_set)
            registry.promote(registry.register(model))
            wait_for(lambda: served.version == "2")
            over.set()
            wait_for(lambda: "at last" in served.problem)
            raise Ended
        really(seconds)

    monkeypatch.setattr(served_history, "in_folder", hang)
    monkeypatch.setattr(time, "sleep", sleep)
    served = following(history=load, interval_s=0.1)
    with pytest.raises(Ended):
        served.follower.run()


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process}/status").read_text() if Path("/proc").is_dir() else True


def test_neither_spark_nor_duckdb_is_needed() -> None:
    code = """
        import sys
        class Nobody:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"pyspark", "py4j", "duckdb", "matplotlib"}:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Nobody())
        import workload_forecast.steps.follow
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
