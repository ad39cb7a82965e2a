from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.errors import DataError, ModelError
from workload_forecast.model.rows import check_labels, count_labels, count_rows, labelled_rows
from workload_forecast.model.split import TimeSplit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@pytest.mark.spark
def test_rows_are_counted_by_split_and_by_whether_the_load_is_known(
    features: DataFrame, table: pd.DataFrame, split: TimeSplit
) -> None:
    training = table[table["hour"] < split.training_to]
    test = table[table["hour"] >= split.test_from]
    found = count_rows(features, split)
    for name, rows in (("train", training), ("test", test)):
        assert (found[name].labelled, found[name].unlabelled) == (
            rows["total_load"].notna().sum(),
            rows["total_load"].isna().sum(),
        )
        assert found[name].unlabelled > 0


@pytest.mark.spark
def test_labelled_rows_hold_every_known_load_of_both_splits_once(
    features: DataFrame, table: pd.DataFrame, split: TimeSplit
) -> None:
    cuts = Thresholds(200, 300)
    known = table[table["total_load"].notna()]
    labels = (known["total_load"] > 200).astype(float) + (known["total_load"] > 300)
    expected = {
        "train": labels[known["hour"] < split.training_to].value_counts().to_dict(),
        "test": labels[known["hour"] >= split.test_from].value_counts().to_dict(),
    }
    assert count_labels(labelled_rows(features, split, cuts, training_rows=1)) == expected


@pytest.mark.spark
def test_an_empty_period_is_named_with_the_hours_that_exist(features: DataFrame, split: TimeSplit) -> None:
    later = replace(split, test_from=datetime(2016, 8, 1), to=datetime(2016, 8, 2))
    with pytest.raises(DataError, match=r"no labelled rows to test on: .*2016-08-01.* holds 0 rows.*from 2016-06-01"):
        count_rows(features, later)
    unknown = features.withColumn("total_load", F.lit(None).cast("double"))
    with pytest.raises(DataError, match=r"no labelled rows to train on: .* all without a load"):
        count_rows(unknown, split)
    with pytest.raises(DataError, match="the table is empty"):
        count_rows(features.limit(0), split)


def test_a_single_class_is_explained_with_counts_and_remedy() -> None:
    check_labels({0.0: 1, 1.0: 0, 2.0: 4}, Thresholds(1, 2))
    with pytest.raises(ModelError, match=r"single load class \(0 low, 9 medium, 0 high\).* low=1, high=2: set thresh"):
        check_labels({1.0: 9, 0.0: 0, 2.0: 0}, Thresholds(1, 2))
