"""One small feature table, and one training on it, for all tests of this room."""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tests.feature_tables import feature_table, write_parquet
from workload_forecast.model.split import TimeSplit
from workload_forecast.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from workload_forecast.model.training import TrainingResult

#: 6 servers over 30 days: training until 22 June, test from the 24th.
SPLIT = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 24), datetime(2016, 6, 30, 23, 59, 59))


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    return feature_table(servers=6, days=30)


@pytest.fixture(scope="session")
def features(spark: SparkSession, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    return spark.read.parquet(str(write_parquet(table, tmp_path_factory.mktemp("model") / "features")))


@pytest.fixture(scope="session")
def split() -> TimeSplit:
    return SPLIT


@pytest.fixture(scope="session")
def printed() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="session")
def progress(printed: io.StringIO) -> Progress:
    return Progress(printed)


@pytest.fixture(scope="session")
def result(features: DataFrame, progress: Progress) -> TrainingResult:
    from workload_forecast.model.training import train

    return train(features, SPLIT, "auto", parameters={"num_trees": 8, "max_depth": 5}, progress=progress)
