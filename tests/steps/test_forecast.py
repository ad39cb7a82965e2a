"""Batch forecasts of a whole fleet by a real registry's champion, which no JVM has made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.serving.saved_pipelines import Node, Split
from tests.steps.conftest import Project
from tests.versions import always, logged
from workload_forecast.config import Thresholds
from workload_forecast.schemas import FEATURE_NAMES, FORECAST, LOAD_QUANTILES
from workload_forecast.steps import forecast as forecast_step
from workload_forecast.steps.forecast import first_hour
from workload_forecast.steps.replay import ERRORS

FIRST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 9, 23, 59, 59)
HOUR = timedelta(hours=1)
CUTS = Thresholds(20.0, 40.0)

#: Says what the load was 48 hours before.
LAG = FEATURE_NAMES.index("total_load_lag_48h")
AS_BEFORE = Split(LAG, CUTS.low, always(0), Split(LAG, CUTS.high, always(1), always(2)))


@pytest.fixture
def settings(project: Project) -> str:
    project.sessions(FIRST, LAST)
    return project.settings(
        dataFile="sessions/*/*/*/*/request.csv*",
        trainingFrom=str(FIRST),
        testFrom=str(datetime(2016, 6, 8)),
        to=str(LAST),
        missingHours="zero",
    )


@pytest.fixture
def champion(project: Project) -> Callable[[Node], str]:
    """Registers a model under the test's own name and makes it the champion; returns its version."""
    client = MlflowClient()
    client.create_registered_model(project.experiment)

    def register(tree: Node) -> str:
        folder = project.folder / f"model-{len(client.search_model_versions(f'name={project.experiment!r}'))}"
        version = client.create_model_version(project.experiment, str(logged(folder, tree, CUTS, LAST)))
        client.set_registered_model_alias(project.experiment, "champion", str(version.version))
        return str(version.version)

    return register


def forecast(project: Project, *arguments: str) -> Run:
    given = ["forecast", "--model", project.experiment, "--config", "settings.json", *arguments]
    assert project.run(*given) == 0
    return project.runs(step="forecast")[-1]


def table_of(run: Run) -> pl.DataFrame:
    folder = Path(run.data.tags["workload_forecast.result"]) / FORECAST.name
    rows = pl.read_parquet(folder, hive_partitioning=True)
    assert set(rows.columns) == set(FORECAST.columns)
    return rows.select(*FORECAST.columns).sort("server", "hour")


def hourly_load(project: Project) -> dict[tuple[str, datetime], float]:
    (folder,) = project.folder.glob("outputs/etl/*/hourly_load")
    return {(row["server"], row["hour"]): row["total_load"] for row in pl.read_parquet(folder).rows(named=True)}


def class_of(load: float) -> str:
    return "low" if load <= CUTS.low else "medium" if load <= CUTS.high else "high"


@pytest.mark.usefixtures("settings")
def test_every_server_has_the_next_48_hours(project: Project, champion: Callable[[Node], str]) -> None:
    version = champion(AS_BEFORE)
    run = forecast(project)
    rows, load = table_of(run), hourly_load(project)
    start = datetime(2016, 6, 10)
    servers = sorted({server for server, _ in load})
    assert len(servers) == 3
    assert list(zip(rows["server"], rows["hour"], strict=True)) == [
        (server, start + n * HOUR) for server in servers for n in range(48)
    ]
    assert rows["lead_hours"].to_list() == [*range(1, 49)] * 3
    expected = [class_of(load.get((server, start + (n - 48) * HOUR), 0.0)) for server in servers for n in range(48)]
    assert rows["prediction"].to_list() == expected
    assert len(set(expected)) > 1
    assert set(rows["source"]) == {"model"}
    assert set(rows["model_version"]) == {version}
    assert set(rows["origin"]) == {"2016-06-09T23"}
    assert (rows["expected_load"] >= 0).all()
    errors = (-3.0, 0.0, 1.0, 1.0, 4.5)
    for name, factor in zip(LOAD_QUANTILES, errors, strict=True):
        wanted = [
            max(load + factor * (error + 2.0), 0.0)
            for load, error in rows.select("expected_load", "expected_error").iter_rows()
        ]
        assert rows[name].to_list() == pytest.approx(wanted), name
    metrics = run.data.metrics
    assert (metrics["rows_forecast"], metrics["servers"], metrics["servers_gone"]) == (144, 3, 0)
    assert [metrics[f"rows_{name}"] for name in ("low", "medium", "high")] == [
        expected.count(name) for name in ("low", "medium", "high")
    ]
    heard = project.say()
    assert "3 servers × 48 hours from 2016-06-10 00:00:00" in heard
    plan = pl.read_parquet(Path(run.data.tags["workload_forecast.result"]) / "capacity_plan", hive_partitioning=True)
    assert sorted(plan["server"]) == servers
    assert metrics["machines_needed"] == plan["machine"].n_unique()
    assert metrics["machines_saved"] == 3 - metrics["machines_needed"]
    assert metrics["machine_capacity"] == max(load.values())
    assert f"plan: {metrics['machines_saved']:.0f} of 3 machines can be saved" in heard


@pytest.mark.usefixtures("settings")
def test_again_is_answered_from_the_first_run_until_the_champion_changes(
    project: Project, champion: Callable[[Node], str]
) -> None:
    champion(always(0))
    first, again = forecast(project), forecast(project)
    assert again.data.tags["workload_forecast.reused_run"] == first.info.run_id
    second = champion(always(2))
    other = forecast(project)
    assert "workload_forecast.reused_run" not in other.data.tags
    assert set(table_of(other)["prediction"]) == {"high"}
    assert set(table_of(other)["model_version"]) == {second}


def test_a_replay_says_what_would_have_been_said_then(
    project: Project, settings: str, champion: Callable[[Node], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing from the asked time on enters, whatever came later; and servers in batches are answered the same."""
    champion(AS_BEFORE)
    replayed = forecast(project, "--as-of", "2016-06-06T11:30")
    then: dict[str, Any] = {"to": "2016-06-06 11:59:59", "testFrom": "2016-06-05 00:00:00"}
    content = Path(settings).read_text()
    project.settings(**{**pl.read_json(content.encode()).rows(named=True)[0], **then})
    monkeypatch.setattr(forecast_step, "BATCH_ROWS", 1)
    told_then = forecast(project)
    assert table_of(replayed).equals(table_of(told_then))
    assert table_of(replayed)["hour"].min() == datetime(2016, 6, 6, 12)
    folder = Path(told_then.data.tags["workload_forecast.result"])
    assert len([*(folder / FORECAST.name).rglob("*.parquet")]) == 3


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("as_of", ["2016-06-01", "2016-08-01"])
def test_a_time_without_any_history_is_an_error(project: Project, champion: Callable[[Node], str], as_of: str) -> None:
    champion(always(0))
    given = ["forecast", "--model", project.experiment, "--config", "settings.json", "--as-of", as_of]
    assert project.run(*given) == 3
    assert "hourly load is known from 2016-06-01 00:00:00 to 2016-06-09 23:00:00" in project.say()


@pytest.mark.usefixtures("settings")
def test_without_a_champion_it_says_what_to_do(project: Project) -> None:
    assert project.run("forecast", "--model", "nobody", "--config", "settings.json") != 0
    assert "no version of nobody has the alias 'champion': train and promote one first (-e main)" in project.say()
    assert not project.runs(step="etl")


def test_the_first_hour_is_the_next_whole_one() -> None:
    assert first_hour(datetime(2016, 6, 1, 12)) == datetime(2016, 6, 1, 12)
    assert first_hour(datetime(2016, 6, 1, 12, 0, 1)) == datetime(2016, 6, 1, 13)


def test_limits_of_the_plan_make_another_plan_of_the_same_tables(
    project: Project, settings: str, champion: Callable[[Node], str]
) -> None:
    champion(always(0))
    roomy = {"machineCapacity": 1e9, "errors": 0, "minimumConfidence": 0.3}
    content = pl.read_json(Path(settings).read_bytes()).rows(named=True)[0]
    project.settings(**content, planning=roomy)
    run = forecast(project)
    assert (run.data.metrics["machines_saved"], run.data.metrics["machine_capacity"]) == (2, 1e9)
    project.settings(**content, planning={**roomy, "pinned": sorted({server for server, _ in hourly_load(project)})})
    assert forecast(project).data.metrics["machines_saved"] == 0
    project.settings(**content, planning={"machineCapacity": 1e9, "minimumConfidence": 0.3, "quantile": 99})
    assert forecast(project).data.metrics["errors_reckoned_with"] == 4.5
    assert len(project.runs(step="etl")) == 3
    assert project.runs(step="etl")[-1].data.tags["workload_forecast.reused_run"]


def test_a_replay_holds_the_plans_of_the_test_period_against_what_came(
    project: Project, settings: str, champion: Callable[[Node], str]
) -> None:
    """The plan of each day is that of a forecast of its own; what came of it is counted here in plain lines."""
    champion(AS_BEFORE)
    content = pl.read_json(Path(settings).read_bytes()).rows(named=True)[0]
    limits = {"machineCapacity": 60.0, "margin": 0.0, "errors": 0.0, "minimumConfidence": 0.05}
    project.settings(**{**content, "testFrom": "2016-06-07 00:00:00"}, planning=limits)
    assert project.run("replay", "--model", project.experiment, "--config", "settings.json") == 0
    run = project.runs(step="replay")[-1]
    path = MlflowClient().download_artifacts(run.info.run_id, "replay/plans.csv")
    table = pl.read_csv(path, try_parse_dates=True)
    assert table["start"].unique().sort().to_list() == [datetime(2016, 6, 7), datetime(2016, 6, 8)]
    load = hourly_load(project)
    for row in table.filter(pl.col("forecast") == "model").rows(named=True):
        made = forecast(project, "--as-of", row["start"].isoformat())
        folder = Path(made.data.tags["workload_forecast.result"]) / "capacity_plan"
        machine = dict(pl.read_parquet(folder).select("server", "machine").rows())
        hours = [row["start"] + n * HOUR for n in range(48)]
        sums = {(host, hour): 0.0 for host in set(machine.values()) for hour in hours}
        for server, host in machine.items():
            for hour in hours:
                sums[host, hour] += load.get((server, hour), 0.0)
        alone = sum(load.get((server, hour), 0.0) > 60.0 for server in machine for hour in hours)
        assert row["machines"] == len(set(machine.values()))
        assert row["overloads"] == sum(total > 60.0 for total in sums.values())
        assert row["avoidable"] == row["overloads"] - alone
    metrics = run.data.metrics
    mine = table.filter(pl.col("forecast") == "model")
    assert metrics["replay_model_machines_saved_share"] == pytest.approx(1 - mine["machines"].sum() / 6)
    assert "2 plans, a day apart, of 48 hours" in project.say()
    curve = pl.read_csv(MlflowClient().download_artifacts(run.info.run_id, "replay/trade_off.csv"))
    own = curve.filter((pl.col("forecast") == "model") & (pl.col("errors") == 0.0))
    assert own["overloads"].item() == pytest.approx(sum(mine["avoidable"]) / (sum(mine["machines"]) * 48))
    assert own["machines_saved"].item() == metrics["replay_model_machines_saved_share"]
    assert curve["errors"].unique().to_list() == sorted(ERRORS)
    settings_now = {**content, "testFrom": "2016-06-07 00:00:00"}
    project.settings(**settings_now, planning={"machineCapacity": 60.0, "quantile": 99})
    assert project.run("replay", "--model", project.experiment, "--config", "settings.json") == 0
    latest = project.runs(step="replay")[-1].info.run_id
    again = pl.read_csv(MlflowClient().download_artifacts(latest, "replay/plans.csv"))
    assert again["errors"].unique().to_list() == [4.5]


def test_a_test_period_without_48_hours_is_an_error(
    project: Project, settings: str, champion: Callable[[Node], str]
) -> None:
    champion(always(0))
    content = pl.read_json(Path(settings).read_bytes()).rows(named=True)[0]
    project.settings(**{**content, "testFrom": "2016-06-08 01:00:00"})
    assert project.run("replay", "--model", project.experiment, "--config", "settings.json") == 3
    assert "has no 48 hours" in project.say()
