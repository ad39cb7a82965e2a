"""Judged rows of a fold, recomputed in plain Python."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from tests.feature_tables import write_parquet
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model import rows as rows_module
from workload_forecast.model.backtest import backtest
from workload_forecast.model.baselines import BASELINES, MAJORITY
from workload_forecast.model.fold_calibration import calibration_table
from workload_forecast.model.fold_rows import PROBABILITIES, FoldData
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.training import TrainingResult
from workload_forecast.sources import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

TREES = {"num_trees": 8, "max_depth": 5}
HISTORY = {
    "class_48h_ago": "total_load_lag_48h",
    "class_week_ago": "total_load_lag_168h",
    "same_hour_mean_7d": "total_load_same_hour_mean_7d",
}


@pytest.fixture(scope="module")
def judged(features: DataFrame, split: TimeSplit) -> Iterator[tuple[FoldData, pd.DataFrame]]:
    with closing(FoldData.of_features(features, split, "auto", fold=4)) as data:
        yield data, data.judge("random_forest", TREES)


def expected_rows(table: pd.DataFrame, split: TimeSplit) -> list[dict[str, Any]]:
    records = [row for row in table.to_dict("records") if not np.isnan(row["total_load"])]
    training_to = split.test_from - timedelta(hours=48)
    training = [row["total_load"] for row in records if split.training_from <= row["hour"] < training_to]
    ordered = sorted(training)

    def halfway(share: float) -> float:
        below = int(share * (len(ordered) - 1))
        return float(ordered[below] + ordered[below + 1]) / 2

    low, high = halfway(1 / 3), halfway(2 / 3)

    def label(load: float) -> int | None:
        return None if np.isnan(load) else 0 if load <= low else 2 if load > high else 1

    counts = Counter(label(load) for load in training)
    majority = max(range(3), key=lambda index: (counts[index], -index))
    return [
        {"fold": 4, "server": row["server"], "hour": row["hour"], "label": label(row["total_load"]), MAJORITY: majority}
        | {name: label(row[feature]) for name, feature in HISTORY.items()}
        for row in records
        if split.test_from <= row["hour"] <= split.to
    ]


def test_labels_and_naive_forecasts_are_those_of_plain_python(
    judged: tuple[FoldData, pd.DataFrame], table: pd.DataFrame, split: TimeSplit
) -> None:
    expected = sorted(expected_rows(table, split), key=lambda row: (row["server"], row["hour"]))
    assert any(row["class_48h_ago"] is None for row in expected), "or the nulls are not tested"

    found = judged[1].sort_values(["server", "hour"])
    columns = ["fold", "server", "hour", "label", MAJORITY, *HISTORY]
    records = [
        {name: None if value is pd.NA else value for name, value in row.items()}
        for row in found[columns].to_dict("records")
    ]
    assert records == expected
    names = [name for name in judged[1].columns if name != "lead"]  # which is there if the feature table has it
    assert names == ["fold", "server", "hour", "label", MODEL, *BASELINES, *PROBABILITIES]


def test_the_model_is_the_one_that_training_fits(judged: tuple[FoldData, pd.DataFrame], result: TrainingResult) -> None:
    data, rows = judged
    assert data.thresholds == result.thresholds

    found = backtest(rows, model=MODEL, baselines=BASELINES, default=MAJORITY)

    assert found.metrics["backtest_rows"] == result.metrics["test_rows"]
    for metric in ("macro_f1", "accuracy", "recall_high"):
        assert found.metrics[f"backtest_{metric}"] == pytest.approx(result.metrics[f"test_{metric}"], abs=1e-12)
        for name in BASELINES:
            expected = result.metrics[f"baseline_{name}_test_{metric}"]
            assert found.metrics[f"backtest_baseline_{name}_{metric}"] == pytest.approx(expected, abs=1e-12)
    shares = rows[list(PROBABILITIES)].to_numpy(dtype=np.float64)
    brier = ((shares - np.eye(3)[rows["label"]]) ** 2).sum(axis=1).mean()
    assert brier == pytest.approx(result.metrics["test_brier"], abs=1e-6)
    trained = result.tables["calibration"].query("split == 'test'").groupby("class")["rows"].sum().to_dict()
    counted = calibration_table(rows).query("split == 'all'").groupby("class")["rows"].sum().to_dict()
    assert counted == trained
    assert (rows[MODEL].to_numpy() == shares.argmax(axis=1)).mean() > 0.99


def test_a_fold_is_judged_again_and_again(judged: tuple[FoldData, pd.DataFrame]) -> None:
    data, first = judged

    other = data.judge("decision_tree", {"max_depth": 2})
    again = data.judge("random_forest", TREES)

    pd.testing.assert_frame_equal(again, first)
    pd.testing.assert_frame_equal(
        other.drop(columns=[MODEL, *PROBABILITIES]), first.drop(columns=[MODEL, *PROBABILITIES])
    )
    assert (other[MODEL] != first[MODEL]).any()
    bytes_a_row = first.drop(columns="server").memory_usage(index=False).sum() / len(first)
    assert bytes_a_row < 40, "the columns are small"


def test_features_are_changed_for_the_model_alone(judged: tuple[FoldData, pd.DataFrame]) -> None:
    data, first = judged

    def blind(rows: DataFrame) -> DataFrame:
        return rows.withColumns({name: F.lit(None).cast("double") for name in HISTORY.values()})

    model = data.fit("random_forest", TREES)
    pd.testing.assert_frame_equal(data.answer(model), first)
    blinded = data.answer(model, blind)
    answers = [MODEL, *PROBABILITIES]
    pd.testing.assert_frame_equal(blinded.drop(columns=answers), first.drop(columns=answers))
    assert (blinded[MODEL] != first[MODEL]).any()
    assert not data.judge("random_forest", TREES, blind)[list(PROBABILITIES)].equals(blinded[list(PROBABILITIES)])


def test_a_change_that_drops_a_row_is_refused(judged: tuple[FoldData, pd.DataFrame]) -> None:
    data, first = judged
    model = data.fit("decision_tree", {"max_depth": 2})
    few = first["server"].iloc[0]
    with pytest.raises(ModelError, match=r"rows of fold 4 are answered, and it has [\d,]+: .* neither drop"):
        data.answer(model, lambda rows: rows.filter(F.col("server") != few))


def test_the_lead_comes_along(
    spark: SparkSession, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "KEY", ("server", "hour", "lead_hours"))
    split = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 20), datetime(2016, 6, 20, 23))
    rows = table.assign(lead_hours=48)
    features = spark.read.parquet(str(write_parquet(rows, tmp_path / "features")))

    with closing(FoldData.of_features(features, split, Thresholds(200, 300), fold=1)) as data:
        found = data.judge("decision_tree", {"max_depth": 2})

    assert set(found["lead"]) == {48}
    assert list(found.columns)[:4] == ["fold", "server", "hour", "lead"]
    assert set(found["fold"]) == {1}
    assert found["hour"].min() == pd.Timestamp(2016, 6, 20)


def test_wrong_questions_are_answered_with_an_error(
    judged: tuple[FoldData, pd.DataFrame], features: DataFrame, split: TimeSplit
) -> None:
    with pytest.raises(SettingsError, match="no parameter leaves"):
        judged[0].judge("random_forest", {"leaves": 3})
    with pytest.raises(ModelError, match=r"Spark cannot fit random_forest with .*'max_depth': 99"):
        judged[0].judge("random_forest", {"max_depth": 99})
    with pytest.raises(ModelError, match="single load class"):
        FoldData.of_features(features, split, Thresholds(1e6, 1e7), fold=1)


def test_rows_are_kept_until_the_fold_is_closed(spark: SparkSession, features: DataFrame, split: TimeSplit) -> None:
    def kept() -> int:
        return int(spark.sparkContext._jsc.getPersistentRDDs().size())

    before = kept()
    # thresholds of its own: what is kept for the other tests is another frame
    with closing(FoldData.of_features(features, split, Thresholds(200, 300), fold=0)):
        assert kept() > before
    assert kept() == before
    with pytest.raises(ModelError):
        FoldData.of_features(features, split, Thresholds(1e6, 1e7), fold=1)
    assert kept() == before
