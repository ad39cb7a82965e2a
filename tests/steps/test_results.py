"""Whoever comes after the runs finds their results: the newest that is finished and there."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from tests.steps.conftest import Project
from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.steps.results import newest_result, use_store
from workload_forecast.storage.local import write_info

STEP = "testing"


def done(project: Project, key: str, *, finished: bool = True, there: bool = True) -> Path:
    folder = project.folder / "outputs" / project.experiment / key
    with mlflow.start_run() as run:
        names = {"step": f"{STEP} {project.experiment}", "key": key, "result": str(folder)}
        mlflow.set_tags({f"workload_forecast.{name}": value for name, value in names.items()})
        if not finished:
            mlflow.end_run("FAILED")
    if there:
        folder.mkdir(parents=True)
        write_info(folder, {"key": key, "run_id": run.info.run_id, "rows": len(key)})
    return folder


def test_the_newest_finished_result_is_found(project: Project) -> None:
    done(project, "old")
    folder = done(project, "newer")
    done(project, "gone", there=False)
    done(project, "failed", finished=False)
    found = newest_result(f"{STEP} {project.experiment}")
    assert (found.key, found.folder, found.info["rows"], found.reused) == ("newer", folder, 5, False)


def test_a_result_that_was_moved_with_its_home_is_found_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = done(project, "moved")
    target = project.folder / "elsewhere" / f"{STEP} {project.experiment}" / "moved"
    target.parent.mkdir(parents=True)
    folder.rename(target)
    monkeypatch.setenv("WORKLOAD_FORECAST_HOME", str(project.folder / "elsewhere"))
    assert newest_result(f"{STEP} {project.experiment}").folder == target


def test_another_result_in_its_place_is_not_taken_for_it(project: Project) -> None:
    write_info(done(project, "mine"), {"key": "another's"})
    with pytest.raises(DataError, match=r"no finished run of the step .* Run it first: mlflow run"):
        newest_result(f"{STEP} {project.experiment}")


def test_the_store_is_that_of_the_environment_or_the_nearest(
    project: Project, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert use_store() == tracking_uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    below = project.folder / "notebooks"
    below.mkdir()
    with pytest.raises(EnvironmentProblem, match=r"Run `make forecast` in the project's folder first"):
        use_store(below)
    (project.folder / "mlflow.db").touch()
    assert use_store(below) == f"sqlite:///{project.folder}/mlflow.db"
    assert mlflow.get_tracking_uri() == f"sqlite:///{project.folder}/mlflow.db"
    mlflow.set_tracking_uri(tracking_uri)
