from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.feature_tables import feature_table, write_parquet
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.model.evaluation import count_outcomes, evaluate, score_rows
from workload_forecast.model.rows import labelled_rows
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.training import TrainingResult, train
from workload_forecast.registry.log_model import RegisteredVersion, log_model, requirements, signature
from workload_forecast.registry.log_training import log_training, training_parameters
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, FEATURES, HOURLY_LOAD
from workload_forecast.sources import Sources

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SPLIT = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 18), datetime(2016, 6, 20, 23, 59, 59))
THRESHOLDS = Thresholds(200, 320)


class Logged(NamedTuple):
    result: TrainingResult
    registered: RegisteredVersion
    run_id: str
    table: pd.DataFrame
    features: DataFrame


@pytest.fixture(scope="module")
def logged(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("registry")
    table = feature_table(servers=4, days=20)
    features = spark.read.parquet(str(write_parquet(table, folder / "features")))
    result = train(features, SPLIT, THRESHOLDS, "decision_tree", {"max_depth": 5})
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'tracking.db'}")
    experiment = mlflow.create_experiment("registry", artifact_location=(folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_param("algorithm", "as given on the command line")
        log_training(result)
        registered = log_model(result, {"duration": "ONE_MONTH", "data": "synthetic"})
    yield Logged(result, registered, run.info.run_id, table, features)
    mlflow.set_tracking_uri(before)


pytestmark = pytest.mark.spark


def test_the_loaded_spark_model_gives_the_logged_metrics_again(logged: Logged) -> None:
    model = mlflow.spark.load_model(logged.registered.uri)
    rows = labelled_rows(logged.features, SPLIT, THRESHOLDS, training_rows=1)
    scores = evaluate(count_outcomes(score_rows(model, rows, THRESHOLDS, 0.0, Sources()))).scores
    found = scores[scores["predictor"] == "model"].set_index("split")
    stored = mlflow.get_run(logged.run_id).data.metrics
    for split in ("train", "test"):
        for metric in ("accuracy", "weighted_precision", "weighted_recall", "f1", "macro_f1", "recall_high"):
            assert found.loc[split, metric] == pytest.approx(stored[f"{split}_{metric}"], abs=1e-12)


def test_the_pyfunc_model_scores_a_pandas_frame_with_unknowns_and_gives_the_logged_accuracy(logged: Logged) -> None:
    test = logged.table[(logged.table["hour"] >= SPLIT.test_from) & logged.table["total_load"].notna()]
    inputs = test[list(FEATURE_NAMES)].reset_index(drop=True)
    assert inputs.isna().any().any()
    model = mlflow.pyfunc.load_model(logged.registered.uri)
    answers = model.predict(inputs)
    predicted = answers["prediction"].to_numpy()
    assert set(answers["source"]) == {"model"}
    assert answers["confidence"].tolist() == answers[[f"probability_{name}" for name in CLASSES]].max(axis=1).tolist()
    true = np.select([test["total_load"] <= 200, test["total_load"] > 320], [CLASSES[0], CLASSES[2]], CLASSES[1])
    stored = mlflow.get_run(logged.run_id).data.metrics
    assert (predicted == true).mean() == pytest.approx(stored["test_accuracy"], abs=1e-12)
    with pytest.raises(mlflow.MlflowException, match="total_load_lag_48h"):
        model.predict(inputs.drop(columns="total_load_lag_48h"))


def test_the_stored_example_can_be_served_as_json(logged: Logged) -> None:
    from mlflow.pyfunc.scoring_server import _parse_json_data

    model = mlflow.pyfunc.load_model(logged.registered.run_uri)
    folder = Path(mlflow.artifacts.download_artifacts(logged.registered.run_uri))
    body = (folder / "serving_input_example.json").read_text()
    example = json.loads(body, parse_constant=pytest.fail)["dataframe_split"]  # NaN is no JSON
    unknown = example["columns"].index("total_load_lag_730h")
    assert all(row[unknown] is None for row in example["data"])
    parsed = _parse_json_data(body, model.metadata, model.metadata.get_input_schema())
    assert set(model.predict(parsed.data)["prediction"]) <= set(CLASSES)


def test_signature_types_are_those_of_the_feature_table(logged: Logged) -> None:
    stored = mlflow.models.get_model_info(logged.registered.uri).signature
    assert stored == signature()
    found = {column.name: column.type.name for column in stored.inputs.inputs}
    assert tuple(found) == (*FEATURE_NAMES, *HOURLY_LOAD.columns)
    for name in FEATURE_NAMES:
        assert found[name] == ("double" if FEATURES.columns[name].is_float() else "long"), name
    assert [found[name] for name in ("server", "hour", "sessions", "total_load")] == [
        "string",
        "datetime",
        "long",
        "double",
    ]


def test_the_version_carries_its_facts(logged: Logged) -> None:
    found = mlflow.MlflowClient().get_model_version(logged.registered.name, logged.registered.version)
    assert (logged.registered.name, found.run_id) == ("workload-forecast", logged.run_id)
    expected = {"duration": "ONE_MONTH", "data": "synthetic", "algorithm": "decision_tree"}
    expected["test_macro_f1"] = f"{logged.result.metrics['test_macro_f1']:.4f}"
    assert expected.items() <= found.tags.items()
    for fact in ("low: peak load ≤ 200", "> 320", "48 hours ahead", "2016-06-18 00:00:00"):
        assert fact in str(found.description)


def test_requirements_are_the_installed_versions_and_nothing_else(logged: Logged) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(logged.registered.run_uri))
    assert (folder / "requirements.txt").read_text().split() == requirements()
    assert {line.partition("==")[0] for line in requirements()} >= {"mlflow", "treelite", "polars", "narwhals"}
    assert not [line for line in requirements() if "pyspark" in line]
    flavors = mlflow.models.get_model_info(logged.registered.uri).flavors
    assert flavors["spark"]["pyspark_version"].startswith(version("pyspark").partition("+")[0])


def test_the_run_shows_parameters_metrics_plots_and_tables(logged: Logged) -> None:
    run = mlflow.get_run(logged.run_id)
    assert run.data.metrics == pytest.approx(dict(logged.result.metrics))
    assert float(run.data.params["threshold_low"]) == 200
    assert run.data.params["algorithm"] == "as given on the command line"
    assert run.data.params["max_depth"] == "5"
    client = mlflow.MlflowClient()
    plots = {Path(file.path).name for file in client.list_artifacts(logged.run_id, "plots")}
    assert plots == {f"{name}.png" for name in logged.result.figures}
    scores = mlflow.artifacts.download_artifacts(run_id=logged.run_id, artifact_path="tables/scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(scores), logged.result.tables["scores"])


def test_the_models_page_shows_the_metrics(logged: Logged) -> None:
    model_id = mlflow.models.get_model_info(logged.registered.uri).model_id
    metrics = {metric.key: metric.value for metric in mlflow.get_logged_model(model_id).metrics or []}
    assert metrics["test_macro_f1"] == pytest.approx(logged.result.metrics["test_macro_f1"])


def test_nothing_is_pickled(logged: Logged) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(logged.registered.run_uri))
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle"}]
    stages = [json.loads(path.read_text())["class"] for path in folder.rglob("stages/*/metadata/part-*")]
    assert stages
    assert all(name.startswith("org.apache.spark.ml.") for name in stages)


def test_unequal_weights_of_the_classes_are_parameters_of_their_own(logged: Logged) -> None:
    """The settings' section is logged as ``class_weights`` before; a parameter cannot be logged twice."""
    weighed = training_parameters(replace(logged.result, weights=(0.5, 1.0, 2.0)))
    assert {name: weighed[name] for name in weighed.keys() - training_parameters(logged.result).keys()} == {
        "weight_low": "0.5",
        "weight_medium": "1",
        "weight_high": "2",
    }


def test_without_a_run_both_say_so(logged: Logged) -> None:
    with pytest.raises(ModelError, match="none is active"):
        log_training(logged.result)
    with pytest.raises(ModelError, match="none is active"):
        log_model(logged.result, {})
