"""The rows that a version is judged on, from both engines, against plain pandas."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.feature_tables import START, feature_table
from workload_forecast.config import Thresholds
from workload_forecast.engines import open_engine
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import FEATURE_NAMES, FEATURES
from workload_forecast.steps import recent_rows
from workload_forecast.steps.recent_rows import RecentRows, class_positions, read_recent_rows

SPLIT = TimeSplit(START, START + timedelta(days=8), datetime(2016, 6, 10, 23, 59, 59))
CUTS = Thresholds(200.0, 350.0)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return feature_table(servers=4, days=12, unobserved=0.05)


def position(load: float) -> int:
    return 0 if load <= CUTS.low else 1 if load <= CUTS.high else 2


def read(table: pd.DataFrame, engine: str, folder: Path) -> RecentRows:
    shuffled = table.sample(frac=1.0, random_state=1)
    (folder / "features").mkdir()
    pq.write_table(pa.Table.from_pandas(shuffled, preserve_index=False), folder / "features" / "part-0.parquet")
    with open_engine(engine) as opened:
        return read_recent_rows(opened.read_table(FEATURES, folder / "features"), SPLIT, CUTS)


@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def test_labelled_rows_of_the_test_period(
    table: pd.DataFrame, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "spark":
        request.getfixturevalue("spark")
    recent = read(table, engine, tmp_path)

    known = table[table["total_load"].notna()]
    test = known[(known["hour"] >= SPLIT.test_from) & (known["hour"] <= SPLIT.to)]
    training = known[known["hour"] < SPLIT.test_from - timedelta(hours=48)]
    assert 0 < len(test) < 4 * 2 * 24, "some hours have no label"
    expected = test.sort_values(["server", "hour"])[["server", "total_load", *FEATURE_NAMES]].reset_index(drop=True)
    pd.testing.assert_frame_equal(recent.table.to_pandas(), expected, check_dtype=False)
    classes = [position(load) for load in training["total_load"]]
    assert recent.training_classes == tuple(classes.count(index) for index in range(3))

    judged = recent.judged()
    assert judged.labels.tolist() == [position(load) for load in expected["total_load"]]
    majority = max(range(3), key=lambda index: (classes.count(index), -index))
    assert set(judged.baselines) == {
        "majority",
        "class_48h_ago",
        "last_same_hour",
        "class_week_ago",
        "same_hour_mean_7d",
    }
    assert judged.baselines["majority"].tolist() == [majority] * len(expected)
    week = [majority if np.isnan(load) else position(load) for load in expected["total_load_lag_168h"]]
    assert judged.baselines["class_week_ago"].tolist() == week
    codes = pd.Series(judged.servers).groupby(expected["server"]).unique()
    assert sorted(int(code[0]) for code in codes if len(code) == 1) == [0, 1, 2, 3]


def test_of_too_many_rows_some_servers_stand_for_all(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_rows, "MOST_ROWS", 100)
    recent = read(table, "duckdb", tmp_path)
    assert sorted(set(recent.table["server"].to_pylist())) == ["10.0.0.000", "10.0.0.002"]
    assert len(recent.table) <= 100


def test_a_sample_is_spread_evenly(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = read(table, "duckdb", tmp_path)
    assert recent.sample().equals(recent.table)
    monkeypatch.setattr(recent_rows, "SAMPLE_ROWS", 10)
    sample = recent.sample()
    assert len(sample) == 10
    assert set(sample["server"].to_pylist()) == set(recent.table["server"].to_pylist())
    nothing = RecentRows(recent.table.slice(0, 0), recent.training_classes, CUTS)
    assert (len(nothing.sample()), len(nothing.judged().labels)) == (0, 0)


def test_a_border_belongs_to_the_lower_class() -> None:
    loads = np.array([0.0, 200.0, np.nextafter(200.0, 300), 350.0, np.nextafter(350.0, 400), 1e15])
    assert class_positions(loads, CUTS).tolist() == [0, 0, 1, 1, 2, 2]
