"""The plain ``mlflow run`` command does what its users expect of it."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.checkouts import Checkout, generate_small_data
from workload_forecast.config import DEFAULT_ALGORITHM
from workload_forecast.schemas import FEATURE_NAMES, FEATURES

pytestmark = [pytest.mark.e2e, pytest.mark.spark]

STEPS = ["etl", "train", "promote"]


def family(checkout: Checkout) -> list[Run]:
    """The last run that was launched, and the runs nested in it."""
    runs = checkout.runs()
    parent = [run for run in runs if "mlflow.project.entryPoint" in run.data.tags][-1]
    return [parent, *[run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]]


def test_main_ends_with_a_registered_model_and_is_not_done_twice(checkout: Checkout, small_settings: Path) -> None:
    first = checkout.mlflow_run("main", {"config": small_settings})

    assert first.returncode == 0, first.stderr
    assert "registered workload-forecast version 1" in first.stderr
    assert "Downloading artifacts" not in first.stderr  # MLflow's bars, a line per file of the model
    parent, *steps = family(checkout)
    decision = steps[len(STEPS) - 1].data.tags["workload_forecast.decision"]
    expected = STEPS + (["forecast"] if decision == "promoted" else [])
    assert [run.data.tags["workload_forecast.step"] for run in steps] == expected
    assert {run.data.tags["mlflow.parentRunId"] for run in steps} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *steps)} == {"FINISHED"}
    etl, train, promote = steps[: len(STEPS)]
    # whether this small model is good enough is the gate's to say, and no failure of the job either way
    assert decision in {"promoted", "refused"}
    assert promote.data.metrics["candidate_macro_f1"] == pytest.approx(train.data.metrics["test_macro_f1"], abs=1e-12)
    tags = checkout.client.get_model_version("workload-forecast", "1").tags
    assert json.loads(tags["workload_forecast.decision"])["run"] == promote.info.run_id
    assert parent.data.metrics["test_macro_f1"] == train.data.metrics["test_macro_f1"]
    assert train.data.params["algorithm"] == DEFAULT_ALGORITHM
    assert train.data.params["thresholds_from"] == "training terciles"
    assert train.data.tags["mlflow.source.git.commit"] == checkout.commit
    assert {entry.dataset.name for entry in train.inputs.dataset_inputs} == {"features"}  # type: ignore[union-attr]
    assert any(name.startswith("seconds/train/fit") for name in train.data.metrics)
    assert etl.data.metrics["rows_read"] == sum(
        etl.data.metrics[f"rows_{kind}"] for kind in ("used", "quarantined", "outside_window", "filtered")
    )
    plots = {artifact.path for artifact in checkout.client.list_artifacts(train.info.run_id, "plots")}
    assert "plots/confusion_matrix_test.png" in plots

    second = checkout.mlflow_run("main", {"config": small_settings})

    assert second.returncode == 0, second.stderr
    _, *again = family(checkout)
    assert [run.data.tags["workload_forecast.reused_run"] for run in again[:2]] == [etl.info.run_id, train.info.run_id]
    assert again[2].data.tags["workload_forecast.decision"] == "unchanged"
    assert again[1].data.metrics == train.data.metrics
    assert len(checkout.client.search_model_versions("name='workload-forecast'")) == 1


def test_the_registered_model_scores_what_was_logged(checkout: Checkout, small_settings: Path) -> None:
    """Load the model back in this process and evaluate it with scikit-learn: the logged metrics come out again."""
    from sklearn.metrics import accuracy_score, f1_score

    done = checkout.mlflow_run("train", {"config": small_settings})
    assert done.returncode == 0, done.stderr
    (run,) = [r for r in checkout.runs() if r.data.tags.get("workload_forecast.step") == "train"][-1:]
    mlflow.set_tracking_uri(f"sqlite:///{checkout.folder / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/workload-forecast/1")
    etl = checkout.client.get_run(run.data.tags["workload_forecast.etl_run"])
    table = pd.read_parquet(Path(etl.data.tags["workload_forecast.result"]) / FEATURES.name).astype(
        {"year": "int64", "month": "int64"}
    )
    test = table[(table["hour"] >= "2016-06-18") & table["total_load"].notna()]
    low, high = (float(run.data.params[f"threshold_{name}"]) for name in ("low", "high"))
    truth = pd.cut(test["total_load"], [-1, low, high, float("inf")], labels=["low", "medium", "high"]).astype(str)

    predicted = model.predict(test[list(FEATURE_NAMES)])["prediction"]

    assert accuracy_score(truth, predicted) == pytest.approx(run.data.metrics["test_accuracy"], abs=1e-12)
    assert f1_score(truth, predicted, average="macro") == pytest.approx(run.data.metrics["test_macro_f1"], abs=1e-12)
    assert set(FEATURE_NAMES) <= set(FEATURES.columns)


def test_a_touched_file_does_the_etl_again(checkout: Checkout, tmp_path: Path) -> None:
    """With data of its own: results of the shared data go on being found again by the other tests."""
    settings = generate_small_data(tmp_path)
    assert checkout.mlflow_run("etl", {"config": settings}).returncode == 0
    next(tmp_path.glob("sessions/**/request.csv")).touch()
    done = checkout.mlflow_run("etl", {"config": settings})
    assert done.returncode == 0, done.stderr
    assert "reused run" not in done.stderr
    assert "workload_forecast.reused_run" not in checkout.runs()[-1].data.tags


def test_a_git_uri_at_a_commit_works_and_its_results_are_found_again(
    checkout: Checkout, small_settings: Path, tmp_path: Path
) -> None:
    uri = f"'file://{checkout.folder}'"  # MLflow does not decode a URI's %20
    answers = []
    for _ in range(2):
        done = checkout.mlflow_run("etl", {"config": small_settings}, uri, tmp_path, f"-v {checkout.commit}")
        assert done.returncode == 0, done.stderr
        answers.append(done.stderr)
    assert "reused run" not in answers[0]
    assert "reused run" in answers[1]
    assert list(tmp_path.glob("outputs/etl/*/info.json")), "beside the database, not in the temporary clone"
    assert {run.data.tags["mlflow.source.git.commit"] for run in checkout.runs(tmp_path)} == {checkout.commit}


def test_a_wrong_parameter_is_one_clear_line(checkout: Checkout) -> None:
    done = checkout.mlflow_run("train", {"duration": "ONE_YEAR"})
    assert done.returncode != 0
    assert (
        "error: Invalid value for '--duration': 'ONE_YEAR' is not one of 'ONE_MONTH', 'FULL', 'CUSTOM'" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_failed_step_fails_the_run_with_its_reason(checkout: Checkout, tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    fields = {
        "dataFile": "nothing/*.csv",
        "trainingFrom": "2016-06-01 00:00:00",
        "testFrom": "2016-06-18 00:00:00",
        "to": "2016-06-21 00:00:00",
    }
    settings.write_text(json.dumps(fields))
    done = checkout.mlflow_run("train", {"config": settings})
    assert done.returncode != 0
    assert "error: no file matches dataFile" in done.stderr
    assert "Traceback" not in done.stderr
    train, etl = checkout.runs()[-2:]
    assert {train.info.status, etl.info.status} == {"FAILED"}
    assert "no file matches" in train.data.tags["workload_forecast.error"]


def test_a_rollback_keeps_its_reason_to_the_letter(checkout: Checkout, tmp_path: Path) -> None:
    client, name = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"), "workload-forecast"
    client.create_registered_model(name)
    for alias in ("previous", "champion"):
        version = client.create_model_version(name, str(tmp_path / alias)).version
        client.set_registered_model_alias(name, alias, version)
    done = checkout.mlflow_run("rollback", {"why": "it's wrong; at night"}, f"'{checkout.folder}'", tmp_path)
    assert done.returncode == 0, done.stderr
    champion = client.get_model_version_by_alias(name, "champion")
    assert str(champion.version) == "1"
    assert json.loads(champion.tags["workload_forecast.decision"])["why"] == "it's wrong; at night"
