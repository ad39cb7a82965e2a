from __future__ import annotations

import io
import math
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from tests.feature_tables import write_parquet
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.model import training
from workload_forecast.model.baselines import BASELINES
from workload_forecast.model.metrics import METRICS
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.training import TrainingResult, train
from workload_forecast.progress import Progress
from workload_forecast.schemas import FEATURE_NAMES, LOAD_LEVELS
from workload_forecast.source_limits import SourceLimits
from workload_forecast.sources import NAIVE_FORECASTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@pytest.mark.spark
def test_thresholds_are_learnt_from_training_rows_alone(
    result: TrainingResult, table: pd.DataFrame, split: TimeSplit
) -> None:
    loads = np.sort(table.loc[table["hour"] < split.training_to, "total_load"].dropna())
    after = [int((len(loads) - 1) * share) for share in (1 / 3, 2 / 3)]
    assert [result.thresholds.low, result.thresholds.high] == pytest.approx([loads[[i, i + 1]].mean() for i in after])
    assert result.thresholds_auto


@pytest.mark.spark
def test_metrics_hold_the_model_and_every_baseline(result: TrainingResult) -> None:
    expected = {f"{split}_{metric}" for split in ("train", "test") for metric in METRICS}
    expected |= {f"forecast_test_{metric}" for metric in METRICS}
    expected |= {f"baseline_{name}_test_{metric}" for name in BASELINES for metric in METRICS}
    expected |= {f"test_load_below_p{level}" for level in LOAD_LEVELS}
    assert expected <= set(result.metrics)
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert result.metrics["test_rows"] == result.rows["test"].labelled
    best = max(result.metrics[f"baseline_{name}_test_macro_f1"] for name in BASELINES)
    assert result.metrics["best_baseline_test_macro_f1"] == best
    assert result.metrics["test_macro_f1_gain"] == pytest.approx(result.metrics["test_macro_f1"] - best)
    servers = result.tables["accuracy_by_server"]
    assert result.metrics["test_server_accuracy_p50"] == pytest.approx(np.quantile(servers["model"], 0.5))
    at_least = (servers["model"] >= servers[result.best_baseline]).mean()
    assert result.metrics["test_servers_at_least_best_baseline_share"] == at_least


@pytest.mark.spark
def test_every_metric_is_in_the_table_of_the_docstring(result: TrainingResult) -> None:
    text = training.__doc__ or ""
    templates = ("train_", "test_", "forecast_", "baseline_")
    undocumented = [name for name in result.metrics if f"``{name}``" not in text and not name.startswith(templates)]
    assert undocumented == []


@pytest.mark.spark
def test_the_model_has_learnt_the_daily_cycle(result: TrainingResult) -> None:
    assert result.metrics["test_macro_f1"] > result.metrics["baseline_class_48h_ago_test_macro_f1"]


@pytest.mark.spark
def test_importances_are_named_sorted_and_sum_to_one(result: TrainingResult) -> None:
    importances = result.tables["feature_importance"]
    assert set(importances["feature"]) == set(FEATURE_NAMES)
    assert importances["importance"].is_monotonic_decreasing
    assert importances["importance"].sum() == pytest.approx(1)
    vector = result.model.stages[2].featureImportances  # type: ignore[attr-defined]
    assert importances["feature"][0] == FEATURE_NAMES[int(np.argmax(vector.toArray()))]


@pytest.mark.spark
def test_example_rows_are_test_rows_with_their_unknowns(
    result: TrainingResult, table: pd.DataFrame, split: TimeSplit
) -> None:
    first = table[(table["hour"] == split.test_from) & table["total_load"].notna()].sort_values("server").head(5)
    pd.testing.assert_frame_equal(result.example, first[list(FEATURE_NAMES)].reset_index(drop=True))
    assert result.example["total_load_lag_730h"].isna().all()


@pytest.mark.spark
def test_every_stage_is_announced_and_timed(result: TrainingResult, progress: Progress, printed: io.StringIO) -> None:
    assert result.rows
    assert [name.removeprefix("train: ") for name in progress.durations] == [
        "count and order the rows",
        "label the rows",
        "fit",
        "evaluate",
        "draw the figures",
    ]
    assert re.search(r"train: fit \(random_forest, 2,991 rows × \d+ features\) … done in [\d.]+ s", printed.getvalue())


@pytest.mark.spark
@pytest.mark.slow
def test_shuffled_rows_in_other_files_give_the_same_model(
    spark: SparkSession, result: TrainingResult, table: pd.DataFrame, split: TimeSplit, tmp_path: Path
) -> None:
    shuffled = write_parquet(table.sample(frac=1, random_state=5), tmp_path / "shuffled", files=7)
    parameters = {"num_trees": 8, "max_depth": 5}
    again = train(spark.read.parquet(str(shuffled)).repartition(5), split, "auto", parameters=parameters)
    assert again.thresholds == result.thresholds
    # Everything but the first line, which holds the model's random name.
    found, expected = (run.model.stages[2].toDebugString.split("\n")[1:] for run in (again, result))  # type: ignore[attr-defined]
    assert found == expected
    assert again.metrics == pytest.approx(dict(result.metrics), abs=1e-12)


@pytest.mark.spark
def test_a_single_class_and_an_impossible_parameter_are_explained(features: DataFrame, split: TimeSplit) -> None:
    with pytest.raises(ModelError, match="single load class"):
        train(features, split, Thresholds(1e6, 1e7))
    with pytest.raises(ModelError, match=r"Spark cannot fit random_forest with .*'max_depth': 99"):
        train(features, split, Thresholds(200, 300), parameters={"max_depth": 99})


@pytest.mark.spark
def test_nothing_stays_in_spark_s_cache(spark: SparkSession, features: DataFrame, split: TimeSplit) -> None:
    def kept() -> set[int]:
        return set(spark.sparkContext._jsc.getPersistentRDDs().keySet())

    before = kept()  # of other tests in this session
    train(features, split, "auto", "decision_tree", {"max_depth": 2}, choice=SourceLimits())
    assert kept() - before == set()


@pytest.mark.spark
def test_who_answers_is_chosen_before_the_test_period_and_judged_on_it(
    features: DataFrame, table: pd.DataFrame, split: TimeSplit, progress: Progress
) -> None:
    """Without any margin, a server is left to whatever was best on its last days of training."""
    choice = SourceLimits(fleet_margin=1e9, server_margin=0)
    found = train(features, split, "auto", "same_hour_mixture", progress=progress, choice=choice)
    chosen = found.tables["sources"]
    assert set(found.sources.servers.values()) <= set(NAIVE_FORECASTS)
    assert 0 < len(found.sources.servers) < len(chosen)

    judged = table[(table["hour"] < split.training_to) & (table["hour"] >= split.training_to - timedelta(days=5))]
    known = judged.dropna(subset=["total_load"]).groupby("server").size()
    assert dict(zip(chosen["server"], chosen["rows"], strict=True)) == known.to_dict()

    low, high = found.thresholds.low, found.thresholds.high
    test = table[(table["hour"] >= split.test_from) & table["total_load"].notna()]
    by_server = found.tables["accuracy_by_server"].set_index("server")
    answers = found.model.transform(features.filter(F.col("hour") >= F.lit(split.test_from)))
    by_model = {(row[0], row[1]): row[2] for row in answers.select("server", "hour", "class_index").collect()}
    for server, source in found.sources.servers.items():
        mine = test[test["server"] == server]
        loads = mine[NAIVE_FORECASTS[source]]
        naive = np.digitize(loads, [low, high], right=True)
        named = np.where(loads.isna(), [by_model[server, hour] for hour in mine["hour"]], naive)
        label = np.digitize(mine["total_load"], [low, high], right=True)
        assert by_server.loc[server, "forecast"] == pytest.approx((label == named).mean())
    others = by_server.drop(index=list(found.sources.servers))
    assert (others["forecast"] == others["model"]).all()
