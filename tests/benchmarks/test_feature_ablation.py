"""The ablation on a small table: what is left out or permuted, and what that costs."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

import click
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from benchmarks.feature_ablation import (
    EXPECTED,
    GROUPS,
    MIXTURE,
    loss_table,
    markdown,
    measure,
    parse_parameters,
    permuting,
    without,
)
from tests.feature_tables import feature_table, write_parquet
from workload_forecast.model.fold_rows import ROW, FoldData
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import FEATURE_NAMES, LEAD
from workload_forecast.sources import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

SPLIT = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 14), datetime(2016, 6, 17, 23))
TREE = {"max_depth": 3}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return feature_table(servers=3, days=17)


@pytest.fixture(scope="module")
def features(spark: SparkSession, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    return spark.read.parquet(str(write_parquet(table, tmp_path_factory.mktemp("ablation") / "features")))


def test_every_feature_but_the_lead_is_in_one_group() -> None:
    single = [name for group, names in GROUPS.items() if not group.startswith("all ") for name in names]
    assert sorted([*single, LEAD]) == sorted(FEATURE_NAMES)


@pytest.mark.spark
def test_losses_are_those_of_models_that_never_saw_the_group(
    spark: SparkSession, features: DataFrame, table: pd.DataFrame, tmp_path: Path
) -> None:
    answers = measure(features, [SPLIT], "auto", {"decision_tree": TREE, "same_hour_mixture": {}})
    losses = {(loss["algorithm"], loss["group"], loss["way"]): loss for loss in loss_table(answers).to_dict("records")}

    blind = table.assign(**dict.fromkeys(GROUPS["lags"], np.nan))
    path = write_parquet(blind, tmp_path / "features")
    with closing(FoldData.of_features(spark.read.parquet(str(path)), SPLIT, "auto", 1)) as fold:
        said = fold.judge("decision_tree", TREE)
    tree = answers["decision_tree"].sort_values(["server", "hour"])
    expected = said.sort_values(["server", "hour"])
    assert tree["left out: lags"].tolist() == expected[MODEL].tolist()
    ours, theirs = (f1_score(tree["label"], tree[name], average="macro") for name in (MODEL, "left out: lags"))
    found = losses["decision_tree", "lags", "left out"]
    assert (found["macro_f1"], found["lost"]) == pytest.approx((ours, ours - theirs))

    assert losses[MIXTURE, EXPECTED, "permuted"]["lost"] > 0.1
    others = [
        loss["lost"] for (algorithm, group, _), loss in losses.items() if algorithm == MIXTURE and group != EXPECTED
    ]
    assert set(others) == {0.0}
    text = markdown(loss_table(answers))
    assert len(text.splitlines()) == 2 + 2 * len(GROUPS)
    assert "| same_hour_mixture" in text


@pytest.mark.spark
def test_permuted_rows_keep_what_they_are_and_whole_rows_of_the_group(features: DataFrame) -> None:
    from pyspark.sql import functions as F

    columns = GROUPS["calendar"]
    rows = features.filter("total_load IS NOT NULL").limit(60).withColumn(ROW, F.monotonically_increasing_id()).cache()
    dealt = permuting(columns, 3)(rows)
    assert dict(dealt.dtypes) == dict(rows.dtypes)
    before, after = (frame.toPandas().sort_values(ROW, ignore_index=True) for frame in (rows, dealt))
    others = [name for name in before.columns if name not in columns]
    pd.testing.assert_frame_equal(after[others], before[others])
    one, two = (sorted(map(tuple, frame[list(columns)].to_numpy().tolist())) for frame in (before, after))
    assert one == two
    assert not after[list(columns)].equals(before[list(columns)])
    unknown = without([*columns, "expected_load"])(rows).toPandas()
    assert set(unknown["hour_of_day"]) == {0}
    assert unknown["expected_load"].isna().all()


def test_parameters_belong_to_an_algorithm_that_is_measured() -> None:
    found = parse_parameters(["random_forest", "same_hour_mixture"], ["random_forest.num_trees=50"])
    assert found == {"random_forest": {"num_trees": 50}, "same_hour_mixture": {}}
    for text in (
        "decision_tree.max_depth=3",
        "random_forest.num_trees",
        "num_trees=50",
        "random_forest.num_trees=many",
    ):
        with pytest.raises(click.BadParameter, match=r"is not ALGORITHM\.NAME=WHOLE_NUMBER"):
            parse_parameters(["random_forest"], [text])
