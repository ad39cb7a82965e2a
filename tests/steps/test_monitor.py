"""Past forecasts of a real registry's champion, held against the loads that came, which are counted here once more."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import accuracy_score, f1_score

from tests.serving.saved_pipelines import Node
from tests.steps.conftest import Project
from tests.steps.test_forecast import AS_BEFORE, CUTS, class_of, forecast, hourly_load, table_of
from tests.versions import always, logged
from workload_forecast.config import TrainingParameters
from workload_forecast.registry.log_model import MODEL_NAME
from workload_forecast.registry.promotion import CHAMPION, PREVIOUS, read_decision, version_of
from workload_forecast.schemas import FORECAST, LOAD_QUANTILES
from workload_forecast.steps.past_forecasts import ForecastTables, PastForecast
from workload_forecast.steps.promises import parameters_of
from workload_forecast.steps.published import Publication
from workload_forecast.steps.runs import open_runs
from workload_forecast.storage.locations import parse_location

FIRST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 9, 23, 59, 59)
TRAINED_TO = datetime(2016, 6, 4)
WATCHED_FROM = TRAINED_TO + timedelta(hours=48)
HOUR = timedelta(hours=1)
NEVER = {"warn": 1e9, "alarm": None}

#: A month of three servers is too little for the limits of a fleet.
OTHERS = ("classDrift", "levelDrift", "behindNaive", "fallenServers", "hoursSinceForecast")
QUIET = {"minimumRows": 50, **dict.fromkeys(OTHERS, NEVER)}
DATES = {"trainingFrom": str(FIRST), "testFrom": "2016-06-08 00:00:00", "to": str(LAST), "missingHours": "zero"}
SERVER = "10.16.0.0"
SESSIONS = "sessions/*/*/*/*/request.csv*"


def limits(project: Project, **monitoring: Any) -> None:
    project.settings(dataFile=SESSIONS, **DATES, monitoring={**QUIET, **monitoring})


@pytest.fixture
def world(project: Project) -> Project:
    project.sessions(FIRST, LAST)
    limits(project)
    MlflowClient().create_registered_model(project.experiment)
    return project


@pytest.fixture
def version(world: Project) -> Callable[..., str]:
    """Registers a version whose training promised this; returns its number."""
    client = MlflowClient()

    def register(tree: Node, macro_f1: float, name: str = world.experiment) -> str:
        with mlflow.start_run(experiment_id=client.get_experiment_by_name(world.experiment).experiment_id) as run:  # type: ignore[union-attr]
            mlflow.log_metrics({"forecast_test_macro_f1": macro_f1, "test_macro_f1": 1.0})
            mlflow.log_text(f"server,rows,model,forecast\n{SERVER},9,1.0,0.75\n", "tables/accuracy_by_server.csv")
        folder = logged(world.folder / f"model-{run.info.run_id}", tree, CUTS, TRAINED_TO)
        return str(client.create_model_version(name, str(folder), run.info.run_id).version)

    return register


def champion(project: Project, number: str, before: str = "") -> None:
    client = MlflowClient()
    client.set_registered_model_alias(project.experiment, CHAMPION, number)
    if before:
        client.set_registered_model_alias(project.experiment, PREVIOUS, before)


def serving(project: Project) -> list[str]:
    """Numbers of the champion and of the one before."""
    found = (version_of(MlflowClient(), project.experiment, alias) for alias in (CHAMPION, PREVIOUS))
    return [str(one.version) for one in found if one]


def monitor(project: Project, *arguments: str, code: int = 0) -> Run:
    given = ["monitor", "--model", project.experiment, "--config", "settings.json", *arguments]
    assert project.run(*given) == code
    return project.runs(step="monitor")[-1]


def table(run: Run, name: str) -> pl.DataFrame:
    return pl.read_csv(MlflowClient().download_artifacts(run.info.run_id, f"monitor/{name}.csv"))


def verdict(run: Run) -> str:
    return run.data.tags["workload_forecast.verdict"]


def test_past_forecasts_are_scored_by_what_came(world: Project, version: Callable[..., str]) -> None:
    """Of each origin the newest run, each hour as often as it was forecast, nothing that was trained on."""
    number = version(AS_BEFORE, 0.3)
    champion(world, number)
    origins = ["2016-06-05T12", "2016-06-07", "2016-06-09"]
    past = [table_of(forecast(world, "--as-of", at)) for at in origins]
    forecast(world, "--as-of", origins[1])  # again
    load, end = hourly_load(world), datetime(2016, 6, 9, 23)
    lives = {name: [hour for server, hour in load if server == name] for name, _ in load}

    def came(server: str, hour: datetime) -> str | None:
        inside = WATCHED_FROM <= hour <= max(lives[server])
        return class_of(load.get((server, hour), 0.0)) if inside else None

    rows = [(one, came(one["server"], one["hour"])) for t in past for one in t.rows(named=True)]
    known = [(one, label) for one, label in rows if label]
    labels, said = [label for _, label in known], [one["prediction"] for one, _ in known]
    naive = [class_of(one["total_load_last_same_hour"]) for one, _ in known]
    assert len({one["server"] for one, _ in known}) == 3
    assert {one["origin"] for one, _ in known} == {"2016-06-05T11", "2016-06-06T23", "2016-06-08T23"}

    run, heard = monitor(world), world.say()

    metrics = run.data.metrics
    scored = {
        "monitor_rows": len(known),
        "monitor_forecasts": 3,
        "monitor_forecasts_gone": 0,
        "monitor_servers": 3,
        "monitor_macro_f1": f1_score(labels, said, average="macro"),
        "monitor_accuracy": accuracy_score(labels, said),
        "monitor_naive_macro_f1": f1_score(labels, naive, average="macro"),
        "monitor_promised_macro_f1": 0.3,
        "monitor_rows_without_load": sum(label is None and WATCHED_FROM <= one["hour"] <= end for one, label in rows),
    }
    assert {name: metrics[name] for name in scored} == pytest.approx(scored)
    far = [(label, one["prediction"]) for one, label in known if one["lead_hours"] > 24]
    assert metrics["monitor_far_macro_f1"] == pytest.approx(f1_score(*zip(*far, strict=True), average="macro"))
    for one in table(run, "servers").rows(named=True):
        mine = [(label, row["prediction"]) for row, label in known if row["server"] == one["server"]]
        assert (one["rows"], one["accuracy"]) == (len(mine), pytest.approx(accuracy_score(*zip(*mine, strict=True))))
        assert one["promised_accuracy"] == (0.75 if one["server"] == SERVER else None)
    assert table(run, "origins")["rows"].sum() == table(run, "leads")["rows"].sum() == len(known)
    assert (verdict(run), run.info.status) == ("ok", "FINISHED")
    line = run.data.tags["workload_forecast.summary"]
    assert line.startswith(f"monitor: ok version {number}: {len(known)} server-hours of 3 servers: macro-F1 ")
    assert heard.splitlines()[-1] == line
    assert monitor(world).data.metrics == metrics, "the same data, the same numbers"
    assert_that_the_next_report_shows(world, known)


def assert_that_the_next_report_shows(project: Project, known: list[tuple[dict[str, Any], str]]) -> None:
    page = (Path(forecast(project).data.tags["workload_forecast.result"]) / "report.html").read_text()
    shown = re.findall(r'<th scope="row">([^<]+)</th><td>\d+</td><td>([\d,]+)</td><td>([\d.]+)</td>', page)
    expected = []
    for origin in sorted({one["origin"] for one, _ in known}, reverse=True):
        pairs = [(label, one["prediction"]) for one, label in known if one["origin"] == origin]
        expected.append((origin, str(len(pairs)), f"{f1_score(*zip(*pairs, strict=True), average='macro'):.3f}"))
    assert shown == expected


def test_a_broken_promise_is_an_alarm_and_nothing_else_happens(world: Project, version: Callable[..., str]) -> None:
    champion(world, version(always(0), 0.9), before=version(AS_BEFORE, 0.9))
    forecast(world, "--as-of", "2016-06-06")
    run = monitor(world, code=7)
    said = world.say().splitlines()[-1]
    assert said.startswith("error: monitor: ALARM version 1: ")
    assert f"promised 0.900 (-{0.9 - run.data.metrics['monitor_far_macro_f1']:.3f}); limit 0.05" in said
    assert (verdict(run), run.info.status) == ("alarm", "FAILED")
    assert table(run, "findings").row(0, named=True)["level"] == "alarm"
    assert serving(world) == ["1", "2"]

    limits(world, minimumRows=1000)
    few = monitor(world)
    assert verdict(few) == "unknown"
    assert world.runs(step="etl")[-1].data.tags["workload_forecast.reused_run"], "limits are not the ETL's"
    assert "monitor: too few to decide version 1: " in world.say()


def test_what_is_not_there_is_said(world: Project, version: Callable[..., str]) -> None:
    champion(world, version(AS_BEFORE, 0.3))
    run = monitor(world)
    assert verdict(run) == "nothing"
    nothing = "monitor: nothing to score yet: no forecast of a load that came from 2016-06-06 00:00:00 to 2016-06-09 23"
    assert nothing in world.say()

    forecast(world)  # of hours that have not come
    kept, lost = (forecast(world, "--as-of", at) for at in ("2016-06-06", "2016-06-07"))
    shutil.rmtree(lost.data.tags["workload_forecast.result"])
    one = monitor(world)
    assert (one.data.metrics["monitor_forecasts"], one.data.metrics["monitor_forecasts_gone"]) == (1, 1)
    gone = "1 forecasts are neither on this machine nor published any more, like that of 2016-06-06T23"
    assert world.say().strip().endswith(gone)

    (file,) = Path(kept.data.tags["workload_forecast.result"]).glob("forecast/*/*.parquet")
    file.write_bytes(b"PAR1")
    monitor(world, code=3)
    assert "cannot be read" in world.say()
    assert world.run("monitor", "--model", "nobody", "--config", "settings.json") == 5


def test_an_earlier_champion_takes_over_once(world: Project, version: Callable[..., str]) -> None:
    first, second = version(always(0), 0.9), version(always(1), 0.9)
    champion(world, second, before=first)
    forecast(world, "--as-of", "2016-06-06")
    limits(world, onAlarm="rollback", macroF1Loss=NEVER, highRecallLoss=NEVER, classDrift={"warn": 0, "alarm": 0})
    monitor(world, code=7)
    assert "no rollback: an earlier version knows this data no better" in world.say()
    assert serving(world) == [second, first]

    limits(world)
    run = monitor(world, "--on-alarm", "rollback", code=7)
    assert f"; rolled back: version {first} is the champion again" in world.say()
    assert serving(world) == [first, second]
    decision = read_decision(MlflowClient().get_model_version(world.experiment, first))
    assert decision is not None
    assert (decision.action, decision.champion) == ("rolled back", second)
    assert decision.why.startswith("monitoring: macro-F1 of hours 25 to 48 ahead")
    (rollback,) = world.runs(step="rollback")
    assert rollback.data.tags["mlflow.parentRunId"] == run.info.run_id

    assert verdict(monitor(world, "--on-alarm", "rollback")) == "nothing", "the forecasts were another version's"
    forecast(world, "--as-of", "2016-06-06")
    world.say()
    monitor(world, "--on-alarm", "rollback", code=7)
    assert f"no rollback: version {second}, the champion before, was withdrawn itself (monitoring: " in world.say()
    monitor(world, "--on-alarm", "rollback", "--alias", PREVIOUS, code=7)
    assert "no rollback: only the champion is replaced" in world.say()
    MlflowClient().delete_registered_model_alias(world.experiment, PREVIOUS)
    monitor(world, "--on-alarm", "rollback", code=7)
    assert "no rollback: there is no earlier champion" in world.say()
    assert serving(world) == [first]


@pytest.fixture
def registered(tracking_uri: str) -> Iterator[str]:
    """The name under which trainings register, left as it was."""
    client = MlflowClient(tracking_uri)
    before = version_of(client, MODEL_NAME, CHAMPION)
    if not client.search_registered_models(f"name='{MODEL_NAME}'"):
        client.create_registered_model(MODEL_NAME)
    yield MODEL_NAME
    if before:
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(before.version))
    else:
        client.delete_registered_model_alias(MODEL_NAME, CHAMPION)


@pytest.mark.spark
@pytest.mark.slow
def test_an_alarm_trains_anew_and_the_gate_decides(
    world: Project,
    version: Callable[..., str],
    registered: str,
    spark: object,  # noqa: ARG001 - joined by the step
) -> None:
    world.sessions(FIRST, datetime(2016, 6, 20, 23), servers=4)
    days = {"testFrom": "2016-06-16 00:00:00", "to": "2016-06-20 23:59:59"}
    monitoring = {**QUIET, "onAlarm": "retrain"}
    world.settings(dataFile=SESSIONS, **{**DATES, **days}, monitoring=monitoring, promotion={"minimumGain": 0})
    number = version(always(0), 0.9, registered)
    MlflowClient().set_registered_model_alias(registered, CHAMPION, number)
    assert world.run("forecast", "--config", "settings.json", "--as-of", "2016-06-18") == 0
    assert world.run("monitor", "--config", "settings.json") == 7
    train, promote, run = (world.runs(step=step)[-1] for step in ("train", "promote", "monitor"))
    assert {one.data.tags["mlflow.parentRunId"] for one in (train, promote)} == {run.info.run_id}
    assert (train.data.params["threshold_low"], train.data.params["threshold_high"]) == ("20.0", "40.0")
    assert train.data.params["algorithm"] == "same_hour_mixture"
    decision, new = (promote.data.tags[f"workload_forecast.{name}"] for name in ("decision", "model_version"))
    assert decision in {"promoted", "refused"}
    assert f"; retrained: version {new} {decision} (" in world.say().splitlines()[-1]
    serves = version_of(MlflowClient(), registered, CHAMPION)
    assert serves is not None
    assert str(serves.version) == (new if decision == "promoted" else number)


def test_a_retraining_has_the_parameters_of_the_training_before(world: Project) -> None:
    logged_params = {
        "algorithm": "random_forest",
        "num_trees": "",
        "effective_num_trees": "40",
        "max_depth": "8",
        "min_rows_per_leaf": "5",
        "seed": "7",
        "duration": "CUSTOM",
    }
    with mlflow.start_run(experiment_id=MlflowClient().get_experiment_by_name(world.experiment).experiment_id) as run:  # type: ignore[union-attr]
        mlflow.log_params(logged_params)
    found = parameters_of(MlflowClient().get_run(run.info.run_id))
    assert found == TrainingParameters("random_forest", seed=7, tuned={"num_trees": 40, "min_rows_per_leaf": 5})
    assert parameters_of(None) == TrainingParameters()


def test_a_published_forecast_is_fetched(project: Project, tmp_path: Path) -> None:
    """By a machine that has not made it; another key is another forecast."""
    result = tmp_path / "elsewhere"
    (result / "forecast" / "origin=2016-06-06T23").mkdir(parents=True)
    (result / "info.json").write_text(json.dumps({"key": "this"}))
    columns = {"server": ["a"], "hour": [datetime(2016, 6, 7)], "lead_hours": [1]}
    texts = {"prediction": ["low"], "source": ["model"], "model_version": ["1"]}
    # as an earlier version wrote it, without quantiles
    numbers = {name: [0.5] for name in FORECAST.columns if name not in {*columns, *texts, *LOAD_QUANTILES, "origin"}}
    path = result / "forecast" / "origin=2016-06-06T23" / "part-0.parquet"
    pl.DataFrame({**columns, **texts, **numbers}).write_parquet(path)
    place = parse_location(str(tmp_path / "container" / "forecast"))
    with open_runs("monitor", reuse=True) as runs:
        Publication(place, runs.progress).put(result, "this", "run")
        tables = ForecastTables(runs, place)
        origin = datetime(2016, 6, 6, 23)
        assert tables.read(PastForecast(origin, "other", tmp_path / "nowhere")) is None
        found = tables.read(PastForecast(origin, "this", tmp_path / "nowhere"))
    assert found is not None
    assert found.select("server", "origin").rows() == [("a", "2016-06-06T23")]
    assert found.columns == [*FORECAST.columns]
    assert found.select(LOAD_QUANTILES).row(0) == (None,) * len(LOAD_QUANTILES)
    assert (project.folder / "outputs" / "forecast" / "this" / "info.json").is_file()
