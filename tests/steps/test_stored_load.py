"""Features of a stored hourly load are the same, in however many batches they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tests.features.helpers import at, noisy
from tests.frames import arrow
from workload_forecast.engines import open_engine
from workload_forecast.features.build import build_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.progress import Progress
from workload_forecast.schemas import FEATURES, HOURLY_LOAD, Frame
from workload_forecast.steps import stored_load
from workload_forecast.steps.stored_load import Build, StoredLoad

HOURS = at(0), at(299)


def build(hourly: Frame, frame: Callable[[pa.Table], Frame]) -> Frame:
    return build_features(hourly, frame(calendar_table(*HOURS)), missing_hours="unknown")


def written(load: StoredLoad, path: Path, made: Build = build) -> pl.DataFrame:
    rows = load.write_features(made, HOURS, path, Progress(), stage="test: features")
    table = pl.read_parquet(path)
    assert len(table) == rows
    return table.select(*FEATURES.columns).sort(*FEATURES.key)


def test_any_number_of_batches_gives_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server begins late and one is over before the hours that are wanted."""
    rows = [row for n in range(5) for row in noisy(300, seed=n, server=f"s{n}")]
    rows += [{**row, "hour": row["hour"] + (at(250) - at(0))} for row in noisy(50, seed=8, server="late")]
    rows += [{**row, "hour": row["hour"] - (at(500) - at(0))} for row in noisy(9, seed=9, server="gone")]
    with open_engine("duckdb") as engine:
        engine.write_table(engine.from_arrow(arrow(HOURLY_LOAD, rows)), HOURLY_LOAD, tmp_path / "load")
        load = StoredLoad(engine, tmp_path / "load")
        assert load.lives["late"] == (at(250), at(299))
        assert load.ends == (at(-500), at(299))
        one = written(load, tmp_path / "one")
        monkeypatch.setattr(stored_load, "BATCH_ROWS", 300)
        several = written(load, tmp_path / "several")
    assert len(one) == 5 * 300 + 50
    assert one.equals(several)
    assert len([*(tmp_path / "one").rglob("*.parquet")]) == 2
    assert len([*(tmp_path / "several").rglob("*.parquet")]) > 6
