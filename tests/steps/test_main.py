"""The main job to its end: what was trained is judged on the rows that it was tested on, by the other code."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.steps.conftest import Project
from workload_forecast.registry.log_model import MODEL_NAME
from workload_forecast.registry.promotion import CHAMPION, find_version, read_decision, version_of

FIRST, TEST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 16), datetime(2016, 6, 20, 23, 59, 59)


def settings(project: Project, **more: Any) -> str:
    return project.settings(
        dataFile="sessions/*/*/*/*/request.csv*",
        trainingFrom=str(FIRST),
        testFrom=str(TEST),
        to=str(LAST),
        missingHours="zero",
        **more,
    )


def last(project: Project, step: str) -> Run:
    return project.runs(step=step)[-1]


@pytest.mark.spark
@pytest.mark.slow
def test_main_decides_once_on_what_it_has_trained(project: Project, spark: object) -> None:  # noqa: ARG001 - joined by the step
    client = MlflowClient()
    before = version_of(client, MODEL_NAME, CHAMPION)
    if before:  # of another test with the same store
        client.delete_registered_model_alias(MODEL_NAME, CHAMPION)
    project.sessions(FIRST, LAST, servers=4)
    config = settings(project, promotion={"minimumGain": 0.9})

    assert project.run("main", "--config", config) == 0, "a refusal is no failure of the job"

    said = project.say()
    version = find_version(client, MODEL_NAME)
    number = str(version.version)
    assert f"VERSION {number} OF {MODEL_NAME} IS NOT PROMOTED: macro-F1, naive" in said
    assert f"nothing is forecast, because no version of {MODEL_NAME} is the champion" in said
    assert not project.runs(step="forecast")
    train, promote = last(project, "train"), last(project, "promote")
    assert promote.info.status == "FINISHED"
    assert promote.data.tags["mlflow.parentRunId"] == train.data.tags["mlflow.parentRunId"]
    measured = {
        "rows": "test_rows",
        "best_baseline_macro_f1": "best_baseline_test_macro_f1",
        "candidate_macro_f1": "test_macro_f1",
        "candidate_accuracy": "test_accuracy",
        "candidate_recall_high": "test_recall_high",
        "candidate_server_accuracy": "test_server_accuracy_p10",
    }
    assert {name: promote.data.metrics[name] for name in measured} == pytest.approx(
        {name: train.data.metrics[other] for name, other in measured.items()}, abs=1e-12
    ), "Spark's training and the gate count the same"
    assert "compiled form             passed" in said, "Spark and the compiled form agree"
    decision = read_decision(version)
    assert decision is not None
    assert (decision.action, decision.run) == ("refused", promote.info.run_id)

    config = settings(project)
    (stages,) = project.folder.glob("artifacts/**/sparkml/stages")
    stages.rename(stages.with_name("elsewhere"))
    assert project.run("promote", "--config", config, "--version", number, "--dry-run", "true") == 0
    said = project.say()
    assert re.search(
        r"^compiled form +FAILED .*Spark cannot apply the saved pipeline: .*stages.* Train", said, re.MULTILINE
    )
    assert "Traceback" not in said
    stages.with_name("elsewhere").rename(stages)

    assert project.run("main", "--config", config) == 0
    assert "not looked at: it was refused before" in project.say()
    assert last(project, "promote").data.tags["workload_forecast.decision"] == "unchanged"
    assert version_of(client, MODEL_NAME, CHAMPION) is None

    gains = train.data.metrics["test_macro_f1_gain"]
    assert project.run("promote", "--config", config, "--version", number) == (0 if gains > 0 else 6)
    champion = version_of(client, MODEL_NAME, CHAMPION)
    assert bool(champion) is (gains > 0)
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, number)
    project.say()
    assert project.run("main", "--config", config) == 0
    assert "it is the champion already" in project.say()
    assert_that_the_champion_forecasts(project, number)

    assert_that_a_part_of_the_servers_is_not_promoted(project, config, number)


def assert_that_the_champion_forecasts(project: Project, number: str) -> None:
    forecast, promote = last(project, "forecast"), last(project, "promote")
    assert forecast.data.tags["mlflow.parentRunId"] == promote.data.tags["mlflow.parentRunId"]
    assert (forecast.data.tags["workload_forecast.model_version"], forecast.data.metrics["servers"]) == (number, 4)
    assert forecast.data.tags["workload_forecast.etl_run"] == last(project, "etl").info.run_id


def assert_that_a_part_of_the_servers_is_not_promoted(project: Project, config: str, number: str) -> None:
    assert project.run("main", "--config", config, "--debug", "FILTER_IP") == 0
    assert "not looked at: it was trained on a part of the servers (debug)" in project.say()
    few = last(project, "train")
    runs = [MlflowClient().get_run(few.data.tags["mlflow.parentRunId"]), few, last(project, "forecast")]
    assert [run.data.tags["workload_forecast.subset"] for run in runs] == ["debug"] * 3
    assert project.run("promote", "--config", config) == 6, "nor when somebody asks for it"
    assert "all servers: it was trained on a part of the servers (debug)" in project.say()
    champion = version_of(MlflowClient(), MODEL_NAME, CHAMPION)
    assert champion is not None
    assert str(champion.version) == number
