from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score

from benchmarks.etl.contestants import OURS_DUCKDB
from benchmarks.training.rows import Rows, keep_common
from benchmarks.training.trainings import TRAININGS, _macro_f1
from tests.feature_tables import feature_table

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.mark.spark
@pytest.mark.slow
def test_both_trainings_learn_from_the_same_rows(tmp_path: Path, spark: SparkSession) -> None:
    ours = pl.from_pandas(feature_table(servers=3, days=30)).with_columns(pl.col("hour").cast(pl.Datetime("us")))
    theirs = ours.filter(pl.col("total_load").is_not_null()).with_columns(
        pl.col("hour").dt.strftime("%Y-%m-%d %H:%M:%S"), pl.col("trend_days").cast(pl.Int32)
    )
    rows = Rows(tmp_path)
    keep_common(rows, ours=ours, theirs=theirs)
    assert rows.facts["rows"] == theirs.height < ours.height
    assert spark.read.parquet(str(rows.features(OURS_DUCKDB))).count() == theirs.height
    for training in TRAININGS.values():
        assert 0.4 < training(rows, 3) <= 1


def test_macro_f1_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    true, said = random.integers(0, 3, 200), random.integers(0, 3, 200)
    pairs, numbers = np.unique(np.stack([true, said]), axis=1, return_counts=True)
    counts = {(float(a), float(b)): int(n) for (a, b), n in zip(pairs.T.tolist(), numbers.tolist(), strict=True)}
    assert _macro_f1(counts) == pytest.approx(f1_score(true, said, average="macro"))
