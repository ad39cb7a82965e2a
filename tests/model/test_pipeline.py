from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import functions as F

from workload_forecast import config
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model.importance import feature_importances
from workload_forecast.model.labels import label_column
from workload_forecast.model.pipeline import (
    ALGORITHMS,
    HISTORY_FEATURES,
    fit_model,
    make_pipeline,
    own_parameters,
    resolve_parameters,
)
from workload_forecast.model.weights import EQUAL
from workload_forecast.model.xgboosting import make_classifier
from workload_forecast.schemas import CLASSES, FEATURE_NAMES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from workload_forecast.model.training import TrainingResult

CUTS = Thresholds(200, 320)


def test_the_command_line_offers_the_algorithms_that_there_are() -> None:
    assert tuple(ALGORITHMS) == config.ALGORITHMS


def test_an_algorithm_takes_its_own_parameters_and_no_others() -> None:
    given = {"num_trees": 7, "max_depth": 3, "seed": 1}
    assert own_parameters("random_forest", given) == given
    assert own_parameters("same_hour_mixture", {"seed": 1}) == {}
    with pytest.raises(SettingsError, match=r"'decision_tree' has no parameter num_trees .* leave it out, or choose"):
        own_parameters("decision_tree", given)
    with pytest.raises(ModelError, match="algorithm 'magic' is unknown"):
        own_parameters("magic", given)


def test_defaults_are_those_of_the_requirements_and_are_overlaid() -> None:
    resolved = resolve_parameters("random_forest", {"num_trees": 7})
    assert (resolved["num_trees"], resolved["max_depth"], resolved["seed"]) == (7, 8, 42)
    assert resolve_parameters("random_forest")["num_trees"] == 100


def test_unknown_algorithm_and_parameter_are_named_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="algorithm 'magic' is unknown; choose one of random_forest"):
        resolve_parameters("magic")
    with pytest.raises(SettingsError, match=r"has no parameter num_tree .it has num_trees, max_depth"):
        resolve_parameters("random_forest", {"num_tree": 3})
    with pytest.raises(SettingsError, match=r"has no parameter seed .it has none at all"):
        resolve_parameters("same_hour_mixture", {"seed": 3})


@pytest.mark.spark
@pytest.mark.usefixtures("spark")
def test_a_parameter_that_is_no_number_is_explained() -> None:
    with pytest.raises(ModelError, match="rejects its parameters"):
        make_pipeline("random_forest", {"num_trees": "many"}, CUTS)


def test_xgboost_where_it_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost.spark", None)
    parameters = resolve_parameters("xgboost")
    with pytest.raises(ModelError, match=r"pip install 'workload-forecast\[xgboost\]' here and on the executors"):
        make_classifier(parameters)
    with pytest.raises(SettingsError, match="device 'tpu' is not one of cpu, cuda"):
        make_classifier(parameters | {"device": "tpu"})


@pytest.mark.spark
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "xgboost"])
def test_every_algorithm_gives_three_probabilities_even_where_a_class_is_absent(
    features: DataFrame, algorithm: str
) -> None:
    """The third class begins where no load is; a regression alone does not know for certain."""
    cuts = Thresholds(200, 1e9)
    two_classes = features.filter("total_load is not null").select("*", label_column(cuts))
    small = {name: 2 for name in ("max_depth", "num_trees") if name in ALGORITHMS[algorithm].defaults}
    model = fit_model(two_classes, algorithm, small, cuts)
    row = model.transform(features.orderBy(F.desc("hour"), "server").limit(1)).first()
    assert row is not None
    assert len(row["probability"]) == len(CLASSES)
    assert row["probability"][2] < (0.01 if algorithm == "logistic_regression" else 1e-9)
    assert row["prediction"] in CLASSES[:2]
    importances = feature_importances(model, two_classes)
    if algorithm == "same_hour_mixture":
        assert importances.empty
    else:
        assert set(importances["feature"]) == set(FEATURE_NAMES)
        assert importances["importance"].is_monotonic_decreasing
        assert importances["importance"].sum() == pytest.approx(1)


@pytest.mark.spark
def test_xgboost_needs_every_class(features: DataFrame) -> None:
    cuts = Thresholds(200, 1e9)
    rows = features.filter("total_load is not null").select("*", label_column(cuts))
    with pytest.raises(ModelError, match="needs training rows of every class, and finds none of high: choose"):
        fit_model(rows, "xgboost", {}, cuts)


@pytest.mark.spark
@pytest.mark.parametrize("algorithm", ["decision_tree", "same_hour_mixture"])
def test_a_class_that_costs_more_is_named_more_often(features: DataFrame, algorithm: str) -> None:
    rows = features.filter("total_load is not null").select("*", label_column(CUTS))
    small = {"max_depth": 4} if algorithm == "decision_tree" else {}
    named = [
        fit_model(rows, algorithm, small, CUTS, weights).transform(rows).filter("class_index = 2").count()
        for weights in (EQUAL, (1.0, 1.0, 20.0))
    ]
    assert named[0] < named[1] < rows.count()


@pytest.mark.spark
def test_nothing_but_the_classifier_is_fitted(result: TrainingResult) -> None:
    names = [type(stage).__name__ for stage in result.model.stages]
    assert names == ["SQLTransformer", "VectorAssembler", "RandomForestClassificationModel", "IndexToString"]


@pytest.mark.spark
def test_null_and_nan_are_the_same_unknown(result: TrainingResult, features: DataFrame) -> None:
    row = features.orderBy(F.desc("hour"), "server").limit(1)
    nulls = row.select(
        *[F.lit(None).cast("double").alias(n) if n in HISTORY_FEATURES else F.col(n) for n in FEATURE_NAMES]
    )
    nans = row.select(*[F.lit(math.nan).alias(n) if n in HISTORY_FEATURES else F.col(n) for n in FEATURE_NAMES])
    minus = row.select(*[F.lit(-1.0).alias(n) if n in HISTORY_FEATURES else F.col(n) for n in FEATURE_NAMES])
    found = [result.model.transform(frame).first() for frame in (nulls, nans, minus)]
    assert all(row is not None and row["prediction"] in CLASSES for row in found)
    assert len({tuple(row["probability"]) for row in found if row is not None}) == 1


@pytest.mark.spark
def test_a_saved_model_is_plain_spark_and_predicts_the_same(
    result: TrainingResult, features: DataFrame, tmp_path: Path
) -> None:
    result.model.write().overwrite().save(str(tmp_path / "model"))
    stored = "".join(path.read_text() for path in tmp_path.rglob("part-*.txt"))
    assert "workload_forecast" not in stored
    loaded = PipelineModel.load(str(tmp_path / "model"))
    rows = features.orderBy("server", "hour").limit(300)
    found, expected = [
        pd.DataFrame([tuple(row) for row in m.transform(rows).select("class_index", "prediction").collect()])
        for m in (loaded, result.model)
    ]
    pd.testing.assert_frame_equal(found, expected)
    assert (found[1] == found[0].map(dict(enumerate(CLASSES)))).all()
